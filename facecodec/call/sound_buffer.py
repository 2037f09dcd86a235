"""Sound that waits to be heard, in step with the picture.

Every sample has its time. What is heard at a time is what belongs to the picture of that time; where the two
drift apart, pitch periods are left out or played twice, as NetEQ of WebRTC does (Roucos and Wilgus, "High
Quality Time-Scale Modification for Speech", ICASSP 1985), and where they are far apart sound jumps.
"""

from __future__ import annotations

import numpy as np

from facecodec.types import F32Array

SOUND_RATE = 48_000
_SEAM = 240
"""Samples over which two pieces blend: 5 ms."""
_PERIOD = (120, 720)
"""Samples of a pitch period, at least and at most: 2.5 to 15 ms."""
_NEAR_S = 0.012
"""Sound so near to its time is left as it is,"""
_FAR_S = 0.12
"""and further from it jumps."""
_FOLLOW = 0.25
"""Share by which the known distance follows every piece."""
_CONTIGUOUS_S = 0.005
"""Pieces follow each other though their times are so far apart: clocks differ, and times are rounded."""
_MOST_S = 2.0


class SoundBuffer:
    """Sound with its times.

    Attributes:
        lag_s: the clock by which sound is heard less the time of what shall be heard; None: nothing yet.
        moved: samples left out less samples played twice, so far.
    """

    def __init__(self) -> None:
        self.lag_s: float | None = None
        self.moved = 0
        self._samples: F32Array = np.zeros(0, np.float32)
        self._start_s = self._behind_s = 0.0
        self._playing = False
        self._heard: tuple[float, float] | None = None

    @property
    def waiting_s(self) -> float:
        """Seconds that wait."""
        return len(self._samples) / SOUND_RATE

    def put(self, samples: F32Array, start_s: float) -> None:
        """Append mono samples, [N]; ``start_s`` is the time of the first."""
        gap = start_s - (self._start_s + self.waiting_s)
        if not len(self._samples) and not self._playing:
            self._start_s, gap = start_s, 0.0
        if gap > _MOST_S:
            self.clear()
            self._start_s = start_s
        elif gap > _CONTIGUOUS_S:
            samples = np.concatenate([np.zeros(round(gap * SOUND_RATE), np.float32), samples])
        elif gap < -_CONTIGUOUS_S:
            samples = samples[round(-gap * SOUND_RATE) :]
        else:
            self._start_s += gap
        self._samples = np.concatenate([self._samples, samples])
        self._drop(len(self._samples) - round(_MOST_S * SOUND_RATE))

    def take(self, count: int, at_s: float) -> F32Array:
        """Take what is heard from a time on, ``count`` samples: silence where nothing is there."""
        self._heard = None
        if self.lag_s is None:
            return np.zeros(count, np.float32)
        behind_s = at_s - self.lag_s - self._start_s
        if self._playing and abs(behind_s) > _FAR_S:
            self._playing = False
        lead = 0
        if self._playing:
            self._behind_s += _FOLLOW * (behind_s - self._behind_s)
            self._approach(count)
        else:
            lead = self._begin(count, round(behind_s * SOUND_RATE))
        if self._playing:
            self._heard = (at_s + lead / SOUND_RATE, self._start_s)
        return self._next(count, lead)

    def heard_at(self, at_s: float) -> float | None:
        """Time of what is heard at a time at or behind that of the last :meth:`take`; None in silence."""
        return None if self._heard is None else self._heard[1] + at_s - self._heard[0]

    def clear(self) -> None:
        """Forget what waits."""
        self._samples, self._playing, self._heard = np.zeros(0, np.float32), False, None

    def _begin(self, count: int, behind: int) -> int:
        """Begin to play what is due; samples of silence before it."""
        self._drop(behind)
        lead = max(-behind, 0)
        if not len(self._samples) or lead >= count:
            return count
        fade = min(_SEAM, len(self._samples))
        self._samples = self._samples.copy()
        self._samples[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
        self._playing, self._behind_s = True, 0.0
        return lead

    def _approach(self, count: int) -> None:
        """Leave out or repeat a pitch period where sound is behind or before its time."""
        if abs(self._behind_s) < _NEAR_S or len(self._samples) < count + _PERIOD[1] + _SEAM:
            return
        if self._behind_s > 0:
            changed = without_period(self._samples)
        else:
            changed = with_period_twice(self._samples)
        gone = len(self._samples) - len(changed)
        self._samples = changed
        self._start_s += gone / SOUND_RATE
        self._behind_s -= gone / SOUND_RATE
        self.moved += gone

    def _next(self, count: int, lead: int) -> F32Array:
        """Silence and then what is next, faded out where it ends."""
        if not self._playing:
            return np.zeros(count, np.float32)
        taken = self._samples[: count - lead]
        self._drop(len(taken))
        lacking = count - lead - len(taken)
        if lacking:
            self._playing = False
            fade = min(_SEAM, len(taken))
            taken = taken.copy()
            taken[len(taken) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        return np.concatenate([np.zeros(lead, np.float32), taken, np.zeros(lacking, np.float32)])

    def _drop(self, count: int) -> None:
        count = min(max(count, 0), len(self._samples))
        self._samples = self._samples[count:]
        self._start_s += count / SOUND_RATE


def without_period(samples: F32Array) -> F32Array:
    """Leave out a pitch period at the begin.

    Args:
        samples: [N], N at least 960.

    Returns:
        [N - L], L 120 to 720; the seam blends over 240 samples.
    """
    length = _period(samples)
    fade = np.linspace(0, 1, _SEAM, dtype=np.float32)
    seam = samples[:_SEAM] * (1 - fade) + samples[length : length + _SEAM] * fade
    return np.concatenate([seam, samples[length + _SEAM :]])


def with_period_twice(samples: F32Array) -> F32Array:
    """Play a pitch period at the begin twice: the inverse of :func:`without_period`, [N + L]."""
    length = _period(samples)
    fade = np.linspace(0, 1, _SEAM, dtype=np.float32)
    seam = samples[length : length + _SEAM] * (1 - fade) + samples[:_SEAM] * fade
    return np.concatenate([samples[:length], seam, samples[_SEAM:]])


def _period(samples: F32Array) -> int:
    """Samples after which the first 5 ms come again most alike."""
    low, high = _PERIOD
    places = np.lib.stride_tricks.sliding_window_view(samples[low : high + _SEAM], _SEAM)
    alike = places @ samples[:_SEAM] / np.sqrt((places**2).sum(1) + 1e-6)
    return low + int(alike[: high - low + 1].argmax())
