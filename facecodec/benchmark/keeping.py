"""Points of an earlier run, taken over where they are what this run would make.

A point is taken where the key that it was kept under is the key that this run computes for it: same frames,
same command and FFmpeg (of this codec: same code, settings and weights), same measures of the same frames.
LPIPS-vgg and DISTS have a key of their own and are taken or left by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from facecodec.benchmark.jobs import Job, Measuring, deep_key, job_of, point_key, version_of
from facecodec.benchmark.kept import (
    cached_deep,
    cached_shallow,
    keep_deep,
    keep_point,
    with_deep,
    without_deep,
)
from facecodec.benchmark.results import LeftOut, RatePoint, Results
from facecodec.benchmark.sequences import Clip, describe
from facecodec.errors import FacecodecError

_CHANGED = "made of other frames, by another version or command, or measured otherwise"


@dataclass(frozen=True, slots=True)
class Taken:
    """What an earlier run gave.

    Attributes:
        points: of the codecs that this run does not measure.
        dropped: points that are neither taken nor made again, and why.
        count: points that were taken, those of codecs that this run measures among them.
        deep: on how many of them LPIPS-vgg and DISTS were taken too.
        of: points of the earlier run.
    """

    points: tuple[RatePoint, ...]
    dropped: tuple[LeftOut, ...]
    count: int
    deep: int
    of: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """This run: its clips by name, its jobs by clip, curve, scale and setting, its curves."""

    clips: Mapping[str, Clip]
    jobs: Mapping[tuple[str, str, int, str], Job]
    curves: frozenset[str]

    @classmethod
    def of(cls, clips: Sequence[Clip], jobs: Sequence[Job]) -> _Plan:
        made = {(job.clip.name, curve, job.scale, job.setting): job for job in jobs for curve in job.curves}
        return cls({clip.name: clip for clip in clips}, made, frozenset(place[1] for place in made))

    def makes(self, point: RatePoint) -> bool:
        """Whether this run makes the point itself where it is not taken."""
        return (point.clip, point.codec, point.scale, point.setting) in self.jobs

    def find(self, point: RatePoint, how: Measuring) -> tuple[Job | None, str]:
        """The job that makes a point; or none, and why the point is not taken."""
        if point.clip not in self.clips:
            return None, "this run does not have the clip"
        if point.codec in self.curves and not self.makes(point):
            return None, "this run does not have the setting"
        job = job_of(point.codec, point.scale, point.setting, self.clips[point.clip])
        if job is None:
            return None, "this program has no such codec or setting"
        try:
            return (job, "") if point.key == point_key(job, point.codec, how.shallow) else (None, _CHANGED)
        except FacecodecError as err:  # no FFmpeg, or weights that are damaged
            return None, describe(err)


def take_over(earlier: Results, clips: Sequence[Clip], jobs: Sequence[Job], how: Measuring) -> Taken:
    """Put what holds of an earlier run into the cache.

    Args:
        earlier: the run.
        clips: of this run.
        jobs: of this run. Points of codecs that it does not measure are given back, if they hold.
        how: this run measures. What lacks LPIPS-vgg and DISTS, or has them of other frames, is given back
            without them.
    """
    plan = _Plan.of(clips, jobs)
    points: list[RatePoint] = []
    lost: Counter[tuple[str, str]] = Counter()
    count = deep = 0
    for point in earlier.points:
        job, reason = plan.find(point, how)
        if job is None:
            if not plan.makes(point):
                codec = point.codec if point.clip in plan.clips else ""
                lost[codec, f"points were dropped: {reason}"] += 1
            continue
        taken = _take(point, job, how)
        count, deep = count + 1, deep + bool(taken.deep_key)
        if point.codec not in plan.curves:
            points.append(taken)
            if how.wants_deep and not taken.deep_key:
                lost[point.codec, "points have no LPIPS-vgg and DISTS of these frames"] += 1
    dropped = tuple(LeftOut("", codec, f"{n} earlier {what}") for (codec, what), n in lost.items())
    return Taken(tuple(points), dropped, count, deep, len(earlier.points))


def _take(point: RatePoint, job: Job, how: Measuring) -> RatePoint:
    """Put a point that holds into the cache, with LPIPS-vgg and DISTS if they hold too."""
    curve, key = point.codec, deep_key(job, point.codec, how)
    shallow, deep = cached_shallow(job, curve, how), cached_deep(job, curve, how)
    if shallow is None:
        shallow = replace(without_deep(point), version=version_of(job, curve))
        keep_point(shallow, job, curve, how)
    if deep is None and key == point.deep_key:
        deep = {"lpips_vgg": point.quality.lpips_vgg, "dists": point.quality.dists}
        keep_deep(deep, job, curve, how)
    return with_deep(shallow, deep or {}, key)
