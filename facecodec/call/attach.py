"""A call over a connection of one's own: :func:`attach` and what it gives.

It opens the two data channels on an aiortc connection and keeps both sides of one end going on the event
loop's clock. ``facecodec call`` itself uses :class:`facecodec.call.peer.Peer`, which makes its connection and
knows shorter headers.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from facecodec.call.channels import open_channels
from facecodec.call.playout import ShownFrame
from facecodec.call.session import CallSession
from facecodec.transport import Channel
from facecodec.types import AudioPacket, Frame

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

_POLL_S = 0.01


class Link:
    """One end of a call on a connection, from :func:`attach`; used from its event loop alone.

    Attributes:
        session: what codes and decodes.
    """

    def __init__(self, connection: RTCPeerConnection, session: CallSession) -> None:
        self.session = session
        self._connection, self._channels = connection, open_channels(connection)
        for kind, channel in self._channels.items():
            channel.on("message", partial(self._take, kind))
        self._polling = asyncio.ensure_future(self._poll())

    def push_frame(self, frame: Frame) -> None:
        """Send a picture; its time counts on the clock of the sound."""
        self.session.sender.push_frame(frame, time.monotonic())

    def push_audio(self, packet: bytes, pts_s: float) -> None:
        """Send an Opus packet that starts at ``pts_s``, on the clock of the pictures."""
        self.session.sender.push_audio(packet, pts_s, time.monotonic())

    def picture(self) -> ShownFrame | None:
        """The other side's picture of now; None before the first, or where the last one shall stay."""
        return self.session.receiver.frame(time.monotonic())

    def audio(self) -> list[AudioPacket]:
        """Opus packets of the other side whose time has come; each is given once."""
        return self.session.receiver.audio(time.monotonic())

    async def opened(self) -> None:
        """Wait until both channels are open."""
        while not self._is_open:
            await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        """End the call, and close the connection."""
        self._polling.cancel()
        await asyncio.gather(self._polling, return_exceptions=True)
        self.session.close()
        await self._connection.close()

    @property
    def _is_open(self) -> bool:
        return all(channel.readyState == "open" for channel in self._channels.values())

    def _take(self, kind: Channel, data: object) -> None:
        if isinstance(data, bytes):
            self.session.receive(kind, data, time.monotonic())

    async def _poll(self) -> None:
        await self.opened()
        while self._is_open:
            for datagram in self.session.poll(time.monotonic()):
                self._channels[datagram.channel].send(datagram.data)
            await asyncio.sleep(_POLL_S)


def attach(connection: RTCPeerConnection, session: CallSession) -> Link:
    """Put one end of a call on a connection, before its offer or answer is made.

    The channels are agreed on beforehand: ids 0 and 1, which nothing else may use. Both ends call this.

    Args:
        connection: aiortc's; what else goes over it is left alone.
        session: fresh; :meth:`Link.close` closes it.
    """
    return Link(connection, session)
