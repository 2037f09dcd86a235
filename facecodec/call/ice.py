"""What aioice does differently for a call: which addresses it offers, and that every byte is counted.

aioice leaves 127.0.0.1 out. A call between two processes of one machine, and the connection between the local
page and this process, want nothing but it. It also counts nothing; a call that fits in a few kilobits has to
know what its headers and ICE's own checks cost. Both are settings of the connections that are set up inside
:func:`ice_settings`, and in tasks started there; all others are as aioice makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aioice.ice
from aioice import stun

_LOOPBACK = "127.0.0.1"
_UDP = 8
_IPV4, _IPV6 = 20, 40


@dataclass(slots=True)
class WireCount:
    """UDP packets of a connection, both ways; bytes include the IP and UDP headers.

    Attributes:
        packets_out: sent, ICE's checks included.
        bytes_out: likewise.
        packets_in: received.
        bytes_in: likewise.
    """

    packets_out: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    bytes_in: int = 0


_only_loopback: ContextVar[bool] = ContextVar("facecodec_only_loopback", default=False)
_count: ContextVar[WireCount | None] = ContextVar("facecodec_wire_count", default=None)
_all_addresses = aioice.ice.get_host_addresses
_Protocol: Any = aioice.ice.StunProtocol


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [_LOOPBACK] if _only_loopback.get() else list(_all_addresses(use_ipv4, use_ipv6))


def _size(data: bytes, host: str) -> int:
    return len(data) + _UDP + (_IPV6 if ":" in host else _IPV4)


class _CountingProtocol(_Protocol):  # type: ignore[misc]
    """aioice's socket, with a count of what goes through it."""

    def __init__(self, receiver: aioice.ice.Connection) -> None:
        super().__init__(receiver)
        self._wire = _count.get() or WireCount()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Count, and go on as usual."""
        self._wire.packets_in += 1
        self._wire.bytes_in += _size(data, addr[0])
        super().datagram_received(data, addr)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        """Count, and go on as usual."""
        self._sent(data, addr)
        await super().send_data(data, addr)

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        """Count, and go on as usual."""
        self._sent(bytes(message), addr)
        super().send_stun(message, addr)

    def _sent(self, data: bytes, addr: tuple[str, int]) -> None:
        self._wire.packets_out += 1
        self._wire.bytes_out += _size(data, addr[0])


aioice.ice.get_host_addresses = _host_addresses
aioice.ice.StunProtocol = _CountingProtocol  # type: ignore[misc]


@contextmanager
def ice_settings(*, loopback: bool = False, count: WireCount | None = None) -> Iterator[None]:
    """Set what connections made inside the block do.

    Args:
        loopback: gather 127.0.0.1 alone.
        count: takes what goes over the wire.
    """
    only, counts = _only_loopback.set(loopback), _count.set(count)
    try:
        yield
    finally:
        _count.reset(counts)
        _only_loopback.reset(only)
