"""The tables of a report, as text that HTML, Markdown and CSV are made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

from facecodec.benchmark.compare import Comparison, Verdict
from facecodec.benchmark.curves import MeanPoint, clips_of, codecs_of
from facecodec.benchmark.measures import Measure
from facecodec.benchmark.results import PartBytes, RatePoint, Results


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell.

    Attributes:
        text: the figure.
        note: what explains it, shown beside or below it.
        verdict: colours it; None for plain figures.
    """

    text: str
    note: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its heading.

    Attributes:
        title: heading.
        text: what has to be known to read it.
        head: of the columns; the first column names the rows.
        rows: as long as the head.
    """

    title: str
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def markdown(self) -> str:
        """The table alone, without heading and text."""
        lines = ["| " + " | ".join(escaped(name) for name in self.head) + " |"]
        lines.append("|---|" + "---:|" * (len(self.head) - 1))
        for row in self.rows:
            cells = [escaped(f"{c.text} ({c.note})" if c.note else c.text) for c in row]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text for Markdown that neither ends a cell nor is taken for a tag or markup."""
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def number(value: float | None, digits: int) -> str:
    """A figure with digits after the point; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """Per cent of change."""
    digits = 0 if abs(value) >= 10 else 1
    return f"{value:+.{digits}f} %".replace("-", "\u2212")


def factor_text(value: float) -> str:
    """So many times the bits."""
    return f"\u00d7{value:.2f}" if value < 10 else f"\u00d7{value:.0f}"


def verdict_cell(found: Comparison) -> Cell:
    """BD-rate and its interval, or the factor and why there is no BD-rate."""
    overlap = f"overlap {100 * found.overlap:.0f} %"
    if found.pchip is not None:
        ends = f"{signed(found.interval[0])} to {signed(found.interval[1])}; " if found.interval else ""
        some = f"; {found.used} of {found.clips} clips" if found.used < found.clips else ""
        return Cell(signed(found.pchip), f"{ends}{overlap}{some}{_akima_note(found)}", found.verdict)
    if found.verdict == "win":
        return Cell("never", f"on {found.unmatched} of {found.clips} clips", found.verdict)
    if found.factor is None:
        return Cell("-", f"{found.reason}; {overlap}", found.verdict)
    limits = found.factor_interval
    span = f"{factor_text(limits[0])} to {factor_text(limits[1])}; " if limits else ""
    return Cell(factor_text(found.factor), f"{span}{overlap}", found.verdict)


def _akima_note(found: Comparison) -> str:
    """The other interpolation, where it changes the bits by more than a tenth."""
    if found.akima is None or found.pchip is None:
        return ""
    ratio = (100 + found.akima) / (100 + found.pchip)
    return "" if 1 / 1.1 <= ratio <= 1.1 else f"; Akima {signed(found.akima)}"


def bd_table(found: Sequence[Comparison], reference: str) -> Table:
    """Measures down, anchors across."""
    anchors = tuple(dict.fromkeys(c.anchor for c in found))
    measures = tuple(dict.fromkeys(c.measure for c in found))
    by_place = {(c.anchor, c.measure): c for c in found}
    rows = []
    for measure in measures:
        cells = [by_place.get((anchor, measure)) for anchor in anchors]
        rows.append((Cell(measure.title), *(Cell("-") if c is None else verdict_cell(c) for c in cells)))
    text = (
        f"BD-rate of {reference} against each anchor: bits for equal quality, negative where {reference} "
        "takes fewer. PCHIP interpolation on the logarithm of the rate over hulls of all resolutions (Akima "
        "is named where it differs by more than a tenth); geometric mean over clips, 95 % interval by "
        f"bootstrap over clips. It is refused where the anchor reaches less than half of {reference}'s range "
        "of quality on more than half of the clips. \u00d7n says instead that the anchor's cheapest point of "
        f"equal or better quality costs n times the bits; never: within its sweep it is nowhere as good as "
        f"{reference}'s worst point."
    )
    return Table("BD-rate", text, ("", *anchors), tuple(rows))


def refusal_table(found: Sequence[Comparison]) -> Table:
    """Both interpolations beside each other, or why there is no BD-rate."""
    rows = []
    for c in found:
        values = [Cell("-" if v is None else signed(v)) for v in (c.pchip, c.akima)]
        counts = (*(Cell(f"{100 * o:.0f} %") for o in (c.overlap, c.union)), Cell(f"{c.used} of {c.clips}"))
        rows.append((Cell(f"{c.anchor}, {c.measure.title}"), *values, *counts, Cell(c.reason or "-")))
    head = ("anchor, measure", "PCHIP", "Akima", "overlap", "of the union", "clips", "refused because")
    text = (
        "Both interpolations; where they differ, trust neither far. Overlap decides; beside it is the "
        "ranges' intersection over their union, which an anchor that is swept further has less of. The "
        "reason is the commonest of the clips."
    )
    return Table("BD-rates in full", text, head, tuple(rows))


def share_table(results: Results) -> Table:
    """Where the reference codec's bytes go, by setting, and what key frames take of the anchors."""
    parts = [f.name for f in fields(PartBytes)]
    rows = []
    own = [p for p in results.points if p.codec == results.reference]
    lengths = sorted({round(p.frames / p.fps) for p in own if p.fps > 0})
    for setting in dict.fromkeys(p.setting for p in own):
        for seconds in lengths:
            group = [
                p for p in own if p.setting == setting and p.fps > 0 and round(p.frames / p.fps) == seconds
            ]
            if group:
                rows.append(_share_row(f"{results.reference}, {setting}, {seconds} s", group, parts))
    for codec in codecs_of(results):
        for seconds in lengths if codec != results.reference else ():
            group = [p for p in results.points if p.codec == codec and p.scale == 1 and p.fps > 0]
            group = [p for p in group if round(p.frames / p.fps) == seconds and p.still_share is not None]
            if group:
                cheapest = min(dict.fromkeys(p.setting for p in group), key=lambda s: _rate(group, s))
                chosen = [p for p in group if p.setting == cheapest]
                rows.append(_share_row(f"{codec}, {cheapest}, {seconds} s", chosen, parts))
    text = (
        "Share of the bytes that reference pictures (of an anchor: the key frame, at its cheapest setting at "
        "full size) take, by length of the clips, and the other parts of a stream. Mean over clips."
    )
    head = ("codec, setting, length", "clips", "kbit/s", "reference or key frame", *parts[1:], "other")
    return Table("Where the bytes go", text, head, tuple(rows))


def _rate(points: Sequence[RatePoint], setting: str) -> float:
    rates = [p.kbps for p in points if p.setting == setting]
    return math.fsum(rates) / len(rates)


def _share_row(name: str, group: Sequence[RatePoint], parts: Sequence[str]) -> tuple[Cell, ...]:
    def share(values: Sequence[float]) -> Cell:
        mean = math.fsum(values) / len(values)
        return Cell(f"{100 * mean:.1f} %" if mean else "-")

    known = [p.still_share for p in group if p.still_share is not None]
    cells = [
        Cell(name),
        Cell(str(len(group))),
        Cell(number(math.fsum(p.kbps for p in group) / len(group), 2)),
    ]
    cells.append(share(known) if known else Cell("-"))
    shares = {part: [getattr(p.parts, part) / max(p.size_bytes, 1) for p in group] for part in parts}
    cells += [share(shares[part]) for part in parts[1:]]
    has_parts = any(any(values) for values in shares.values())
    rest = [1 - math.fsum(shares[part][i] for part in parts) for i in range(len(group))]
    return (*cells, share(rest) if has_parts else Cell("-"))


def speed_table(results: Results) -> Table:
    """Frames a second, times real time and memory of every codec."""
    rows = []
    for codec in codecs_of(results):
        own = [p for p in results.points if p.codec == codec]
        own = [p for p in own if p.scale == 1] or own
        encode, decode = (_median([getattr(p.cost, f"{w}_fps") for p in own]) for w in ("encode", "decode"))
        real = [p for p in own if p.fps > 0]
        times = (_median([getattr(p.cost, f"{w}_fps") / p.fps for p in real]) for w in ("encode", "decode"))
        memory = Cell(number(max(p.cost.peak_mib for p in own), 0))
        figures = [Cell(number(v, 1 if v < 100 else 0)) for v in (encode, decode)]
        figures += [Cell(number(t, 2 if t < 10 else 0)) for t in times]
        rows.append((Cell(codec), *figures, memory))
    text = (
        "Frames for each second of processor time, all threads together: what one core does. Medians of all "
        "points at full size; memory is the highest. Real time: 1 keeps up with the clip on one core."
    )
    head = ("codec", "encode, fps", "decode, fps", "encode, \u00d7 real time", "decode, \u00d7 real time")
    return Table("Speed and memory", text, (*head, "peak memory, MiB"), tuple(rows))


def _median(values: Sequence[float]) -> float:
    """Median of the finite values; NaN where there is none, as for what costs nothing to decode."""
    there = [v for v in values if math.isfinite(v)]
    return median(there) if there else math.nan


def stage_table(results: Results) -> Table | None:
    """Milliseconds of the reference codec's stages; None where they were not measured."""
    seen: dict[str, list[float]] = {}
    for point in results.points:
        for stage, took in point.cost.stages_ms if point.codec == results.reference else ():
            seen.setdefault(stage, []).append(took)
    if not seen:
        return None
    rows = tuple((Cell(stage), Cell(number(median(took), 2))) for stage, took in seen.items())
    text = "All of a stage's time over all frames of a clip; median over clips and settings."
    return Table(f"Stages of {results.reference}", text, ("stage", "ms a frame"), rows)


def means_table(points: Sequence[MeanPoint], measures: Sequence[Measure]) -> Table:
    """Every codec at every setting that all of its clips have."""
    rows = []
    for point in points:
        name = (Cell(point.codec), Cell(f"1/{point.scale}" if point.scale > 1 else "1"), Cell(point.setting))
        figures = (Cell(number(v, m.digits)) for v, m in zip(point.values, measures, strict=True))
        rows.append((*name, Cell(number(point.kbps, 2)), *figures))
    head = ("codec", "size", "setting", "kbit/s", *(m.short for m in measures))
    return Table("All points, mean over clips", "Settings that every clip of a codec has.", head, tuple(rows))


def left_out_table(results: Results) -> Table:
    """What could not be measured."""
    rows = tuple((Cell(x.clip or "all"), Cell(x.codec or "all"), Cell(x.reason)) for x in results.left_out)
    text = "" if rows else "Nothing: every clip, codec and measure that was asked for is here."
    return Table("Left out", text, ("clip", "codec", "why"), rows)


def codec_table(results: Results) -> Table:
    """Version, range of settings and one command of every codec."""
    rows = []
    for codec in codecs_of(results):
        own = [p for p in results.points if p.codec == codec]
        settings = list(dict.fromkeys(p.setting for p in sorted(own, key=lambda p: p.kbps)))
        span = settings[0] if len(settings) == 1 else f"{settings[0]} to {settings[-1]} ({len(settings)})"
        scales = ", ".join(f"1/{s}" if s > 1 else "1" for s in sorted({p.scale for p in own}))
        versions = "; ".join(dict.fromkeys(p.version for p in own))
        rows.append((Cell(codec), Cell(versions), Cell(scales), Cell(span), Cell(own[0].command)))
    text = "One command of each codec; those of all points are in points.csv."
    return Table(
        "Commands and versions", text, ("codec", "version", "sizes", "settings", "command"), tuple(rows)
    )


def machine_table(results: Results) -> Table:
    """Where the run was made."""
    found = results.machine
    rows = tuple((Cell(f.name), Cell(str(getattr(found, f.name)))) for f in fields(found))
    sizes = ", ".join(dict.fromkeys(f"{p.width}x{p.height}" for p in results.points))
    lengths = ", ".join(dict.fromkeys(f"{p.frames}" for p in results.points))
    sampled = "not recorded" if results.sampled is None else str(results.sampled)
    more = [("clips", f"{len(clips_of(results))}, {sizes}, {lengths} frames"), ("made", results.made)]
    more += [("sampling", sampled), *(("kept of an earlier run", line) for line in results.kept)]
    cells = ((Cell(fact), Cell(value)) for fact, value in more)
    return Table("Machine", "", ("fact", "value"), (*rows, *cells))
