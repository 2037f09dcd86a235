"""One end of a call: meets the other person, and keeps pictures and sound going both ways.

Camera and microphone are whoever calls :meth:`Call.push_picture` and :meth:`Call.push_sound`: the local
page, or a clip. What the other side sends is on :attr:`Call.screen`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from functools import partial

from facecodec.call.compare import H264Loop
from facecodec.call.engine import Engine
from facecodec.call.identity import FacePin
from facecodec.call.media_session import MediaSession
from facecodec.call.meeting import Meeting
from facecodec.call.peer import Peer
from facecodec.call.rates import LossWindow, WireRates
from facecodec.call.screen import SOUND_RATE, Picture, Screen
from facecodec.call.settings import CallSettings
from facecodec.call.signalling_client import SignallingClient
from facecodec.call.stats import SenderStats
from facecodec.call.status import CallStatus
from facecodec.call.voice import VoiceConfig, VoiceEncoder, expected_loss
from facecodec.types import F32Array, Frame, U8Array

_log = logging.getLogger(__name__)

_TICK = Fraction(1, 1000)
_APART_S = 0.06
"""Sound whose time is so far from what was counted is put right at once: the microphone has paused."""
_DRIFT = 0.02
"""Share by which smaller differences are put right with every piece of sound: clocks differ, and pieces come
unevenly."""
_MARK_S = 0.5


class Call:
    """One end of a call.

    Args:
        settings: see :class:`CallSettings`.

    Attributes:
        screen: the other side.
        compare_screen: the own picture as H.264 would show it, while that is compared.
        over: set when this side hangs up or the other side has ended the call.
        session: pictures and sound of the present connection, if there is one.
        peer: the present connection, likewise.
        seen: the other side has shown a picture of this one.
    """

    def __init__(self, settings: CallSettings) -> None:
        self.settings = settings
        self.screen, self.compare_screen = Screen(), Screen()
        self.over = asyncio.Event()
        self.session: MediaSession | None = None
        self.peer: Peer | None = None
        self._meeting = Meeting(self._client, self._new_peer, self._take_peer)
        self._spare: asyncio.Task[Engine] | None = None
        self._early: deque[tuple[bool, bytes, float]] = deque(maxlen=256)
        self._voice, self._voice_at_s = VoiceEncoder(settings.voice), 0.0
        self._muted = self._camera_off = False
        self._peer_camera: bool | None = None
        self.seen = self._told_seen = False
        self._pictures_before = 0
        self._rates, self._losses, self._pin = WireRates(), LossWindow(), FacePin()
        self._loop264: H264Loop | None = None
        self._comparing = False
        self._side_work: asyncio.Task[None] | None = None
        self._message = ""

    async def run(self) -> None:
        """Meet and talk until the call is over.

        Raises:
            TransportError: the server cannot be reached, or refuses.
            WeightsError: those that are asked for are absent or damaged.
        """
        self._spare = self._load()
        tasks = [
            asyncio.ensure_future(work) for work in (self._meeting.run(), self.over.wait(), self._watch())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.over.set()
            if self.peer is not None:
                self.peer.note(json.dumps({"bye": True}))
                await asyncio.sleep(0.05)  # lets the note out before the connection is closed
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._spare is not None:
                await (await self._spare).close()

    # Camera and microphone

    def push_picture(self, pixels: U8Array, at_s: float) -> None:
        """Take a picture, RGB; ``at_s`` is the monotonic time at which it was taken."""
        if self._camera_off:
            return
        if self.session is not None:
            self.session.push_frame(Frame(pixels, round(at_s / _TICK), _TICK))
        if self._comparing and (self._side_work is None or self._side_work.done()):
            self._side_work = asyncio.ensure_future(self._code_264(pixels, at_s))

    def push_sound(self, samples: F32Array, at_s: float) -> None:
        """Take mono sound at 48 kHz; ``at_s`` is the monotonic time of its first sample."""
        if self._muted or self.session is None:
            return
        expected_s = self._voice_at_s + self._voice.waiting / SOUND_RATE
        apart_s = at_s - expected_s
        self._voice_at_s += apart_s if abs(apart_s) > _APART_S else _DRIFT * apart_s
        for packet in self._voice.push(samples):
            packet_s = self._voice.packet_samples / SOUND_RATE
            self.session.push_voice(packet, self._voice_at_s - self._voice.delay_s, packet_s)
            self._voice_at_s += packet_s

    # Buttons

    def mute(self, on: bool) -> None:
        """Send no sound."""
        self._muted = on

    def camera_off(self, on: bool) -> None:
        """Send no picture, and tell the other side that this is meant."""
        self._camera_off = on
        self._tell_camera()

    def compare(self, on: bool) -> None:
        """Code the camera with H.264 too, at the rate of this call."""
        self._comparing, self._loop264 = on, None

    def refresh(self) -> None:
        """Send a fresh reference picture."""
        if self.session is not None:
            self.session.refresh()

    def hang_up(self) -> None:
        """End the call."""
        self.over.set()

    # What the page shows

    def status(self) -> CallStatus:
        """How the call is."""
        state = "ended" if self.over.is_set() else self._meeting.state
        settings, session = self.settings, self.session
        if session is None or state != "connected":
            command = f"facecodec call --room {settings.room} --server {settings.server} --token "
            invite = command + shlex.quote(settings.token) if state == "waiting" else ""
            shown = "waiting" if self.screen.picture is None else "lost"
            return CallStatus(state, settings.room, invite, self._message, picture=shown)
        sent = session.sender_stats
        out, in_kbps, fps = self._rates.now()
        trip = sent.round_trip_s if sent is not None else None
        picture = self.screen.picture
        return CallStatus(
            state,
            settings.room,
            "",
            self._message,
            out=out,
            in_kbps=in_kbps,
            loss_out=None if sent is None else 100 * sent.loss,
            loss_in=self._losses.percent(),
            rtt_ms=None if trip is None else 1000 * trip,
            age_ms=None if session.age_s is None else 1000 * session.age_s,
            fps=fps,
            picture="waiting" if picture is None else picture.state,
            identity=session.identity,
            identity_by=self._pin.by,
            peer_camera=self._peer_camera,
            h264_kbps=self._loop264.rate_kbps() if self._loop264 is not None else None,
        )

    async def _watch(self) -> None:
        """Note what goes over the wire; end if the session fails."""
        while True:
            await asyncio.sleep(_MARK_S)
            session, peer = self.session, self.peer
            if session is None or peer is None:
                self._rates.clear()
                self._losses.clear()
                continue
            if session.failed.done():
                session.failed.result()
            if self.screen.pictures > self._pictures_before and not self._told_seen:
                self._told_seen = peer.note(json.dumps({"seen": True}))
            if session.receiver_stats is not None:
                got = session.receiver_stats
                self._losses.note(got.bundles, got.lost, time.monotonic())
            if session.sender_stats is None:
                continue
            self._follow(session.sender_stats)
            self._rates.note(peer.wire, session.sender_stats.wire, self.screen.pictures, time.monotonic())

    def _follow(self, stats: SenderStats) -> None:
        """Code speech as the sender advises for the rate of the moment."""
        old = self._voice.config
        loss = expected_loss(stats.loss, old.expected_loss)
        wanted = VoiceConfig(max(6000, stats.audio_bps), stats.opus_ms, loss, old.dtx)
        if wanted != old:
            self._voice = VoiceEncoder(wanted, self._voice)

    # The connection

    def _load(self) -> asyncio.Task[Engine]:
        return asyncio.ensure_future(Engine.load(self.settings.engine, self._pin))

    def _client(self) -> SignallingClient:
        return SignallingClient(self.settings.server, self.settings.room, self.settings.token)

    def _new_peer(self, changed: Callable[[str], None]) -> Peer:
        return Peer(
            self._take_message,
            changed,
            self._take_note,
            ice_servers=self.settings.ice_servers,
            loopback=self.settings.loopback,
        )

    async def _take_peer(self, peer: Peer | None) -> None:
        session, self.session, self.peer = self.session, None, None
        if session is not None:
            await session.stop()
        self.screen.clear()
        self._early.clear()
        if peer is None:
            return
        engine = await (self._spare or self._load())
        self._spare = None
        session = MediaSession(peer, engine, self.screen, self.settings.show_fps, self._pin)
        for reliable, data, came_s in self._early:
            session.take(reliable, data, came_s)
        self._early.clear()
        self.session, self.peer, self._peer_camera = session, peer, True
        self._told_seen, self._pictures_before = False, self.screen.pictures
        self._tell_camera()

    def _take_message(self, reliable: bool, data: bytes) -> None:
        if self.session is not None:
            self.session.take(reliable, data)
        else:
            self._early.append((reliable, data, time.monotonic()))

    def _tell_camera(self) -> None:
        if self.peer is not None:
            self.peer.note(json.dumps({"camera": not self._camera_off}))

    def _take_note(self, text: str) -> None:
        """Take what the other program says; what is not understood is passed over."""
        try:
            fields = json.loads(text)
            camera, bye, seen = fields.get("camera"), fields.get("bye"), fields.get("seen")
        except (ValueError, AttributeError, RecursionError):
            return
        if isinstance(camera, bool):
            self._peer_camera = camera
        self.seen = self.seen or seen is True
        if bye is True:
            self._message = "The other person has left."
            self.over.set()

    async def _code_264(self, pixels: U8Array, at_s: float) -> None:
        """Code a picture with H.264 at the present rate of everything but sound."""
        out, _, _ = self._rates.now()
        if out is None:
            return
        kbps = max(out.total - out.sound, 2.0)
        loop = self._loop264
        if loop is None or not 0.5 < kbps / loop.kbps < 2.0:
            loop = self._loop264 = H264Loop(kbps, self.settings.show_fps)
        job = partial(loop.code, pixels, at_s)
        shown = await asyncio.get_running_loop().run_in_executor(None, job)
        if shown is not None:
            self.compare_screen.show(Picture(shown, time.monotonic(), at_s, "live"))
