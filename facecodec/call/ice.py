"""Which of this machine's addresses ICE offers.

aioice leaves 127.0.0.1 out. A call between two processes of one machine, and the connection between the local
page and this process, want nothing but it: :func:`loopback_only` says so for the connections that are set up
inside the block, and for those of tasks started there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aioice.ice

_LOOPBACK = "127.0.0.1"
_only_loopback: ContextVar[bool] = ContextVar("facecodec_only_loopback", default=False)
_all_addresses = aioice.ice.get_host_addresses


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [_LOOPBACK] if _only_loopback.get() else list(_all_addresses(use_ipv4, use_ipv6))


aioice.ice.get_host_addresses = _host_addresses


@contextmanager
def loopback_only(wanted: bool = True) -> Iterator[None]:
    """Let ICE gather 127.0.0.1 alone inside the block.

    Args:
        wanted: False changes nothing.
    """
    token = _only_loopback.set(wanted)
    try:
        yield
    finally:
        _only_loopback.reset(token)
