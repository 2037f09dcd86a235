"""SCTP for a sender that paces itself: what is new never waits for what was lost.

By RFC 9260, section 7.2.3, a packet that is not acknowledged in time leaves room for one more packet, and
that is the lost one. Behind an outage all motion would then wait until the remains of a reference picture
have come through, a second and more. A call knows its rate and paces its pictures, and has a rate control of
its own (``transport/rate.py``); so what is new leaves at once, and only what is sent again keeps to the
window.
"""

from __future__ import annotations

import time

from aiortc.rtcsctptransport import RTCSctpTransport

from facecodec.call.sctp_patch import SctpPatch

FLIGHT_MAX = 48 << 10
"""Bytes on their way and not acknowledged, beyond which nothing new leaves: the path is dead."""
RTO_MIN_S = 0.5
"""Shortest time after which something is sent again: acknowledgements wait for up to 0.4 s (``sctp.py``)."""
RTO_INITIAL_S = 1.0
"""As RFC 9260, section 16, advises; aiortc waits for 3 s, and never for less than 1 s afterwards."""
_RTO_MAX_S = 10.0


class OwnPace(SctpPatch):
    """Makes an SCTP transport send what is new at once; undone by :meth:`remove`.

    Args:
        sctp: the transport, before it starts.
    """

    def __init__(self, sctp: RTCSctpTransport) -> None:
        super().__init__(sctp)
        self._transmit, self._update_rto = self._sctp._transmit, self._sctp._update_rto
        self._sctp._rto = RTO_INITIAL_S
        self._replace(_transmit=self._transmit_new, _update_rto=self._shorter_rto)

    @property
    def is_stuck(self) -> bool:
        """Whether something new could not leave."""
        return bool(self._sctp._outbound_queue)

    async def _transmit_new(self) -> None:
        """First what is to be sent again, as far as the window allows; then what is new, in its order."""
        await self._transmit()
        sctp = self._sctp
        while sctp._outbound_queue and sctp._flight_size < FLIGHT_MAX:
            chunk = sctp._outbound_queue.popleft()
            sctp._sent_queue.append(chunk)
            sctp._flight_size_increase(chunk)
            chunk._sent_count += 1
            chunk._sent_time = time.time()
            await sctp._send_chunk(chunk)
            if not sctp._t3_handle:
                sctp._t3_start()

    def _shorter_rto(self, trip_s: float) -> None:
        self._update_rto(trip_s)
        sctp = self._sctp
        sctp._rto = min(max(sctp._srtt + 4 * sctp._rttvar, RTO_MIN_S), _RTO_MAX_S)
