"""Open media files safely, and what they state of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container.input import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from facecodec.errors import MediaError
from facecodec.media.atomic import os_reason

_FALLBACK_RATE = Fraction(25)
_HIGHEST_RATE = 1000


def open_input(path: str | Path) -> InputContainer:
    """Open a local media file for reading.

    Only the ``file`` protocol is allowed, so that a playlist cannot make FFmpeg fetch anything.

    Raises:
        MediaError: there is no such file, it is empty, or it is not a media file.
    """
    file = Path(path)
    if file.is_dir():
        raise MediaError(path, "is a folder, not a file")
    if not file.exists():
        raise MediaError(path, "no such file")
    if not file.is_file():
        raise MediaError(path, "is not a regular file")
    try:
        if file.stat().st_size == 0:
            raise MediaError(path, "the file is empty")
        return av.open(f"file:{file}", options={"protocol_whitelist": "file"})
    except (av.error.InvalidDataError, av.error.EOFError) as err:
        raise MediaError(
            path, "not a picture or video file, or one that was cut off before its index was written"
        ) from err
    except av.FFmpegError as err:
        raise MediaError(path, f"cannot be opened: {err.strerror}") from err
    except OSError as err:
        raise MediaError(path, f"cannot be opened: {os_reason(err)}") from err


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width: width of the upright picture with square pixels.
        height: height of the upright picture with square pixels.
        time_base: seconds a tick of ``Frame.pts`` lasts.
        frame_rate: mean pictures a second as stated or guessed; 25 where unknown.
        start_pts: time of the first picture in ticks.
        duration_s: length in seconds, where known.
        frames: number of pictures, an estimate, where known.
        rotation: degrees clockwise that the stored pictures are turned by to stand upright.
        has_audio: there is a sound track.
        codec: name of the video decoder.
    """

    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction
    start_pts: int
    duration_s: float | None
    frames: int | None
    rotation: int
    has_audio: bool
    codec: str

    @property
    def start_s(self) -> float:
        """Time of the first picture in seconds, as the file counts them."""
        return float(self.start_pts * self.time_base)


def video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """Choose the video stream: the default one, else the first. Cover art is not video.

    Raises:
        MediaError: there is none.
    """
    streams = [
        s
        for s in container.streams.video
        if not s.disposition & Disposition.attached_pic and s.codec_context is not None
    ]
    if not streams:
        raise MediaError(path, "holds no video (and is not a picture)")
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def rate_of(stream: VideoStream) -> Fraction:
    """Give the mean pictures a second, as stated or guessed; 25 where unknown."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and 0 < rate <= _HIGHEST_RATE:
            return Fraction(rate)
    return _FALLBACK_RATE


def stated_length_s(stream: VideoStream) -> float | None:
    """Give the length of the stream in seconds as its container states it (Matroska: a ``DURATION`` tag)."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(p) for p in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds
