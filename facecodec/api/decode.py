"""A facecodec file to a video file, or to frames."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from facecodec.api.playback import AUDIO_RATE, Playback
from facecodec.api.report import OnProgress, Progress, stats_lines, writing
from facecodec.bitstream import AudioCodec, StreamHeader
from facecodec.config import DecoderConfig
from facecodec.container.fcv import FcvReader
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError
from facecodec.generator.workers import single_threaded
from facecodec.media.audio import OpusStreamInfo
from facecodec.media.writer import VideoWriter, synthetic_mark
from facecodec.types import AudioPacket, Frame


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What :func:`decode_file` made.

    Attributes:
        frames: frames written.
        seconds: time that they last.
        width: width of the pictures.
        height: height of the pictures.
        held_frames: frames in which the encoder saw no face.
        wall_s: seconds that the call took.
        generator: what made the pictures.
        warning: what was wrong with the stream, if anything: the frames that could be decoded were written.
    """

    frames: int
    seconds: float
    width: int
    height: int
    held_frames: int
    wall_s: float
    generator: str
    warning: str | None


def decode_frames(
    src: str | Path,
    config: DecoderConfig | None = None,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[Frame]:
    """Decode a file to frames, one at a time.

    Args:
        src: facecodec file.
        config: what changes the pictures.
        start_s: seconds to leave out.
        duration_s: seconds to decode; None decodes to the end.

    Raises:
        ConfigError: ``start_s`` or ``duration_s`` is no stretch of time.
        MediaError: ``src`` cannot be opened.
        BitstreamError: it is no facecodec file, or damaged; the frames before the damage have been given.
        WeightsError: the weights asked for are absent or damaged.
        WeightsMismatchError: it was made for a model that is not here.
    """
    config = config or DecoderConfig()
    with FcvReader(src) as reader, single_threaded():
        play = Playback(reader, Decoder(config), start_s, duration_s, with_sound=False)
        for item in play.run():
            if isinstance(item, Frame):
                yield item
        if play.warning:
            raise BitstreamError(play.warning)


def decode_file(
    src: str | Path,
    dst: str | Path,
    config: DecoderConfig | None = None,
    *,
    overwrite: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    crf: int = 12,
    stats: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> DecodeReport:
    """Decode a file to a video with sound, marked as synthesised in its metadata.

    A file that was cut or damaged is decoded as far as it goes; ``warning`` says so.

    Args:
        src: facecodec file.
        dst: ``.mp4`` or ``.mkv`` to write.
        config: what changes the pictures.
        overwrite: replace an existing ``dst``.
        start_s: seconds to leave out.
        duration_s: seconds to decode; None decodes to the end.
        crf: x264's constant rate factor for the written video.
        stats: file for one JSON line per frame.
        on_progress: called now and then.

    Raises:
        ConfigError: ``start_s`` or ``duration_s`` is no stretch of time, or lies behind the stream's end.
        MediaError: ``src`` cannot be read, or ``dst`` not written.
        BitstreamError: not one frame can be decoded.
        WeightsError: the weights asked for are absent or damaged.
        WeightsMismatchError: the stream was made for a model that is not here.
    """
    config = config or DecoderConfig()
    begun = time.perf_counter()
    with ExitStack() as stack:
        reader = stack.enter_context(FcvReader(src))
        stack.enter_context(single_threaded())
        decoder = Decoder(config)
        play = Playback(reader, decoder, start_s, duration_s, with_sound=True)
        lines = stack.enter_context(stats_lines(stats)) if stats is not None else None
        stack.enter_context(writing(dst))
        output = _Output(play.header, lines, on_progress, _frame_count(reader, start_s, duration_s))
        items = play.run()
        output.find_first(items)
        if output.origin is None:
            raise play.nothing()
        with _open_writer(dst, decoder, play.header, crf, overwrite) as writer:
            output.write(writer, items, play)
        return _report(output, decoder, play.warning, time.perf_counter() - begun)


def _open_writer(
    dst: str | Path, decoder: Decoder, header: StreamHeader, crf: int, overwrite: bool
) -> VideoWriter:
    sound = header.audio_codec == AudioCodec.OPUS
    return VideoWriter(
        dst,
        *decoder.size,
        header.time_base,
        frame_rate=1 / (header.frame_duration * header.time_base),
        crf=crf,
        audio=OpusStreamInfo(header.channels, header.pre_skip) if sound else None,
        metadata=synthetic_mark(decoder.generator),
        overwrite=overwrite,
    )


def _frame_count(reader: FcvReader, start_s: float, duration_s: float | None) -> int | None:
    if reader.index is None:
        return None
    step = reader.header.frame_duration * reader.header.time_base
    whole = reader.index.n_frames - round(start_s / step)
    return max(0, whole if duration_s is None else min(whole, round(duration_s / step)))


def _report(output: _Output, decoder: Decoder, warning: str | None, wall_s: float) -> DecodeReport:
    width, height = decoder.size
    return DecodeReport(
        frames=output.frames,
        seconds=output.seconds,
        width=width,
        height=height,
        held_frames=decoder.held_frames,
        wall_s=wall_s,
        generator=decoder.generator,
        warning=warning,
    )


class _Output:
    """Frames and sound of a playback into a writer, with times from zero."""

    def __init__(
        self, header: StreamHeader, lines: IO[str] | None, on_progress: OnProgress | None, total: int | None
    ) -> None:
        self._header, self._lines, self._on_progress, self._total = header, lines, on_progress, total
        self._early: list[Frame | AudioPacket] = []
        self.origin: int | None = None
        self.end = 0
        self.frames = 0

    @property
    def seconds(self) -> float:
        """Time from the first frame to the end of the last one written."""
        return float((self.end - (self.origin or 0)) * self._header.time_base)

    def find_first(self, items: Iterator[Frame | AudioPacket]) -> None:
        """Read up to the first frame: its time becomes zero."""
        for item in items:
            self._early.append(item)
            if isinstance(item, Frame):
                self.origin = item.pts
                return

    def write(self, writer: VideoWriter, items: Iterator[Frame | AudioPacket], play: Playback) -> None:
        """Write what :meth:`find_first` read, and the rest."""
        for item in self._early:
            self._write_one(writer, item, play)
        for item in items:
            self._write_one(writer, item, play)

    def _write_one(self, writer: VideoWriter, item: Frame | AudioPacket, play: Playback) -> None:
        header, origin = self._header, self.origin or 0
        if isinstance(item, AudioPacket):
            late = round((origin - header.start_pts) * header.time_base * AUDIO_RATE)
            if item.pts - late >= -header.pre_skip:
                writer.write_audio(AudioPacket(item.data, item.pts - late, item.duration))
            return
        writer.write(Frame(item.pixels, item.pts - origin, item.time_base))
        self.frames += 1
        self.end = item.pts + header.frame_duration
        if self._lines is not None:
            self._lines.write(json.dumps({"pts": item.pts, "time_s": round(item.time_s, 6)}) + "\n")
        if self._on_progress is not None and self.frames % 16 == 0:
            self._on_progress(Progress(self.frames, self._total, play.bytes_read, self.seconds))
