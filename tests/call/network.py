"""A simulated network: loss, delay, jitter, reordering, a rate with a queue, outages. Seeded, no clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Conditions:
    """What a path does.

    Attributes:
        loss: share of datagrams lost: at random, or in bursts if ``burst`` is above 1.
        burst: mean datagrams in a row that are lost (Gilbert, Bell System Technical Journal 39, 1960).
        delay_s: one way.
        jitter_s: mean of what is added to it, exponentially distributed; datagrams may overtake each other.
        reorder: share of datagrams that are held back by 60 ms.
        repeat: share of datagrams that come twice.
        rate_kbps: what the path carries; 0 for any rate.
        queue_s: the queue in front of that rate; what comes when it is full is lost.
        outages: (from, to) in seconds; whatever is sent then is lost.
        retransmit_s: lost datagrams of the reliable channel come so much later; None: they are lost too.
    """

    loss: float = 0.0
    burst: float = 1.0
    delay_s: float = 0.02
    jitter_s: float = 0.0
    reorder: float = 0.0
    repeat: float = 0.0
    rate_kbps: float = 0.0
    queue_s: float = 1.0
    outages: Sequence[tuple[float, float]] = ()
    retransmit_s: float | None = None


@dataclass
class Path:
    """One direction of a network.

    Attributes:
        conditions: what it does; may be changed on the way.
        sent: datagrams given.
        lost: how many of them were lost.
        bytes: bytes given, headers included.
    """

    conditions: Conditions
    seed: int = 1
    sent: int = 0
    lost: int = 0
    bytes: int = 0
    _on_way: list[tuple[float, int, object]] = field(default_factory=list)
    _free_s: float = 0.0
    _in_burst: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def send(self, item: object, size: int, now_s: float, *, reliable: bool = False) -> None:
        """Give a datagram of ``size`` bytes, headers included."""
        c = self.conditions
        self.sent += 1
        self.bytes += size
        start = max(now_s, self._free_s)
        dropped = any(a <= now_s < b for a, b in c.outages) or self._loses()
        if c.rate_kbps:
            if start - now_s > c.queue_s:
                dropped = True
            else:
                self._free_s = start + size / (125.0 * c.rate_kbps)
                start = self._free_s
        at = start + c.delay_s
        if c.jitter_s:
            at += self._random.expovariate(1.0 / c.jitter_s)
        if c.reorder and self._random.random() < c.reorder:
            at += 0.06
        if dropped:
            self.lost += 1
            if not reliable or c.retransmit_s is None:
                return
            at += c.retransmit_s
            end = max((b for a, b in c.outages if a <= now_s < b), default=0.0)
            at = max(at, end + c.delay_s)
        heapq.heappush(self._on_way, (at, self.sent, item))
        if c.repeat and self._random.random() < c.repeat:
            heapq.heappush(self._on_way, (at + 0.001, self.sent, item))

    def arrivals(self, now_s: float) -> list[object]:
        """What has arrived by now, in order."""
        out = []
        while self._on_way and self._on_way[0][0] <= now_s + 1e-9:
            out.append(heapq.heappop(self._on_way)[2])
        return out

    def _loses(self) -> bool:
        c = self.conditions
        if c.loss <= 0:
            return False
        if c.burst <= 1:
            return self._random.random() < c.loss
        leave = 1.0 / c.burst
        enter = leave * c.loss / (1.0 - c.loss)
        self._in_burst = self._random.random() < (1.0 - leave if self._in_burst else enter)
        return self._in_burst
