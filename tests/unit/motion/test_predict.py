"""The schedule of a group, prediction in integers, and reconstruction."""

from itertools import pairwise

import numpy as np
import pytest

from facecodec.errors import LimitError
from facecodec.motion.predict import (
    MAX_GROUP,
    ONE,
    RESIDUAL_LIMIT,
    VALUE_LIMIT,
    predict,
    reconstruct,
    schedule,
)

SIZES = range(1, MAX_GROUP + 1)


@pytest.mark.parametrize("reset", [False, True])
def test_every_frame_is_coded_once_from_frames_coded_before(reset: bool) -> None:
    for n in SIZES:
        known = {-1} if not reset else set()
        for step in schedule(n, reset):
            used = {step.lo, step.hi, step.before, step.after} - {None}
            if not known and reset:
                assert (step.t, step.hi, step.depth) == (0, None, 0)
            else:
                assert used <= known
            assert step.t not in known
            if step.hi is not None:
                assert step.lo < step.t < step.hi
                assert step.before is None or step.before < step.lo
                assert step.after is None or step.after > step.hi
                assert step.depth > 0
            known.add(step.t)
        assert known - {-1} == set(range(n))


@pytest.mark.parametrize("reset", [False, True])
def test_depth_grows_and_stays_logarithmic(reset: bool) -> None:
    for n in SIZES:
        depths = [step.depth for step in schedule(n, reset)]
        assert depths == sorted(depths)
        assert depths[-1] <= (n - 1).bit_length() + 1


def test_the_schedule_of_eight_frames() -> None:
    steps = [(s.t, s.lo, s.hi, s.before, s.after) for s in schedule(8, False)]
    assert steps == [
        (7, -1, None, None, None),
        (3, -1, 7, None, None),
        (1, -1, 3, None, 7),
        (5, 3, 7, -1, None),
        (0, -1, 1, None, 3),
        (2, 1, 3, -1, 5),
        (4, 3, 5, 1, 7),
        (6, 5, 7, 3, None),
    ]


@pytest.mark.parametrize("n", [0, -1, 65])
def test_group_sizes_are_limited(n: int) -> None:
    with pytest.raises(LimitError, match="frames of a group"):
        schedule(n, True)


def test_no_residual_means_no_motion() -> None:
    history = np.array([[160, -7], [160, -7]], np.int32)
    for n in SIZES:
        assert np.array_equal(reconstruct(np.zeros((n, 2), np.int32), history, False), [[160, -7]] * n)
        assert not reconstruct(np.zeros((n, 2), np.int32), history, True).any()


def test_one_residual_at_the_anchor_is_interpolated() -> None:
    residuals = np.zeros((4, 1), np.int32)
    residuals[3] = 4
    # 3: 64. 1: (0 + 64) / 2 = 32. 0: linear 16, bend 2 * 32 - 0 - 64 = 0. 2: linear 48, bend 0 likewise.
    assert reconstruct(residuals, np.zeros((2, 1), np.int32), False)[:, 0].tolist() == [16, 32, 48, 64]


def test_divisions_round_down_for_negative_numbers() -> None:
    values = np.array([[0], [-3], [0], [0], [-5]], np.int32)
    first, second = schedule(3, False)[1:]
    assert (first.t, first.lo, first.hi, first.before, first.after) == (0, -1, 2, None, None)
    # (-3 * 2 + -5 * 1 + 1) // 3 = -10 // 3
    assert predict(values, first, False).tolist() == [-4]
    assert (second.t, second.lo, second.hi, second.before, second.after) == (1, 0, 2, -1, None)
    values[2] = -6
    # linear (-6 - 5 + 1) // 2 = -5; bend 2 * -6 + 5 + 3 = -4; (-4 + 8) >> 4 = 0
    assert predict(values, second, False).tolist() == [-5]
    values[1] = 17
    # bend -12 + 5 - 17 = -24; (-24 + 8) >> 4 = -1
    assert predict(values, second, False).tolist() == [-6]


def test_a_near_anchor_goes_on_a_little() -> None:
    history = np.array([[0], [160]], np.int32)
    still = [reconstruct(np.zeros((n, 1), np.int32), history, False)[-1, 0] for n in (1, 2, 3, 16)]
    assert still == [200, 200, 160, 160]


def test_cubic_interpolation_follows_a_parabola() -> None:
    curve = (np.arange(-1, 16)[:, None] ** 2 * ONE).astype(np.int32)
    values = np.concatenate([curve[:1], curve])
    for step in schedule(16, False):
        if step.before is not None and step.after is not None:
            assert abs(int(predict(values, step, False)[0]) - int(values[step.t + 2, 0])) <= 1


def test_values_are_clipped_and_nothing_overflows() -> None:
    for sign in (-1, 1):
        history = np.full((2, 1), sign * VALUE_LIMIT, np.int32)
        history[0] *= -1
        for n in (1, 2, 16, 64):
            residuals = np.full((n, 1), sign * RESIDUAL_LIMIT, np.int32)
            values = reconstruct(residuals, history, False)
            assert np.array_equal(values, np.full((n, 1), sign * VALUE_LIMIT))


def test_extremes_stay_within_32_bits() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([-VALUE_LIMIT, VALUE_LIMIT], (MAX_GROUP + 2, 50)).astype(np.int32)
    for n, reset in ((64, False), (64, True), (2, False), (1, False)):
        for step in schedule(n, reset):
            exact = predict(values[: n + 2].astype(np.int64), step, reset)
            assert np.array_equal(predict(values[: n + 2], step, reset), exact)


def test_knots_halve_evenly() -> None:
    gaps = [b - a for a, b in pairwise(sorted({s.t for s in schedule(16, False) if s.depth <= 2} | {-1}))]
    assert gaps == [4, 4, 4, 4]
