"""What the receiver tells the sender, and when."""

from __future__ import annotations

from facecodec.transport.depacketise import Depacketiser
from facecodec.transport.feedback import (
    HISTORY,
    MESSAGES,
    NACKS_MAX,
    Acknowledged,
    Feedback,
    Missing,
    Report,
)

_EVERY_S = 0.2
"""Seconds between reports that ride on bundles,"""
_ALONE_S = 0.3
"""and, where there are none, between datagrams of feedback alone;"""
_BUSY_S = 0.1
"""while a picture is coming, both are more frequent: its sender wants to know what the path carries."""
_RIDES_S = 0.5
"""Bundles that came so short a time ago will come again: reports wait for them."""
_URGENT_S = 0.03
"""Urgent feedback waits so long for a bundle; not where nothing can be shown until it has come."""
_LACK_S = 0.02
"""Motion that cannot be shown for so long asks for a reference picture,"""
_PLI_EVERY_S = 0.25
"""and so often until it comes."""
_GAP_S = 0.06
"""Fragments that are missing before others are missed after so long,"""
_STALL_S = 0.5
"""the last ones after so long,"""
_NACK_EVERY_S = 0.3
"""and so often."""
_REMEMBERED = 64


class Reporter:
    """Gathers what is to be told.

    Args:
        depacketiser: says which fragments are missing.

    Attributes:
        arrived: bundles that arrived.
        plis: requests for a reference picture.
    """

    def __init__(self, depacketiser: Depacketiser) -> None:
        self._depacketiser = depacketiser
        self.arrived = self.plis = 0
        self._first: int | None = None
        self._newest, self._arrival_s = -1, 0.0
        self._usable: dict[int, bool] = {}
        self._messages: dict[int, None] = {}
        self._fresh = self._urgent = self._damaged = self._at_once = False
        self._urgent_s: float | None = None
        self._lack_s: float | None = None
        self._told_s = self._pli_s = self._ride_s = -1e9
        self._nacked_s: dict[int, float] = {}

    @property
    def lost(self) -> int:
        """Bundles that are missing between the first and the newest."""
        return 0 if self._first is None else max(self._newest - self._first + 1 - self.arrived, 0)

    def bundle(self, number: int, usable: bool, now_s: float) -> None:
        """A bundle arrived."""
        self.arrived += 1
        self._fresh = True
        self._first = number if self._first is None else min(self._first, number)
        if number > self._newest:
            self._newest, self._arrival_s = number, now_s
        self._usable[number] = usable
        while len(self._usable) > _REMEMBERED:
            self._usable.pop(min(self._usable))

    def message(self, number: int, *, picture: bool) -> None:
        """A message came whole and was understood; perhaps it was a reference picture."""
        if picture:
            self._at_once = self._damaged or self._lack_s is not None
            self._damaged, self._lack_s = False, None
        self._messages[number] = None
        self._fresh = self._urgent = True
        self._nacked_s.pop(number & 255, None)
        while len(self._messages) > _REMEMBERED:
            self._messages.pop(min(self._messages))

    def damaged(self) -> None:
        """A picture came whole and cannot be used: one is asked for until one comes that can."""
        self._damaged = True

    def lacks_picture(self, now_s: float) -> None:
        """Motion came whose reference picture is not there."""
        if self._lack_s is None:
            self._lack_s = now_s

    def has_picture(self) -> None:
        """Motion came that can be shown."""
        self._lack_s = None

    def block(self, now_s: float, *, alone: bool) -> bytes:
        """Feedback that is due, or nothing.

        Args:
            now_s: the time.
            alone: it would have to travel alone.
        """
        missing = self._missing(now_s)
        lacks = self._lack_s is not None and now_s - self._lack_s >= _LACK_S
        coming = any(now_s - a.touched_s < _STALL_S for a in self._depacketiser.assembling.values())
        pli = (self._damaged or lacks) and not coming and now_s - self._pli_s >= _PLI_EVERY_S
        urgent = self._urgent or missing is not None or pli
        if urgent and self._urgent_s is None:
            self._urgent_s = now_s
        patience_s = 0.0 if pli or self._at_once else _URGENT_S
        waited = urgent and self._urgent_s is not None and now_s - self._urgent_s >= patience_s
        if not alone:
            self._ride_s = now_s
        rides = alone and now_s - self._ride_s < _RIDES_S
        every = _BUSY_S if self._depacketiser.assembling else _ALONE_S if alone else _EVERY_S
        due = self._fresh and now_s - self._told_s >= every and not rides
        if not (due or (waited if alone else urgent)):
            return b""
        if missing:
            self._nacked_s[missing.message] = now_s
        if pli:
            self._pli_s, self.plis = now_s, self.plis + 1
        self._fresh = self._urgent = self._at_once = False
        self._urgent_s, self._told_s = None, now_s
        return Feedback(pli, self._report(now_s), self._acknowledged(), missing).pack()

    def _report(self, now_s: float) -> Report | None:
        if self._newest < 0:
            return None
        before = 0
        for i in range(HISTORY):
            before |= int(self._usable.get(self._newest - 1 - i, False)) << i
        hold = int((now_s - self._arrival_s) * 1000)
        arrival = int(self._arrival_s * 1000) & 0xFFFF
        return Report(self._newest & 0xFFF, self._usable.get(self._newest, False), before, arrival, hold)

    def _acknowledged(self) -> Acknowledged | None:
        if not self._messages:
            return None
        newest = max(self._messages)
        before = sum(1 << i for i in range(MESSAGES) if newest - 1 - i in self._messages)
        return Acknowledged(newest & 255, before)

    def _missing(self, now_s: float) -> Missing | None:
        """Fragments to ask for: of the newest message that waits for some."""
        assembling = self._depacketiser.assembling
        for number in sorted(assembling, reverse=True):
            assembly, gaps = assembling[number], assembling[number].missing()
            last = max(i for i, part in enumerate(assembly.parts) if part is not None)
            inner = [i for i in gaps if i < last]
            quiet = now_s - assembly.touched_s
            wanted = gaps if quiet >= _STALL_S else inner if quiet >= _GAP_S or len(inner) > 1 else []
            if wanted and now_s - self._nacked_s.get(number & 255, -1e9) >= _NACK_EVERY_S:
                return Missing(number & 255, tuple(wanted[:NACKS_MAX]))
        return None
