"""A simulated network: loss, delay, jitter, reordering, a rate with a queue, outages. Seeded, no clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace


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


LAN = Conditions(delay_s=0.03)
NETWORKS = {
    "clear": LAN,
    "loss 1 %": replace(LAN, loss=0.01),
    "loss 5 %": replace(LAN, loss=0.05),
    "loss 10 %": replace(LAN, loss=0.1),
    "loss 20 %": replace(LAN, loss=0.2),
    "bursts 1 %": replace(LAN, loss=0.01, burst=4),
    "bursts 5 %": replace(LAN, loss=0.05, burst=4),
    "bursts 10 %": replace(LAN, loss=0.1, burst=4),
    "bursts 20 %": replace(LAN, loss=0.2, burst=4),
    "delay 150 ms": Conditions(delay_s=0.15),
    "delay 300 ms": Conditions(delay_s=0.3),
    "reordering": replace(LAN, reorder=0.2),
    "jitter": Conditions(delay_s=0.05, jitter_s=0.03, reorder=0.1, repeat=0.05),
    "10 kbit/s": replace(LAN, rate_kbps=10.0),
    "outage 2 s": replace(LAN, outages=((4.0, 6.0),)),
    "all at once": Conditions(delay_s=0.1, jitter_s=0.02, loss=0.2, burst=3, reorder=0.1, repeat=0.1),
}
"""What the tests and ``bench/call.py``, ``bench/call_live.py`` put a call through."""


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
        for at in self.times(size, now_s, reliable=reliable):
            heapq.heappush(self._on_way, (at, self.sent, item))

    def times(self, size: int, now_s: float, *, reliable: bool = False) -> list[float]:
        """When a datagram that is sent now arrives: not at all, once, or twice."""
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
                return []
            at += c.retransmit_s
            end = max((b for a, b in c.outages if a <= now_s < b), default=0.0)
            at = max(at, end + c.delay_s)
        again = bool(c.repeat) and self._random.random() < c.repeat
        return [at, at + 0.001] if again else [at]

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
