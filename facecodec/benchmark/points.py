"""One clip, one codec, one setting: coded, decoded, measured, and kept under the hash of what it depends on.

Three things are kept in the cache: streams with what they cost to make, points, and what the costliest
networks say of them. So a new measure needs no new encoding, the costliest can be had later, and a run that
was broken off goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from facecodec.benchmark import anchors, own
from facecodec.benchmark.digests import key_of
from facecodec.benchmark.ffmpeg import ffmpeg_version, find_ffmpeg
from facecodec.benchmark.pictures import scaled_size
from facecodec.benchmark.quality import DEEP, DEEP_RULE, MEASURES, Judge, Networks, Sampling, load_networks
from facecodec.benchmark.results import Cost, LeftOut, RatePoint, from_plain, to_plain
from facecodec.benchmark.sequences import Clip, describe
from facecodec.errors import FacecodecError, MediaError
from facecodec.media.atomic import atomic_path
from facecodec.types import U8Array

SCHEMA = 1
"""Raised when points of an older program must not be taken."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does at a time.

    Attributes:
        clip: what is coded.
        codec: name of an anchor, or ``facecodec``, whose stream gives several curves.
        curves: curves that are wanted of it.
        scale: 1, 2 or 4.
        setting: quantiser of an anchor, or a label of ``own.SETTINGS``.
    """

    clip: Clip
    codec: str
    curves: tuple[str, ...]
    scale: int
    setting: str


@dataclass(frozen=True, slots=True)
class Measuring:
    """How points are measured.

    Attributes:
        cache: folder of streams and points.
        sampling: which frames the networks see.
        networks: fields of :class:`Networks` that there are weights for.
        weights: folder of LPIPS weights; None for where they are installed.
    """

    cache: Path
    sampling: Sampling
    networks: tuple[str, ...]
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class KeptStream:
    """A coded clip in the cache."""

    packets: tuple[bytes, ...]
    encode_s: float
    peak_mib: float
    stages_ms: tuple[tuple[str, float], ...]


@lru_cache(maxsize=2)
def _networks(names: tuple[str, ...], folder: Path | None) -> Networks:
    return load_networks(names, folder)


@lru_cache(maxsize=1)
def _frames(clip: Clip) -> U8Array:
    return clip.read()


@lru_cache(maxsize=2)
def _judge(clip: Clip, how: Measuring) -> Judge:
    return Judge(_frames(clip), clip.read_track(), _networks(how.networks, how.weights), how.sampling)


def anchor_version(anchor: anchors.Anchor) -> str:
    """Encoder and FFmpeg of an anchor."""
    return f"{anchor.encoder} in FFmpeg {ffmpeg_version(find_ffmpeg())}"


def stream_key(job: Job) -> str:
    """What a stream depends on."""
    clip = job.clip
    if job.codec == own.OWN:
        return own.stream_key(clip.digest, job.setting, clip.size)
    anchor = anchors.ANCHORS[job.codec]
    width, height = scaled_size(clip.size, clip.size, job.scale)
    command = anchor.command(int(job.setting), width, height, clip.fps)
    return key_of("stream", clip.digest, *command, anchor_version(anchor))


def point_key(job: Job, curve: str, how: Measuring) -> str:
    """What a point depends on."""
    shown = own.picture_key(curve) if job.codec == own.OWN else "decoded"
    measured = (how.sampling, sorted(how.networks), MEASURES)
    return key_of(SCHEMA, stream_key(job), curve, shown, *measured)


def deep_key(job: Job, curve: str, how: Measuring) -> str:
    """What the measures of ``DEEP`` depend on."""
    return key_of(DEEP_RULE, point_key(job, curve, _deep(how)))


def cached_point(job: Job, curve: str, how: Measuring) -> RatePoint | None:
    """A point of the cache; None where it is absent or damaged."""
    point = _cached_shallow(job, curve, how)
    deep = _cached_deep(job, curve, how) if point is not None else None
    if point is None or deep is None:
        return None
    return _with_deep(point, deep)


def _with_deep(point: RatePoint, deep: dict[str, float | None]) -> RatePoint:
    if not deep:
        return point
    return replace(point, quality=replace(point.quality, lpips_vgg=deep["lpips_vgg"], dists=deep["dists"]))


def _cached_shallow(job: Job, curve: str, how: Measuring) -> RatePoint | None:
    """A point without the measures of ``DEEP``."""
    try:
        text = _point_path(job, curve, _shallow(how)).read_text(encoding="utf-8")
        point = from_plain(RatePoint, json.loads(text))
    except (OSError, ValueError):
        return None
    return replace(point, clip=job.clip.name)


def _cached_deep(job: Job, curve: str, how: Measuring) -> dict[str, float | None] | None:
    """Measures of ``DEEP``, if they are wanted; None where they are absent or damaged."""
    if not (how.sampling.deep_every and _deep(how).networks):
        return {}
    try:
        kept = json.loads(_deep_path(job, curve, how).read_text(encoding="utf-8"))
        return {name: None if kept[name] is None else float(kept[name]) for name in DEEP}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _shallow(how: Measuring) -> Measuring:
    """The same without the measures of ``DEEP``."""
    networks = tuple(name for name in how.networks if name not in DEEP)
    return replace(how, sampling=replace(how.sampling, deep_every=0), networks=networks)


def _deep(how: Measuring) -> Measuring:
    """The same with the measures of ``DEEP`` alone."""
    sampling = Sampling(1, how.sampling.deep_every)
    return replace(how, sampling=sampling, networks=tuple(name for name in how.networks if name in DEEP))


def _point_path(job: Job, curve: str, how: Measuring) -> Path:
    return how.cache / "points" / f"{job.clip.name}-{curve}-{point_key(job, curve, how)}.json"


def _deep_path(job: Job, curve: str, how: Measuring) -> Path:
    return how.cache / "deep" / f"{job.clip.name}-{curve}-{deep_key(job, curve, how)}.json"


def is_done(job: Job, how: Measuring) -> bool:
    """Whether the cache holds every point of a job."""
    return all(cached_point(job, curve, how) is not None for curve in job.curves)


def run_job(job: Job, how: Measuring) -> tuple[list[RatePoint], list[LeftOut]]:
    """Make the points of a job that the cache lacks.

    Returns:
        Its points, and what went wrong with the others. Nothing that has to do with the clip, the codec or
        the files is raised.
    """
    points, left_out = [], []
    for curve in job.curves:
        try:
            points.append(cached_point(job, curve, how) or _make_point(job, curve, how))
        except (FacecodecError, OSError) as err:
            name = f"{curve} {setting_label(job)}".strip()
            left_out.append(LeftOut(job.clip.name, curve, f"{name}: {describe(err)}"))
    return points, left_out


def setting_label(job: Job) -> str:
    """What a point's setting is called."""
    if job.codec == own.OWN:
        return job.setting
    return f"{anchors.ANCHORS[job.codec].quantiser} {job.setting}"


def _make_point(job: Job, curve: str, how: Measuring) -> RatePoint:
    """Make what the cache lacks of a point: all of it, or the measures of ``DEEP``."""
    make = _own_point if job.codec == own.OWN else _anchor_point
    told, decoded = make(job, curve, how)
    shape = _frames(job.clip).shape
    if decoded.shape != shape:
        raise MediaError(job.codec, f"showed {list(decoded.shape)} instead of {list(shape)}")
    point, deep = _cached_shallow(job, curve, how), _cached_deep(job, curve, how)
    if point is None:
        point = told(quality=_judge(job.clip, _shallow(how)).measure(decoded))
        _keep(_point_path(job, curve, _shallow(how)), to_plain(point))
    if deep is None:
        deep = _judge(job.clip, _deep(how)).measure_deep(decoded)
        _keep(_deep_path(job, curve, how), deep)
    return _with_deep(point, deep)


def _keep(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=True) as part:
        part.write_text(json.dumps(values), encoding="utf-8")


def _rate(size: int, clip: Clip) -> float:
    return size * 8 * float(clip.fps) / clip.frames / 1000


def _fps(clip: Clip, seconds: float) -> float:
    return clip.frames / seconds if seconds > 0 else float("nan")


def kept_stream(job: Job, how: Measuring, make: Callable[[], KeptStream]) -> KeptStream:
    """A stream of the cache, made by ``make`` where it is not there or damaged."""
    path = how.cache / "streams" / f"{job.clip.name}-{job.codec}-{stream_key(job)}"
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
    with atomic_path(about, overwrite=True) as part:
        part.write_text(json.dumps({"sizes": [len(p) for p in made.packets], **entry}), encoding="utf-8")
    return made


def _anchor_point(job: Job, curve: str, how: Measuring) -> tuple[Callable[..., RatePoint], U8Array]:
    """A point that lacks its quality yet, and the decoded pictures."""
    clip, anchor = job.clip, anchors.ANCHORS[job.codec]
    value = int(job.setting)

    def code() -> KeptStream:
        made = anchors.encode(anchor, _frames(clip), clip.fps, value, job.scale)
        return KeptStream(made.packets, made.encode_s, made.peak_mib, ())

    stream = kept_stream(job, how, code)
    decoded, took = anchors.decode(anchor, stream.packets, clip.size, clip.size, clip.frames)
    width, height = scaled_size(clip.size, clip.size, job.scale)
    command = anchor.command(value, width, height, clip.fps)
    size = sum(len(packet) for packet in stream.packets)
    told = partial(
        RatePoint,
        clip=clip.name,
        codec=curve,
        scale=job.scale,
        setting=setting_label(job),
        size_bytes=size,
        kbps=_rate(size, clip),
        frames=clip.frames,
        width=clip.size,
        height=clip.size,
        fps=float(clip.fps),
        cost=Cost(_fps(clip, stream.encode_s), _fps(clip, took), stream.peak_mib),
        command=" ".join(["ffmpeg", *command]),
        version=anchor_version(anchor),
        key=point_key(job, curve, _shallow(how)),
        still_share=len(stream.packets[0]) / size if size else None,
    )
    return told, decoded


def _own_point(job: Job, curve: str, how: Measuring) -> tuple[Callable[..., RatePoint], U8Array]:
    """As :func:`_anchor_point`."""
    clip = job.clip
    folder = how.cache / "streams"
    folder.mkdir(parents=True, exist_ok=True)
    coded = folder / f"{clip.name}-{job.codec}-{stream_key(job)}.fcv"

    def code() -> KeptStream:
        with atomic_path(coded, overwrite=True) as part:
            cost = own.encode(clip.path, job.setting, clip.size, part)
        return KeptStream((coded.read_bytes(),), cost.cpu_s, cost.peak_mib, cost.stages_ms)

    stream = kept_stream(job, how, code)
    if not coded.is_file():
        coded.write_bytes(stream.packets[0])
    decoded, cost = own.decode(coded, curve)
    parts = own.still_bytes(coded) if curve == own.STILL else own.part_bytes(coded)
    size = sum(asdict(parts).values())
    told = partial(
        RatePoint,
        clip=clip.name,
        codec=curve,
        scale=1,
        setting=job.setting,
        size_bytes=size,
        kbps=_rate(size, clip),
        frames=clip.frames,
        width=clip.size,
        height=clip.size,
        fps=float(clip.fps),
        cost=Cost(
            encode_fps=_fps(clip, stream.encode_s),
            decode_fps=_fps(clip, cost.cpu_s),
            peak_mib=max(stream.peak_mib, cost.peak_mib),
            stages_ms=stream.stages_ms + cost.stages_ms,
        ),
        command=own.command_line(job.setting, clip.size, curve),
        version=own.version(curve),
        key=point_key(job, curve, _shallow(how)),
        parts=parts,
        still_share=(parts.reference + parts.backdrop) / size if size else None,
    )
    return told, decoded
