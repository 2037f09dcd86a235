"""Two people find each other: the room on the server, then the connection between the two.

Whoever comes second makes the offer. When a connection is lost and both are still in the room, whoever made
the offer makes another. The server is needed only until the two are connected; when it goes away, so be it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from facecodec.call.messages import Description, Message, PeerJoined, PeerLeft
from facecodec.call.peer import Peer
from facecodec.call.signalling_client import SignallingClient
from facecodec.call.status import State
from facecodec.errors import RefusedError, TransportError

_log = logging.getLogger(__name__)

_CONNECT_S = 20.0
"""An offer that has led to no connection by then is made again."""
_RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Waits between attempts to reach a server that was reached before."""


class Meeting:
    """Keeps one connection to the other person in a room, as long as :meth:`run` runs.

    Args:
        make_client: a new client for the room.
        make_peer: a new connection; called with what takes its changes of state.
        on_peer: told of the connection that is open now, or None when it has ended.

    Attributes:
        state: ``waiting`` (alone), ``connecting``, ``connected`` or ``lost``.
    """

    def __init__(
        self,
        make_client: Callable[[], SignallingClient],
        make_peer: Callable[[Callable[[str], None]], Peer],
        on_peer: Callable[[Peer | None], Awaitable[None]],
    ) -> None:
        self.state: State = "waiting"
        self._make_client, self._make_peer, self._on_peer = make_client, make_peer, on_peer
        self._peer: Peer | None = None
        self._offering = False
        self._together = False
        self._tried_s = 0.0
        self._events: asyncio.Queue[tuple[Peer, str]] = asyncio.Queue()

    async def run(self) -> None:
        """Meet, and meet again; ends only by cancellation or an error.

        Raises:
            TransportError: the server cannot be reached at the first time, or not any more.
            RefusedError: the server or the other side refuses.
        """
        attempts = 0
        try:
            while True:
                client = self._make_client()
                try:
                    there = await client.join()
                    attempts = 0
                    await self._in_room(client, there)
                except RefusedError:
                    raise
                except TransportError as err:
                    if attempts >= len(_RETRY_S) or (self._peer is None and not self._tried_s):
                        raise
                    _log.warning("%s; trying again", err)
                finally:
                    await client.close()
                await self._wait_without_server(_RETRY_S[attempts])
                attempts += 1
        finally:
            await self._drop()

    async def _in_room(self, client: SignallingClient, there: bool) -> None:
        """Handle what the server and the connection say, until the server is lost."""
        self._tried_s = asyncio.get_running_loop().time()
        self._together = there
        if there and not self._is_connected():
            await self._offer(client)
        elif not self._is_connected():
            self.state = "waiting"
        reading = asyncio.ensure_future(client.receive())
        changing = asyncio.ensure_future(self._events.get())
        try:
            while True:
                await asyncio.wait({reading, changing}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    message = reading.result()
                    reading = asyncio.ensure_future(client.receive())
                    await self._said(client, message)
                if changing.done():
                    peer, state = changing.result()
                    changing = asyncio.ensure_future(self._events.get())
                    await self._changed(peer, state)
                await self._try_again(client)
        finally:
            for task in (reading, changing):
                task.cancel()
            await asyncio.gather(reading, changing, return_exceptions=True)

    async def _said(self, client: SignallingClient, message: Message) -> None:
        if isinstance(message, PeerJoined):
            self._together = True
            if not self._is_connected():
                self.state = "connecting"
        elif isinstance(message, PeerLeft):
            self._together = False
            if not self._is_connected():
                await self._drop()
                self.state = "waiting"
        elif isinstance(message, Description):
            if message.kind == "offer":
                self._offering = False
                peer = await self._renew()
                await client.send_description("answer", await peer.answer(message.sdp))
            elif self._peer is not None and self._offering and self._peer.state == "new":
                await self._peer.accept(message.sdp)

    async def _changed(self, peer: Peer, state: str) -> None:
        if peer is not self._peer:
            return
        if state == "connected":
            self.state = "connected"
            await self._on_peer(peer)
            return
        await self._drop()
        self.state = "lost" if self._together else "waiting"

    async def _try_again(self, client: SignallingClient) -> None:
        """Offer again where the last offer has come to nothing."""
        late = asyncio.get_running_loop().time() - self._tried_s > _CONNECT_S
        stuck = self._peer is None or (self._peer.state == "new" and late)
        if self._offering and self._together and stuck and (late or self.state == "lost"):
            await self._offer(client)

    async def _offer(self, client: SignallingClient) -> None:
        self._offering = True
        peer = await self._renew()
        await client.send_description("offer", await peer.offer())

    async def _renew(self) -> Peer:
        """Take a new connection in place of the old one."""
        await self._drop()
        self.state = "connecting"
        self._tried_s = asyncio.get_running_loop().time()

        def changed(state: str) -> None:
            self._events.put_nowait((peer, state))

        peer = self._make_peer(changed)
        self._peer = peer
        return peer

    async def _drop(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await self._on_peer(None)
            await peer.close()

    async def _wait_without_server(self, seconds: float) -> None:
        """Wait, and as long as the two are connected wait on: nothing is missing then."""
        while True:
            try:
                async with asyncio.timeout(seconds):
                    peer, state = await self._events.get()
                await self._changed(peer, state)
            except TimeoutError:
                if not self._is_connected():
                    return

    def _is_connected(self) -> bool:
        return self._peer is not None and self._peer.state == "connected"
