"""One clip, one codec, one setting: coded, decoded, measured, and kept (:mod:`facecodec.benchmark.kept`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

from facecodec.benchmark import anchors, own
from facecodec.benchmark.jobs import Job, Measuring, anchor_command, deep_key, point_key, version_of
from facecodec.benchmark.kept import (
    KeptStream,
    cached_deep,
    cached_point,
    cached_shallow,
    keep_deep,
    keep_point,
    kept_stream,
    stream_path,
    with_deep,
)
from facecodec.benchmark.quality import Judge, Networks, load_networks
from facecodec.benchmark.results import Cost, LeftOut, RatePoint
from facecodec.benchmark.sequences import Clip, describe
from facecodec.errors import FacecodecError, MediaError
from facecodec.media.atomic import atomic_path
from facecodec.types import U8Array


@lru_cache(maxsize=2)
def _networks(names: tuple[str, ...], folder: Path | None) -> Networks:
    return load_networks(names, folder)


@lru_cache(maxsize=1)
def _frames(clip: Clip) -> U8Array:
    return clip.read()


@lru_cache(maxsize=2)
def _judge(clip: Clip, how: Measuring) -> Judge:
    return Judge(_frames(clip), clip.read_track(), _networks(how.networks, how.weights), how.sampling)


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
            left_out.append(LeftOut(job.clip.name, curve, f"{curve} {job.setting}: {describe(err)}"))
    return points, left_out


def _make_point(job: Job, curve: str, how: Measuring) -> RatePoint:
    """Make what the cache lacks of a point: all of it, or the measures of ``DEEP``."""
    make = _own_point if job.codec == own.OWN else _anchor_point
    told, decoded = make(job, curve, how)
    shape = _frames(job.clip).shape
    if decoded.shape != shape:
        raise MediaError(job.codec, f"showed {list(decoded.shape)} instead of {list(shape)}")
    point, deep = cached_shallow(job, curve, how), cached_deep(job, curve, how)
    if point is None:
        point = told(quality=_judge(job.clip, how.shallow).measure(decoded))
        keep_point(point, job, curve, how)
    if deep is None:
        deep = _judge(job.clip, how.deep).measure_deep(decoded)
        keep_deep(deep, job, curve, how)
    return with_deep(point, deep, deep_key(job, curve, how))


def _rate(size: int, clip: Clip) -> float:
    return size * 8 * float(clip.fps) / clip.frames / 1000


def _fps(clip: Clip, seconds: float) -> float:
    return clip.frames / seconds if seconds > 0 else float("nan")


def anchor_stream(job: Job, cache: Path) -> KeptStream:
    """The stream of an anchor: the cache's, made where it has none.

    Raises:
        MediaError: the encoder failed.
    """

    def code() -> KeptStream:
        frames, anchor = _frames(job.clip), anchors.ANCHORS[job.codec]
        made = anchors.encode(anchor, frames, job.clip.fps, job.setting, job.scale)
        return KeptStream(made.packets, made.encode_s, made.peak_mib, ())

    return kept_stream(job, cache, code)


def own_stream(job: Job, cache: Path) -> tuple[Path, KeptStream]:
    """The stream of this codec as a file: the cache's, made where it has none.

    Raises:
        MediaError: the coding process failed.
    """
    coded = stream_path(job, cache)
    coded = coded.with_name(coded.name + ".fcv")
    coded.parent.mkdir(parents=True, exist_ok=True)

    def code() -> KeptStream:
        with atomic_path(coded, overwrite=True) as part:
            cost = own.encode(job.clip.path, job.setting, job.clip.size, part)
        return KeptStream((coded.read_bytes(),), cost.cpu_s, cost.peak_mib, cost.stages_ms)

    stream = kept_stream(job, cache, code)
    if not coded.is_file():
        coded.write_bytes(stream.packets[0])
    return coded, stream


def _anchor_point(job: Job, curve: str, how: Measuring) -> tuple[Callable[..., RatePoint], U8Array]:
    """A point that lacks its quality yet, and the decoded pictures."""
    clip, anchor = job.clip, anchors.ANCHORS[job.codec]
    stream = anchor_stream(job, how.cache)
    decoded, took = anchors.decode(anchor, stream.packets, clip.size, clip.size, clip.frames)
    size = sum(len(packet) for packet in stream.packets)
    told = partial(
        RatePoint,
        clip=clip.name,
        codec=curve,
        scale=job.scale,
        setting=job.setting,
        size_bytes=size,
        kbps=_rate(size, clip),
        frames=clip.frames,
        width=clip.size,
        height=clip.size,
        fps=float(clip.fps),
        cost=Cost(_fps(clip, stream.encode_s), _fps(clip, took), stream.peak_mib),
        command=" ".join(["ffmpeg", *anchor_command(job)]),
        version=version_of(job, curve),
        key=point_key(job, curve, how.shallow),
        still_share=len(stream.packets[0]) / size if size else None,
    )
    return told, decoded


def _own_point(job: Job, curve: str, how: Measuring) -> tuple[Callable[..., RatePoint], U8Array]:
    """As :func:`_anchor_point`."""
    clip = job.clip
    coded, stream = own_stream(job, how.cache)
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
        version=version_of(job, curve),
        key=point_key(job, curve, how.shallow),
        parts=parts,
        still_share=(parts.reference + parts.backdrop) / size if size else None,
    )
    return told, decoded
