"""Curves of quality over rate: hulls over resolutions, of single clips and of means over clips.

The hull is taken over (rate, quality) with the rate as it is, not its logarithm. What lies under such a hull
is beaten by coding a part of the time at one of its corners and the rest at the next, which is linear in rate
and, for measures that are means over frames, in quality: an operating point that exists. A chord over the
logarithm of the rate lies higher, where nothing was measured and nothing can be coded. Corners are measured
points, so BD-rates are interpolated between measured points alone (on the logarithm of the rate, as always),
and slopes that fall from corner to corner keep the interpolation from swinging where two points of
neighbouring resolutions nearly agree. The hull of a codec at one resolution is built the same way, so that
noise in a measure helps no curve more than another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from facecodec.benchmark.measures import Measure
from facecodec.benchmark.results import RatePoint, Results
from facecodec.metrics.bdrate import Curve


@dataclass(frozen=True, slots=True)
class MeanPoint:
    """A codec at one setting, mean over the clips.

    Attributes:
        codec: name of the curve.
        scale: coded at 1/scale of the side.
        setting: the value that is swept.
        kbps: arithmetic mean over the clips.
        values: of each measure of the list that was asked for; NaN where a clip has none.
    """

    codec: str
    scale: int
    setting: str
    kbps: float
    values: tuple[float, ...]


def upper_hull(kbps: Sequence[float], quality: Sequence[float], *, lower_is_better: bool = False) -> Curve:
    """The points that neither another one nor a mixture in time of two others beats.

    Args:
        kbps: rates, positive.
        quality: of each; values that are not finite are left out.
        lower_is_better: as for LPIPS; the curve's quality is then the negative.

    Returns:
        From the cheapest point to the best; slopes over the rate fall.

    Raises:
        ConfigError: a rate is not positive, or lengths differ.
    """
    front = Curve.of(kbps, quality, lower_is_better=lower_is_better)
    hull: list[tuple[float, float]] = []
    for point in zip(front.kbps, front.quality, strict=True):
        while len(hull) > 1 and not _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return Curve(tuple(p[0] for p in hull), tuple(p[1] for p in hull), front.measured)


def _turns_right(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) > (c[1] - a[1]) * (b[0] - a[0])


def codecs_of(results: Results) -> tuple[str, ...]:
    """Names of the curves: the reference first, the others as they come."""
    names = dict.fromkeys(point.codec for point in results.points)
    first = [results.reference] if results.reference in names else []
    return tuple(first + [name for name in names if name != results.reference])


def clips_of(results: Results) -> tuple[str, ...]:
    """Names of the sequences, as they come."""
    return tuple(dict.fromkeys(point.clip for point in results.points))


def curve_of(points: Iterable[RatePoint], measure: Measure) -> Curve:
    """Hull of a codec's points on one clip, over all resolutions."""
    there = [p for p in points if p.kbps > 0]
    values = [measure.of(p.quality) for p in there]
    return upper_hull([p.kbps for p in there], values, lower_is_better=not measure.higher_is_better)


def mean_curve(points: Iterable[MeanPoint], measure: Measure, measures: Sequence[Measure]) -> Curve:
    """Hull of a codec's mean points, over all resolutions.

    Args:
        points: of one codec.
        measure: which.
        measures: what the points' values are of.
    """
    place = list(measures).index(measure)
    there = [p for p in points if p.kbps > 0]
    values = [p.values[place] for p in there]
    return upper_hull([p.kbps for p in there], values, lower_is_better=not measure.higher_is_better)


def mean_points(results: Results, measures: Sequence[Measure]) -> tuple[MeanPoint, ...]:
    """Means over the clips of every codec, resolution and setting that all clips of that codec have.

    A setting that some clips lack would be a mean over other clips than its neighbours.
    """
    out = []
    for codec in codecs_of(results):
        own = [p for p in results.points if p.codec == codec]
        clips = {p.clip for p in own}
        for scale, setting in dict.fromkeys((p.scale, p.setting) for p in own):
            group = {p.clip: p for p in own if (p.scale, p.setting) == (scale, setting)}
            if group.keys() != clips:
                continue
            values = tuple(_mean([m.of(p.quality) for p in group.values()]) for m in measures)
            out.append(MeanPoint(codec, scale, setting, _mean([p.kbps for p in group.values()]), values))
    return tuple(sorted(out, key=lambda p: (codecs_of(results).index(p.codec), p.kbps)))


def _mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN where one of them is."""
    return math.fsum(values) / len(values) if all(math.isfinite(v) for v in values) else math.nan
