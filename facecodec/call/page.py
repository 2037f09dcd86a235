"""The local page: camera and microphone come from the browser, the other side's picture and sound go to it.

It is served on 127.0.0.1 alone, under a random path that whoever starts the call is told. Other pages in
the same browser can guess neither that path nor pass the checks of ``Host`` (against rebinding of names)
and ``Origin``. Pictures and sound go over a WebRTC connection whose only address is 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
from collections.abc import Coroutine
from importlib import resources
from typing import Any, Protocol

import numpy as np
from aiohttp import WSMsgType, web
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from facecodec.call.ice import ice_settings
from facecodec.call.messages import SDP_LONGEST
from facecodec.call.screen import Screen
from facecodec.call.status import CallStatus
from facecodec.call.tracks import PictureTrack, SoundTrack, listen, watch
from facecodec.errors import TransportError
from facecodec.types import F32Array, U8Array

_log = logging.getLogger(__name__)

_FILES = {
    "": ("index.html", "text/html"),
    "call.js": ("call.js", "text/javascript"),
    "call.css": ("call.css", "text/css"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BROWSER = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
"""aiortc 1.16 leaves an offer's second video without a transport unless all is bundled at once."""
_STATUS_EVERY_S = 0.5
_SIDE = 256
_SDP_BYTES = 4 * SDP_LONGEST


class PageCall(Protocol):
    """What the page needs of the call."""

    screen: Screen
    compare_screen: Screen

    def push_picture(self, pixels: U8Array, at_s: float) -> None:
        """Take a picture of the camera."""

    def push_sound(self, samples: F32Array, at_s: float) -> None:
        """Take sound of the microphone, mono at 48 kHz."""

    def mute(self, on: bool) -> None:
        """Send no sound."""

    def camera_off(self, on: bool) -> None:
        """Send no picture."""

    def compare(self, on: bool) -> None:
        """Code the camera with H.264 too."""

    def refresh(self) -> None:
        """Send a fresh reference picture."""

    def hang_up(self) -> None:
        """End the call."""

    def status(self) -> CallStatus:
        """How the call is."""


class LocalPage:
    """The page's server.

    Args:
        call: what it shows and steers.
        port: to listen on; 0 takes a free one.

    Attributes:
        url: where the browser finds it, once started.
    """

    def __init__(self, call: PageCall, port: int = 0) -> None:
        self.url = ""
        self._call, self._port = call, port
        self._token = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None
        self._browser: RTCPeerConnection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[web.WebSocketResponse] = set()

    async def start(self) -> None:
        """Listen.

        Raises:
            TransportError: the port cannot be listened on.
        """
        app = web.Application(client_max_size=_SDP_BYTES, middlewares=[self._guard])
        app.router.add_get("/{token}/socket", self._socket)
        app.router.add_post("/{token}/offer", self._offer)
        app.router.add_get("/{token}/{file:[a-z.]*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        except OSError as err:
            await self.close()
            where = f"127.0.0.1:{self._port}"
            raise TransportError(f"cannot listen on {where}: {err.strerror or err}") from err
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/{self._token}/"

    async def close(self) -> None:
        """Tell the browser that the call has ended, and listen no more."""
        for socket in list(self._sockets):
            await _send(socket, self._call.status())
            await socket.close()
        await self._leave_browser()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Let nothing through but this page, asked for by its own name and path."""
        hosts = {f"127.0.0.1:{self._port}", f"localhost:{self._port}"}
        origin = request.headers.get("Origin")
        if request.host not in hosts or (origin is not None and origin not in {f"http://{h}" for h in hosts}):
            raise web.HTTPForbidden(text="not for other sites\n")
        given = request.match_info.get("token", "")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPNotFound(text="no such page\n")
        needs_origin = request.method == "POST" or "Upgrade" in request.headers
        if needs_origin and origin is None:
            raise web.HTTPForbidden(text="only for the page itself\n")
        response: web.StreamResponse = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = _POLICY
            response.headers["Cache-Control"] = "no-store"
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Permissions-Policy"] = "camera=(self), microphone=(self)"
        return response

    async def _file(self, request: web.Request) -> web.Response:
        known = _FILES.get(request.match_info["file"])
        if known is None:
            raise web.HTTPNotFound(text="no such page\n")
        name, kind = known
        text = resources.files("facecodec.call").joinpath("page", name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _offer(self, request: web.Request) -> web.Response:
        """Connect the browser; one that was connected before is left."""
        try:
            sdp = json.loads(await request.text())["sdp"]
        except (ValueError, KeyError, TypeError, RecursionError) as err:
            raise web.HTTPBadRequest(text="no offer\n") from err
        if not isinstance(sdp, str) or len(sdp) > SDP_LONGEST:
            raise web.HTTPBadRequest(text="no offer\n")
        await self._leave_browser()
        self._browser = browser = RTCPeerConnection(_BROWSER)
        coming: list[Any] = []
        browser.on("track", coming.append)
        try:
            with ice_settings(loopback=True):
                await browser.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
                self._give_tracks(browser, coming)
                await browser.setLocalDescription(await browser.createAnswer())
        except (asyncio.CancelledError, web.HTTPException):
            raise
        except Exception as err:  # aiortc's parser fails in many ways on what is no description
            await self._leave_browser()
            raise web.HTTPBadRequest(text=f"this offer cannot be used: {err}\n") from err
        for track in coming:
            if track.kind == "video":
                self._run(watch(track, self._call.push_picture))
            else:
                self._run(listen(track, self._call.push_sound))
        return web.json_response({"sdp": browser.localDescription.sdp})

    def _give_tracks(self, browser: RTCPeerConnection, coming: list[Any]) -> None:
        """Answer the page's three requests: the other side, the comparison, the sound.

        Args:
            browser: the connection, with the page's offer.
            coming: tracks that the page sends.
        """
        blank = np.full((_SIDE, _SIDE, 3), 16, np.uint8)
        if not coming:
            raise web.HTTPBadRequest(text="an offer without picture or sound\n")
        screens = iter([self._call.screen, self._call.compare_screen])
        for transceiver in browser.getTransceivers():
            if transceiver.receiver.track in coming:
                continue
            if transceiver.kind == "audio":
                transceiver.sender.replaceTrack(SoundTrack(self._call.screen))
            else:
                screen = next(screens, None)
                if screen is None:
                    raise web.HTTPBadRequest(text="more videos asked for than there are\n")
                transceiver.sender.replaceTrack(PictureTrack(screen, blank))
            transceiver.direction = "sendonly"

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _leave_browser(self) -> None:
        browser, self._browser = self._browser, None
        if browser is not None:
            await browser.close()
        for task in list(self._tasks):
            task.cancel()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        """Send the status, take the buttons."""
        socket = web.WebSocketResponse(max_msg_size=1024, heartbeat=10.0, timeout=1.0)
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="a WebSocket is served here\n")
        await socket.prepare(request)
        self._sockets.add(socket)
        telling = asyncio.ensure_future(self._tell(socket))
        try:
            async for frame in socket:
                if frame.type == WSMsgType.TEXT:
                    self._press(frame.data)
        finally:
            telling.cancel()
            self._sockets.discard(socket)
        return socket

    async def _tell(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await _send(socket, self._call.status())
            await asyncio.sleep(_STATUS_EVERY_S)

    def _press(self, text: str) -> None:
        """Do what a button says; what is no button is passed over."""
        try:
            fields = json.loads(text)
            kind, on = fields["type"], fields.get("on")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        switches = {
            "mute": self._call.mute,
            "camera-off": self._call.camera_off,
            "compare": self._call.compare,
        }
        if kind in ("refresh", "hang-up"):
            (self._call.refresh if kind == "refresh" else self._call.hang_up)()
        elif isinstance(kind, str) and kind in switches and isinstance(on, bool):
            switches[kind](on)


async def _send(socket: web.WebSocketResponse, status: CallStatus) -> None:
    try:
        await socket.send_str(json.dumps(status.to_dict()))
    except (ConnectionError, RuntimeError):
        await socket.close()  # the browser has gone
