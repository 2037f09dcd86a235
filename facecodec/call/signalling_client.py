"""The client's end of the signalling socket."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from facecodec.call.messages import (
    MESSAGE_BYTES,
    Bye,
    Description,
    Join,
    Joined,
    Message,
    Refusal,
    parse_message,
    room_name,
    write_message,
)
from facecodec.call.room_key import RoomKey
from facecodec.call.signalling import PATH
from facecodec.errors import ConfigError, RefusedError, TransportError

_log = logging.getLogger(__name__)


def socket_url(server: str) -> str:
    """Make the WebSocket's address of what a person writes.

    Args:
        server: ``ws://``, ``wss://``, ``http://`` or ``https://`` with a host, and perhaps a port and path.

    Raises:
        ConfigError: it is no such address.
    """
    allowed = "ws://HOST:PORT or wss://HOST"
    try:
        parts = urlsplit(server)
        port, host = parts.port, parts.hostname
    except ValueError as err:
        raise ConfigError("server", server, allowed) from err
    scheme = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}.get(parts.scheme)
    if scheme is None or not host or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("server", server, allowed)
    if scheme == "ws" and not _is_local(host):
        _log.warning("%s: without TLS others on the way see who calls whom; use wss://", server)
    where = f"[{host}]" if ":" in host else host
    return f"{scheme}://{where}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}{PATH}"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SignallingClient:
    """Somebody in a room, or about to be.

    Args:
        server: address of the server.
        room: name of the room.
        token: shared with the other person.
        tls: how to check the server's certificate; None as usual.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, server: str, room: str, token: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._url = socket_url(server)
        try:
            self.room = room_name(room)
        except TransportError as err:
            raise ConfigError("room", room, "1 to 64 letters, digits, '.', '_' or '-'") from err
        self._key = RoomKey(room, token)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        await self.close()

    async def join(self) -> bool:
        """Enter the room.

        Returns:
            Whether the other person is there, and waits for an offer.

        Raises:
            TransportError: the server cannot be reached, or does not speak as it should.
            RefusedError: the server refuses.
        """
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, connect=10))
        try:
            self._socket = await self._session.ws_connect(
                self._url, max_msg_size=MESSAGE_BYTES, heartbeat=15.0, ssl=self._tls or True
            )
        except aiohttp.WSServerHandshakeError as err:
            raise RefusedError("refused", f"{self._url}: the server answers {err.status}") from err
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise TransportError(f"{self._url} cannot be reached: {str(err) or 'no answer'}") from err
        await self._send(Join(self.room, self._key.auth))
        answer = await self.receive()
        if not isinstance(answer, Joined):
            raise TransportError(f"{self._url}: no answer to join")
        return answer.peer

    async def receive(self) -> Message:
        """Wait for the next message; descriptions come with their signature checked.

        Raises:
            TransportError: the connection is lost, or something was said that is no message.
            RefusedError: the server refuses, or a description was not signed with this room's token.
        """
        assert self._socket is not None  # noqa: S101  join comes first
        frame = await self._socket.receive()
        if frame.type != aiohttp.WSMsgType.TEXT:
            raise TransportError(f"{self._url}: the connection to the server is lost")
        message = parse_message(frame.data)
        if isinstance(message, Refusal):
            raise RefusedError(message.code, message.message)
        if isinstance(message, Description) and not self._key.verify(message.kind, message.sdp, message.mac):
            reason = "the other side's description is not signed with this room's token"
            raise RefusedError("not-signed", reason)
        return message

    async def send_description(self, kind: str, sdp: str) -> None:
        """Sign an offer or answer and send it."""
        await self._send(Description(kind, sdp, self._key.sign(kind, sdp)))

    async def close(self) -> None:
        """Leave the room, where that is still possible. Does nothing the second time."""
        socket, self._socket = self._socket, None
        session, self._session = self._session, None
        if socket is not None:
            try:
                await socket.send_str(write_message(Bye()))
            except (ConnectionError, RuntimeError):
                pass  # the server has gone: there is nobody to say it to
            await socket.close()
        if session is not None:
            await session.close()

    async def _send(self, message: Message) -> None:
        assert self._socket is not None  # noqa: S101  join comes first
        try:
            await self._socket.send_str(write_message(message))
        except (ConnectionError, RuntimeError) as err:
            raise TransportError(f"{self._url}: the connection to the server is lost") from err
