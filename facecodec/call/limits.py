"""Rates that strangers may not exceed; memory stays bounded however many come."""

from __future__ import annotations

from collections import OrderedDict


class TokenBucket:
    """Lets ``rate`` things a second through, and ``burst`` at once.

    Args:
        rate: a second.
        burst: at once.
        now_s: monotonic time at the start, when the bucket is full.
    """

    __slots__ = ("_at_s", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._at_s = burst, now_s

    def take(self, now_s: float) -> bool:
        """Say whether one more may pass, and count it if so."""
        self._level = min(self._burst, self._level + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._level < 1:
            return False
        self._level -= 1
        return True


class AddressLimits:
    """A bucket for each network address; those not heard of for longest are forgotten.

    Args:
        rate: a second and address.
        burst: at once.
        addresses: remembered at most.
    """

    def __init__(self, rate: float, burst: float, addresses: int = 4096) -> None:
        self._rate, self._burst, self._most = rate, burst, addresses
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._buckets)

    def take(self, address: str, now_s: float) -> bool:
        """Say whether one more from ``address`` may pass, and count it if so."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = TokenBucket(self._rate, self._burst, now_s)
        self._buckets.move_to_end(address)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return bucket.take(now_s)
