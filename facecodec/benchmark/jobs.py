"""Which points there are to make, and what each of them depends on: the keys that it is kept under."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from facecodec.benchmark import anchors, own
from facecodec.benchmark.digests import key_of
from facecodec.benchmark.ffmpeg import ffmpeg_version, find_ffmpeg, library_version
from facecodec.benchmark.pictures import scaled_size
from facecodec.benchmark.quality import DEEP, DEEP_RULE, MEASURES, Sampling
from facecodec.benchmark.sequences import Clip

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
        setting: of an anchor, such as ``crf 35``, or a label of ``own.SETTINGS``.
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
        networks: fields of :class:`facecodec.benchmark.quality.Networks` that there are weights for.
        weights: folder of LPIPS weights; None for where they are installed.
    """

    cache: Path
    sampling: Sampling
    networks: tuple[str, ...]
    weights: Path | None = None

    @property
    def shallow(self) -> Measuring:
        """The same without the measures of ``DEEP``."""
        networks = tuple(name for name in self.networks if name not in DEEP)
        return replace(self, sampling=replace(self.sampling, deep_every=0), networks=networks)

    @property
    def deep(self) -> Measuring:
        """The same with the measures of ``DEEP`` alone."""
        sampling = Sampling(1, self.sampling.deep_every)
        networks = tuple(name for name in self.networks if name in DEEP)
        return replace(self, sampling=sampling, networks=networks)

    @property
    def wants_deep(self) -> bool:
        """Whether there is a measure of ``DEEP`` to make."""
        return bool(self.sampling.deep_every and self.deep.networks)


def version_of(job: Job, curve: str) -> str:
    """Encoder, its library and FFmpeg; or this codec and its generator. For people; no key depends on it."""
    if job.codec == own.OWN:
        return own.version(curve)
    encoder, tool = anchors.ANCHORS[job.codec].encoder, find_ffmpeg()
    named = " ".join(part for part in (encoder, library_version(tool, encoder)) if part)
    return f"{named} in FFmpeg {ffmpeg_version(tool)}"


def _anchor_version(anchor: anchors.Anchor) -> str:
    """Encoder and FFmpeg, whose version decides that of the library."""
    return f"{anchor.encoder} in FFmpeg {ffmpeg_version(find_ffmpeg())}"


def anchor_command(job: Job) -> list[str]:
    """Arguments of FFmpeg."""
    width, height = scaled_size(job.clip.size, job.clip.size, job.scale)
    return anchors.ANCHORS[job.codec].command(job.setting, width, height, job.clip.fps)


def stream_key(job: Job) -> str:
    """What a stream depends on."""
    clip = job.clip
    if job.codec == own.OWN:
        return own.stream_key(clip.digest, job.setting, clip.size)
    return key_of("stream", clip.digest, *anchor_command(job), _anchor_version(anchors.ANCHORS[job.codec]))


def point_key(job: Job, curve: str, how: Measuring) -> str:
    """What a point depends on."""
    shown = own.picture_key(curve) if job.codec == own.OWN else "decoded"
    measured = (how.sampling, sorted(how.networks), MEASURES)
    return key_of(SCHEMA, stream_key(job), curve, shown, *measured)


def deep_key(job: Job, curve: str, how: Measuring) -> str:
    """What the measures of ``DEEP`` depend on; empty where none are wanted."""
    return key_of(DEEP_RULE, point_key(job, curve, how.deep)) if how.wants_deep else ""


def job_of(codec: str, scale: int, setting: str, clip: Clip) -> Job | None:
    """The job that makes a point of one curve; None where this program has no such codec or setting.

    Args:
        codec: the curve.
        scale: 1, 2 or 4.
        setting: as a point names it.
        clip: that is coded.
    """
    if codec in anchors.ANCHORS and len(setting.split()) == 2:
        return Job(clip, codec, (codec,), scale, setting)
    if codec in own.CURVES and setting in own.SETTINGS:
        return Job(clip, own.OWN, (codec,), scale, setting)
    return None
