"""The jitter buffer: when what arrived is shown, and in which order."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MEMORY_S = 5.0
_SAMPLES = 400
_LATE_SHARE = 0.05
"""Share of what arrives that may come too late to be shown in time."""
_MARGIN_S = 0.008
_SLEW = 0.08
"""Seconds a second by which the delay changes: too little to be seen."""
_JUMP_S, _SKIP_S = 0.3, 1.0
"""A delay so much too short, or too long, is put right at once."""
DELAY_MAX_S = 0.8


class PlayoutClock:
    """The time of what is shown: the sender's time, less a delay that follows the path's jitter.

    Every arrival says how long after its own time it came; the delay is what all but 5 % of the last 5
    seconds needed. It grows and shrinks slowly, as playing faster or slower by 8 % does not show.

    Attributes:
        late: arrivals that came after their time.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_SAMPLES)
        self._offset: float | None = None
        self._wanted = self._least = self._set_s = self._fastest = 0.0
        self._shown: float | None = None
        self.late = 0

    def observe(self, media_s: float, now_s: float, end_s: float | None = None) -> None:
        """Something of this time has arrived; ``end_s`` is the last time in it, if that is another."""
        need = now_s - media_s
        if self._offset is not None and need > self._offset_at(now_s):
            self.late += 1
        self._samples.append((now_s, need, need if end_s is None else now_s - end_s))
        while now_s - self._samples[0][0] > MEMORY_S:
            self._samples.popleft()
        needs = sorted(need for _, need, _ in self._samples)
        place = min(int(len(needs) * (1.0 - _LATE_SHARE)), len(needs) - 1)
        self._least, self._fastest = needs[0], min(behind for _, _, behind in self._samples)
        self._wanted = min(needs[place], needs[0] + DELAY_MAX_S) + _MARGIN_S
        if self._offset is None:
            self._offset, self._set_s = need + _MARGIN_S, now_s

    def media_time(self, now_s: float) -> float | None:
        """Time, on the sender's clock, of what is to be shown now; it never goes back; None at first."""
        if self._offset is None:
            return None
        value = now_s - self._move(now_s)
        self._shown = value if self._shown is None else max(value, self._shown)
        return self._shown

    @property
    def delay_s(self) -> float:
        """How much later things are shown than the fastest of the last 5 seconds arrived."""
        return 0.0 if self._offset is None else self._offset - self._least

    @property
    def behind_s(self) -> float:
        """How much later the last time in what arrived is shown than the fastest arrived.

        With the time that the fastest took to be coded and to come, and that of making a picture, it is the
        time from capture to show. What is gathered before it is sent is in it.
        """
        return 0.0 if self._offset is None else self._offset - self._fastest

    @property
    def jitter_s(self) -> float:
        """How much longer the slow ones took than the fastest, of the last 5 seconds."""
        return self._wanted - self._least

    def _offset_at(self, now_s: float) -> float:
        assert self._offset is not None  # noqa: S101  asked for by the callers
        step = max(now_s - self._set_s, 0.0) * _SLEW
        gap = self._wanted - self._offset
        at_once = gap > _JUMP_S or gap < -_SKIP_S
        return self._offset + (gap if at_once else min(max(gap, -step), step))

    def _move(self, now_s: float) -> float:
        self._offset = self._offset_at(now_s)
        self._set_s = max(now_s, self._set_s)
        return self._offset


class TimedBuffer(Generic[T]):
    """Things in the order of their times.

    Args:
        capacity: the oldest beyond so many are dropped.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: list[tuple[int, T]] = []

    def __len__(self) -> int:
        return len(self._items)

    def insert(self, pts: int, item: T) -> bool:
        """Add a thing; False where there is one of this time already."""
        place = self._behind(pts)
        if place and self._items[place - 1][0] == pts:
            return False
        self._items.insert(place, (pts, item))
        del self._items[: max(len(self._items) - self._capacity, 0)]
        return True

    def around(self, pts: float) -> tuple[T | None, T | None]:
        """The last one at or before a time, and the first one behind it."""
        place = self._behind(pts)
        before = self._items[place - 1][1] if place else None
        return before, self._items[place][1] if place < len(self._items) else None

    def first(self, holds: Callable[[T], bool]) -> T | None:
        """The first one of which something holds."""
        return next((item for _, item in self._items if holds(item)), None)

    def take_until(self, pts: float) -> list[tuple[int, T]]:
        """Remove and return what is at or before a time."""
        place = self._behind(pts)
        out = self._items[:place]
        del self._items[:place]
        return out

    def drop_before(self, pts: float) -> None:
        """Remove what is before a time, but for the last one at or before it."""
        del self._items[: max(self._behind(pts) - 1, 0)]

    def clear(self) -> None:
        """Remove everything."""
        self._items.clear()

    def _behind(self, pts: float) -> int:
        return bisect_right(self._items, pts, key=lambda entry: entry[0])
