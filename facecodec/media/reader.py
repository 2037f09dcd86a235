"""Read pictures, with their times, from any file that FFmpeg can decode."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container.input import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from facecodec.errors import MediaError
from facecodec.media.color import Geometry, geometry_of, to_rgb
from facecodec.media.source import VideoInfo, open_input, rate_of, stated_length_s, video_stream
from facecodec.types import Frame

_log = logging.getLogger(__name__)


class VideoReader:
    """The pictures of a video or still picture file, upright, in RGB, with their exact times.

    Colours follow the rules of :mod:`facecodec.media.color`. Interlaced video is read as it is stored.

    Attributes:
        info: what is known of the file before reading it.
        damage: after :meth:`frames` has ended, why pictures are missing or wrong; None if all is well.

    Args:
        path: a file.
        threads: decoder threads, 0 for as many as there are processors.

    Raises:
        MediaError: no such file, not a media file, no video in it, or no picture can be decoded.
    """

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        self.path = Path(path)
        self.damage: str | None = None
        self._threads = threads
        self._reformatter = VideoReformatter()
        self._closed = False
        self._geometry, self.info = self._probe()
        self.damage = None

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Read no further: a running :meth:`frames` ends at its next step and lets go of the file."""
        self._closed = True

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[Frame]:
        """Decode the pictures in order; may be called again to start anew.

        Args:
            start_s: first time to show, in seconds after the file's first picture.
            duration_s: stop after this many seconds; None reads to the end.

        Yields:
            Frames with strictly increasing ``pts`` in ticks of ``info.time_base``, exactly as the file
            has them. A picture without a time gets the last one's end; a picture whose time does not
            increase is dropped.
        """
        self.damage = None
        tick = self.info.time_base
        first = self.info.start_pts + round(Fraction(start_s) / tick)
        end = None if duration_s is None else first + round(Fraction(duration_s) / tick)
        sought = first > self.info.start_pts
        for pts, frame in self._timed(first if sought else None):
            if pts < first:
                continue
            if end is not None and pts >= end:
                break
            pixels = to_rgb(
                frame,
                self._reformatter,
                width=self._geometry.width,
                height=self._geometry.height,
                codec=self.info.codec,
            )
            yield Frame(self._geometry.apply(pixels), pts, tick)
        self._warn_of_damage()

    def _warn_of_damage(self) -> None:
        if self.damage is not None:
            _log.warning("%s: %s", self.path, self.damage)

    def _timed(self, seek_pts: int | None) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode from ``seek_pts`` or a little before, with times that increase."""
        tick_rate = float(1 / (self.info.time_base * self.info.frame_rate))
        last: int | None = None
        length = max(1, round(tick_rate))
        warned = False
        for frame in self._decode(seek_pts):
            stated = _pts_of(frame)
            pts = (self.info.start_pts if last is None else last + length) if stated is None else stated
            if last is not None and pts <= last:
                if not warned:
                    _log.warning("%s: dropped a picture whose time does not increase", self.path)
                warned = True
                continue
            last = pts
            length = frame.duration or length
            yield pts, frame

    def _decode(self, seek_pts: int | None) -> Iterator[av.VideoFrame]:
        """Decode from the start, or from the last random access point before ``seek_pts``."""
        if seek_pts is not None:
            with self._opened() as (container, stream):
                pictures = self._decode_sought(container, stream, seek_pts)
                head = next(pictures, None)
                found = None if head is None else _pts_of(head)
                if head is not None and found is not None and found <= seek_pts:
                    yield head
                    yield from pictures
                    return
                pictures.close()
            self.damage = None
        with self._opened() as (container, stream):
            yield from self._decode_stream(container, stream, count=True)

    def _decode_sought(
        self, container: InputContainer, stream: VideoStream, pts: int
    ) -> Generator[av.VideoFrame, None, None]:
        try:
            container.seek(pts, stream=stream)
        except (av.FFmpegError, OSError):
            return
        yield from self._decode_stream(container, stream, count=False)

    def _decode_stream(
        self, container: InputContainer, stream: VideoStream, *, count: bool
    ) -> Generator[av.VideoFrame, None, None]:
        """Decode what can be decoded and note in ``damage`` what cannot."""
        packets = 0
        last: int | None = None
        source = container.demux(stream)
        while not self._stopped():
            try:
                packet = next(source, None)
            except (av.FFmpegError, OSError) as err:
                self._note(f"reading stopped after {packets} packets: {err.strerror}")
                packet = None
            try:
                decoded = stream.decode(packet) if packet is None or packet.size else stream.decode(None)
            except av.error.EOFError:
                decoded = []
            except av.FFmpegError as err:
                self._note(f"packet {packets} cannot be decoded: {err.strerror}")
                decoded = []
            if packet is not None and packet.size:
                packets += 1
                if packet.is_corrupt:
                    self._note(f"packet {packets - 1} is damaged or cut off")
            for frame in decoded:
                if frame.is_corrupt and count:  # after seeking, the first ones may well be
                    self._note(f"a picture near packet {packets - 1} was decoded from damaged data")
                stated = _pts_of(frame)
                last = last if stated is None else stated
                yield frame
                if self._stopped():
                    return
            if packet is None or not packet.size:
                break
        if count and packets < stream.frames:
            self._note(f"the file ends after {packets} of {stream.frames} packets")
        elif count:
            self._check_length(stream, last)

    def _stopped(self) -> bool:
        return self._closed

    def _check_length(self, stream: VideoStream, last: int | None) -> None:
        """Note it if the last picture comes long before the stream's stated end."""
        stated = stated_length_s(stream)
        if stated is None or last is None or stream.frames:
            return
        seen = float((last - (stream.start_time or 0)) * self.info.time_base)
        if seen < stated - max(1.0, 2 * float(1 / rate_of(stream))):
            self._note(f"the file ends {stated - seen:.1f} s before its stated length of {stated:.1f} s")

    def _note(self, reason: str) -> None:
        if self.damage is None:
            self.damage = reason

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        with open_input(self.path) as container:
            stream = video_stream(container, self.path)
            stream.thread_type = "AUTO"
            stream.thread_count = self._threads
            yield container, stream

    def _probe(self) -> tuple[Geometry, VideoInfo]:
        """Decode the first picture: it alone tells the real size, position and start."""
        with self._opened() as (container, stream):
            pictures = self._decode_stream(container, stream, count=False)
            frame = next(pictures, None)
            if frame is None:
                reason = self.damage or "the video stream is empty"
                raise MediaError(self.path, f"no picture can be decoded: {reason}")
            stated = _pts_of(frame)
            geometry = geometry_of(frame, stream.sample_aspect_ratio)
            width, height = geometry.upright
            rate = rate_of(stream)
            length = stated_length_s(stream)
            if length is None and container.duration is not None:
                length = container.duration / av.time_base
            info = VideoInfo(
                width=width,
                height=height,
                time_base=Fraction(stream.time_base or 1 / rate),
                frame_rate=rate,
                start_pts=stream.start_time or 0 if stated is None else stated,
                duration_s=length,
                frames=_estimate(stream.frames, length, rate),
                rotation=geometry.rotation,
                has_audio=len(container.streams.audio) > 0,
                codec=stream.codec_context.name,
            )
            pictures.close()
        return geometry, info


def _pts_of(frame: av.VideoFrame) -> int | None:
    """Give the time of a picture in ticks, None where the file has none."""
    return frame.pts


def _estimate(stored: int, length_s: float | None, rate: Fraction) -> int | None:
    """Estimate the number of pictures; an edit list may show fewer than are stored."""
    if length_s is None:
        return stored or None
    shown = max(1, round(length_s * rate))
    return min(stored, shown) if stored else shown
