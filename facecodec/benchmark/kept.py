"""What the cache keeps: streams with what they cost to make, points, and what the costliest networks say.

So a new measure needs no new encoding, the costliest can be had later, and a run that was broken off goes on
where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from facecodec.benchmark.jobs import Job, Measuring, deep_key, point_key, stream_key, version_of
from facecodec.benchmark.quality import DEEP
from facecodec.benchmark.results import RatePoint, from_plain, to_plain
from facecodec.media.atomic import atomic_path

Deep = dict[str, float | None]
"""The measures of ``DEEP`` by name."""


@dataclass(frozen=True, slots=True)
class KeptStream:
    """A coded clip in the cache."""

    packets: tuple[bytes, ...]
    encode_s: float
    peak_mib: float
    stages_ms: tuple[tuple[str, float], ...]


def cached_point(job: Job, curve: str, how: Measuring) -> RatePoint | None:
    """A point of the cache with all that is wanted of it; None where something is absent or damaged."""
    point, deep = cached_shallow(job, curve, how), cached_deep(job, curve, how)
    return None if point is None or deep is None else with_deep(point, deep, deep_key(job, curve, how))


def cached_shallow(job: Job, curve: str, how: Measuring) -> RatePoint | None:
    """A point without the measures of ``DEEP``; its version is told as this program tells it."""
    try:
        text = _point_path(job, curve, how).read_text(encoding="utf-8")
        point = from_plain(RatePoint, json.loads(text))
    except (OSError, ValueError):
        return None
    return replace(point, clip=job.clip.name, version=version_of(job, curve))


def cached_deep(job: Job, curve: str, how: Measuring) -> Deep | None:
    """Measures of ``DEEP``, if they are wanted; None where they are absent or damaged."""
    if not how.wants_deep:
        return {}
    try:
        kept = json.loads(_deep_path(job, curve, how).read_text(encoding="utf-8"))
        return {name: None if kept[name] is None else float(kept[name]) for name in DEEP}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def with_deep(point: RatePoint, deep: Deep, key: str) -> RatePoint:
    """A point with its measures of ``DEEP``, and the key that they are kept under."""
    if not deep:
        return point
    quality = replace(point.quality, lpips_vgg=deep["lpips_vgg"], dists=deep["dists"])
    return replace(point, quality=quality, deep_key=key)


def without_deep(point: RatePoint) -> RatePoint:
    """A point as it is kept: the measures of ``DEEP`` are kept by themselves."""
    return replace(point, quality=replace(point.quality, lpips_vgg=None, dists=None), deep_key="")


def keep_point(point: RatePoint, job: Job, curve: str, how: Measuring) -> None:
    """Keep a point, without the measures of ``DEEP``."""
    _keep(_point_path(job, curve, how), to_plain(without_deep(point)))


def keep_deep(deep: Deep, job: Job, curve: str, how: Measuring) -> None:
    """Keep the measures of ``DEEP`` of a point."""
    _keep(_deep_path(job, curve, how), deep)


def _point_path(job: Job, curve: str, how: Measuring) -> Path:
    return how.cache / "points" / f"{job.clip.name}-{curve}-{point_key(job, curve, how.shallow)}.json"


def _deep_path(job: Job, curve: str, how: Measuring) -> Path:
    return how.cache / "deep" / f"{job.clip.name}-{curve}-{deep_key(job, curve, how)}.json"


def _keep(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=True) as part:
        part.write_text(json.dumps(values), encoding="utf-8")


def stream_path(job: Job, cache: Path) -> Path:
    """Where a stream is kept, without a suffix."""
    return cache / "streams" / f"{job.clip.name}-{job.codec}-{stream_key(job)}"


def kept_stream(job: Job, cache: Path, make: Callable[[], KeptStream]) -> KeptStream:
    """A stream of the cache, made by ``make`` where it is not there or damaged."""
    path = stream_path(job, cache)
    data, about = path.with_name(path.name + ".bin"), path.with_name(path.name + ".json")
    try:
        told = json.loads(about.read_text(encoding="utf-8"))
        raw, at, packets = data.read_bytes(), 0, []
        for size in told["sizes"]:
            packets.append(raw[at : at + size])
            at += size
        if at == len(raw):
            stages = tuple((name, ms) for name, ms in told["stages_ms"])
            return KeptStream(tuple(packets), told["encode_s"], told["peak_mib"], stages)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(data, overwrite=True) as part:
        part.write_bytes(b"".join(made.packets))
    entry = {name: value for name, value in asdict(made).items() if name != "packets"}
    _keep(about, {"sizes": [len(p) for p in made.packets], **entry})
    return made
