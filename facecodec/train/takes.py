"""One take: a part of a clip, really coded, read back as a decoder sees it, reduced to its best frames."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from facecodec.api.encode import encode_file
from facecodec.api.probe import walk
from facecodec.config import EncoderConfig, SpeedConfig
from facecodec.container.fcv import FcvReader
from facecodec.decoder import DecodedMotion, MotionDecoder
from facecodec.errors import ConfigError, MediaError
from facecodec.media.reader import VideoReader
from facecodec.refpic.buffer import Reference
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.refpic.palette import PaletteEntry
from facecodec.refpic.quantiser import coarseness
from facecodec.track.crop import crop_picture
from facecodec.train.packing import FrameEntry, PatchEntry, ReferenceEntry, StillEntry, TakeEntry
from facecodec.train.pictures import jpeg, webp
from facecodec.train.records import Take
from facecodec.train.selection import Judged, choose_runs, extremes, judge
from facecodec.types import F32Array, F64Array, U8Array

_STILL_QUALITIES = (40, 92)
_STILL_WEBP = 100
_UNHEARD = 1e-3
"""Palette entries of less weight in a frame are left out, as the generators do."""


@dataclass(frozen=True, slots=True)
class TakeSettings:
    """How takes are made.

    Attributes:
        qp: lowest and highest motion QP; drawn for each take.
        ref_quality: lowest and highest quality of reference pictures; drawn for each take.
        frames: frames to keep of a take.
        run: consecutive frames of a run.
        encoded: frames of the clip to encode.
        stills: coded stills a take, on average.
        size: largest side of the pictures, 256 or 512.
        varied: takes start anywhere in their share of the clip; else at its beginning.
        seed: all chance follows from it and from the clip's name.
    """

    qp: tuple[int, int] = (12, 26)
    ref_quality: tuple[int, int] = (50, 90)
    frames: int = 48
    run: int = 8
    encoded: int = 130
    stills: float = 3.5
    size: Literal[256, 512] = 256
    varied: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high), most in (("qp", self.qp, 51), ("ref_quality", self.ref_quality, 100)):
            if not 0 <= low <= high <= most:
                raise ConfigError(name, (low, high), f"two numbers from 0 to {most}, the lower one first")
        for name in ("frames", "run", "encoded"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if self.stills < 0:
            raise ConfigError("stills", self.stills, "0 or more")
        if self.size not in (256, 512):
            raise ConfigError("size", self.size, "256, 512")


@dataclass(frozen=True, slots=True, eq=False)
class MadeTake:
    """A take with what became of its frames.

    Attributes:
        entry: what to store.
        encoded: frames coded.
        judged: which of them were left out, and why.
    """

    entry: TakeEntry
    encoded: int
    judged: Judged


@dataclass(slots=True)
class _Stream:
    """A coded part, read back: its reference pictures, and of every frame time, reference and motion.

    ``palettes`` holds the entries that a reference picture ever had, ``shown`` those that a frame shows.
    """

    grid: int
    references: list[Reference] = field(default_factory=list)
    palettes: list[list[PaletteEntry]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    meshes: list[F64Array] = field(default_factory=list)
    scenes: list[F32Array | None] = field(default_factory=list)
    shown: list[tuple[tuple[int, float], ...]] = field(default_factory=list)


def generator_of(seed: int, name: str, number: int) -> np.random.Generator:
    """The source of chance of a take: the same whatever other clips and takes there are."""
    digest = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def make_take(video: Path, name: str, number: int, count: int, settings: TakeSettings) -> MadeTake:
    """Encode a part of a video and reduce it to what is worth storing.

    Args:
        video: the file.
        name: its name in the data set; chance follows from it.
        number: number of the take, 0 to ``count`` - 1; the clip is divided evenly among its takes.
        count: takes of this clip.
        settings: how takes are made.

    Raises:
        MediaError: the video cannot be read, or no frame is good enough.
        NoFaceError: no face in this part.
    """
    rng = generator_of(settings.seed, name, number)
    start_s, duration_s, time_base = _part(video, number, count, settings, rng)
    qp = int(rng.integers(settings.qp[0], settings.qp[1] + 1))
    quality = int(rng.integers(settings.ref_quality[0], settings.ref_quality[1] + 1))
    config = EncoderConfig(size=settings.size, view="crop", qp=qp, ref_quality=quality, audio_bps=0)
    with tempfile.TemporaryDirectory() as folder:
        coded = Path(folder) / "take.fcv"
        encode_file(video, coded, config, SpeedConfig(threads=1), start_s=start_s, duration_s=duration_s)
        stream = _read_back(coded)
    crops, originals = _source_crops(video, stream, start_s, duration_s)
    meshes = np.stack(stream.meshes)
    judged = judge(crops, meshes, np.array(stream.held), np.array(stream.used))
    runs = choose_runs(judged.segments, extremes(meshes), settings.run, settings.frames, rng)
    if not runs:
        raise MediaError(video, f"no good frame in the {len(crops)} from {start_s:.2f} s")
    side = crops[0].shape[0]
    take = Take(0, qp, quality, side, stream.grid, round(start_s, 6), time_base)
    references = [
        _reference(r, original, own)
        for r, original, own in zip(stream.references, originals, stream.palettes, strict=True)
    ]
    entries = [[_frame(stream, crops, t) for t in run] for run in runs]
    stills = _stills([crops[t] for run in runs for t in run], settings.stills, rng)
    return MadeTake(TakeEntry(take, references, entries, stills), len(crops), judged)


def _part(
    video: Path, number: int, count: int, settings: TakeSettings, rng: np.random.Generator
) -> tuple[float, float, Fraction]:
    """Start and length of a take in seconds, drawn from its share of the clip, and the clip's time base."""
    with VideoReader(video, threads=1) as reader:
        info = reader.info
    rate = float(info.frame_rate)
    duration = settings.encoded / rate
    length = info.duration_s if info.frames is None else info.frames / rate
    room = (length or 0.0) - duration
    if room <= 0:
        room = min(0.2 * (length or 0.0), 1.0) if settings.varied else 0.0
    low, high = room * number / count, room * (number + 1) / count
    start = float(rng.uniform(low, high)) if settings.varied else low
    return start, duration, info.time_base


def _read_back(coded: Path) -> _Stream:
    """Decode the motion and the reference pictures of a file."""
    with FcvReader(coded) as reader:
        decoder = MotionDecoder(reader.header)
        stream = _Stream(reader.header.scene_grid)
        slots: dict[int, int] = {}
        for item in walk(reader, decoder):
            if isinstance(item, Reference):
                slots[item.ref_id] = len(stream.references)
                stream.references.append(item)
                stream.palettes.append([])
            else:
                _add_motion(stream, item, slots[item.ref_id])
                _add_shown(stream, item, decoder)
    return stream


def _add_motion(stream: _Stream, motion: DecodedMotion, reference: int) -> None:
    stream.times += motion.pts
    stream.used += [reference] * len(motion.pts)
    stream.held += motion.held
    stream.meshes += list(motion.meshes)
    stream.scenes += [None] * len(motion.pts) if motion.scene is None else list(motion.scene)


def _add_shown(stream: _Stream, motion: DecodedMotion, decoder: MotionDecoder) -> None:
    """Note what a decoder shows of the palette in the frames of a group that was just decoded."""
    weights = decoder.palette_weights(motion)
    if weights is None:
        stream.shown += [()] * len(motion.pts)
        return
    known = stream.palettes[stream.used[-1]]
    own = decoder.palettes[motion.ref_id].entries
    known += [entry for entry in own if not any(entry is other for other in known)]
    rows = [next(row for row, other in enumerate(known) if other is entry) for entry in own]
    for line in weights.tolist():
        pairs = zip(rows, line, strict=True)
        stream.shown.append(tuple((row, weight) for row, weight in pairs if weight > _UNHEARD))


def _reference(reference: Reference, original: U8Array, palette: list[PaletteEntry]) -> ReferenceEntry:
    mesh = np.asarray(reference.mesh, np.float32)
    coded, source = webp(reference.picture), jpeg(original)
    return ReferenceEntry(coded, source, mesh, reference.pts, reference.q_idx, _patches(palette))


def _patches(palette: list[PaletteEntry]) -> tuple[PatchEntry, ...]:
    return tuple(
        PatchEntry(webp(e.patch), e.region, e.rect, np.asarray(e.shape, np.float32)) for e in palette
    )


def _source_crops(
    video: Path, stream: _Stream, start_s: float, duration_s: float
) -> tuple[list[U8Array], list[U8Array]]:
    """Source crops of the frames and of the reference pictures, in the stream's order."""
    places = {pts: t for t, pts in enumerate(stream.times)}
    frames: dict[int, U8Array] = {}
    originals: dict[int, U8Array] = {}
    with VideoReader(video, threads=1) as reader:
        for frame in reader.frames(start_s, duration_s):
            t = places.get(frame.pts)
            if t is not None:
                frames[t] = crop_picture(frame.pixels, stream.references[stream.used[t]].crop)
            for j, reference in enumerate(stream.references):
                if reference.pts == frame.pts:
                    originals[j] = crop_picture(frame.pixels, reference.crop)
    if len(frames) < len(places) or len(originals) < len(stream.references):
        raise MediaError(video, "reads otherwise the second time: frames that were coded are missing")
    return [frames[t] for t in range(len(frames))], [originals[j] for j in range(len(originals))]


def _frame(stream: _Stream, crops: list[U8Array], t: int) -> FrameEntry:
    mesh = np.asarray(stream.meshes[t], np.float32)
    shown = stream.shown[t]
    return FrameEntry(jpeg(crops[t]), mesh, stream.scenes[t], stream.used[t], t, stream.times[t], shown)


def _stills(pictures: list[U8Array], mean: float, rng: np.random.Generator) -> list[StillEntry]:
    """Code some of the pictures as reference pictures would be, ``mean`` of them on average."""
    count = min(len(pictures), int(mean) + int(rng.random() < mean % 1))
    out = []
    for i in rng.permutation(len(pictures))[:count].tolist():
        quality = int(rng.integers(_STILL_QUALITIES[0], _STILL_QUALITIES[1] + 1))
        picture = pictures[i]
        still = encode_still(picture, quality, speed="best" if rng.random() < 0.5 else "realtime")
        decoded = decode_still(still, width=picture.shape[1], height=picture.shape[0])
        out.append(StillEntry(webp(decoded, _STILL_WEBP), i, quality, coarseness(still)))
    return out
