"""A bad network under real connections: the sockets of ``facecodec.call.ice`` lose, hold back and queue."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

import aioice.ice

from facecodec.call.ice import _CountingProtocol
from tests.call.network import Conditions, Path

_HEADERS = 28
"""Bytes of IPv4 and UDP."""


class Shaper:
    """What the network does to every socket of this process, each with a path of its own.

    Attributes:
        conditions: what it does; may be changed on the way. Outages are in seconds from ``start_s``.
        start_s: monotonic time.
    """

    def __init__(self, conditions: Conditions, seed: int = 1) -> None:
        self.conditions, self.start_s = conditions, time.monotonic()
        self._seeds = itertools.count(seed)
        self._paths: WeakKeyDictionary[object, Path] = WeakKeyDictionary()

    @property
    def paths(self) -> list[Path]:
        """Those of the sockets that are open."""
        return list(self._paths.values())

    def outage(self, seconds: float) -> None:
        """Lose everything from now on for so long."""
        at = time.monotonic() - self.start_s
        self.conditions = replace(self.conditions, outages=((at, at + seconds),))

    def pass_on(self, socket: object, size: int, send) -> None:
        """Call ``send`` when the packet comes out at the other end, if it does."""
        path = self._paths.get(socket)
        if path is None:
            path = self._paths[socket] = Path(self.conditions, next(self._seeds))
        path.conditions = self.conditions
        now_s = time.monotonic() - self.start_s
        for at in path.times(size, now_s):
            asyncio.get_running_loop().call_later(max(at - now_s, 0.0), send)


@contextmanager
def shaped(conditions: Conditions, seed: int = 1) -> Iterator[Shaper]:
    """Put a network under all calls of this process; bytes are counted where they are sent, lost or not."""
    shaper = Shaper(conditions, seed)

    def send(self, data: bytes, addr: tuple[str, int]) -> None:
        self._sent(data, addr)
        shaper.pass_on(self, len(data) + _HEADERS, lambda: _late(self, data, addr))

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        send(self, data, addr)

    def send_stun(self, message: aioice.stun.Message, addr: tuple[str, int]) -> None:
        send(self, bytes(message), addr)

    plain = {name: getattr(_CountingProtocol, name) for name in ("send_data", "send_stun")}
    _CountingProtocol.send_data, _CountingProtocol.send_stun = send_data, send_stun
    try:
        yield shaper
    finally:
        for name, method in plain.items():
            setattr(_CountingProtocol, name, method)


def _late(socket, data: bytes, addr: tuple[str, int]) -> None:
    if socket.transport is not None and not socket.transport.is_closing():
        socket.transport.sendto(data, addr)
