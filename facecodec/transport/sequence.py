"""Numbers that begin again from 0 on the wire."""

from __future__ import annotations


def distance(later: int, earlier: int, bits: int) -> int:
    """How far two numbers of so many bits lie apart, the shorter way round; below 0 if ``later`` is older."""
    half = 1 << (bits - 1)
    return ((later - earlier + half) & ((1 << bits) - 1)) - half


class Unwrapper:
    """Whole numbers from their low bits, each taken as near as can be to the highest one so far.

    Args:
        bits: bits that are sent.

    Attributes:
        highest: the highest whole number so far; None before the first.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.highest: int | None = None

    def peek(self, low: int) -> int:
        """The whole number; nothing is remembered."""
        if self.highest is None:
            return low
        return self.highest + distance(low, self.highest, self._bits)

    def take(self, low: int) -> int:
        """The whole number, which may become the highest."""
        value = self.peek(low)
        if self.highest is None or value > self.highest:
            self.highest = value
        return value
