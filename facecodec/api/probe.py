"""What a facecodec file holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facecodec.api.report import Accounts, StreamQuality
from facecodec.bitstream import (
    MAGIC,
    AudioCodec,
    IndexUnit,
    MotionUnit,
    PaletteUnit,
    QualityUnit,
    ReferenceUnit,
    StreamHeader,
    View,
)
from facecodec.bitstream.index import TRAILER_BYTES
from facecodec.bitstream.levels import LevelState, count_levels
from facecodec.container.fcv import DamagedUnit, FcvReader
from facecodec.errors import BitstreamError
from facecodec.motion_decoder import DecodedMotion, MotionDecoder
from facecodec.refpic.buffer import Reference


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Facts of a file, from reading all of it (but making no picture).

    Attributes:
        path: the file.
        bytes: its size.
        bitstream_version: version of FORMAT.md.
        model_id: generator that the encoder had in its loop, hexadecimal.
        keypoint_set: name of the keypoint set.
        width: width of the shown picture.
        height: height of the shown picture.
        coded_size: side of the coded crop.
        view: ``frame`` or ``crop``.
        frames: frames in all motion units.
        duration_s: time from the first frame to the end of the last.
        frame_rate: usual frames a second.
        audio: such as ``opus, mono``, or None.
        references: reference pictures.
        predicted_references: of these, those that are predicted from others.
        palette_units: updates of expression palettes.
        random_access_points: groups where decoding can start.
        held_frames: frames in which the face was lost.
        quality: how good the pictures are by the encoder's account, or None where the file does not say.
        section_bytes: bytes of each part; they sum to ``bytes`` in a complete file.
        section_kbps: the same as kbit/s.
        kbps: all of it as kbit/s.
        motion_bits_mean: bits of face and scene motion a frame.
        motion_bits_p95: 95th percentile of the same over frames.
        scene_grid: scene points a side, 0 for none.
        complete: False if the file was cut or damaged.
    """

    path: str
    bytes: int
    bitstream_version: int
    model_id: str
    keypoint_set: str
    width: int
    height: int
    coded_size: int
    view: str
    frames: int
    duration_s: float
    frame_rate: float
    audio: str | None
    references: int
    predicted_references: int
    palette_units: int
    random_access_points: int
    held_frames: int
    quality: StreamQuality | None
    section_bytes: dict[str, int]
    section_kbps: dict[str, float]
    kbps: float
    motion_bits_mean: float
    motion_bits_p95: float
    scene_grid: int
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Sums:
    accounts: Accounts
    levels: LevelState
    references: int = 0
    predicted: int = 0
    palettes: int = 0
    access: int = 0
    held: int = 0
    quality: StreamQuality | None = None
    face: float = 0.0
    scene: float = 0.0
    first: int | None = None
    last: int = 0
    complete: bool = True

    def add(self, motion: DecodedMotion) -> None:
        face, scene = count_levels(self.levels, motion.residuals, motion.held, motion.reset)
        self.face, self.scene = self.face + face, self.scene + scene
        self.access += motion.reset
        self.held += sum(motion.held)
        self.first = motion.pts[0] if self.first is None else self.first
        self.last = motion.pts[-1]


def walk(
    reader: FcvReader, decoder: MotionDecoder, sums: _Sums | None = None
) -> Iterator[DecodedMotion | Reference]:
    """Decode references, palettes and motion of a file in order; damage ends or thins the walk.

    Args:
        reader: the file.
        decoder: a fresh decoder for it.
        sums: where bytes and figures are added up.
    """
    units = reader.units(resilient=True)
    while True:
        try:
            at = next(units, None)
            if at is None:
                return
            if isinstance(at.unit, DamagedUnit):
                raise at.unit.error
            if sums is not None:
                sums.accounts.add(at.unit, at.size)
                if isinstance(at.unit, IndexUnit):
                    sums.accounts.section_bytes["index"] += TRAILER_BYTES
            if sums is not None and isinstance(at.unit, PaletteUnit):
                sums.palettes += 1
            if sums is not None and isinstance(at.unit, ReferenceUnit):
                sums.predicted += at.unit.base is not None
            if sums is not None and isinstance(at.unit, QualityUnit):
                sums.quality = StreamQuality.of(at.unit)
            if isinstance(at.unit, ReferenceUnit):
                yield decoder.take_reference(at.unit)
            elif isinstance(at.unit, PaletteUnit):
                decoder.take_palette(at.unit)
            elif isinstance(at.unit, MotionUnit):
                motion = decoder.take_motion(at.unit)
                if motion is not None:
                    yield motion
        except BitstreamError:
            decoder.forget()
            if sums is None:
                raise
            sums.complete = False


def probe(src: str | Path) -> StreamInfo:
    """Read what a file holds.

    Raises:
        MediaError: the file cannot be opened.
        BitstreamError: it is no facecodec file.
    """
    with FcvReader(src) as reader:
        header = reader.header
        decoder = MotionDecoder(header)
        sums = _Sums(Accounts(), LevelState(decoder.layout))
        for item in walk(reader, decoder, sums):
            if isinstance(item, Reference):
                sums.references += 1
            else:
                sums.add(item)
    return _info(str(src), Path(src).stat().st_size, header, sums)


def _info(path: str, size: int, header: StreamHeader, sums: _Sums) -> StreamInfo:
    accounts = sums.accounts
    accounts.split(sums.face, sums.scene)
    accounts.section_bytes["header"] += len(MAGIC)
    ticks = sums.last + header.frame_duration - sums.first if sums.first is not None else 0
    seconds = float(ticks * header.time_base)
    mean, p95 = accounts.motion_bits()
    sound = None
    if header.audio_codec == AudioCodec.OPUS:
        sound = "opus, mono" if header.channels == 1 else "opus, stereo"

    def kbps(count: int) -> float:
        return round(count * 8 / seconds / 1000, 4) if seconds > 0 else 0.0

    return StreamInfo(
        path=path,
        bytes=size,
        bitstream_version=header.version,
        model_id=header.model_id.hex(),
        keypoint_set=header.keypoint_set.name.lower(),
        width=header.width,
        height=header.height,
        coded_size=header.coded_size,
        view="frame" if header.view == View.FRAME else "crop",
        frames=accounts.frames,
        duration_s=seconds,
        frame_rate=float(1 / (header.frame_duration * header.time_base)),
        audio=sound,
        references=sums.references,
        predicted_references=sums.predicted,
        palette_units=sums.palettes,
        random_access_points=sums.access,
        held_frames=sums.held,
        quality=sums.quality,
        section_bytes=accounts.section_bytes,
        section_kbps={name: kbps(count) for name, count in accounts.section_bytes.items()},
        kbps=kbps(size),
        motion_bits_mean=mean,
        motion_bits_p95=p95,
        scene_grid=header.scene_grid,
        complete=sums.complete and sum(accounts.section_bytes.values()) == size,
    )
