"""Where another codec is ahead of the reference codec at equal rate, by the hulls of means over clips.

A BD-rate is one figure for a whole range of quality: a codec can win by it and be behind from some rate on.
Here that rate is found. Hulls are linear in rate between their corners (:mod:`facecodec.benchmark.curves`),
so they cross where those lines do; above its best point a codec keeps that point's quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecodec.benchmark.curves import MeanPoint, codecs_of, mean_curve
from facecodec.benchmark.measures import Measure
from facecodec.benchmark.own import BASELINES
from facecodec.benchmark.results import Results
from facecodec.metrics.bdrate import Curve
from facecodec.types import F64Array


@dataclass(frozen=True, slots=True)
class Lead:
    """A range of rates in which another codec is ahead, inside the reference codec's range.

    Attributes:
        anchor: name of the curve.
        measure: in which it is ahead.
        begin: kbit/s from which on.
        end: kbit/s up to which; None where it stays ahead up to the reference codec's highest rate.
    """

    anchor: str
    measure: Measure
    begin: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """All of that in words.

    Attributes:
        said: a sentence: in how many measures, and in which ones not.
        lines: one for each measure in which another codec is ahead, such as ``PSNR-Y: svt-av1 is ahead from
            6.7 kbit/s on, libaom from 7.2``; the earliest first.
    """

    said: str
    lines: tuple[str, ...]


def where_ahead(results: Results, points: Sequence[MeanPoint], measures: Sequence[Measure]) -> Ahead:
    """Say where other codecs are ahead; this codec's own baselines are none.

    Args:
        results: the run.
        points: of :func:`facecodec.benchmark.curves.mean_points`.
        measures: what the points' values are of.
    """
    rates = [p.kbps for p in points if p.codec == results.reference and p.kbps > 0]
    if not rates:
        return Ahead("", ())
    leads = find_leads(results, points, measures, BASELINES)
    span = f"{_rate(min(rates))} to {_rate(max(rates))} kbit/s"
    behind = list(dict.fromkeys(lead.measure for lead in leads))
    others = ", ".join(m.short for m in measures if m not in behind)
    said = f"At equal rate, by means over clips and inside {results.reference}'s own range of {span}, "
    if not behind:
        return Ahead(f"{said}no other codec is ahead anywhere in {len(measures)} measures.", ())
    said += f"another codec is ahead somewhere in {len(behind)} of {len(measures)} measures"
    said += f", and none in {others}." if others else "."
    return Ahead(said, tuple(_line(m, [lead for lead in leads if lead.measure == m]) for m in behind))


def _line(measure: Measure, leads: Sequence[Lead]) -> str:
    """Every codec that is ahead in a measure, the one that is so from the lowest rate on first."""
    first, *others = sorted(leads, key=lambda lead: lead.begin)
    end = "kbit/s on" if first.end is None else f"to {_rate(first.end)} kbit/s"
    said = f"{measure.short}: {first.anchor} is ahead from {_rate(first.begin)} {end}"
    for lead in others:
        until = "" if lead.end is None else f" to {_rate(lead.end)}"
        said += f", {lead.anchor} from {_rate(lead.begin)}{until}"
    return f"{said}."


def _rate(kbps: float) -> str:
    return f"{kbps:.1f}" if kbps < 10 else f"{kbps:.0f}"


def find_leads(
    results: Results, points: Sequence[MeanPoint], measures: Sequence[Measure], leave_out: Sequence[str] = ()
) -> tuple[Lead, ...]:
    """Every range in which another codec is ahead, by measure, then codec, then rate.

    Args:
        results: the run.
        points: of :func:`facecodec.benchmark.curves.mean_points`.
        measures: what the points' values are of.
        leave_out: codecs that are not asked for.
    """
    by_codec = {name: [p for p in points if p.codec == name] for name in codecs_of(results)}
    own = by_codec.pop(results.reference, [])
    out = []
    for measure in measures:
        reference = mean_curve(own, measure, measures)
        for name, group in by_codec.items():
            if name not in leave_out:
                ranges = ahead(mean_curve(group, measure, measures), reference)
                out += [Lead(name, measure, begin, end) for begin, end in ranges]
    return tuple(out)


def ahead(anchor: Curve, reference: Curve) -> list[tuple[float, float | None]]:
    """Ranges of rate in which one hull lies above another, inside the other's range.

    Args:
        anchor: the one.
        reference: the other.

    Returns:
        (from, up to) kbit/s; None for the upper end of the reference's range.
    """
    if not anchor.kbps or not reference.kbps or anchor.kbps[0] > reference.kbps[-1]:
        return []
    low, high = max(anchor.kbps[0], reference.kbps[0]), reference.kbps[-1]
    corners = np.unique([low, high, *(k for k in (*anchor.kbps, *reference.kbps) if low < k < high)])
    gaps = _at(anchor, corners) - _at(reference, corners)
    out: list[tuple[float, float | None]] = []
    begin = low if gaps[0] > 0 else None
    for left, right, before, after in zip(corners, corners[1:], gaps, gaps[1:], strict=False):
        if (before > 0) == (after > 0):
            continue
        crossing = float(left + (right - left) * before / (before - after))
        if begin is None:
            begin = crossing
        else:
            out.append((begin, crossing))
            begin = None
    return out if begin is None else [*out, (begin, None)]


def _at(curve: Curve, rates: F64Array) -> F64Array:
    return np.interp(rates, curve.kbps, curve.quality)
