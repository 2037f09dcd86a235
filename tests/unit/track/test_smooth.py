"""Filters in time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecodec.errors import ConfigError, ShapeError
from facecodec.track.smooth import (
    OneEuroFilter,
    context_frames,
    cut_segments,
    face_size,
    smooth_zero_phase,
)

RNG = np.random.default_rng(5)
FACE = RNG.uniform(0, 100, (40, 3))


def _track(frames: int, noise: float = 0.0) -> np.ndarray:
    return FACE[None] + np.random.default_rng(1).normal(0, noise or 1e-12, (frames, 40, 3))


def test_zero_phase_removes_noise_as_the_kernel_says() -> None:
    raw = _track(300, 0.2)
    smooth = smooth_zero_phase(raw, np.ones(300, bool), 1.0)
    taps = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    expected = np.sqrt((taps**2).sum()) / taps.sum()
    ratio = (smooth - FACE)[3:-3].std() / (raw - FACE)[3:-3].std()
    assert ratio == pytest.approx(expected, rel=0.05)


def test_zero_phase_has_no_delay() -> None:
    """Backwards in, backwards out; and straight motion stays where it is."""
    raw = _track(50, 0.3)
    valid = RNG.uniform(size=50) > 0.2
    forward = smooth_zero_phase(raw, valid, 1.7)
    backward = smooth_zero_phase(raw[::-1], valid[::-1], 1.7)[::-1]
    assert np.allclose(forward, backward, atol=1e-5)
    line = FACE[None] + np.arange(30)[:, None, None] * 0.5
    assert np.allclose(smooth_zero_phase(line, np.ones(30, bool), 1.0)[3:-3], line[3:-3], atol=1e-4)


@given(sigma=st.floats(0, 5), seed=st.integers(0, 2**31))
def test_constants_stay_whatever_is_valid(sigma: float, seed: int) -> None:
    valid = np.random.default_rng(seed).uniform(size=20) > 0.4
    raw = np.where(valid[:, None, None], _track(20), np.nan)
    out = smooth_zero_phase(raw, valid, sigma)
    assert out.dtype == np.float32
    assert np.allclose(out[valid], FACE, atol=1e-3)
    assert np.isnan(out[~valid]).all()


def test_nothing_leaks_over_a_cut_or_from_lost_frames() -> None:
    raw = _track(20, 0.1)
    raw[8:] += [200, 0, 0]
    raw[15] = np.nan
    valid = np.arange(20) != 15
    assert cut_segments(np.nan_to_num(raw), valid).tolist() == [0] * 8 + [1] * 12
    out = smooth_zero_phase(raw, valid, 2.0)
    assert np.array_equal(out[:8], smooth_zero_phase(raw[:8], valid[:8], 2.0))
    assert np.allclose(out[8:15], smooth_zero_phase(raw[8:], valid[8:], 2.0)[:7], equal_nan=True)
    grown = _track(4)
    grown[2:] *= 1.5
    assert cut_segments(grown, np.ones(4, bool)).tolist() == [0, 0, 1, 1]


def test_windows_with_context_equal_the_whole() -> None:
    raw = _track(60, 0.2)
    raw[25:] += [120, 0, 0]
    valid = np.arange(60) % 7 != 3
    whole = smooth_zero_phase(raw, valid, 1.5)
    reach = context_frames(1.5)
    assert reach == 5
    for start in range(0, 60, 12):
        low, high = max(start - reach, 0), min(start + 12 + reach, 60)
        part = smooth_zero_phase(
            raw[low:high], valid[low:high], 1.5, left=start - low, right=max(high - start - 12, 0)
        )
        assert np.array_equal(part, whole[start : start + 12])


def test_zero_phase_refuses_what_it_cannot_take() -> None:
    good = np.zeros((4, 40, 3))
    with pytest.raises(ShapeError, match="points"):
        smooth_zero_phase(np.zeros((4, 40)), np.ones(4, bool))
    with pytest.raises(ShapeError, match="valid"):
        smooth_zero_phase(good, np.ones(3, bool))
    with pytest.raises(ConfigError, match="sigma_frames"):
        smooth_zero_phase(good, np.ones(4, bool), -1.0)
    with pytest.raises(ConfigError, match="left, right"):
        smooth_zero_phase(good, np.ones(4, bool), left=3, right=2)
    assert smooth_zero_phase(np.zeros((0, 40, 3)), np.ones(0, bool)).shape == (0, 40, 3)
    assert smooth_zero_phase(good, np.zeros(4, bool)).shape == (4, 40, 3)


def test_one_euro_smooths_a_still_face_and_follows_a_moving_one() -> None:
    size = float(face_size(FACE))
    clean = np.repeat(FACE[None], 200, axis=0)
    clean[100:, :, 0] += np.linspace(0, 0.6 * size, 100)[:, None]
    clean[50:53, 7, 1] += np.array([0.5, 1.0, 0.5]) * 0.06 * size
    raw = clean + np.random.default_rng(2).normal(0, 0.001 * size, clean.shape)
    euro = OneEuroFilter()
    out = np.array([euro.filter(points, k / 25) for k, points in enumerate(raw)])
    still = slice(10, 48)
    assert (out - clean)[still].std() < 0.65 * (raw - clean)[still].std()
    step = 0.6 * size / 99
    lag = (clean - out)[150:, :, 0].mean() / step
    assert 0 < lag < 0.7, "frames behind a face that moves at 0.15 of its size a second"
    blink = out[50:53, 7, 1].max() - FACE[7, 1]
    assert blink > 0.9 * 0.06 * size, "a blink of three frames keeps its depth"


def test_one_euro_does_not_depend_on_the_size_of_the_face() -> None:
    raw = _track(30, 0.3)
    small, large = OneEuroFilter(), OneEuroFilter()
    for k, points in enumerate(raw):
        a, b = small.filter(points, k / 30), large.filter(points * 8, k / 30)
    assert np.allclose(a * 8, b, rtol=1e-4)


def test_one_euro_starts_anew() -> None:
    euro = OneEuroFilter()
    first, second = _track(2, 0.3)
    assert np.array_equal(euro.filter(first, 0.0), first.astype(np.float32))
    assert not np.array_equal(euro.filter(second, 0.04), second.astype(np.float32))
    jumped = second + 500
    assert np.array_equal(euro.filter(jumped, 0.08), jumped.astype(np.float32)), "a cut"
    assert np.array_equal(euro.filter(second, 0.08), second.astype(np.float32)), "time stands still"
    euro.filter(first, 0.12)
    euro.reset()
    assert np.array_equal(euro.filter(second, 0.16), second.astype(np.float32))
    with pytest.raises(ShapeError):
        euro.filter(second[:10], 0.2)


@pytest.mark.parametrize("name", ["min_cutoff_hz", "beta", "speed_cutoff_hz"])
def test_one_euro_refuses_bad_parameters(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        OneEuroFilter(**{name: -1.0})


def test_each_point_may_have_its_own_width() -> None:
    rng = np.random.default_rng(5)
    points = rng.normal(size=(20, 3, 2)).astype(np.float32)
    valid = np.ones(20, bool)
    valid[7] = False
    mixed = smooth_zero_phase(points, valid, np.array([1.0, 0.0, 0.65]))
    for n, sigma in enumerate((1.0, 0.0, 0.65)):
        alone = smooth_zero_phase(points, valid, sigma)
        np.testing.assert_allclose(mixed[:, n], alone[:, n], atol=1e-6)
    with pytest.raises(ShapeError, match="sigma_frames"):
        smooth_zero_phase(points, valid, np.ones(2))
