"""A call without a person: a clip in place of camera and microphone, a file in place of the screen."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facecodec.call.call import Call
from facecodec.call.clip import ClipCamera
from facecodec.call.recording import Recording
from facecodec.call.screen import SOUND_RATE, Picture
from facecodec.call.settings import CallSettings
from facecodec.call.stats import WireBytes
from facecodec.call.status import CallStatus, Sent
from facecodec.call.threads import borrow
from facecodec.errors import TransportError

_MEET_S = 120.0
_LINGER_S = 0.7
"""The other side's last pictures are still under way when the own clip ends."""
_CHUNK = 960


@dataclass(frozen=True, slots=True)
class HeadlessReport:
    """What a call was like.

    Attributes:
        seconds: that it lasted, from the connection on.
        pictures: of the other side that were shown.
        states: how many of them were of which kind.
        bytes_out: sent over the wire, IP and UDP headers included.
        bytes_in: received, likewise.
        kbps_out: sent, mean over the call.
        parts_out: of it by part; headers are everything else on the wire.
        status: the last one while it was connected.
        age_ms: mean of ``status.age_ms``.
    """

    seconds: float
    pictures: int
    states: dict[str, int]
    bytes_out: int
    bytes_in: int
    kbps_out: float
    parts_out: Sent
    status: CallStatus | None
    age_ms: float | None


class HeadlessCall:
    """Plays a clip to the other side and records what comes back.

    Args:
        settings: of this end.
        clip: video to show.
        output: ``.mp4`` or ``.mkv`` to write; None: nothing is kept.
        duration_s: end so long after both sides have first seen each other, the clip repeated; None: when
            the clip ends.

    Attributes:
        call: the call itself.
    """

    def __init__(
        self, settings: CallSettings, clip: str | Path, output: Path | None, duration_s: float | None
    ) -> None:
        self.call = Call(settings)
        self._camera = ClipCamera(clip, settings.show_fps)
        generator = settings.engine.decoder.generator
        self._recording = None if output is None else Recording(output, generator, settings.show_fps)
        self._duration_s = duration_s
        self._writing = borrow()  # one thread: a file is written by one at a time
        self._states: dict[str, int] = {}
        self._status: CallStatus | None = None
        self._ages: list[float] = []
        self._wire, self._parts = (0, 0), WireBytes()
        self._begun_s = self._end_s = 0.0

    async def run(self) -> HeadlessReport:
        """Wait for the other side, play, record, hang up.

        Raises:
            TransportError: the server cannot be reached, refuses, or nobody has come within two minutes.
            MediaError: the clip cannot be read or the output not written, or nothing was shown.
        """
        running = asyncio.ensure_future(self.call.run())
        works = [self._play(), self._record_pictures(), self._record_sound(), self._note()]
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.wait({running, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            await running
        except BaseException:
            if self._recording is not None:
                await self._writing.run(self._recording.abort)
            raise
        finally:
            self._end_s = self._end_s or time.monotonic()
            self.call.over.set()
            for task in (running, *tasks):
                task.cancel()
            await asyncio.gather(running, *tasks, return_exceptions=True)
            await self._writing.run(lambda: None)  # a picture may still be being written
        if self._recording is not None:
            await self._writing.run(self._recording.close)
        self._writing.give_back()
        return self._report()

    async def _connected(self) -> None:
        while self.call.session is None:
            await asyncio.sleep(0.02)

    async def _play(self) -> None:
        try:
            async with asyncio.timeout(_MEET_S):
                await self._connected()
        except TimeoutError as err:
            raise TransportError(f"nobody has come within {_MEET_S:.0f} s") from err
        self._begun_s = time.monotonic()
        repeat = self._duration_s is not None
        play = self._camera.play(self.call.push_picture, self.call.push_sound, repeat=repeat)
        playing = asyncio.ensure_future(play)
        try:
            if self._duration_s is None:
                await playing
            else:
                await asyncio.wait({playing}, timeout=await self._time_to_play(self._duration_s))
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        await asyncio.sleep(_LINGER_S)
        self._end_s = time.monotonic()
        self.call.hang_up()

    async def _time_to_play(self, duration_s: float) -> float:
        """Wait until both sides see each other; seconds to play from then on."""
        try:
            async with asyncio.timeout(_MEET_S):
                await self._first_picture()
                while not self.call.seen:
                    await asyncio.sleep(0.05)
        except TimeoutError as err:
            raise TransportError(f"the two sides have not seen each other within {_MEET_S:.0f} s") from err
        return duration_s

    async def _record_pictures(self) -> None:
        last = None
        while True:
            picture = await self.call.screen.next(1.0)
            if picture is None or picture is last:
                continue
            last = picture
            self._states[picture.state] = self._states.get(picture.state, 0) + 1
            if self._recording is not None:
                await self._writing.run(partial(self._recording.show, picture))

    async def _record_sound(self) -> None:
        """Take the sound at its own pace, from the first picture on."""
        recording, first = self._recording, await self._first_picture()
        taken = 0
        while True:
            at_s = first.shown_s + taken / SOUND_RATE
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            samples = self.call.screen.sound.take(_CHUNK, at_s)
            taken += _CHUNK
            if recording is not None:
                await self._writing.run(partial(recording.hear, samples))

    async def _first_picture(self) -> Picture:
        while True:
            picture = await self.call.screen.next(1.0)
            if picture is not None:
                return picture

    async def _note(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            status, peer = self.call.status(), self.call.peer
            if status.state == "connected" and peer is not None:
                self._status = status
                self._wire = (peer.wire.bytes_out, peer.wire.bytes_in)
                session = self.call.session
                if session is not None and session.sender_stats is not None:
                    self._parts = session.sender_stats.wire
                if status.age_ms is not None:
                    self._ages.append(status.age_ms)

    def _report(self) -> HeadlessReport:
        seconds = max(self._end_s - self._begun_s, 0.0) if self._begun_s else 0.0
        bytes_out, bytes_in = self._wire
        kbps = 8e-3 / seconds if seconds else 0.0
        parts = self._parts
        known = parts.motion + parts.sound + parts.pictures + parts.feedback
        return HeadlessReport(
            seconds=seconds,
            pictures=sum(self._states.values()),
            states=dict(self._states),
            bytes_out=bytes_out,
            bytes_in=bytes_in,
            kbps_out=bytes_out * kbps,
            parts_out=Sent(
                total=bytes_out * kbps,
                motion=parts.motion * kbps,
                sound=parts.sound * kbps,
                reference=parts.pictures * kbps,
                feedback=parts.feedback * kbps,
                headers=(bytes_out - known) * kbps,
            ),
            status=self._status,
            age_ms=sum(self._ages) / len(self._ages) if self._ages else None,
        )
