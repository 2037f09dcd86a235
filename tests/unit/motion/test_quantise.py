"""Quantisation of motion: bounds, the trade of rate for error, rescaling."""

import numpy as np
import pytest

from facecodec.bitstream.levels import ChannelLayout, LevelState, count_levels
from facecodec.errors import LimitError
from facecodec.motion.predict import ONE, RESIDUAL_LIMIT, VALUE_LIMIT, reconstruct
from facecodec.motion.quantise import STEP_TABLE, dequantise, quantisation_step, quantise, rescale
from facecodec.types import F64Array

START = np.zeros((2, 6), np.int32)


def smooth_track(frames: int, channels: int, seed: int = 0) -> F64Array:
    """Slow waves of several sizes, in points, and a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None] / 25
    size = 120.0 / (1 + np.arange(channels)) ** 0.7
    waves = sum(
        np.sin(2 * np.pi * t * rng.uniform(0.1, 1.5, channels) + rng.uniform(0, 6, channels))
        for _ in range(3)
    )
    return np.asarray(size * waves + rng.normal(0, 0.5, (frames, channels)))


def code(track: F64Array, qp: int, group: int = 16) -> tuple[float, float]:
    """Bits a frame and RMS error of a track, group by group."""
    layout = ChannelLayout(track.shape[1] - 6, 0)
    state, history, bits, out = LevelState(layout), np.zeros((2, track.shape[1]), np.int32), 0, []
    for start in range(0, len(track), group):
        part = track[start : start + group]
        residuals = quantise(part, qp, history, start == 0)
        bits += sum(count_levels(state, residuals, [False] * len(part), start == 0))
        values = reconstruct(residuals, history, start == 0)
        history = np.concatenate([history, values])[-2:]
        out.append(dequantise(values, qp))
    return bits / 256 / len(track), float(np.sqrt(((np.concatenate(out) - track) ** 2).mean()))


def test_step_table() -> None:
    assert len(STEP_TABLE) == 52
    assert STEP_TABLE[0] == 64
    assert [STEP_TABLE[6 * k] for k in range(9)] == [64 << k for k in range(9)]
    assert quantisation_step(12) == 1.0
    for qp in (-1, 52):
        with pytest.raises(LimitError, match="qp"):
            quantisation_step(qp)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 33, 64])
@pytest.mark.parametrize("reset", [False, True])
def test_error_is_bounded_without_a_lagrangian(n: int, reset: bool) -> None:
    track = smooth_track(n, 6, seed=n)
    values = reconstruct(quantise(track, 20, START, reset, lagrange=0.0, sweeps=0), START, reset)
    worst = np.abs(dequantise(values, 20) - track).max() / quantisation_step(20)
    assert worst <= 0.6 + 1e-9


def test_sweeps_do_not_raise_the_cost() -> None:
    track = smooth_track(16, 6)
    errors = [
        (
            (
                dequantise(
                    reconstruct(quantise(track, 24, START, True, lagrange=0.0, sweeps=s), START, True), 24
                )
                - track
            )[:-1]
            ** 2
        ).mean()
        for s in (0, 3)
    ]
    assert errors[1] <= errors[0] * 1.02


def test_a_larger_multiplier_leaves_fewer_residuals() -> None:
    track = smooth_track(64, 30)
    start = np.zeros((2, 30), np.int32)
    counts = [int((quantise(track, 20, start, True, lagrange=x) != 0).sum()) for x in (0.0, 0.2, 0.8, 3.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2


def test_rate_falls_and_error_grows_with_qp() -> None:
    track = smooth_track(160, 20)
    points = [code(track, qp) for qp in (10, 16, 22, 28, 34)]
    bits, errors = zip(*points, strict=True)
    assert list(bits) == sorted(bits, reverse=True)
    assert list(errors) == sorted(errors)
    assert bits[-1] < bits[0] / 3


def test_groups_beat_single_frames() -> None:
    track = smooth_track(96, 12)
    (grouped, error), (alone, error_alone) = code(track, 22), code(track, 22, group=1)
    assert grouped < 0.75 * alone
    assert error < error_alone * 1.3


def test_zero_weight_frees_a_channel() -> None:
    track = smooth_track(16, 6)
    weights = np.ones((16, 6))
    weights[:, 2] = 0
    residuals = quantise(track, 20, START, True, weights=weights)
    assert not residuals[:, 2].any()
    assert residuals[:, 0].any()
    assert np.array_equal(residuals, quantise(track, 20, START, True, weights=weights[0]))
    assert np.array_equal(
        residuals[:, :1], quantise(track[:, :1], 20, START[:, :1], True, weights=np.ones((16, 1)))
    )


def test_wild_amplitudes_stay_within_the_limits() -> None:
    residuals = quantise(np.full((5, 6), 1e12), 0, START, True)
    assert np.abs(residuals).max() == RESIDUAL_LIMIT


def test_rescale_keeps_the_amplitude() -> None:
    values = np.array([[-100000, -37, 0, 5, 123456]], np.int32)
    for a, b in ((20, 26), (26, 20), (3, 51), (24, 23)):
        got = dequantise(rescale(values, a, b), b)
        assert np.abs(got - dequantise(values, a)).max() <= quantisation_step(b) / ONE / 2 + 1e-9
    assert rescale(values, 7, 7) is values
    assert rescale(np.array([[-7]], np.int32), 6, 0).tolist() == [[-14]]
    assert rescale(np.array([[-7, 7]], np.int32), 0, 6).tolist() == [[-3, 4]]
    assert np.abs(rescale(np.array([[VALUE_LIMIT, -VALUE_LIMIT]], np.int32), 51, 0)).max() == VALUE_LIMIT


def test_a_form_without_weight_changes_nothing() -> None:
    track = smooth_track(16, 6)
    forms = np.zeros((2, 6))
    plain = quantise(track, 20, START, True, lagrange=0.0, sweeps=6)
    settled = quantise(track, 20, START, True, forms=forms, lagrange=0.0, sweeps=6)
    assert (plain != settled).mean() < 0.05


def test_a_form_can_make_up_for_a_channel_that_must_not_move() -> None:
    track = np.zeros((5, 6))
    track[:, 0] = 40.0
    weights = np.ones((5, 6))
    weights[:, :2] = 0
    forms = np.zeros((1, 6))
    forms[0, :2] = 1.0
    residuals = quantise(track, 20, START, True, weights=weights, forms=forms, lagrange=0.0)
    miss = track - dequantise(reconstruct(residuals, START, True), 20)
    assert np.abs(miss @ forms.T).max() <= 0.6 * quantisation_step(20)
    assert not residuals[:, 2:].any()
