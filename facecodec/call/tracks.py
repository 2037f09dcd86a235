"""Between aiortc's tracks and pictures and sound: what a browser on this machine sends and gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame

from facecodec.call.screen import SOUND_RATE, Picture, Screen
from facecodec.media.color import to_rgb, to_yuv420p
from facecodec.types import F32Array, U8Array

_VIDEO_CLOCK = Fraction(1, 90_000)
_CHUNK = 960
"""Samples of a sound frame: 20 ms."""
_REPEAT_S = 0.5
"""A picture that stays is sent again so often, for a browser that has just come."""


class PictureTrack(MediaStreamTrack):
    """What the other side looks like, as a video track.

    Args:
        screen: where pictures come from.
        blank: shown until the first one comes, [H, W, 3] uint8.
    """

    kind = "video"

    def __init__(self, screen: Screen, blank: U8Array) -> None:
        super().__init__()
        self._screen, self._blank = screen, Picture(blank, 0.0, 0.0, "waiting")
        self._start_s = time.monotonic()
        self._last = -1

    async def recv(self) -> VideoFrame:
        """The next picture."""
        if self.readyState != "live":
            raise MediaStreamError
        picture = await self._screen.next(_REPEAT_S) or self._blank
        frame = to_yuv420p(picture.pixels)
        self._last = max(self._last + 1, round((time.monotonic() - self._start_s) / _VIDEO_CLOCK))
        frame.pts, frame.time_base = self._last, _VIDEO_CLOCK
        return frame


class SoundTrack(MediaStreamTrack):
    """What the other side sounds like, as an audio track at its own steady pace."""

    kind = "audio"

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self._start_s: float | None = None
        self._pts = 0

    async def recv(self) -> AudioFrame:
        """The next 20 ms."""
        if self.readyState != "live":
            raise MediaStreamError
        if self._start_s is None:
            self._start_s = time.monotonic()
        at_s = self._start_s + self._pts / SOUND_RATE
        await asyncio.sleep(at_s - time.monotonic())
        samples = np.clip(self._screen.sound.take(_CHUNK, at_s) * 32767, -32768, 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._pts, Fraction(1, SOUND_RATE)
        self._pts += _CHUNK
        return frame


async def watch(track: MediaStreamTrack, push: Callable[[U8Array, float], None]) -> None:
    """Give every picture of a track to ``push``, with the monotonic time at which it came, until it ends."""
    reformatter = av.video.reformatter.VideoReformatter()

    def convert(frame: VideoFrame) -> U8Array:
        return to_rgb(frame, reformatter, width=frame.width, height=frame.height, codec="")

    loop = asyncio.get_running_loop()
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        came_s = time.monotonic()
        if isinstance(frame, VideoFrame):
            push(await loop.run_in_executor(None, convert, frame), came_s)


async def listen(track: MediaStreamTrack, push: Callable[[F32Array, float], None]) -> None:
    """Give the sound of a track to ``push``, mono at 48 kHz, with the time of its arrival, until it ends."""
    resampler = AudioResampler(format="flt", layout="mono", rate=SOUND_RATE)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        came_s = time.monotonic()
        if isinstance(frame, AudioFrame):
            for part in resampler.resample(frame):
                push(part.to_ndarray().reshape(-1).astype(np.float32), came_s)
