"""Picture and sound over one connection, both ways.

Coding, receiving and the making of pictures happen on three threads beside the event loop, so that neither
motion nor sound waits for a picture that is being made. What comes from the camera waits in a place for one
picture: while the encoder is busy, newer pictures take the place of older ones.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import partial

from facecodec.call.engine import Engine
from facecodec.call.fit import fill
from facecodec.call.identity import FacePin
from facecodec.call.pace import Pace
from facecodec.call.peer import Peer
from facecodec.call.playout import ShownFrame
from facecodec.call.receiver import SOUND_AFTER_S
from facecodec.call.screen import Picture, Screen
from facecodec.call.stats import ReceiverStats, SenderStats
from facecodec.call.status import Identity
from facecodec.call.threads import give_memory_back
from facecodec.call.voice import VoicePlayer
from facecodec.errors import TransportError
from facecodec.transport import Channel, Datagram
from facecodec.types import F32Array, Frame

_log = logging.getLogger(__name__)

_POLL_S = 0.015
_WAITING_MAX = 512
"""Messages that wait for the receiver at most; more are dropped, as a network would."""
_STATS_S = 0.5
_TRIM_S = 10.0
_MAKING_MAX_S = 0.1
"""Sound waits so long for pictures to be made, at most."""
_MAKING_GAIN = 0.1
_TAKEN_FPS = (30.0, 12.0)
"""Pictures a second that are taken of the camera, at most and at least,"""
_SHOWN_LEAST_FPS = 15.0
"""and that are shown at least."""


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """What the receiving side gives at a time.

    Attributes:
        told: feedback about what was sent, and when it came.
        sound: pieces of decoded sound, each with its time on the wire.
        alone: feedback that travels alone.
        lag_s: the time less the time on the wire of what is shown then; None before anything has come.
    """

    told: list[tuple[bytes, float]]
    sound: list[tuple[F32Array, float]]
    alone: list[Datagram]
    lag_s: float | None


class MediaSession:
    """Runs from when it is made to :meth:`stop`.

    Args:
        peer: an open connection.
        engine: fresh; the session closes it.
        screen: takes pictures and sound of the other side.
        show_fps: pictures a second on the screen.
        pin: looks after the face, through all connections of a call.

    Attributes:
        sender_stats: of about a second ago; None at first.
        receiver_stats: likewise.
        identity: whether the face is that which the call began with.
        failed: gets the exception that has ended the session, if one does.
        replaced: pictures of the camera that were replaced by newer ones before they were coded.
        left_out: pictures of the camera that were not taken, as there is no time for them.
    """

    def __init__(self, peer: Peer, engine: Engine, screen: Screen, show_fps: float, pin: FacePin) -> None:
        self.sender_stats: SenderStats | None = None
        self.receiver_stats: ReceiverStats | None = None
        self.identity: Identity = "unknown"
        self.replaced = self.left_out = 0
        self._peer, self._engine, self._screen = peer, engine, screen
        self._taking, self._showing = Pace(*_TAKEN_FPS), Pace(show_fps, _SHOWN_LEAST_FPS)
        self._frame: Frame | None = None
        self._sound: list[tuple[bytes, float, float]] = []
        self._told: list[tuple[bytes, float]] = []
        self._alone: list[Datagram] = []
        self._came: deque[tuple[Channel, bytes, float]] = deque(maxlen=_WAITING_MAX)
        self._lag_s: float | None = None
        self._making_s, self._coding_s = SOUND_AFTER_S, 0.0
        self._refresh = False
        self._size: tuple[int, int] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake, self._arrived = asyncio.Event(), asyncio.Event()
        self._voice = VoicePlayer()
        self._pin = pin
        self._tasks = [asyncio.ensure_future(run()) for run in (self._send, self._receive, self._show)]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def take(self, reliable: bool, data: bytes, came_s: float | None = None) -> None:
        """Take a message of the other side, which came just now or at a monotonic time before."""
        channel = Channel.RELIABLE if reliable else Channel.MOTION
        self._came.append((channel, data, time.monotonic() if came_s is None else came_s))
        self._arrived.set()

    def push_frame(self, frame: Frame) -> None:
        """Take a picture of the camera; its time is of the monotonic clock."""
        if not self._taking.lets_through(frame.time_s):
            self.left_out += 1
            return
        self.replaced += self._frame is not None
        self._frame = frame
        self._wake.set()

    def push_voice(self, packet: bytes, pts_s: float, seconds: float) -> None:
        """Take an Opus packet, empty for silence, and its length; its time is of the monotonic clock."""
        self._sound.append((packet, pts_s, seconds))
        self._wake.set()

    @property
    def age_s(self) -> float | None:
        """From the capture of a picture there to its show here; None before that is known.

        An estimate: half the shortest round trip stands for the path, and coding is taken to be as quick
        there as here.
        """
        sent, got = self.sender_stats, self.receiver_stats
        if sent is None or got is None or sent.round_trip_min_s is None:
            return None
        return got.behind_s + sent.round_trip_min_s / 2 + self._coding_s + self._making_s

    def refresh(self) -> None:
        """Send a fresh reference picture."""
        self._refresh = True

    async def stop(self) -> None:
        """End, and close the engine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.failed.done():
            self.failed.set_exception(task.exception() or RuntimeError())

    # The sending side: one job at a time on its thread.

    async def _send(self) -> None:
        stats_s = trimmed_s = 0.0
        while True:
            await _wait(self._wake, _POLL_S)
            frame, self._frame = self._frame, None
            sound, self._sound = self._sound, []
            told, self._told = self._told, []
            alone, self._alone = self._alone, []
            refresh, self._refresh = self._refresh, False
            self._engine.sender.saw_wire(self._peer.wire.bytes_out)
            job = partial(self._send_step, frame, sound, told, alone, refresh)
            begun_s = time.monotonic()
            datagrams = await self._engine.coding.run(job)
            for datagram in datagrams:
                self._send_datagram(datagram)
            self._worked(time.monotonic() - begun_s, any(d.channel is Channel.MOTION for d in datagrams))
            if time.monotonic() - stats_s > _STATS_S:
                stats_s = time.monotonic()
                self.sender_stats = self._engine.sender.stats()
            if time.monotonic() - trimmed_s > _TRIM_S:
                trimmed_s = time.monotonic()
                await self._engine.coding.run(give_memory_back)

    def _send_step(
        self,
        frame: Frame | None,
        sound: list[tuple[bytes, float, float]],
        told: list[tuple[bytes, float]],
        alone: list[Datagram],
        refresh: bool,
    ) -> list[Datagram]:
        sender = self._engine.sender
        for datagram in alone:
            sender.count_feedback(datagram, time.monotonic())
        for block, came_s in told:
            try:
                sender.receive(block, came_s)
            except TransportError as err:
                _log.debug("feedback passed over: %s", err)
        if refresh:
            sender.request_keyframe()
        for packet, pts_s, seconds in sound:
            if packet:
                sender.push_audio(packet, pts_s, time.monotonic())
            else:
                sender.push_silence(seconds, time.monotonic())
        if frame is not None:
            self._size = self._size or (frame.pixels.shape[0], frame.pixels.shape[1])
            pixels = fill(frame.pixels, *self._size)
            sender.push_frame(replace(frame, pixels=pixels), time.monotonic())
        return alone + sender.poll(time.monotonic())

    def _worked(self, seconds: float, sent_motion: bool) -> None:
        self._taking.worked(seconds, time.monotonic())
        if sent_motion:
            self._coding_s += _MAKING_GAIN * (seconds - self._coding_s)

    def _send_datagram(self, datagram: Datagram) -> None:
        self._peer.send(datagram.channel is Channel.RELIABLE, datagram.data)

    # The receiving side, likewise: what comes,

    async def _receive(self) -> None:
        stats_s = 0.0
        while True:
            await _wait(self._arrived, _POLL_S)
            came = list(self._came)
            self._came.clear()
            changes = any(channel is Channel.RELIABLE for channel, _, _ in came)
            thread = self._engine.decoding if changes else self._engine.receiving
            step = await thread.run(partial(self._receive_step, came))
            self._told += step.told
            self._alone += step.alone
            if self._told or self._alone:
                self._wake.set()
            for samples, start_s in step.sound:
                self._screen.sound.put(samples, start_s)
            if step.lag_s is not None:
                self._lag_s = step.lag_s
                self._screen.sound.lag_s = step.lag_s + min(max(self._making_s, SOUND_AFTER_S), _MAKING_MAX_S)
            if time.monotonic() - stats_s > _STATS_S:
                stats_s = time.monotonic()
                self.receiver_stats = self._engine.receiver.stats()
                self.identity = self._pin.identity

    def _receive_step(self, came: list[tuple[Channel, bytes, float]]) -> _Step:
        receiver, told = self._engine.receiver, []
        with self._engine.lock:
            for channel, data, came_s in came:
                receiver.receive(channel, data, came_s)
                told += [(block, came_s) for block in receiver.take_feedback()]
            now_s = time.monotonic()
            alone = receiver.poll(now_s)
            sound = self._voice.decode(receiver.audio(now_s))
            media_s = receiver.media_time(now_s)
        return _Step(told, sound, alone, None if media_s is None else now_s - media_s)

    # and what is shown.

    async def _show(self) -> None:
        due_s = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            now_s = time.monotonic()
            due_s = max(due_s + 1.0 / self._showing.fps, now_s - 0.5 / self._showing.fps)
            shown = await self._engine.decoding.run(self._show_step)
            self._showing.worked(time.monotonic() - now_s, time.monotonic())
            if shown is not None:
                self._present(shown)

    def _present(self, shown: ShownFrame) -> None:
        """Put a picture on, and learn how long it took to be made: sound waits as long."""
        now_s = time.monotonic()
        self._screen.show(Picture(shown.pixels, now_s, shown.pts_s, shown.state.value))
        if self._lag_s is not None:
            making_s = now_s - shown.pts_s - self._lag_s
            self._making_s += _MAKING_GAIN * (making_s - self._making_s)

    def _show_step(self) -> ShownFrame | None:
        receiver = self._engine.receiver
        with self._engine.lock:
            due = receiver.due(time.monotonic())
            reference = receiver.reference
        shown = None if due is None else receiver.make(due)
        if reference is not None:
            self._pin.see(reference)
        return shown


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for something to do, so long at most, and forget that it was there."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass  # time to look
    event.clear()
