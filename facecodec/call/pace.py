"""How many pictures a second a thread can do: fewer at once where it falls behind, more again with time.

A picture that would wait is better not taken at all: what waits makes everything behind it late.
"""

from __future__ import annotations

_LOOK_S = 0.5
_BUSY, _IDLE = 0.7, 0.5
"""Shares of time at work above which there are fewer pictures, and below which there are more."""
_FEWER, _MORE = 0.8, 1.05
_EARLY = 0.3
"""Share of a step by which a picture may come before its time: cameras are not even."""


class Pace:
    """Lets as many pictures through as there is time for.

    Args:
        most: pictures a second at most.
        least: and at least, however busy.

    Attributes:
        fps: pictures a second now.
    """

    def __init__(self, most: float, least: float) -> None:
        self.fps = self._most = most
        self._least = min(least, most)
        self._busy_s = 0.0
        self._looked_s: float | None = None
        self._due_s: float | None = None

    def worked(self, seconds: float, now_s: float) -> None:
        """Note work that took so long and ended now."""
        if self._looked_s is None:
            self._looked_s = now_s - seconds
        self._busy_s += seconds
        elapsed = now_s - self._looked_s
        if elapsed < _LOOK_S:
            return
        share, self._busy_s, self._looked_s = self._busy_s / elapsed, 0.0, now_s
        if share > _BUSY:
            self.fps = max(self.fps * _FEWER, self._least)
        elif share < _IDLE:
            self.fps = min(self.fps * _MORE, self._most)

    def lets_through(self, at_s: float) -> bool:
        """Whether the picture of a time is one of those; times never go back."""
        step = 1.0 / self.fps
        if self._due_s is not None and at_s < self._due_s - _EARLY * step:
            return False
        self._due_s = at_s + step if self._due_s is None else max(self._due_s + step, at_s + 0.5 * step)
        return True
