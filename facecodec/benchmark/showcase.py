"""Pictures for the report: what every codec shows of a clip near one rate."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from facecodec.benchmark import anchors, own
from facecodec.benchmark.curves import codecs_of
from facecodec.benchmark.jobs import Job, job_of
from facecodec.benchmark.points import anchor_stream, own_stream
from facecodec.benchmark.previews import SOURCE, Preview
from facecodec.benchmark.results import RatePoint, Results
from facecodec.benchmark.sequences import Clip
from facecodec.errors import FacecodecError, MediaError
from facecodec.types import U8Array

_log = logging.getLogger(__name__)
_SECONDS = 6
"""From the beginning of a clip."""


def nearest_points(results: Results, clip: str) -> tuple[RatePoint, ...]:
    """Points of one clip near one rate: the reference codec's middle setting, and one of each other codec.

    Nearness is the ratio of rates; of points within a tenth of the nearest the one with the highest PSNR of
    luma is taken, so that resolutions compete. A codec that cannot go so low shows its floor.

    Returns:
        The reference codec's first; empty where it has no point on the clip.
    """
    own_points = sorted(_points(results, clip, results.reference), key=lambda p: p.kbps)
    if not own_points:
        return ()
    middle = own_points[(len(own_points) - 1) // 2]
    out = [middle]
    for codec in codecs_of(results):
        found = _points(results, clip, codec)
        if codec == results.reference or not found:
            continue
        least = min(_apart(p, middle) for p in found)
        near = [p for p in found if _apart(p, middle) <= least + math.log(1.1)]
        out.append(max(near, key=lambda p: p.quality.psnr_y))
    return tuple(out)


def _points(results: Results, clip: str, codec: str) -> list[RatePoint]:
    return [p for p in results.points if (p.clip, p.codec) == (clip, codec) and p.kbps > 0]


def _apart(one: RatePoint, other: RatePoint) -> float:
    return abs(math.log(one.kbps / other.kbps))


def find_previews(results: Results, clips: Sequence[Clip], cache: Path) -> tuple[Preview, ...]:
    """Decode the first seconds of a few clips again, from the streams that a run has kept or makes again.

    Args:
        results: the run.
        clips: which to show, as the run prepared them.
        cache: the run's.

    Returns:
        The source and every codec of each clip. A codec that cannot be shown is left out with a warning in
        the log: a report without one picture is better than none.
    """
    out = []
    for clip in clips:
        count = math.ceil(_SECONDS * clip.fps)
        shown = []
        for point in nearest_points(results, clip.name):
            try:
                frames = _pictures(point, clip, cache)[:count]
            except (FacecodecError, OSError) as err:
                _log.warning("no pictures of %s by %s: %s", clip.name, point.codec, err)
                continue
            shown.append(Preview(clip.name, point.codec, point.kbps, frames, float(clip.fps)))
        if shown:
            out += [Preview(clip.name, SOURCE, 0.0, clip.read()[:count], float(clip.fps)), *shown]
    return tuple(out)


def decoded_pictures(job: Job, curve: str, cache: Path) -> U8Array:
    """Decode a point again from the stream that the cache holds, or that is made again where it holds none.

    Args:
        job: that made it.
        curve: of the job.
        cache: of the run.

    Returns:
        RGB, [T, S, S, 3] uint8.

    Raises:
        MediaError: the stream cannot be made or decoded.
    """
    clip = job.clip
    if job.codec == own.OWN:
        return own.decode(own_stream(job, cache)[0], curve)[0]
    stream = anchor_stream(job, cache)
    return anchors.decode(anchors.ANCHORS[job.codec], stream.packets, clip.size, clip.size, clip.frames)[0]


def _pictures(point: RatePoint, clip: Clip, cache: Path) -> U8Array:
    job = job_of(point.codec, point.scale, point.setting, clip)
    if job is None:
        raise MediaError(point.codec, f"has no setting {point.setting} in this program")
    return decoded_pictures(job, point.codec, cache)
