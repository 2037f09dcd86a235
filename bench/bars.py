"""What a generator has to reach against the plain warp, and the tables that say how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from report import cell, markdown_table, mean

Kind = Literal["ratio", "value", "gain", "lost"]
Clips = list[dict[str, Any]]

SHOWN = (
    ("psnr", 2),
    ("ssim_y", 3),
    ("lpips", 4),
    ("lpips_worst5", 3),
    ("lpips_eyes", 4),
    ("lpips_mouth", 4),
    ("lpips_vgg", 3),
    ("dists", 4),
    ("identity", 3),
    ("landmark_px", 3),
    ("eyes", 3),
    ("mouth", 3),
    ("temporal", 2),
    ("faces", 3),
)
"""Measures of the table of means, and their digits."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with a bar.

    Attributes:
        title: what it says.
        measures: fields of ``Quality`` whose mean counts.
        kind: ``ratio`` of the means over clips to the baseline's, ``gain`` over the baseline's, the mean's
            own ``value``, or the number of clips ``lost`` to the baseline.
        bar: to reach.
        aim: hoped for; None for none.
        most: the figure has to be at most the bar; else at least.
    """

    title: str
    measures: tuple[str, ...]
    kind: Kind
    bar: float
    aim: float | None
    most: bool

    def met(self, value: float | None) -> bool | None:
        """Whether the bar holds; None where there is no figure."""
        if value is None:
            return None
        return value <= self.bar if self.most else value >= self.bar


BARS = (
    Bar("LPIPS-alex / warp-0", ("lpips",), "ratio", 0.8, 0.6, True),
    Bar(
        "LPIPS-alex in eye and mouth boxes / warp-0", ("lpips_eyes", "lpips_mouth"), "ratio", 0.65, 0.4, True
    ),
    Bar("landmark distance / warp-0", ("landmark_px",), "ratio", 0.8, 0.5, True),
    Bar("correlation of eye openness", ("eyes",), "value", 0.85, 0.95, False),
    Bar("correlation of mouth openness", ("mouth",), "value", 0.95, 0.98, False),
    Bar("PSNR over warp-0, dB", ("psnr",), "gain", 0.7, 2.0, False),
    Bar("identity cosine over warp-0", ("identity",), "gain", 0.0, None, False),
    Bar("temporal error / warp-0", ("temporal",), "ratio", 1.0, None, True),
    Bar("clips lost in LPIPS-alex", ("lpips",), "lost", 0.0, 0.0, True),
)


def mean_of(clips: Clips, variant: str, measure: str) -> float | None:
    """Mean of a measure over the clips that have it."""
    return mean([_quality(clip, variant).get(measure) for clip in clips])


def _quality(clip: dict[str, Any], variant: str) -> dict[str, Any]:
    quality: dict[str, Any] = clip["variants"].get(variant, {}).get("quality", {})
    return quality


def lost(clips: Clips, variant: str, baseline: str, measure: str = "lpips") -> list[str]:
    """Clips on which a variant has more of a measure than the baseline."""
    out = []
    for clip in clips:
        own, other = _quality(clip, variant).get(measure), _quality(clip, baseline).get(measure)
        if own is not None and other is not None and own > other:
            out.append(clip["clip"])
    return out


def figure(clips: Clips, variant: str, baseline: str, bar: Bar) -> float | None:
    """The figure that a bar asks for."""
    if bar.kind == "lost":
        return float(len(lost(clips, variant, baseline, bar.measures[0])))
    own = mean([mean_of(clips, variant, m) for m in bar.measures])
    other = mean([mean_of(clips, baseline, m) for m in bar.measures])
    if own is None or bar.kind == "value":
        return own
    if other is None:
        return None
    if bar.kind == "gain":
        return own - other
    return own / other if other else None


def verdicts(clips: Clips, variants: list[str], baseline: str) -> dict[str, Any]:
    """Means, figures against the bars and lost clips of every variant, ready for JSON."""
    out: dict[str, Any] = {}
    for variant in variants:
        found = [(bar, figure(clips, variant, baseline, bar)) for bar in BARS]
        out[variant] = {
            "means": {m: mean_of(clips, variant, m) for m, _ in SHOWN},
            "decode_ms": mean([c["variants"].get(variant, {}).get("decode_ms") for c in clips]),
            "extra_kbps": mean([c["variants"].get(variant, {}).get("extra_kbps") for c in clips]),
            "bars": [{"figure": b.title, "value": v, "bar": b.bar, "met": b.met(v)} for b, v in found],
            "lost": lost(clips, variant, baseline),
        }
    return out


def summary_table(results: Clips, variants: list[str], baseline: str) -> str:
    """Means, bars and single clips, as Markdown."""
    clips = [line for line in results if "variants" in line]
    rate = cell(mean([clip["kbps"] for clip in clips]), 2)
    text = [f"Mean over {len(clips)} clips, {rate} kbit/s.\n"]
    text.append(_means(clips, variants))
    text += ["Against the bars; figures that miss theirs in brackets.\n", _bars(clips, variants, baseline)]
    text += ["LPIPS-alex (PSNR) of single clips; where more LPIPS than warp-0, with an exclamation mark.\n"]
    text.append(_single(clips, variants, baseline))
    skipped = [f"{line['clip']}: {line['skipped']}\n" for line in results if "skipped" in line]
    if skipped:
        text += ["Left out:\n", "\n".join(skipped)]
    return "\n".join(text)


def _means(clips: Clips, variants: list[str]) -> str:
    rows = []
    for variant in variants:
        values = [cell(mean_of(clips, variant, m), digits) for m, digits in SHOWN]
        took = cell(mean([c["variants"].get(variant, {}).get("decode_ms") for c in clips]), 1)
        more = cell(mean([c["variants"].get(variant, {}).get("extra_kbps") for c in clips]), 2)
        rows.append([variant, *values, took, more])
    return markdown_table(["generator", *(m for m, _ in SHOWN), "ms/frame", "extra kbit/s"], rows)


def _bars(clips: Clips, variants: list[str], baseline: str) -> str:
    rows = []
    others = [v for v in variants if v != baseline]
    for bar in BARS:
        row = [bar.title, f"{'at most' if bar.most else 'at least'} {bar.bar:g}"]
        row.append("-" if bar.aim is None else f"{bar.aim:g}")
        for variant in others:
            value = figure(clips, variant, baseline, bar)
            shown = cell(value, 0 if bar.kind == "lost" else 3)
            row.append(f"({shown})" if bar.met(value) is False else shown)
        rows.append(row)
    return markdown_table(["figure", "bar", "aim", *others], rows)


def _single(clips: Clips, variants: list[str], baseline: str) -> str:
    rows = []
    for clip in clips:
        row = [clip["clip"], cell(clip["kbps"], 2)]
        for variant in variants:
            quality = _quality(clip, variant)
            worse = clip["clip"] in lost([clip], variant, baseline)
            shown = f"{cell(quality.get('lpips'), 4)} ({cell(quality.get('psnr'), 2)})"
            row.append(shown + " !" * worse)
        rows.append(row)
    return markdown_table(["clip", "kbit/s", *variants], rows)
