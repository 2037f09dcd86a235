"""Pacing: fragments of pictures leave so slowly that bundles never wait long behind them."""

from __future__ import annotations

from collections import deque

from facecodec.transport.datagram import Datagram
from facecodec.transport.overhead import Overhead

_STEP_S = 0.02
"""Time between polls that costs no rate."""


class Pacer:
    """A queue of fragments behind a leaky bucket (as in RFC 9002, section 7.7).

    Two never leave together at less than a fragment in 20 ms, so a bundle that comes behind one waits in the
    network for one fragment at most. :meth:`fragment_size` gives the size that takes a bundle's time.

    Args:
        overhead: what the network adds to a fragment.
    """

    def __init__(self, overhead: Overhead) -> None:
        self._overhead = overhead
        self._queue: deque[Datagram] = deque()
        self._credit = 0.0
        self._last_s: float | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def fragment_size(self, kbps: float, bundle_s: float) -> int:
        """Bytes of a datagram that a path of this rate carries in the time of a bundle: 160 to 1150."""
        return int(min(max(kbps * 125.0 * bundle_s - self._overhead.packet, 160), 1150))

    def push(self, datagrams: list[Datagram], *, first: bool = False) -> None:
        """Queue fragments: behind the others, or before them (those that are sent again)."""
        new = [datagram for datagram in datagrams if datagram not in self._queue]
        if first:
            self._queue.extendleft(reversed(new))
        else:
            self._queue.extend(new)

    def clear(self) -> None:
        """Give up what waits."""
        self._queue.clear()

    def drop(self, message: int) -> None:
        """Give up the fragments of a message (low bits of its number): it came whole."""
        self._queue = deque(datagram for datagram in self._queue if datagram.data[0] != message)

    def poll(self, now_s: float, kbps: float) -> list[Datagram]:
        """What may leave now.

        Args:
            now_s: the time.
            kbps: rate of fragments, headers included.
        """
        elapsed = 0.0 if self._last_s is None else max(now_s - self._last_s, 0.0)
        self._last_s = now_s if self._last_s is None else max(now_s, self._last_s)
        rate = kbps * 125.0
        self._credit = min(self._credit + elapsed * rate, rate * _STEP_S)
        out = []
        while self._queue and self._credit >= 0:
            self._credit -= self._overhead.on_wire(len(self._queue[0].data))
            out.append(self._queue.popleft())
        return out
