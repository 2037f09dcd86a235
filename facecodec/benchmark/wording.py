"""Where the reference codec wins and where it loses, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from facecodec.benchmark.compare import Comparison
from facecodec.benchmark.curves import clips_of, codecs_of
from facecodec.benchmark.leads import Ahead
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
    """A few sentences over everything; this codec's own baselines are counted apart."""
    clips = len(clips_of(results))
    where = f"on {_plural(clips, 'clip')} in {_plural(len({c.measure for c in found}), 'measure')}"
    codecs = [c for c in found if not c.baseline]
    baselines = [c for c in found if c.baseline]
    said = f"{results.reference} {where}."
    if codecs:
        against = _plural(len({c.anchor for c in codecs}), "codec")
        said = f"{results.reference} against {against} {where}: {_counts(codecs)}"
    if baselines:
        names = " and ".join(dict.fromkeys(c.anchor for c in baselines))
        said += f" Against baselines made of its own streams ({names}): {_counts(baselines)}"
    if clips < FEW_CLIPS:
        said += " So few clips say little: intervals are hardly more than the range over them."
    return said


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _counts(found: Sequence[Comparison]) -> str:
    counts = Counter(c.verdict for c in found)
    said = f"it takes fewer bits for equal quality in {counts['win']} of {len(found)} comparisons, "
    said += f"more in {counts['loss']}."
    if counts["floor"]:
        said += f" In {counts['floor']} the anchor reaches that quality or a better one, but no rate as low."
    if undecided := counts["open"] + counts["unknown"]:
        said += f" {undecided} {'stays' if undecided == 1 else 'stay'} undecided."
    return said


def by_group(found: Sequence[Comparison]) -> tuple[str, ...]:
    """Wins and losses against other codecs in each group of measures, a sentence each."""
    codecs = [c for c in found if not c.baseline]
    out = []
    for group in dict.fromkeys(c.measure.group for c in codecs):
        own = [c.verdict for c in codecs if c.measure.group == group]
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


def markdown_statements(results: Results, found: Sequence[Comparison], ahead: Ahead) -> str:
    """The headline, where other codecs are ahead, and a list of anchors, as Markdown."""
    lines = [escaped(headline(results, found)), "", *(f"* {said}" for said in by_group(found)), ""]
    lines += [escaped(ahead.said), "", *(f"* {escaped(said)}" for said in ahead.lines), ""]
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
