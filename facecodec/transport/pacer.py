"""Pacing: fragments of pictures leave so slowly that bundles never wait long behind them."""

from __future__ import annotations

from collections import deque

from facecodec.transport.datagram import Datagram
from facecodec.transport.overhead import Overhead


class Pacer:
    """A queue of fragments behind a leaky bucket (as in RFC 9002, section 7.7).

    The bucket holds one fragment: two never leave together, and a bundle that comes behind one waits in the
    network for one fragment at most. :meth:`fragment_size` gives the size that takes a bundle's time.

    Args:
        overhead: what the network adds to a fragment.

    Attributes:
        waiting: bytes on the wire of what waits.
    """

    def __init__(self, overhead: Overhead) -> None:
        self._overhead = overhead
        self._queue: deque[Datagram] = deque()
        self._credit = 0.0
        self._last_s: float | None = None
        self.waiting = 0

    def __len__(self) -> int:
        return len(self._queue)

    def fragment_size(self, kbps: float, bundle_s: float) -> int:
        """Bytes of a datagram that a path of this rate carries in the time of a bundle: 160 to 1150."""
        return int(min(max(kbps * 125.0 * bundle_s - self._overhead.packet, 160), 1150))

    def push(self, datagrams: list[Datagram], *, first: bool = False) -> None:
        """Queue fragments: behind the others, or before them (those that are sent again)."""
        self.waiting += sum(self._overhead.on_wire(len(d.data)) for d in datagrams)
        if first:
            self._queue.extendleft(reversed(datagrams))
        else:
            self._queue.extend(datagrams)

    def clear(self) -> None:
        """Give up what waits."""
        self._queue.clear()
        self.waiting = 0

    def poll(self, now_s: float, kbps: float) -> list[Datagram]:
        """What may leave now.

        Args:
            now_s: the time.
            kbps: rate of fragments, headers included.
        """
        elapsed = 0.0 if self._last_s is None else max(now_s - self._last_s, 0.0)
        self._last_s = now_s if self._last_s is None else max(now_s, self._last_s)
        self._credit += elapsed * kbps * 125.0
        if not self._queue:
            self._credit = min(self._credit, 0.0)
        out = []
        while self._queue and self._credit >= 0:
            size = self._overhead.on_wire(len(self._queue[0].data))
            self._credit -= size
            self.waiting -= size
            out.append(self._queue.popleft())
        return out
