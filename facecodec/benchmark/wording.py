"""Where the reference codec wins and where it loses, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facecodec.benchmark.compare import Comparison
from facecodec.benchmark.curves import clips_of, codecs_of
from facecodec.benchmark.results import Results
from facecodec.benchmark.tables import escaped, factor_text, signed

FEW_CLIPS = 6
"""Below so many clips a bootstrap over clips is said to say little."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One anchor, in words.

    Attributes:
        anchor: name of the curve.
        wins: measures in which the reference codec takes fewer bits.
        floor: measures in which the anchor cannot go so low in rate.
        losses: measures in which the anchor takes fewer bits.
        undecided: measures whose interval holds both, or that cannot be compared.
    """

    anchor: str
    wins: str
    floor: str
    losses: str
    undecided: str


def headline(results: Results, found: Sequence[Comparison]) -> str:
    """One sentence over everything."""
    anchors = tuple(dict.fromkeys(c.anchor for c in found))
    counts = {v: sum(c.verdict == v for c in found) for v in ("win", "floor", "open", "loss", "unknown")}
    clips = len(clips_of(results))
    said = (
        f"{results.reference} against {len(anchors)} anchors on {clips} {'clip' if clips == 1 else 'clips'} "
        f"in {len({c.measure for c in found})} measures: it takes fewer bits for equal quality in "
        f"{counts['win']} of {len(found)} comparisons, more in {counts['loss']}."
    )
    if counts["floor"]:
        said += f" In {counts['floor']} the anchor reaches that quality or a better one, but no rate as low."
    if counts["open"] + counts["unknown"]:
        said += f" {counts['open'] + counts['unknown']} stay undecided."
    if clips < FEW_CLIPS:
        said += " So few clips say little: intervals are hardly more than the range over them."
    return said


def by_group(found: Sequence[Comparison]) -> tuple[str, ...]:
    """Wins and losses of each group of measures, a sentence each."""
    out = []
    for group in dict.fromkeys(c.measure.group for c in found):
        own = [c.verdict for c in found if c.measure.group == group]
        counts = [(own.count("win"), "won"), (own.count("floor"), "below the anchor's floor")]
        counts += [(own.count("loss"), "lost"), (own.count("open") + own.count("unknown"), "undecided")]
        said = ", ".join(f"{count} {word}" for count, word in counts if count)
        out.append(f"{group}: {said} of {len(own)}.")
    return tuple(out)


def statements(found: Sequence[Comparison]) -> tuple[Statement, ...]:
    """Every anchor's wins and losses, the largest first."""
    out = []
    for anchor in dict.fromkeys(c.anchor for c in found):
        own = [c for c in found if c.anchor == anchor]
        out.append(
            Statement(
                anchor=anchor,
                wins=_listed([c for c in own if c.verdict == "win"], best_first=True),
                floor=_listed([c for c in own if c.verdict == "floor"], best_first=True),
                losses=_listed([c for c in own if c.verdict == "loss"], best_first=False),
                undecided=", ".join(c.measure.short for c in own if c.verdict in ("open", "unknown")),
            )
        )
    return tuple(out)


def _size(found: Comparison) -> float:
    """Bits of the reference codec over those of the anchor; 0 where the anchor never gets there."""
    if found.pchip is not None:
        return 1 + found.pchip / 100
    return 1 / found.factor if found.factor else 0.0


def _listed(found: Sequence[Comparison], *, best_first: bool) -> str:
    ordered = sorted(found, key=_size, reverse=not best_first)
    return ", ".join(f"{c.measure.short} {_figure(c)}" for c in ordered)


def _figure(found: Comparison) -> str:
    if found.pchip is not None:
        return signed(found.pchip)
    if found.verdict == "win":
        return "(never as good)"
    if found.factor is None:
        return "-"
    times = factor_text(found.factor)
    return times if found.factor > 1 else f"(the anchor costs {times})"


def markdown_statements(results: Results, found: Sequence[Comparison]) -> str:
    """The headline and a list of anchors, as Markdown."""
    lines = [escaped(headline(results, found)), "", *(f"* {said}" for said in by_group(found)), ""]
    for s in statements(found):
        parts = [
            f"fewer bits for equal {s.wins}" if s.wins else "",
            f"the anchor cannot go so low: {s.floor}" if s.floor else "",
            f"**more bits** for equal {s.losses}" if s.losses else "",
            f"undecided: {s.undecided}" if s.undecided else "",
        ]
        lines.append(f"* **{escaped(s.anchor)}**: " + "; ".join(p for p in parts if p) + ".")
    return "\n".join(lines) + "\n"


def missing_reference(results: Results) -> str:
    """Why nothing is compared: empty where the reference codec has points and there is an anchor."""
    codecs = codecs_of(results)
    if results.reference not in codecs:
        return f"No point of {results.reference} was measured, so nothing is compared with it."
    return "" if len(codecs) > 1 else "No anchor was measured, so nothing is compared."
