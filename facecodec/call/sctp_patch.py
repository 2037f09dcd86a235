"""How a call's own ways with SCTP are put into aiortc's transport, and taken out again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiortc.rtcsctptransport import RTCSctpTransport


class SctpPatch:
    """Methods in the place of an SCTP transport's own, on that instance alone; undone by :meth:`remove`.

    Args:
        sctp: the transport, before it starts.
    """

    def __init__(self, sctp: RTCSctpTransport) -> None:
        self._sctp: Any = sctp
        self._names: tuple[str, ...] = ()

    def _replace(self, **methods: Callable[..., Awaitable[None] | None]) -> None:
        """Put methods in place: the transport's own come back when these are taken away."""
        self._names = tuple(methods)
        for name, method in methods.items():
            setattr(self._sctp, name, method)

    def remove(self) -> None:
        """Leave the transport as it was."""
        for name in self._names:
            self._sctp.__dict__.pop(name, None)
