"""A clip in place of camera and microphone, at the pace of a camera."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from facecodec.call.screen import SOUND_RATE
from facecodec.media.reader import VideoReader
from facecodec.media.source import open_input
from facecodec.types import F32Array, U8Array

_CHUNK = 960
"""Samples of sound at a time: 20 ms."""


class ClipCamera:
    """Plays a clip.

    Args:
        path: a video file, with or without sound.
        fps: pictures a second at most; others are left out, as a slower camera would.

    Raises:
        MediaError: it cannot be read.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self._path = Path(path)
        with VideoReader(self._path, threads=1) as video:
            self.info = video.info
        self._fps = fps

    async def play(
        self,
        push_picture: Callable[[U8Array, float], None],
        push_sound: Callable[[F32Array, float], None],
        *,
        repeat: bool = False,
    ) -> None:
        """Give pictures and sound, with the monotonic time that they belong to, when their time has come.

        Args:
            push_picture: takes RGB pictures.
            push_sound: takes mono sound at 48 kHz.
            repeat: play the clip again and again, until cancelled.

        Raises:
            MediaError: it cannot be read.
        """
        start_s = time.monotonic()
        while True:
            pictures = asyncio.ensure_future(self._pictures(push_picture, start_s))
            sound = asyncio.ensure_future(self._sound(push_sound, start_s))
            try:
                last_s = await pictures
                await sound
            finally:
                for task in (pictures, sound):
                    task.cancel()
                await asyncio.gather(pictures, sound, return_exceptions=True)
            if not repeat:
                return
            start_s = max(last_s + float(1 / self.info.frame_rate), time.monotonic())

    async def _pictures(self, push: Callable[[U8Array, float], None], start_s: float) -> float:
        loop, due_s, at_s = asyncio.get_running_loop(), start_s, start_s
        with VideoReader(self._path, threads=1) as video:
            frames = video.frames()
            first: float | None = None
            while (frame := await loop.run_in_executor(None, next, frames, None)) is not None:
                first = frame.time_s if first is None else first
                at_s = start_s + frame.time_s - first
                if at_s < due_s - 0.3 / self._fps:
                    continue
                due_s = max(due_s + 1 / self._fps, at_s)
                await asyncio.sleep(max(0.0, at_s - time.monotonic()))
                push(frame.pixels, at_s)
        return at_s

    async def _sound(self, push: Callable[[F32Array, float], None], start_s: float) -> None:
        if not self.info.has_audio:
            return
        loop, done = asyncio.get_running_loop(), 0
        chunks = _decode_sound(self._path)
        while (chunk := await loop.run_in_executor(None, next, chunks, None)) is not None:
            at_s = start_s + done / SOUND_RATE
            done += len(chunk)
            # A microphone gives a piece of sound when its last sample has been recorded.
            await asyncio.sleep(max(0.0, start_s + done / SOUND_RATE - time.monotonic()))
            push(chunk, at_s)


def _decode_sound(path: Path) -> Iterator[F32Array]:
    """The first sound track, mono at 48 kHz, 20 ms at a time."""
    resampler = AudioResampler(format="flt", layout="mono", rate=SOUND_RATE, frame_size=_CHUNK)
    with open_input(path) as container:
        stream = container.streams.audio[0]
        decoded = container.decode(stream)
        while True:
            try:
                frame = next(decoded, None)
            except av.FFmpegError:
                continue  # what is damaged is left out
            for part in resampler.resample(frame):
                assert isinstance(part, AudioFrame)  # noqa: S101  as asked for
                yield part.to_ndarray().reshape(-1).astype(np.float32)
            if frame is None:
                return
