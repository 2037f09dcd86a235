"""What an SCTP association may keep for a stranger: bounded in bytes, pieces and streams.

aiortc keeps every piece of a message until the last one has come, however many there are, and opens a stream
for every number that is named. Here there are two streams, whose messages are shorter than two kilobytes; who
sends what can only be kept has his association aborted (RFC 9260, section 3.3.7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiortc.rtcsctptransport import DataChunk, ForwardTsnChunk, RTCSctpTransport

from facecodec.call.channels import CHANNEL_IDS
from facecodec.call.sctp_patch import SctpPatch

_log = logging.getLogger(__name__)

_STREAMS = tuple(CHANNEL_IDS.values())
WINDOW_BYTES = 128 << 10
"""Receive window that is advertised; a sender of this program has at most 48 KiB on the way."""
UNFINISHED_BYTES = 64 << 10
"""Bytes of messages that wait for what is missing of them or before them,"""
PIECES_MAX = 512
"""and pieces of them; likewise pieces that came behind one that is missing."""


class ReceiveGuard(SctpPatch):
    """Bounds what an SCTP transport keeps; undone by :meth:`remove`.

    Args:
        sctp: the transport, before it starts.
        on_abort: called when the association was aborted.
    """

    def __init__(self, sctp: RTCSctpTransport, on_abort: Callable[[], None]) -> None:
        super().__init__(sctp)
        self._on_abort = on_abort
        self._take_data = self._sctp._receive_data_chunk
        self._take_forward = self._sctp._receive_forward_tsn_chunk
        self._sctp._advertised_rwnd = WINDOW_BYTES
        self._replace(_receive_data_chunk=self._data, _receive_forward_tsn_chunk=self._forward)

    async def _data(self, chunk: DataChunk) -> None:
        if chunk.stream_id in _STREAMS:
            await self._take_data(chunk)
        else:  # acknowledged, so that its sender goes on, and dropped
            self._sctp._sack_needed = True
            self._sctp._mark_received(chunk.tsn)
        await self._look()

    async def _forward(self, chunk: ForwardTsnChunk) -> None:
        chunk.streams = [entry for entry in chunk.streams if entry[0] in _STREAMS]
        await self._take_forward(chunk)

    async def _look(self) -> None:
        sctp = self._sctp
        kept = [chunk for stream in sctp._inbound_streams.values() for chunk in stream.reassembly]
        too_many = max(len(kept), len(sctp._sack_misordered)) > PIECES_MAX
        size = sum(len(chunk.user_data) for chunk in kept)
        if (too_many or size > UNFINISHED_BYTES or sctp._advertised_rwnd < 0) and sctp.state == "connected":
            _log.warning("peer: sends messages without an end; the connection is aborted")
            await sctp.stop()
            for stream in sctp._inbound_streams.values():
                stream.reassembly.clear()
            sctp._sack_misordered.clear()
            self._on_abort()
