"""A video file to a facecodec file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facecodec.api.frame_stats import Tally
from facecodec.api.report import (
    Accounts,
    OnProgress,
    Progress,
    StreamQuality,
    check_part,
    stats_lines,
)
from facecodec.bitstream import MAGIC, AudioUnit, QualityUnit, pack_unit, parse_unit
from facecodec.config import EncoderConfig, SpeedConfig
from facecodec.container.fcv import FcvWriter
from facecodec.encoder import Encoder
from facecodec.errors import MediaError, NoFaceError
from facecodec.generator.workers import single_threaded
from facecodec.media.atomic import atomic_path
from facecodec.media.audio import OpusReader, read_opus
from facecodec.media.reader import VideoReader
from facecodec.types import AudioPacket, Frame, Packet, PacketKind

_AUDIO_RATE = 48000
_AUDIO_UNIT_SAMPLES = 23040
"""Sound is gathered into units of 0.48 s."""
_AUDIO_FRAME_MS: Literal[60] = 60
_MIN_PICTURE, _MAX_PICTURE = 16, 16384


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What :func:`encode_file` made.

    Attributes:
        frames: frames coded.
        seconds: time from the first frame to the end of the last.
        bytes: size of the file.
        section_bytes: bytes of each part; they sum to ``bytes``.
        references: reference pictures sent.
        motion_bits_mean: bits of face and scene motion a frame.
        motion_bits_p95: 95th percentile of the same over frames.
        rms_px: RMS distance of decoded points from the smoothed track over all frames, in points.
        held_frames: frames in which the face was lost.
        quality: how good the pictures are; None if no frame held a face.
        damage: why pictures of the source are missing or wrong, if any.
        wall_s: seconds that the call took.
    """

    frames: int
    seconds: float
    bytes: int
    section_bytes: dict[str, int]
    references: int
    motion_bits_mean: float
    motion_bits_p95: float
    rms_px: float
    held_frames: int
    quality: StreamQuality | None
    damage: str | None
    wall_s: float


def encode_file(
    src: str | Path,
    dst: str | Path,
    config: EncoderConfig | None = None,
    speed: SpeedConfig | None = None,
    *,
    overwrite: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stats: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> EncodeReport:
    """Encode a video file.

    The file appears when it is complete; nothing is left behind on failure.

    Args:
        src: any video (or picture) that FFmpeg reads.
        dst: file to write.
        config: what changes the bytes.
        speed: what changes speed alone.
        overwrite: replace an existing ``dst``.
        start_s: seconds of the source to leave out.
        duration_s: seconds to code; None codes to the end.
        stats: file for one JSON line per frame; :mod:`facecodec.api.frame_stats` has its fields.
        on_progress: called after every group.

    Raises:
        ConfigError: ``start_s`` or ``duration_s`` is no stretch of time.
        MediaError: ``src`` cannot be read, or ``dst`` not written.
        NoFaceError: no face anywhere in ``src``.
    """
    config, speed = config or EncoderConfig(), speed or SpeedConfig()
    check_part(start_s, duration_s)
    begun = time.perf_counter()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(src, threads=speed.threads))
        first, frames = _open_frames(reader, start_s, duration_s)
        audio = _open_audio(src, reader, first, config, duration_s, stack)
        lines = stack.enter_context(stats_lines(stats)) if stats is not None else None
        file = stack.enter_context(open(stack.enter_context(atomic_path(dst, overwrite)), "wb"))
        stack.enter_context(single_threaded())
        tally = Tally(reader.info.time_base, config.rate.qp, lines)
        length_s = _length_s(reader, start_s, duration_s)
        encoder = _open_encoder(config, speed, reader, length_s, audio, tally, stack)
        job = _Job(FcvWriter(file), encoder, audio, tally, on_progress)
        try:
            job.run(first, frames, None if length_s is None else round(length_s * reader.info.frame_rate))
        except NoFaceError as err:
            raise NoFaceError(src, err.reason) from err
        return job.report(reader.damage, time.perf_counter() - begun)


def _open_frames(
    reader: VideoReader, start_s: float, duration_s: float | None
) -> tuple[Frame, Iterator[Frame]]:
    """The first picture of a part, and the others."""
    width, height = reader.info.width, reader.info.height
    if min(width, height) < _MIN_PICTURE or max(width, height) > _MAX_PICTURE:
        allowed = f"{_MIN_PICTURE} to {_MAX_PICTURE} a side can be coded"
        raise MediaError(reader.path, f"pictures of {width}x{height}; {allowed}")
    frames = reader.frames(start_s, duration_s)
    first = next(frames, None)
    if first is None:
        raise MediaError(reader.path, reader.damage or "no pictures in this part of the file")
    return first, frames


def _open_encoder(
    config: EncoderConfig,
    speed: SpeedConfig,
    reader: VideoReader,
    length_s: float | None,
    audio: OpusReader | None,
    tally: Tally,
    stack: ExitStack,
) -> Encoder:
    sound, rate = audio.info if audio else None, reader.info.frame_rate
    encoder = Encoder(config, speed, frame_rate=rate, length_s=length_s, audio=sound, on_frame=tally.add)
    stack.callback(encoder.close)
    return encoder


def _length_s(reader: VideoReader, start_s: float, duration_s: float | None) -> float | None:
    """Seconds of the part that is coded, where the file says it."""
    if reader.info.frames is None:
        return duration_s
    there = max(reader.info.frames / float(reader.info.frame_rate) - start_s, 0.0)
    return there if duration_s is None else min(there, duration_s)


def _open_audio(
    src: str | Path,
    reader: VideoReader,
    first: Frame,
    config: EncoderConfig,
    duration_s: float | None,
    stack: ExitStack,
) -> OpusReader | None:
    if not config.audio_bps or not reader.info.has_audio:
        return None
    return stack.enter_context(
        read_opus(
            src,
            bitrate_bps=config.audio_bps,
            start_s=first.time_s - reader.info.start_s,
            duration_s=duration_s,
            video_start_s=reader.info.start_s,
            frame_ms=_AUDIO_FRAME_MS,
        )
    )


class _Job:
    """One run of :func:`encode_file`: packets of both kinds into the writer, in order of time."""

    def __init__(
        self,
        writer: FcvWriter,
        encoder: Encoder,
        audio: OpusReader | None,
        tally: Tally,
        on_progress: OnProgress | None,
    ) -> None:
        self._writer, self._encoder, self._tally, self._on_progress = writer, encoder, tally, on_progress
        self._audio: Iterator[AudioPacket] | None = audio
        self._accounts = Accounts()
        self._sound: list[AudioPacket] = []
        self._sound_end: int | None = None
        self._absolute = True
        self._first_pts = self._end_pts = 0
        self._references = 0
        self._quality: StreamQuality | None = None
        self._total: int | None = None

    def run(self, first: Frame, frames: Iterator[Frame], total: int | None) -> None:
        """Code everything and close the file's index."""
        self._total = total
        self._first_pts = first.pts
        self._write(self._encoder.encode(first))
        for frame in frames:
            self._write(self._encoder.encode(frame))
        self._write(self._encoder.flush())
        self._write_sound(None)
        self._writer.close()

    def report(self, damage: str | None, wall_s: float) -> EncodeReport:
        """Figures of the finished file."""
        tally, writer, header = self._tally, self._writer, self._encoder.header
        assert header is not None  # noqa: S101  flush() has raised otherwise
        self._accounts.split(tally.face, tally.scene)
        sections = self._accounts.section_bytes
        known = sum(sections.values())
        sections["header"] += len(MAGIC)
        sections["index"] += writer.total_bytes - known - len(MAGIC)
        mean, p95 = self._accounts.motion_bits()
        return EncodeReport(
            frames=tally.frames,
            seconds=float((self._end_pts - self._first_pts) * header.time_base),
            bytes=writer.total_bytes,
            section_bytes=sections,
            references=self._references,
            motion_bits_mean=mean,
            motion_bits_p95=p95,
            rms_px=(tally.squares / max(tally.tracked, 1)) ** 0.5,
            held_frames=tally.held,
            quality=self._quality,
            damage=damage,
            wall_s=wall_s,
        )

    def _write(self, packets: list[Packet]) -> None:
        for packet in packets:
            if packet.is_random_access:
                self._absolute = True
            self._put(packet)
            if packet.kind is PacketKind.REFERENCE:
                self._references += 1
            if packet.kind is PacketKind.MOTION:
                self._end_pts = packet.pts + packet.duration
                self._write_sound(self._end_pts)
                self._show_progress()

    def _put(self, packet: Packet) -> None:
        self._writer.write(packet)
        unit = parse_unit(packet.data)
        self._accounts.add(unit, len(packet.data))
        if isinstance(unit, QualityUnit):
            self._quality = StreamQuality.of(unit)

    def _show_progress(self) -> None:
        header = self._encoder.header
        if self._on_progress is not None and header is not None:
            seconds = float((self._end_pts - self._first_pts) * header.time_base)
            self._on_progress(Progress(self._tally.frames, self._total, self._writer.total_bytes, seconds))

    def _write_sound(self, until_pts: int | None) -> None:
        """Write the sound that belongs before a time; all that is left for None."""
        header = self._encoder.header
        if self._audio is None or header is None:
            return
        limit = None
        if until_pts is not None:
            limit = float((until_pts - self._first_pts) * header.time_base) * _AUDIO_RATE
        while limit is None or not self._sound or self._sound[-1].pts + self._sound[-1].duration < limit:
            packet = next(self._audio, None)
            if packet is None:
                self._audio = None
                break
            self._sound.append(packet)
            if sum(p.duration for p in self._sound) >= _AUDIO_UNIT_SAMPLES:
                self._put_sound()
        if self._audio is None and self._sound:
            self._put_sound()

    def _put_sound(self) -> None:
        begin = self._sound[0].pts
        absolute = self._absolute or self._sound_end is None
        first = begin if absolute else begin - (self._sound_end or 0)
        unit = AudioUnit(first, tuple(p.data for p in self._sound), absolute)
        self._sound_end = self._sound[-1].pts + self._sound[-1].duration
        duration = self._sound_end - begin
        self._put(Packet(PacketKind.AUDIO, pack_unit(unit), begin, duration))
        self._sound, self._absolute = [], False
