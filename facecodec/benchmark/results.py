"""What a benchmark run leaves: points of rate and quality, with how they were made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from facecodec.benchmark.quality import Quality
from facecodec.errors import MediaError
from facecodec.media.atomic import atomic_path, os_reason

SCHEMA = 1
"""Version of the JSON; a change of meaning, not an added field with a default, raises it."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PartBytes:
    """Bytes of a facecodec stream by part; conventional codecs leave them 0."""

    reference: int = 0
    backdrop: int = 0
    palette: int = 0
    face: int = 0
    scene: int = 0
    framing: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """Speed and memory of one point.

    Attributes:
        encode_fps: frames a second, encoder alone (resampling apart).
        decode_fps: frames a second, decoder alone.
        peak_mib: highest resident memory of the process that coded, MiB.
        stages_ms: facecodec alone: (stage, all of its time over the frames, milliseconds).
    """

    encode_fps: float
    decode_fps: float
    peak_mib: float
    stages_ms: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One codec at one setting on one clip.

    Attributes:
        clip: name of the sequence.
        codec: name of the curve, such as ``x264-ld`` or ``facecodec``.
        scale: 1, 2 or 4: coded at 1/scale of the side.
        setting: the value that is swept, such as ``crf 35`` or ``quality 60``.
        size_bytes: bytes of the elementary stream (facecodec: of the .fcv without audio).
        kbps: those bytes over the duration.
        frames: frames coded.
        width, height, fps: of the sequence.
        quality: every measure; None where its weights are absent.
        parts: bytes by part.
        cost: speed and memory.
        command: what made it, in full.
        version: of the encoder and its library; what keys know of it is FFmpeg's alone.
        still_share: part of the bytes that reference pictures (or the key frame) take, 0 to 1; None: unknown.
        key: hash that the point is cached under.
        deep_key: hash that LPIPS-vgg and DISTS are cached under; empty where they were not measured, or by a
            program that did not say.
    """

    clip: str
    codec: str
    scale: int
    setting: str
    size_bytes: int
    kbps: float
    frames: int
    width: int
    height: int
    fps: float
    quality: Quality
    cost: Cost
    command: str
    version: str
    key: str
    parts: PartBytes = field(default_factory=PartBytes)
    still_share: float | None = None
    deep_key: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a run could not measure, and why.

    Attributes:
        clip: name of the sequence; empty if it is a whole codec or measure.
        codec: name of the curve; empty if it is a whole clip.
        reason: one line that names file, encoder or weights.
    """

    clip: str
    codec: str
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run was made: processor, cores, memory in MiB, system, versions, commit of the project."""

    processor: str
    cores: int
    memory_mib: int
    system: str
    python: str
    torch: str
    ffmpeg: str
    commit: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """Which frames the networks saw.

    Attributes:
        every: LPIPS-alex, MS-SSIM and identity: frames 0, ``every``, 2 ``every`` and so on.
        deep_every: LPIPS-vgg and DISTS: the middle of every stretch of so many frames; 0 for none.
        deep_rule: version of the rule that :func:`facecodec.benchmark.quality.deep_frames` is.
    """

    every: int
    deep_every: int
    deep_rule: int

    def __str__(self) -> str:
        first = f"frames 0, {self.every}, {2 * self.every}, ..."
        deep = f"the middle of every stretch of {self.deep_every} frames" if self.deep_every else "none"
        return f"LPIPS-alex, MS-SSIM, identity: {first}; LPIPS-vgg, DISTS: {deep}"


@dataclass(frozen=True, slots=True)
class BdRecord:
    """BD-rate of the reference codec against one anchor in one measure, per cent, by PCHIP.

    Attributes:
        anchor: name of the curve.
        measure: field of :class:`facecodec.benchmark.quality.Quality`.
        mean: geometric mean of the clips' ratios; None where it is refused.
        low, high: ends of the mean's 95 % interval; None for a single clip.
        clips: (name of the sequence, BD-rate; None where it is refused).
    """

    anchor: str
    measure: str
    mean: float | None
    low: float | None
    high: float | None
    clips: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run; :func:`load_results` and :func:`save_results` keep it as JSON.

    Attributes:
        name: of the set of sequences.
        reference: curve that the others are compared with, ``facecodec``.
        points: every point, by clip, codec, scale and rate.
        left_out: what is missing.
        machine: where.
        made: time of the run's end, ISO 8601.
        kept: what was taken from earlier runs, a line for each: how many points, and where and when they were
            made.
        sampled: which frames the networks saw; None where an older program did not say.
        bd_rates: against every anchor in every measure; empty where an older program did not say.
    """

    name: str
    reference: str
    points: tuple[RatePoint, ...]
    left_out: tuple[LeftOut, ...]
    machine: Machine
    made: str
    kept: tuple[str, ...] = ()
    sampled: Sampled | None = None
    bd_rates: tuple[BdRecord, ...] = ()


def to_plain(value: Any) -> Any:
    """A dataclass of this module as what JSON can hold: NaN and infinity become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_plain(kind: type[_T], value: Any) -> _T:
    """The reverse of :func:`to_plain`; None is NaN where a number has to be.

    Args:
        kind: a dataclass of numbers, strings, tuples and dataclasses.
        value: what JSON held.

    Raises:
        ValueError: a field is absent, unknown or of another type; the message names it.
    """
    found: _T = _read(kind, value, kind.__name__)
    return found


def _read(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_fields(kind, value, where)
    if isinstance(kind, UnionType):
        kinds = [k for k in get_args(kind) if k is not type(None)]
        return None if value is None else _read(kinds[0], value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        inner = get_args(kind)
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(each) != len(value):
            raise ValueError(f"{where} has {len(value)} entries instead of {len(each)}")
        return tuple(_read(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(each, value, strict=True)))
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} is {value!r}, not of type {kind.__name__}")
    return value


def _read_fields(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    kinds = get_type_hints(kind)
    named = {f.name for f in fields(kind)}
    if unknown := sorted(value.keys() - named):
        raise ValueError(f"{where} has the unknown field {unknown[0]}")
    read = {name: _read(kinds[name], each, f"{where}.{name}") for name, each in value.items()}
    try:
        return kind(**read)
    except TypeError as err:  # a field without a default is absent
        raise ValueError(f"{where}: {err}") from err


def save_results(results: Results, path: str | Path) -> None:
    """Write a run as JSON into a folder that exists, whole or not at all; an earlier one is replaced.

    Raises:
        MediaError: the file cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **to_plain(results)}, indent=1) + "\n"
    with atomic_path(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")


def load_results(path: str | Path) -> Results:
    """Read what :func:`save_results` wrote.

    Raises:
        MediaError: the file is absent, damaged, or of another version; the message names the field.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as err:
        raise MediaError(path, f"cannot be read: {os_reason(err)}") from err
    except ValueError as err:
        raise MediaError(path, f"is no JSON: {err}") from err
    if not isinstance(data, dict) or "schema" not in data:
        raise MediaError(path, "holds no results of a benchmark")
    if (schema := data.pop("schema")) != SCHEMA:
        raise MediaError(path, f"has version {schema} of the results; this facecodec reads {SCHEMA}")
    try:
        return from_plain(Results, data)
    except ValueError as err:
        raise MediaError(path, f"damaged results: {err}") from err
