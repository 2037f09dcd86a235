"""Acknowledgements of SCTP that travel with data (RFC 9260, sections 6.2 and 6.10).

aiortc answers every packet with one that holds nothing but a SACK: 93 bytes with SCTP, DTLS, UDP and IP
headers, as many as a whole bundle of motion. In a call both sides send all the time, so an acknowledgement
can wait for a packet of data, in which it takes 16 bytes, and one is enough for three.
"""

from __future__ import annotations

import asyncio

from aiortc.rtcsctptransport import Chunk, DataChunk, RTCSctpTransport, SackChunk

from facecodec.call.sctp_patch import SctpPatch

SACK_DELAY_S = 0.4
"""An acknowledgement waits so long for data at most; RFC 9260 forbids more than 0.5 s and advises 0.2 s, but
nothing here waits for one: what is lost is not sent again, or asked for by feedback of the call's own."""
_TOGETHER = 3
"""So many packets are acknowledged with the next one of data,"""
_UNACKNOWLEDGED = 6
"""and so many at once, data to send or not."""
_LARGE = 600
"""Bytes of a packet that is part of something large: the sender waits for the acknowledgement."""


class _Together(Chunk):
    """Several chunks in one packet."""

    def __init__(self, *chunks: Chunk) -> None:
        self._bytes = b"".join(bytes(chunk) for chunk in chunks)

    def __bytes__(self) -> bytes:
        return self._bytes


class SackBundling(SctpPatch):
    """Makes an SCTP transport wait with acknowledgements; undone by :meth:`remove`.

    Args:
        sctp: the transport, before it starts.
    """

    def __init__(self, sctp: RTCSctpTransport) -> None:
        super().__init__(sctp)
        self._send_chunk, self._send_sack = self._sctp._send_chunk, self._sctp._send_sack
        self._receive_chunk = self._sctp._receive_chunk
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._at_once = False
        self._replace(_send_chunk=self._send_with_sack, _send_sack=self._sack, _receive_chunk=self._look_at)

    def remove(self) -> None:
        """Leave the transport as it was."""
        self._stop()
        super().remove()

    async def _look_at(self, chunk: Chunk) -> None:
        if isinstance(chunk, DataChunk):
            self._waiting += 1
            self._at_once = self._at_once or len(chunk.user_data) > _LARGE
        else:
            self._at_once = self._at_once or not isinstance(chunk, SackChunk)
        await self._receive_chunk(chunk)

    async def _sack(self) -> None:
        """Called after every packet that wants an acknowledgement."""
        sctp = self._sctp
        missing = sctp._sack_misordered or sctp._sack_duplicates
        if missing or self._waiting >= _UNACKNOWLEDGED or (self._at_once and self._waiting >= 1):
            self._stop()
            await self._send_sack()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SACK_DELAY_S, self._time_is_up)

    async def _send_with_sack(self, chunk: Chunk) -> None:
        sctp = self._sctp
        waits = self._timer is None or self._waiting < _TOGETHER
        if waits or not isinstance(chunk, DataChunk) or len(chunk.user_data) > _LARGE:
            await self._send_chunk(chunk)
            return
        self._stop()
        sack = SackChunk()
        sack.cumulative_tsn = sctp._last_received_tsn
        sack.advertised_rwnd = max(0, sctp._advertised_rwnd)
        sctp._sack_needed = False
        await self._send_chunk(_Together(sack, chunk))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._waiting, self._at_once = None, 0, False

    def _time_is_up(self) -> None:
        self._stop()
        if self._sctp.state == "connected":
            task = asyncio.ensure_future(self._send_sack())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
