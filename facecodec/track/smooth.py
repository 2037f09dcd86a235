"""Smoothing of tracks in time: a zero-phase filter for files, a causal one for calls.

The landmark network sees each picture alone, so its points tremble. Less noise is fewer bits and less
flicker.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError, ShapeError
from facecodec.types import F32Array, F64Array

JUMP = 0.25
"""A move of the face's centre by more than this share of its size in one frame is a cut."""
_TRUNCATE = 3.0
_MIN_SIGMA = 0.1
"""Below this the kernel is a single one."""


def context_frames(sigma_frames: float) -> int:
    """Frames on each side that :func:`smooth_zero_phase` looks at: three standard deviations, up."""
    return math.ceil(_TRUNCATE * sigma_frames)


def face_size(points: npt.NDArray[np.floating]) -> F64Array:
    """Longer side of the points' box: [..., N, 2 or 3] to [...], in the points' unit."""
    flat = np.asarray(points, np.float64)[..., :2]
    return np.asarray((flat.max(axis=-2) - flat.min(axis=-2)).max(axis=-1))


def cut_segments(
    points: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_], jump: float = JUMP
) -> npt.NDArray[np.int64]:
    """Number the stretches of a track between cuts.

    Args:
        points: [T, N, 2 or 3].
        valid: [T], frames that hold a face.
        jump: largest move of the centre, and largest relative change of size, in one frame, as a share
            of the face's size. Across lost frames it grows with their number, to the face's size at most.

    Returns:
        [T] segment numbers from 0, never falling; a lost frame has the number of the face before it.
    """
    segments = np.zeros(len(points), np.int64)
    frames = np.flatnonzero(valid)
    if len(frames) < 2:
        return segments
    kept = np.asarray(points[frames], np.float64)
    size = face_size(kept)
    centre = kept[..., :2].mean(axis=1)
    move = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    grown = np.abs(np.diff(size))
    limit = np.minimum(jump * np.diff(frames), 1.0) * np.maximum(np.minimum(size[1:], size[:-1]), 1e-12)
    segments[frames[1:][np.maximum(move, grown) > limit]] = 1
    return np.cumsum(segments)


def smooth_zero_phase(
    points: npt.NDArray[np.floating],
    valid: npt.NDArray[np.bool_],
    sigma_frames: float | F64Array = 1.0,
    *,
    left: int = 0,
    right: int = 0,
) -> F32Array:
    """Gaussian filter along time, without delay.

    The kernel is cut at three standard deviations and normalised over the frames that are valid and on
    the same side of every cut, so that ends, lost frames and cuts leave no trace in their neighbours.
    A stream can be smoothed in windows: given :func:`context_frames` more frames on each side, the
    frames between are the same as from the whole track.

    Args:
        points: [T, N, C], any unit; what invalid frames hold is ignored (NaN allowed).
        valid: [T], frames that hold a face.
        sigma_frames: standard deviation in frames, 0 (no smoothing) or more; for all points, or [N].
        left: frames at the start that are context only and not returned.
        right: the same at the end.

    Returns:
        [T - left - right, N, C] float32. Invalid frames come back unchanged.

    Raises:
        ShapeError: ``points`` is not [T, N, 2 or 3], ``valid`` not [T], or ``sigma_frames``
            neither a number nor [N].
        ConfigError: ``sigma_frames`` is negative or not finite, or the context is longer than the track.
    """
    if points.ndim != 3 or points.shape[2] not in (2, 3):
        raise ShapeError("points", "[T, N, 2 or 3]", points.shape)
    if valid.shape != points.shape[:1]:
        raise ShapeError("valid", f"[{len(points)}]", valid.shape)
    sigmas = np.asarray(sigma_frames, np.float64)
    if sigmas.shape not in ((), points.shape[1:2]):
        raise ShapeError("sigma_frames", f"a number or [{points.shape[1]}]", sigmas.shape)
    if not (np.isfinite(sigmas).all() and (sigmas >= 0).all()):
        raise ConfigError("sigma_frames", sigma_frames, "finite numbers from 0")
    count = len(points)
    if left < 0 or right < 0 or left + right > count:
        raise ConfigError("left, right", (left, right), f"0 or more, together at most {count}")
    good = valid.astype(bool)
    clean = np.where(good[:, None, None], points, 0).astype(np.float64)
    segments = cut_segments(clean, good)
    mean = _mean_within(clean, good, segments, np.broadcast_to(sigmas, points.shape[1]))
    out = np.where(good[:, None, None], mean, points).astype(np.float32)
    return np.asarray(out[left : count - right])


def _mean_within(
    points: F64Array, good: npt.NDArray[np.bool_], segments: npt.NDArray[np.int64], sigmas: F64Array
) -> F64Array:
    """Gaussian mean over the good frames of each frame's own segment; ``sigmas`` [N]."""
    count = len(points)
    total = np.zeros_like(points)
    weight = np.zeros(points.shape[:2])
    reach = np.ceil(_TRUNCATE * sigmas)
    longest = min(int(reach.max(initial=0)), count)
    for offset in range(-longest, longest + 1):
        taps = np.exp(-0.5 * (offset / np.maximum(sigmas, _MIN_SIGMA)) ** 2) * (abs(offset) <= reach)
        here = slice(max(0, -offset), count - max(0, offset))
        there = slice(max(0, offset), count - max(0, -offset))
        seen = good[there] & (segments[here] == segments[there])
        gain = seen[:, None] * taps
        total[here] += gain[..., None] * points[there]
        weight[here] += gain
    return total / np.maximum(weight, 1e-12)[..., None]


class OneEuroFilter:
    """Causal low-pass filter whose cut-off rises with speed (Casiez, Roussel and Vogel, CHI 2012).

    Each point has its own cut-off. Speeds are in face sizes a second, so the filter acts the same on
    small and on large faces.

    Args:
        min_cutoff_hz: cut-off of a point that stands still; lower is smoother and slower.
        beta: cut-off gained for a speed of one face size a second, Hz; higher lags less.
        speed_cutoff_hz: cut-off of the speed's own low-pass.

    Raises:
        ConfigError: a parameter is not positive (``beta``: negative).
    """

    def __init__(self, min_cutoff_hz: float = 1.5, beta: float = 60.0, speed_cutoff_hz: float = 5.0) -> None:
        for name, value in (("min_cutoff_hz", min_cutoff_hz), ("speed_cutoff_hz", speed_cutoff_hz)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(name, value, "a finite number above 0")
        if not (math.isfinite(beta) and beta >= 0):
            raise ConfigError("beta", beta, "a finite number from 0")
        self._min_cutoff = min_cutoff_hz
        self._beta = beta
        self._speed_cutoff = speed_cutoff_hz
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next points come back as they are."""
        self._value: F64Array | None = None
        self._raw: F64Array | None = None
        self._speed: F64Array | None = None
        self._time_s = 0.0

    def filter(self, points: npt.NDArray[np.floating], time_s: float) -> F32Array:
        """Filter the points of the next picture.

        Args:
            points: [N, 2 or 3], any unit.
            time_s: their time in seconds. When it does not move on, the filter starts anew; so it does
                when the face jumps by more than :data:`JUMP` of its size, which is a cut.

        Returns:
            Filtered points, the same shape, float32.

        Raises:
            ShapeError: the shape is not [N, 2 or 3], or has changed since the last reset.
        """
        if points.ndim != 2 or points.shape[1] not in (2, 3):
            raise ShapeError("points", "[N, 2 or 3]", points.shape)
        raw = np.asarray(points, np.float64)
        step = time_s - self._time_s
        self._time_s = time_s
        before, value, speed = self._raw, self._value, self._speed
        self._raw = raw
        if value is None or before is None or speed is None or step <= 0 or self._is_cut(before, raw):
            self._value, self._speed = raw, np.zeros_like(raw)
            return raw.astype(np.float32)
        size = max(float(face_size(raw)), 1e-12)
        speed = speed + _alpha(self._speed_cutoff, step) * ((raw - before) / (step * size) - speed)
        cutoff = self._min_cutoff + self._beta * np.linalg.norm(speed, axis=1, keepdims=True)
        value = value + _alpha(cutoff, step) * (raw - value)
        self._value, self._speed = value, speed
        return value.astype(np.float32)

    @staticmethod
    def _is_cut(before: F64Array, now: F64Array) -> bool:
        """Whether the face stands somewhere else; a change of shape raises ShapeError."""
        if before.shape != now.shape:
            raise ShapeError("points", str(before.shape), now.shape)
        return bool(cut_segments(np.stack([before, now]), np.ones(2, bool))[1])


def _alpha(cutoff_hz: float | F64Array, step_s: float) -> F64Array:
    """Weight of the new value in a first-order low-pass."""
    ratio = np.asarray(2 * math.pi * step_s * cutoff_hz)
    return np.asarray(ratio / (1 + ratio))
