"""BD-rate: how many per cent more or fewer bits a codec takes than an anchor for equal quality.

Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001; interpolated as in
Herglotz, Kränzler, Mons, Kaup, "Beyond Bjøntegaard: limits of video compression performance comparisons",
ICIP 2022 (Akima) and in JVET's common test conditions (PCHIP), on the logarithm of the rate. The package
``bjontegaard`` does the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facecodec.errors import ConfigError
from facecodec.types import F64Array

MIN_POINTS = 4
"""Points that have to be measured of a curve."""

MIN_VERTICES = 3
"""Points of a curve that have to be left when those that others beat are taken out."""

MIN_OVERLAP = 0.5
"""Share of the tested codec's range of quality that the anchor has to reach too."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Rates and quality of a codec, both rising.

    Attributes:
        kbps: positive, strictly rising.
        quality: of each rate, strictly rising, higher is better (see :meth:`of` for measures where lower is).
        measured: how many points were measured, those that are left out here too.
    """

    kbps: tuple[float, ...]
    quality: tuple[float, ...]
    measured: int

    def __post_init__(self) -> None:
        """Check order and lengths.

        Raises:
            ConfigError: a rate is not positive, lengths differ, or a series does not rise.
        """
        if len(self.kbps) != len(self.quality) or not all(k > 0 for k in self.kbps):
            raise ConfigError("kbps", self.kbps, "one positive rate for each quality")
        for name, series in (("kbps", self.kbps), ("quality", self.quality)):
            if not all(a < b for a, b in zip(series, series[1:], strict=False)):
                raise ConfigError(name, series, "strictly rising")

    @classmethod
    def of(cls, kbps: Sequence[float], quality: Sequence[float], *, lower_is_better: bool = False) -> Curve:
        """The points that no other beats: cheaper or equal and at least as good. Order does not matter.

        Args:
            kbps: rates, positive.
            quality: of each; values that are not finite are left out.
            lower_is_better: as for LPIPS; the quality is then the negative of what is given.

        Raises:
            ConfigError: a rate is not positive, or lengths differ.
        """
        if len(kbps) != len(quality):
            raise ConfigError("quality", len(quality), f"{len(kbps)} values, one for each rate")
        sign = -1.0 if lower_is_better else 1.0
        pairs = [(k, sign * q) for k, q in zip(kbps, quality, strict=True) if math.isfinite(q)]
        front: list[tuple[float, float]] = []
        for rate, value in sorted(pairs, key=lambda p: (p[0], -p[1])):
            if not front or value > front[-1][1]:
                front.append((rate, value))
        return cls(tuple(p[0] for p in front), tuple(p[1] for p in front), len(set(pairs)))


@dataclass(frozen=True, slots=True)
class BdRate:
    """What two curves say about each other.

    Attributes:
        akima: BD-rate in per cent, interpolated by Akima; negative where the tested codec takes fewer bits.
            None where it is refused.
        pchip: the same by PCHIP.
        overlap: share of the tested codec's range of quality that the anchor reaches too, 0 to 1.
        union: the ranges' intersection over their union, as the package counts it; an anchor swept more
            widely has less.
        reason: why there is no BD-rate; empty where there is one.
        cheapest: see :func:`cheapest_factor`.
    """

    akima: float | None
    pchip: float | None
    overlap: float
    union: float
    reason: str
    cheapest: float | None

    def __str__(self) -> str:
        """One line for people; the overlap is always in it."""
        if self.akima is not None and self.pchip is not None:
            said = f"{self.pchip:+.1f} % (Akima {self.akima:+.1f} %)"
        else:
            said = f"refused: {self.reason}"
            said += f"; {self.cheapest:.2f} times the bits" if self.cheapest is not None else ""
        return f"{said}, overlap {100 * self.overlap:.0f} %"


def bd_rate(anchor: Curve, test: Curve) -> BdRate:
    """BD-rate of a tested codec against an anchor.

    It is refused where a curve has fewer than four measured points or fewer than three that no other beats,
    and where the anchor reaches less than half of the tested codec's range of quality.

    Args:
        anchor: what is compared with.
        test: what is judged.
    """
    overlap, union = _overlaps(anchor, test)
    cheapest = cheapest_factor(anchor, test)
    reason = _refusal(anchor, test, overlap)
    if reason:
        return BdRate(None, None, overlap, union, reason, cheapest)
    return BdRate(_delta(anchor, test, "akima"), _delta(anchor, test, "pchip"), overlap, union, "", cheapest)


def cheapest_factor(anchor: Curve, test: Curve) -> float | None:
    """How many times the bits the anchor's cheapest point of equal or better quality costs.

    Taken at the tested codec's best point that the anchor matches at all. Where the anchor's floor lies above
    all of the tested codec's qualities, that is its floor against the tested codec's dearest point, which is
    the least that can be said.

    Returns:
        Rate of the anchor over rate of the tested codec; below 1 where the anchor is cheaper. None where the
        anchor is nowhere as good.
    """
    for rate, quality in zip(reversed(test.kbps), reversed(test.quality), strict=True):
        for other, reached in zip(anchor.kbps, anchor.quality, strict=True):
            if reached >= quality:
                return other / rate
    return None


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """Confidence interval of a mean, by resampling with replacement (percentile method).

    Efron, Tibshirani, "An introduction to the bootstrap", 1993.

    Args:
        values: finite; one for each clip.
        level: of confidence, between 0 and 1.
        resamples: how many times to draw.
        seed: equal seeds give equal intervals.

    Returns:
        Lower and upper end; None for fewer than two values.

    Raises:
        ConfigError: ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError("level", level, "between 0 and 1")
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means: F64Array = np.asarray(values, np.float64)[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _overlaps(anchor: Curve, test: Curve) -> tuple[float, float]:
    """Intersection of the ranges of quality over the tested codec's range, and over their union."""
    if not anchor.quality or not test.quality:
        return 0.0, 0.0
    low = max(anchor.quality[0], test.quality[0])
    high = min(anchor.quality[-1], test.quality[-1])
    shared = max(high - low, 0.0)
    whole = max(anchor.quality[-1], test.quality[-1]) - min(anchor.quality[0], test.quality[0])
    own = test.quality[-1] - test.quality[0]
    return (shared / own if own > 0 else 0.0), (shared / whole if whole > 0 else 0.0)


def _refusal(anchor: Curve, test: Curve, overlap: float) -> str:
    for name, curve in (("anchor", anchor), ("tested codec", test)):
        if curve.measured < MIN_POINTS:
            return f"the {name} has {curve.measured} measured points, {MIN_POINTS} are needed"
        if len(curve.quality) < MIN_VERTICES:
            return f"{len(curve.quality)} of {curve.measured} points of the {name} are left on its hull"
    if overlap == 0 and anchor.quality[0] > test.quality[-1]:
        return "the anchor's worst point is better than the tested codec's best"
    if overlap == 0:
        return "the anchor's best point is worse than the tested codec's worst"
    if overlap < MIN_OVERLAP:
        return "the anchor reaches less than half of the tested codec's range of quality"
    return ""


def _delta(anchor: Curve, test: Curve, method: Literal["akima", "pchip"]) -> float:
    import bjontegaard  # draws too: imports matplotlib, which only the benchmark has

    curves = (anchor.kbps, anchor.quality, test.kbps, test.quality)
    return float(bjontegaard.bd_rate(*curves, method, require_matching_points=False, min_overlap=0))
