"""What goes over the wire a second, by part."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from facecodec.call.ice import WireCount
from facecodec.call.stats import WireBytes
from facecodec.call.status import Sent

_WINDOW_S = 3.0
_LOSS_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class _Mark:
    """What had gone over the wire at a time."""

    at_s: float
    wire: WireCount
    parts: WireBytes
    pictures: int


class WireRates:
    """Rates over the last three seconds, from counts that only grow."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()

    def clear(self) -> None:
        """Begin anew, for another connection."""
        self._marks.clear()

    def note(self, wire: WireCount, parts: WireBytes, pictures: int, now_s: float) -> None:
        """Take the counts of now: on the wire, by part as the sender counts them, and pictures shown."""
        self._marks.append(_Mark(now_s, replace(wire), replace(parts), pictures))
        while now_s - self._marks[0].at_s > _WINDOW_S:
            self._marks.popleft()

    def now(self) -> tuple[Sent | None, float | None, float | None]:
        """What is sent, kbit/s that come in, and pictures a second; None before two counts were taken."""
        if len(self._marks) < 2:
            return None, None, None
        first, last = self._marks[0], self._marks[-1]
        span = last.at_s - first.at_s

        def kbps(newer: int, older: int) -> float:
            return max(newer - older, 0) * 8e-3 / span

        a, b = first.parts, last.parts
        total = kbps(last.wire.bytes_out, first.wire.bytes_out)
        motion, sound = kbps(b.motion, a.motion), kbps(b.sound, a.sound)
        reference, feedback = kbps(b.pictures, a.pictures), kbps(b.feedback, a.feedback)
        headers = max(total - motion - sound - reference - feedback, 0.0)
        sent = Sent(total, motion, sound, reference, feedback, headers)
        coming = kbps(last.wire.bytes_in, first.wire.bytes_in)
        return sent, coming, (last.pictures - first.pictures) / span


class LossWindow:
    """Loss over the last ten seconds, from counts that only grow."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def clear(self) -> None:
        """Begin anew, for another connection."""
        self._marks.clear()

    def note(self, arrived: int, lost: int, now_s: float) -> None:
        """Take the counts of now."""
        self._marks.append((now_s, arrived, lost))
        while now_s - self._marks[0][0] > _LOSS_WINDOW_S:
            self._marks.popleft()

    def percent(self) -> float | None:
        """Percent that did not arrive; None where nothing was to arrive. What comes late was not lost."""
        if not self._marks:
            return None
        (_, came, missed), (_, arrived, lost) = self._marks[0], self._marks[-1]
        lost = max(lost - missed, 0)
        both = arrived - came + lost
        return 100.0 * lost / both if both else None
