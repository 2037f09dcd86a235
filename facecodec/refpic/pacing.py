"""When pictures may be sent in a call: a leaky bucket, so that they never hold motion up."""

from __future__ import annotations


class Pacer:
    """Pictures go out one after the other, at a rate of their own.

    A transport that gives them this rate, behind motion and sound, is through when :meth:`is_clear` says so.

    Args:
        bps: bits a second.
    """

    def __init__(self, bps: int) -> None:
        self._bps = bps
        self._clear_s = -float("inf")

    def send(self, time_s: float, size: int) -> None:
        """Note that a picture of ``size`` bytes is handed out."""
        self._clear_s = max(self._clear_s, time_s) + 8.0 * size / self._bps

    def is_clear(self, time_s: float) -> bool:
        """Whether all of them are through."""
        return time_s >= self._clear_s
