"""The clips of a run: lists of them, and each one cut to the codec's square and kept losslessly.

Every codec gets the same frames. The square is the codec's own (:func:`facecodec.track.crop.choose_crop`),
chosen once so that every face of the part stays inside.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from facecodec.benchmark.digests import key_of
from facecodec.benchmark.pictures import clip_digest, read_clip, write_lossless
from facecodec.benchmark.tracking import track_clip
from facecodec.errors import ConfigError, FacecodecError, MediaError, NoFaceError
from facecodec.media.atomic import atomic_path
from facecodec.media.reader import VideoReader
from facecodec.track.crop import choose_crop, crop_picture
from facecodec.types import F32Array, U8Array

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".y4m")
"""Files of a folder that are taken for clips."""
SIZES = (256, 512)
"""Sides of squares, pixels; the first unless another one is asked for."""
MIN_SHARE = 0.75
"""A square smaller than this part of the size asked for is left out: to enlarge it flatters every codec."""
_CROP_RULE = 1
"""Raised when the way a square is chosen or cut changes."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A line of a list of clips.

    Attributes:
        name: unique in its set.
        path: the video.
        sha256: of the file, hexadecimal; empty if it is not checked.
        first: frames to leave out.
        count: frames to take; 0 for all.
        size: side of the square that is coded, pixels, of :data:`SIZES`.
    """

    name: str
    path: Path
    sha256: str = ""
    first: int = 0
    count: int = 250
    size: int = SIZES[0]

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            ConfigError: there is no such square.
        """
        if self.size not in SIZES:
            raise ConfigError("size", self.size, ", ".join(map(str, SIZES)))


@dataclass(frozen=True, slots=True)
class Clip:
    """A sequence made ready: a square clip, the same for every codec.

    Attributes:
        name: of the sequence.
        path: lossless file with exactly these frames.
        track: file with the landmarks of the frames, [T, 478, 3], see :func:`quality.track_clip`.
        digest: of pixels and frame rate.
        frames: their number.
        size: side in pixels.
        rate: frames a second, as a fraction in text.
        crop: left, top and side of the square in the source, pixels.
    """

    name: str
    path: Path
    track: Path
    digest: str
    frames: int
    size: int
    rate: str
    crop: tuple[int, int, int]

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return Fraction(self.rate)

    def read(self) -> U8Array:
        """Its frames, RGB [T, S, S, 3] uint8. Raises MediaError where the file is damaged."""
        return read_clip(self.path)

    def read_track(self) -> F32Array:
        """Landmarks of its frames. Raises MediaError where the file is damaged."""
        try:
            return np.asarray(np.load(self.track, allow_pickle=False), np.float32)
        except (OSError, ValueError) as err:
            raise MediaError(self.track, f"cannot be read: {err}") from err


def read_sets(path: Path) -> dict[str, list[dict[str, object]]]:
    """Read a list of sequences, such as ``bench/sequences.toml``.

    Returns:
        Name of a set to its entries, checked.

    Raises:
        MediaError: the file is absent or no TOML.
        ConfigError: an entry has a field that is absent, unknown or of another type.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as err:
        raise MediaError(path, f"cannot be read: {err.strerror}") from err
    except tomllib.TOMLDecodeError as err:
        raise MediaError(path, f"is no TOML: {err}") from err
    kinds = {"name": str, "file": str, "sha256": str, "first": int, "count": int, "size": int}
    for name, entries in data.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ConfigError(name, "?", f"tables [[{name}]] in {path}")
        for entry in entries:
            for field in {*entry, "name", "file", "sha256"}:
                kind = kinds.get(field)
                if kind is None or not isinstance(entry.get(field), kind):
                    raise ConfigError(f"{name}.{field}", entry.get(field), f"fields of {path}: {list(kinds)}")
        names = [entry["name"] for entry in entries]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ConfigError(f"{name}.name", twice[0], "names that occur once")
    return data


def sequences_of_set(
    entries: list[dict[str, object]], folder: Path, frames: int | None = None, size: int | None = None
) -> list[Sequence]:
    """Sequences of a set.

    Args:
        entries: of :func:`read_sets`.
        folder: what their files are relative to.
        frames: frames to take instead of each entry's own number.
        size: side of the square instead of each entry's own.

    Raises:
        ConfigError: there is no such square.
    """
    found = []
    for entry in entries:
        count = int(str(entry.get("count", 250))) if frames is None else frames
        first = int(str(entry.get("first", 0)))
        side = int(str(entry.get("size", SIZES[0]))) if size is None else size
        place = folder / str(entry["file"])
        found.append(Sequence(str(entry["name"]), place, str(entry["sha256"]), first, count, side))
    return found


def sequences_of_folder(folder: Path, frames: int | None = None, size: int | None = None) -> list[Sequence]:
    """Every video of a folder, by name.

    Args:
        folder: with videos.
        frames: of each; 250 if None.
        size: side of the square; the first of :data:`SIZES` if None.

    Raises:
        ConfigError: there is no such square.
        MediaError: no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise MediaError(folder, "no such folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise MediaError(folder, f"holds no video ({', '.join(SUFFIXES)})")
    stems = [path.stem for path in files]
    names = [path.stem if stems.count(path.stem) == 1 else path.name for path in files]
    count, side = 250 if frames is None else frames, size or SIZES[0]
    return [Sequence(name, path, "", 0, count, side) for name, path in zip(names, files, strict=True)]


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as err:
        raise MediaError(path, "no such file") from err
    except OSError as err:
        raise MediaError(path, f"cannot be read: {err.strerror}") from err


def prepare(sequence: Sequence, folder: Path) -> Clip:
    """Cut a sequence to its square, unless the folder holds it already.

    Args:
        sequence: which part of which video.
        folder: the cache.

    Raises:
        MediaError: the file is absent, damaged, another one than listed, or shorter than asked.
        NoFaceError: no face in the part.
    """
    digest = _file_digest(sequence.path)
    if sequence.sha256 and digest != sequence.sha256:
        raise MediaError(sequence.path, f"is another file than listed: sha256 {digest[:16]}...")
    key = key_of(_CROP_RULE, digest, sequence.first, sequence.count, sequence.size)
    stem = folder / "clips" / f"{sequence.name}-{key}"
    about = stem.with_name(f"{stem.name}.json")
    if not about.is_file():
        _cut(sequence, stem, about)
    try:
        data = json.loads(about.read_text(encoding="utf-8"))
        data["crop"] = tuple(data["crop"])
        return Clip(name=sequence.name, path=_video(stem), track=_track(stem), **data)
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise MediaError(about, f"damaged entry of the cache, remove it: {err}") from err


def _video(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.avi")


def _track(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.npy")


def _read_part(sequence: Sequence) -> tuple[U8Array, Fraction]:
    stop = sequence.first + sequence.count if sequence.count else None
    with VideoReader(sequence.path, threads=1) as reader:
        frames = [frame.pixels for frame in islice(reader.frames(), sequence.first, stop)]
        rate = reader.info.frame_rate
    if len(frames) < max(sequence.count, 2):
        wanted = f"{max(sequence.count, 2)} frames from frame {sequence.first}"
        raise MediaError(sequence.path, f"is shorter than asked: {len(frames)} of {wanted}")
    return np.stack(frames), rate


def _cut(sequence: Sequence, stem: Path, about: Path) -> None:
    """Read, track, choose the square, write; ``about`` last, so that what is there is whole."""
    frames, rate = _read_part(sequence)
    size = sequence.size
    height, width = frames.shape[1:3]
    points = track_clip(frames) * np.array([width, height, width], np.float32)
    seen = np.isfinite(points).all(axis=(1, 2))
    if not seen.any():
        raise NoFaceError(sequence.path, "no face in the part that was asked for")
    faces = points[seen]
    crop = choose_crop(faces, len(faces) // 2, width, height, size)
    if crop.side < MIN_SHARE * size:
        raise MediaError(
            sequence.path, f"the face's square has {crop.side} pixels a side, too few for {size}"
        )
    crop = type(crop)(crop.x, crop.y, crop.side, size)
    square = np.stack([crop_picture(frame, crop) for frame in frames])
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_lossless(square, rate, _video(stem))
    with atomic_path(_track(stem), overwrite=True) as part, part.open("wb") as file:
        np.save(file, track_clip(square))
    entry = {
        "digest": clip_digest(square, rate),
        "frames": len(square),
        "size": size,
        "rate": str(rate),
        "crop": [crop.x, crop.y, crop.side],
    }
    with atomic_path(about, overwrite=True) as part:
        part.write_text(json.dumps(entry), encoding="utf-8")


def describe(err: FacecodecError | OSError) -> str:
    """Why something was left out, in one line."""
    return " ".join(str(err).split())
