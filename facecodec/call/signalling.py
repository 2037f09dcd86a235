"""The signalling server: brings two people of a room together over WebSockets (RFC 6455).

It passes session descriptions on, and sees neither pictures nor sound nor the room's token. It serves one
path, ``/call``, and no file. Numbers that bound what strangers can do are in :class:`ServerConfig`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import WSMsgType, web

from facecodec.call.limits import AddressLimits, TokenBucket
from facecodec.call.messages import (
    MESSAGE_BYTES,
    Bye,
    Description,
    Join,
    Joined,
    Message,
    PeerJoined,
    PeerLeft,
    Refusal,
    parse_message,
    write_message,
)
from facecodec.call.rooms import Rooms
from facecodec.errors import ConfigError, MediaError, RefusedError, TransportError

_log = logging.getLogger(__name__)
PATH = "/call"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the server listens, and what it lets through.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        certificate: PEM file with the TLS certificate and its chain; None speaks plain ``ws``.
        key: PEM file with its private key, if it is not in the same file.
        behind_proxy: a proxy in front ends TLS and says in the last part of ``X-Forwarded-For`` who asks.
        connections: at once, all together.
        connections_each: at once from one address.
        joins_a_minute: attempts to enter from one address (ten at once).
        messages_a_second: from one client (twenty at once).
        join_within_s: a client that has not entered by then is sent away.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    connections: int = 512
    connections_each: int = 16
    joins_a_minute: float = 20.0
    messages_a_second: float = 5.0
    join_within_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError("port", self.port, "an integer from 0 to 65535")
        if self.key is not None and self.certificate is None:
            raise ConfigError("key", str(self.key), "a key together with a certificate")

    def tls(self) -> ssl.SSLContext | None:
        """Open the certificate.

        Raises:
            MediaError: a file cannot be read, or holds no such thing.
        """
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as err:
            raise MediaError(self.certificate, f"no certificate with its key: {err}") from err
        return context


class _Client:
    """One open socket."""

    def __init__(self, socket: web.WebSocketResponse, config: ServerConfig) -> None:
        self.room: str | None = None
        self._socket = socket
        self._bucket = TokenBucket(config.messages_a_second, 20, time.monotonic())

    async def send(self, message: Message) -> None:
        """Send, or cut off whoever does not read."""
        try:
            async with asyncio.timeout(5):
                await self._socket.send_str(write_message(message))
        except (TimeoutError, ConnectionError, RuntimeError):
            await self._socket.close(message=b"does not read")

    async def receive(self) -> Message | None:
        """The next message; None when the socket is closed.

        Raises:
            TransportError: no message, or too many.
        """
        frame = await self._socket.receive()
        if frame.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
            return None
        if frame.type == WSMsgType.ERROR:
            raise TransportError(f"message of more than {MESSAGE_BYTES} bytes, or a broken frame")
        if frame.type != WSMsgType.TEXT:
            raise TransportError("only text frames are understood")
        if not self._bucket.take(time.monotonic()):
            raise TransportError("too many messages")
        return parse_message(frame.data)


class SignallingServer:
    """Runs until it is closed.

    Args:
        config: see :class:`ServerConfig`.

    Attributes:
        port: where it listens, once started.
    """

    def __init__(self, config: ServerConfig | None = None) -> None:
        self.config = config or ServerConfig()
        self.port = self.config.port
        self.rooms: Rooms[_Client] = Rooms()
        self._joins = AddressLimits(self.config.joins_a_minute / 60, 10)
        self._open: dict[str, int] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        scheme = "ws" if self.config.certificate is None else "wss"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{scheme}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            MediaError: the certificate cannot be read.
            TransportError: the address cannot be listened on.
        """
        tls = self.config.tls()
        app = web.Application(client_max_size=1024)
        app.router.add_get(PATH, self._serve)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, ssl_context=tls)
        try:
            await site.start()
        except OSError as err:
            await self.close()
            where = f"{self.config.host}:{self.config.port}"
            raise TransportError(f"cannot listen on {where}: {err.strerror or err}") from err
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Send everybody away."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        address = self._address(request)
        if "Origin" in request.headers:  # programs send none; a page of some site has no business here
            raise web.HTTPForbidden(text="not for web pages\n")
        mine = self._open.get(address, 0)
        if sum(self._open.values()) >= self.config.connections or mine >= self.config.connections_each:
            raise web.HTTPServiceUnavailable(text="too many connections\n")
        if not self._joins.take(address, time.monotonic()):
            raise web.HTTPTooManyRequests(text="too many attempts; wait a minute\n")
        self._open[address] = mine + 1
        try:
            return await self._talk(request)
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def _address(self, request: web.Request) -> str:
        """Who asks; behind a proxy the last hop alone is believed."""
        forwarded = request.headers.get("X-Forwarded-For", "")
        if self.config.behind_proxy and forwarded:
            return forwarded.rsplit(",", 1)[-1].strip()[:64]
        return request.remote or "unknown"

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            max_msg_size=MESSAGE_BYTES, heartbeat=15.0, compress=False, timeout=2.0
        )
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="a WebSocket is served here\n")
        await socket.prepare(request)
        client = _Client(socket, self.config)
        try:
            await self._enter(client)
            while (message := await client.receive()) is not None:
                if not await self._pass_on(client, message):
                    break
        except TransportError as err:
            code = err.code if isinstance(err, RefusedError) else "bad-message"
            _log.info("refused: %s", err)
            if not socket.closed:
                await client.send(Refusal(code, str(err)[:500]))
        finally:
            if client.room is not None:
                other = self.rooms.leave(client.room, client)
                if other is not None:
                    await other.send(PeerLeft())
            await socket.close()
        return socket

    async def _enter(self, client: _Client) -> None:
        try:
            async with asyncio.timeout(self.config.join_within_s):
                join = await client.receive()
        except TimeoutError as err:
            raise RefusedError("too-late", "no join message came") from err
        if join is None:
            return
        if not isinstance(join, Join):
            raise TransportError("the first message is not join")
        other = self.rooms.enter(join.room, join.auth, client)
        client.room = join.room
        await client.send(Joined(peer=other is not None))
        if other is not None:
            await other.send(PeerJoined())

    async def _pass_on(self, client: _Client, message: Message) -> bool:
        """Handle a message of somebody in a room; False when they leave."""
        if isinstance(message, Bye):
            return False
        if not isinstance(message, Description):
            raise TransportError("only offer, answer and bye are understood in a room")
        other = self.rooms.other(client.room or "", client)
        if other is not None:
            await other.send(message)
        return True
