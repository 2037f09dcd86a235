"""Plots of quality over rate as inline SVG: small, and with the figures of a point under the pointer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 340, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 24, 34

_REFERENCE = "#c8102e"
_PALETTE = (
    *("#1f6fb4", "#2a9d5c", "#8a56b8", "#d98200", "#5b6770", "#00929c"),
    *("#a0522d", "#6b8e23", "#e06ba8", "#3d4fa8", "#b59a00", "#7f7f7f"),
)
_DASHES = ("", "5 3", "2 2")


@dataclass(frozen=True, slots=True)
class Style:
    """How a codec is drawn everywhere.

    Attributes:
        colour: of lines and marks.
        dash: pattern of its line; empty for a whole one.
        width: of its line.
    """

    colour: str
    dash: str
    width: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of a plot.

    Attributes:
        kbps: positive.
        value: of the measure, finite.
        label: what the pointer shows.
    """

    kbps: float
    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One codec in a plot.

    Attributes:
        codec: its name.
        style: of line and marks.
        hull: corners of its hull, by rate.
        points: everything that was measured; drawn faint.
    """

    codec: str
    style: Style
    hull: tuple[Mark, ...]
    points: tuple[Mark, ...] = ()


def styles(codecs: Sequence[str], reference: str) -> dict[str, Style]:
    """A style for each codec; the reference's is always the same."""
    out = {reference: Style(_REFERENCE, "", 2.6)}
    for index, codec in enumerate(c for c in codecs if c != reference):
        dash = _DASHES[index // len(_PALETTE) % len(_DASHES)]
        out[codec] = Style(_PALETTE[index % len(_PALETTE)], dash, 1.5)
    return out


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values between two ends, about so many."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def rate_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... within two rates."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [f * 10.0**d for d in decades for f in (1, 2, 5) if low * 0.999 <= f * 10.0**d <= high * 1.001]


def plot(title: str, lines: Sequence[Line], *, higher_is_better: bool) -> str:
    """Draw a measure over rate, the rate on a logarithmic axis.

    Args:
        title: of the measure.
        lines: the codecs; the first is drawn last, over the others.
        higher_is_better: said beside the title.

    Returns:
        An ``svg`` element; every name in it is escaped. Empty where there is nothing to draw.
    """
    marks = [m for line in lines for m in (*line.hull, *line.points)]
    if not marks:
        return ""
    axes = _Axes.over(marks)
    better = "\u2191 better" if higher_is_better else "\u2193 better"
    out = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">',
        f'<text class="t" x="{_LEFT}" y="14">{escape(title)}</text>',
        f'<text class="b" x="{WIDTH - _RIGHT}" y="14" text-anchor="end">{better}</text>',
        *axes.grid(),
    ]
    for line in reversed(lines):
        out += _draw(line, axes)
    return "".join([*out, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Axes:
    """From rate and value to places in the drawing."""

    low_rate: float
    high_rate: float
    low: float
    high: float

    @classmethod
    def over(cls, marks: Sequence[Mark]) -> _Axes:
        rates, values = [m.kbps for m in marks], [m.value for m in marks]
        pad = 0.05 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 0.5
        return cls(min(rates) / 1.12, max(rates) * 1.12, min(values) - pad, max(values) + pad)

    def x(self, kbps: float) -> float:
        share = math.log(kbps / self.low_rate) / math.log(self.high_rate / self.low_rate)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> list[str]:
        out = []
        for value in ticks(self.low, self.high):
            y = self.y(value)
            out.append(f'<line class="g" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(
                f'<text class="a" x="{_LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{value:.6g}</text>'
            )
        foot = HEIGHT - _BOTTOM
        for rate in rate_ticks(self.low_rate, self.high_rate):
            x = self.x(rate)
            out.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{foot}"/>')
            out.append(f'<text class="a" x="{x:.1f}" y="{foot + 13}" text-anchor="middle">{rate:g}</text>')
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        out.append(f'<text class="a" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">kbit/s</text>')
        return out


def _draw(line: Line, axes: _Axes) -> list[str]:
    """A codec's points faint, its hull over them."""
    colour = line.style.colour
    out = [
        f'<circle cx="{axes.x(m.kbps):.1f}" cy="{axes.y(m.value):.1f}" r="1.6" fill="{colour}" opacity=".3"/>'
        for m in line.points
    ]
    path = " ".join(f"{axes.x(m.kbps):.1f},{axes.y(m.value):.1f}" for m in line.hull)
    dash = f' stroke-dasharray="{line.style.dash}"' if line.style.dash else ""
    if len(line.hull) > 1:
        stroke = f'stroke="{colour}" stroke-width="{line.style.width}"'
        out.append(f'<polyline points="{path}" fill="none" {stroke}{dash}/>')
    for mark in line.hull:
        place = (
            f'cx="{axes.x(mark.kbps):.1f}" cy="{axes.y(mark.value):.1f}" r="{1.4 + line.style.width / 2:.1f}"'
        )
        label = escape(f"{line.codec}, {mark.label}")
        out.append(f'<circle {place} fill="{colour}"><title>{label}</title></circle>')
    return out
