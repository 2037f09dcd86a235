"""Picture and sound over one connection, both ways.

Coding and decoding happen on two threads beside the event loop. What comes from the camera waits in a place
for one picture: while the encoder is busy, newer pictures take the place of older ones.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from facecodec.call.config import CallConfig
from facecodec.call.identity import FacePin
from facecodec.call.peer import Peer
from facecodec.call.receiver import CallReceiver, ShownFrame
from facecodec.call.screen import SOUND_RATE, Picture, Screen
from facecodec.call.sender import CallSender
from facecodec.call.stats import ReceiverStats, SenderStats
from facecodec.call.status import Identity
from facecodec.call.threads import borrow
from facecodec.call.voice import VoiceDecoder
from facecodec.errors import TransportError
from facecodec.transport import Channel, Datagram
from facecodec.types import AudioPacket, F32Array, Frame, U8Array

_log = logging.getLogger(__name__)

_POLL_S = 0.01
_WAITING_MAX = 512
"""Messages that wait for the receiver at most; more are dropped, as a network would."""
_STATS_S = 0.5
_GAP_MAX_S = 0.3
"""Sound that is missing for longer is a pause, not a loss."""


def fill(pixels: U8Array, height: int, width: int) -> U8Array:
    """Scale a picture so that it fills a size, and cut off what is beyond, equally on both sides.

    Browsers send smaller pictures when the machine is busy, and others when a telephone is turned; the
    encoder keeps to the first size.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    size = (max(width, round(pixels.shape[1] * scale)), max(height, round(pixels.shape[0] * scale)))
    large = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width])


class Engine:
    """Sender and receiver, each with its thread; made by :meth:`load`, which takes a second or so.

    Attributes:
        sender: to be called on ``coding`` alone.
        receiver: to be called under ``lock``.
        coding: thread of the sender.
        decoding: thread of the receiver.
        lock: the sender asks the receiver for feedback.
    """

    def __init__(self) -> None:
        self.coding, self.decoding, self.lock = borrow(), borrow(), threading.Lock()
        self.sender: CallSender
        self.receiver: CallReceiver

    @classmethod
    async def load(cls, config: CallConfig, pin: FacePin) -> Engine:
        """Load the models, and that of ``pin``.

        Raises:
            WeightsError: those that are asked for are absent or damaged.
        """
        engine = cls()
        engine.receiver = await engine.decoding.run(lambda: CallReceiver(config))
        await engine.decoding.run(pin.load)
        engine.sender = await engine.coding.run(lambda: CallSender(config))
        engine.sender.feedback_source = engine._piggyback
        return engine

    async def close(self) -> None:
        """Stop the sender, and give the threads back."""
        await self.coding.run(self.sender.close)
        await self.decoding.run(lambda: None)  # a picture may still be in the making
        self.coding.give_back()
        self.decoding.give_back()

    def _piggyback(self, now_s: float) -> bytes:
        with self.lock:
            return self.receiver.piggyback(now_s)


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
    """

    def __init__(self, peer: Peer, engine: Engine, screen: Screen, show_fps: float, pin: FacePin) -> None:
        self.sender_stats: SenderStats | None = None
        self.receiver_stats: ReceiverStats | None = None
        self.identity: Identity = "unknown"
        self.replaced = 0
        self._peer, self._engine, self._screen, self._step_s = peer, engine, screen, 1 / show_fps
        self._frame: Frame | None = None
        self._sound: list[tuple[bytes, float]] = []
        self._told: list[bytes] = []
        self._alone: list[Datagram] = []
        self._came: deque[tuple[Channel, bytes]] = deque(maxlen=_WAITING_MAX)
        self._refresh = False
        self._size: tuple[int, int] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake = asyncio.Event()
        self._voice, self._sound_end = VoiceDecoder(), -1
        self._pin = pin
        self._tasks = [asyncio.ensure_future(self._send()), asyncio.ensure_future(self._show())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def take(self, reliable: bool, data: bytes) -> None:
        """Take a message of the other side."""
        self._came.append((Channel.RELIABLE if reliable else Channel.MOTION, data))

    def push_frame(self, frame: Frame) -> None:
        """Take a picture of the camera; its time is of the monotonic clock."""
        self.replaced += self._frame is not None
        self._frame = frame
        self._wake.set()

    def push_voice(self, packet: bytes, pts_s: float) -> None:
        """Take an Opus packet; its time is of the monotonic clock."""
        self._sound.append((packet, pts_s))
        self._wake.set()

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
        stats_s = 0.0
        while True:
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # time to poll
            self._wake.clear()
            frame, self._frame = self._frame, None
            sound, self._sound = self._sound, []
            told, self._told = self._told, []
            alone, self._alone = self._alone, []
            refresh, self._refresh = self._refresh, False
            job = partial(self._send_step, frame, sound, told, alone, refresh)
            for datagram in await self._engine.coding.run(job):
                self._send_datagram(datagram)
            if time.monotonic() - stats_s > _STATS_S:
                stats_s = time.monotonic()
                self.sender_stats = self._engine.sender.stats()

    def _send_step(
        self,
        frame: Frame | None,
        sound: list[tuple[bytes, float]],
        told: list[bytes],
        alone: list[Datagram],
        refresh: bool,
    ) -> list[Datagram]:
        sender = self._engine.sender
        for datagram in alone:
            sender.count_feedback(datagram, time.monotonic())
        for block in told:
            try:
                sender.receive(block, time.monotonic())
            except TransportError as err:
                _log.debug("feedback passed over: %s", err)
        if refresh:
            sender.request_keyframe()
        for packet, pts_s in sound:
            sender.push_audio(packet, pts_s, time.monotonic())
        out = alone + sender.poll(time.monotonic())
        if frame is not None:
            self._size = self._size or (frame.pixels.shape[0], frame.pixels.shape[1])
            pixels = fill(frame.pixels, *self._size)
            sender.push_frame(replace(frame, pixels=pixels), time.monotonic())
            out += sender.poll(time.monotonic())
        return out

    def _send_datagram(self, datagram: Datagram) -> None:
        self._peer.send(datagram.channel is Channel.RELIABLE, datagram.data)

    # The receiving side, likewise.

    async def _show(self) -> None:
        due_s, stats_s = time.monotonic(), 0.0
        while True:
            now_s = time.monotonic()
            wanted = now_s >= due_s
            due_s = max(due_s + wanted * self._step_s, now_s - 0.1)
            came = list(self._came)
            self._came.clear()
            shown, sound, alone = await self._engine.decoding.run(partial(self._show_step, came, wanted))
            self._alone += alone
            if sound is not None:
                self._screen.play(sound)
            if shown is not None:
                self._screen.show(Picture(shown.pixels, time.monotonic(), shown.pts_s, shown.state.value))
            if now_s - stats_s > _STATS_S:
                stats_s = now_s
                self.receiver_stats = self._engine.receiver.stats()
                self.identity = self._pin.identity
            await asyncio.sleep(min(_POLL_S, max(0.0, due_s - time.monotonic())))

    def _show_step(
        self, came: list[tuple[Channel, bytes]], wanted: bool
    ) -> tuple[ShownFrame | None, F32Array | None, list[Datagram]]:
        receiver = self._engine.receiver
        with self._engine.lock:
            for channel, data in came:
                receiver.receive(channel, data, time.monotonic())
            self._told += receiver.take_feedback()
            alone = receiver.poll(time.monotonic())
            packets = receiver.audio(time.monotonic())
        sound = self._decode(packets)
        if not wanted:
            return None, sound, alone
        with self._engine.lock:
            shown = receiver.frame(time.monotonic())
            reference = receiver.reference
        if reference is not None:
            self._pin.see(reference)
        return shown, sound, alone

    def _decode(self, packets: list[AudioPacket]) -> F32Array | None:
        """Decode Opus packets; what is missing between them is concealed."""
        parts = []
        for packet in packets:
            gap = packet.pts - self._sound_end
            if self._sound_end >= 0 and 0 < gap < _GAP_MAX_S * SOUND_RATE:
                parts.append(self._voice.conceal(gap))
            self._sound_end = packet.pts + packet.duration
            parts.append(self._voice.decode(packet.data))
        return np.concatenate(parts) if parts else None
