"""The reference codec against every anchor in every measure: BD-rates over clips, or why there are none.

PCHIP decides: it never leaves the range of rates between two measured points. Akima, which is nearer the
truth for smooth curves of many points, has been seen to swing far out where a measure saturates within four
(DISTS: -83 against -26 %), so it stands beside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from facecodec.benchmark.curves import clips_of, codecs_of, curve_of
from facecodec.benchmark.measures import SHOWN, Measure
from facecodec.benchmark.own import BASELINES
from facecodec.benchmark.results import BdRecord, RatePoint, Results
from facecodec.metrics.bdrate import BdRate, bd_rate, bootstrap_interval

Verdict = Literal["win", "floor", "open", "loss", "unknown"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One anchor in one measure, over the clips.

    Attributes:
        anchor: name of the curve.
        measure: which.
        clips: on how many clips both were measured.
        used: on how many of them there is a BD-rate; it is given where that is at least half of them.
        pchip: BD-rate in per cent: the geometric mean of the clips' ratios of rates. Negative: the reference
            codec takes fewer bits. None where it is refused.
        interval: 95 %, bootstrap over the clips; None for a single clip.
        akima: the same mean by Akima, to see how much the interpolation decides.
        overlap: mean over the clips; see :class:`facecodec.metrics.bdrate.BdRate`.
        union: mean over the clips of the ranges' intersection over their union, as the package counts
            overlap.
        reason: why there is no BD-rate; the commonest one of the clips.
        factor: where it is refused: how many times the bits the anchor's cheapest point of equal or better
            quality costs, geometric mean over the clips that have one.
        factor_interval: 95 %, bootstrap over the clips.
        unmatched: on how many clips the anchor is nowhere as good as the reference codec's worst point.
        by_clip: (name of the sequence, what its two curves say).
    """

    anchor: str
    measure: Measure
    clips: int
    used: int
    pchip: float | None
    interval: tuple[float, float] | None
    akima: float | None
    overlap: float
    union: float
    reason: str
    factor: float | None
    factor_interval: tuple[float, float] | None
    unmatched: int
    by_clip: tuple[tuple[str, BdRate], ...] = ()

    @property
    def baseline(self) -> bool:
        """Whether it is against a curve of this codec's own streams, not against another codec."""
        return self.anchor in BASELINES

    @property
    def verdict(self) -> Verdict:
        """Whether the reference codec wins: the whole interval has to lie on one side, else it is ``open``.

        With a single clip its own figure decides, but not if others were refused. Without a BD-rate: ``win``
        where the anchor is nowhere as good on more than half of the clips; ``floor`` where its cheapest point
        of equal or better quality costs more bits, so that only the reference codec goes so low; ``loss``
        where that point costs fewer.
        """
        if self.pchip is not None:
            if self.interval is None and self.clips > 1:
                return "open"
            return _side(self.interval or (self.pchip, self.pchip), 0.0)
        if self.clips and self.unmatched > self.clips / 2:
            return "win"
        if self.factor is None or self.clips - self.unmatched < self.clips / 2:
            return "unknown"
        if self.factor_interval is None and self.clips > 1:
            return "unknown"
        low, high = self.factor_interval or (self.factor, self.factor)
        side = _side((-high, -low), -1.0)
        return "floor" if side == "win" else side


def _side(interval: tuple[float, float], border: float) -> Verdict:
    """Win below the border, loss above it."""
    if interval[1] < border:
        return "win"
    return "loss" if interval[0] > border else "open"


def compare(results: Results, measures: Sequence[Measure] = SHOWN) -> tuple[Comparison, ...]:
    """Every anchor of a run in every measure: other codecs first, then this codec's own baselines.

    Measures that no clip has for both codecs are left out.
    """
    by_curve: dict[tuple[str, str], list[RatePoint]] = {}
    for point in results.points:
        by_curve.setdefault((point.codec, point.clip), []).append(point)
    out = []
    for anchor in sorted(codecs_of(results), key=lambda name: name in BASELINES):
        if anchor == results.reference:
            continue
        for measure in measures:
            found: dict[str, BdRate] = {}
            for clip in clips_of(results):
                one = curve_of(by_curve.get((anchor, clip), []), measure)
                two = curve_of(by_curve.get((results.reference, clip), []), measure)
                if one.measured and two.measured:
                    found[clip] = bd_rate(one, two)
            if found:
                out.append(_over_clips(anchor, measure, found))
    return tuple(out)


def with_bd_rates(results: Results) -> Results:
    """The same run with its BD-rates, clip by clip and their means, as they are stored."""
    records = []
    for c in compare(results):
        low, high = c.interval or (None, None)
        clips = tuple((clip, bd.pchip) for clip, bd in c.by_clip)
        records.append(BdRecord(c.anchor, c.measure.field, c.pchip, low, high, clips))
    return replace(results, bd_rates=tuple(records))


def _over_clips(anchor: str, measure: Measure, by_clip: Mapping[str, BdRate]) -> Comparison:
    found = list(by_clip.values())
    pchip, interval, akima = None, None, None
    used = [(bd.akima, bd.pchip) for bd in found if bd.akima is not None and bd.pchip is not None]
    refused = 2 * len(used) < len(found)
    if not refused:
        pchip, interval = _percent([p for _, p in used])
        akima, _ = _percent([a for a, _ in used])
    factors = [math.log(bd.cheapest) for bd in found if bd.cheapest is not None]
    factor, factor_interval = _factor(factors) if refused and factors else (None, None)
    reasons = Counter(bd.reason for bd in found if bd.reason)
    return Comparison(
        anchor=anchor,
        measure=measure,
        clips=len(found),
        used=len(used),
        pchip=pchip,
        interval=interval,
        akima=akima,
        overlap=math.fsum(bd.overlap for bd in found) / len(found),
        union=math.fsum(bd.union for bd in found) / len(found),
        reason=reasons.most_common(1)[0][0] if refused else "",
        factor=factor,
        factor_interval=factor_interval,
        unmatched=sum(bd.cheapest is None for bd in found),
        by_clip=tuple(by_clip.items()),
    )


def _percent(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Mean of ratios given in per cent of change, and its interval."""
    factor, interval = _factor([math.log(max(1 + v / 100, 1e-9)) for v in values])
    shown = None if interval is None else (100 * (interval[0] - 1), 100 * (interval[1] - 1))
    return 100 * (factor - 1), shown


def _factor(logarithms: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Geometric mean, and its interval."""
    ends = bootstrap_interval(logarithms)
    mean = math.exp(math.fsum(logarithms) / len(logarithms))
    return mean, None if ends is None else (math.exp(ends[0]), math.exp(ends[1]))
