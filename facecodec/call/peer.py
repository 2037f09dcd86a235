"""The connection to the other side: two data channels over DTLS and SCTP (RFC 8831), nothing else.

Motion and sound go through an unordered channel without retransmission, references and parameters through a
reliable one. Both are agreed on beforehand (ids 0 and 1); what comes on others is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)

from facecodec.call.channels import open_channels
from facecodec.call.dtls import prefer_short_records
from facecodec.call.ice import WireCount, ice_settings
from facecodec.call.sctp import SackBundling
from facecodec.call.sctp_guard import ReceiveGuard
from facecodec.call.sctp_pace import OwnPace
from facecodec.errors import ConfigError, TransportError
from facecodec.transport import Channel

_log = logging.getLogger(__name__)

MESSAGE_BYTES = 2 << 10
"""A message is no longer than this; a datagram of a call has at most 1150 bytes."""
NOTE_LONGEST = 200
"""Characters of a note at most."""
_WAITING_BYTES = 256 << 10
"""What waits to be sent on the reliable channel at most; more means that the path is dead."""
_CANDIDATES = 32
_MEDIA_LINE = re.compile(r"^m=(\S+)", re.MULTILINE)
_ICE_URL = re.compile(r"(stun|turn|turns):[^\s?]{1,250}(\?transport=(udp|tcp))?")


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server.

    Attributes:
        url: ``stun:HOST``, ``turn:HOST`` or ``turns:HOST``, with a port where it is not the usual one.
        username: for TURN.
        password: for TURN.
    """

    url: str
    username: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        if _ICE_URL.fullmatch(self.url) is None:
            raise ConfigError("ice server", self.url, "stun:HOST, turn:HOST or turns:HOST, with a port")


class Peer:
    """The other side, as far as the network goes.

    Args:
        on_message: called with whether a message came on the reliable channel, and its bytes.
        on_change: called with the state: ``connected``, ``lost`` or ``closed``.
        on_note: called with short texts of the other program, such as that the camera is off.
        ice_servers: none by default: then only the machine's own addresses are offered.
        loopback: offer 127.0.0.1 alone, for both ends on one machine.

    Attributes:
        wire: everything sent and received, headers and ICE's checks included.
        state: as told to ``on_change``; ``new`` before.
    """

    def __init__(
        self,
        on_message: Callable[[bool, bytes], None],
        on_change: Callable[[str], None],
        on_note: Callable[[str], None] = lambda text: None,
        *,
        ice_servers: tuple[IceServer, ...] = (),
        loopback: bool = False,
    ) -> None:
        self.wire = WireCount()
        self.state = "new"
        self._on_message, self._on_change, self._on_note = on_message, on_change, on_note
        self._loopback = loopback
        servers = [RTCIceServer(s.url, s.username, s.password) for s in ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        prefer_short_records(self._connection)
        self._connection.on("connectionstatechange", self._changed)
        channels = open_channels(self._connection)
        self._fast, self._reliable = channels[Channel.MOTION], channels[Channel.RELIABLE]
        assert self._connection.sctp is not None  # noqa: S101  the channels have made it
        sctp = self._connection.sctp
        self._pace = OwnPace(sctp)
        self._ways = (self._pace, SackBundling(sctp), ReceiveGuard(sctp, lambda: self._change("lost")))
        for channel, reliable in ((self._fast, False), (self._reliable, True)):
            self._listen(channel, reliable)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return "open" == self._fast.readyState == self._reliable.readyState and self.state == "connected"

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the two channels have not handed to the network yet."""
        return int(self._fast.bufferedAmount + self._reliable.bufferedAmount)

    async def offer(self) -> str:
        """Make an offer: the session description, with all candidates."""
        with self._settings():
            await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def answer(self, offer: str) -> str:
        """Take an offer and make the answer.

        Raises:
            TransportError: the offer is none for a call.
        """
        await self._take("offer", offer)
        with self._settings():
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Take the answer to :meth:`offer`.

        Raises:
            TransportError: the answer is none for a call.
        """
        await self._take("answer", answer)

    def send(self, reliable: bool, data: bytes) -> bool:
        """Send a message, or drop it where it cannot be sent now. Motion never waits: it would come too late.

        Returns:
            Whether it was sent.

        Raises:
            TransportError: it is longer than a message may be.
        """
        if len(data) > MESSAGE_BYTES:
            raise TransportError(f"a message of {len(data)} bytes; at most {MESSAGE_BYTES} can be sent")
        channel = self._reliable if reliable else self._fast
        waits = channel.bufferedAmount > _WAITING_BYTES if reliable else self._pace.is_stuck
        if waits or not self.is_open:
            return False
        channel.send(data)
        return True

    def note(self, text: str) -> bool:
        """Send a short text to the other program; False if it cannot be sent now."""
        if not self.is_open or len(text) > NOTE_LONGEST:
            return False
        self._reliable.send(text)
        return True

    async def close(self) -> None:
        """End the connection."""
        for way in self._ways:
            way.remove()
        self._change("closed")
        await self._connection.close()

    def _settings(self) -> contextlib.AbstractContextManager[None]:
        return ice_settings(loopback=self._loopback, count=self.wire)

    async def _take(self, kind: str, sdp: str) -> None:
        if _MEDIA_LINE.findall(sdp) != ["application"] or sdp.count("a=candidate:") > _CANDIDATES:
            raise TransportError(f"the {kind} of the other side is not that of a call")
        try:
            with self._settings():
                await self._connection.setRemoteDescription(RTCSessionDescription(sdp, kind))
        except (TransportError, asyncio.CancelledError):
            raise
        except Exception as err:  # aiortc's parser fails in many ways on what is no description
            raise TransportError(f"the {kind} of the other side cannot be understood: {err}") from err

    def _listen(self, channel: RTCDataChannel, reliable: bool) -> None:
        def take(data: object) -> None:
            if isinstance(data, bytes) and len(data) <= MESSAGE_BYTES:
                self._on_message(reliable, data)
            elif isinstance(data, str) and reliable and len(data) <= NOTE_LONGEST:
                self._on_note(data)

        channel.on("message", take)

    def _changed(self) -> None:
        state = self._connection.connectionState
        known = {"connected": "connected", "disconnected": "lost", "failed": "lost", "closed": "closed"}
        if state in known:
            self._change(known[state])

    def _change(self, state: str) -> None:
        if self.state not in (state, "closed"):
            _log.info("peer: %s", state)
            self.state = state
            self._on_change(state)
