"""What is drawn: lines of every codec for a measure, from points, for SVG in the page and for PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facecodec.benchmark.curves import MeanPoint, codecs_of, curve_of, mean_curve
from facecodec.benchmark.measures import Measure
from facecodec.benchmark.results import Results
from facecodec.benchmark.svg import Line, Mark, rate_ticks, styles
from facecodec.media.atomic import atomic_path
from facecodec.metrics.bdrate import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_COLUMNS = 4


def mean_lines(
    results: Results, points: Sequence[MeanPoint], measures: Sequence[Measure]
) -> list[list[Line]]:
    """Lines of the means over clips, for every measure: hulls, and all points behind them.

    Args:
        results: the run.
        points: of :func:`facecodec.benchmark.curves.mean_points`.
        measures: what the points' values are of.
    """
    look = styles(codecs_of(results), results.reference)
    out = []
    for place, measure in enumerate(measures):
        lines = []
        for codec in codecs_of(results):
            own = [p for p in points if p.codec == codec]
            names = {p.kbps: _setting(p.scale, p.setting) for p in own}
            hull = _marks(mean_curve(own, measure, measures), measure, names)
            every = tuple(
                Mark(p.kbps, p.values[place], "") for p in own if p.values[place] == p.values[place]
            )
            if hull:
                lines.append(Line(codec, look[codec], hull, every))
        out.append(lines)
    return out


def clip_lines(results: Results, clip: str, measure: Measure) -> list[Line]:
    """Hulls of every codec on one clip."""
    look = styles(codecs_of(results), results.reference)
    lines = []
    for codec in codecs_of(results):
        own = [p for p in results.points if (p.codec, p.clip) == (codec, clip)]
        names = {p.kbps: _setting(p.scale, p.setting) for p in own}
        hull = _marks(curve_of(own, measure), measure, names)
        if hull:
            lines.append(Line(codec, look[codec], hull))
    return lines


def _setting(scale: int, setting: str) -> str:
    return setting if scale == 1 else f"1/{scale} size, {setting}"


def _marks(curve: Curve, measure: Measure, names: dict[float, str]) -> tuple[Mark, ...]:
    sign = 1 if measure.higher_is_better else -1
    return tuple(
        Mark(k, sign * q, f"{names[k]}: {k:.2f} kbit/s, {sign * q:.{measure.digits + 1}f}")
        for k, q in zip(curve.kbps, curve.quality, strict=True)
    )


def write_png(
    path: Path, measures: Sequence[Measure], lines: Sequence[Sequence[Line]], title: str = ""
) -> None:
    """Draw measures side by side over a logarithmic rate axis, with one legend.

    Args:
        path: the PNG; replaced if it is there.
        measures: one panel each.
        lines: of each measure; those without any are left out.
        title: above all panels.

    Raises:
        MediaError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # only the benchmark has matplotlib
    from matplotlib.figure import Figure

    shown = [(m, ls) for m, ls in zip(measures, lines, strict=True) if ls]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(4.0 * columns + 0.4, 3.1 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    handles: dict[str, Line2D] = {}
    for place, (measure, drawn) in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        for line in reversed(drawn):
            handles[line.codec] = _panel_line(axes, line)
        axes.set_xscale("log")
        arrow = "\u2191" if measure.higher_is_better else "\u2193"
        axes.set_title(f"{measure.title} {arrow}", fontsize=9)
        axes.set_xlabel("kbit/s", fontsize=8)
        axes.tick_params(labelsize=7, which="both")
        _plain_rates(axes, drawn)
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    order = [line.codec for _, drawn in shown for line in drawn]
    names = list(dict.fromkeys(order))
    if names:
        shown_handles = [handles[name] for name in names]
        figure.legend(shown_handles, names, loc="outside lower center", ncols=min(8, len(names)), fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    with atomic_path(path, overwrite=True) as part:
        part.write_bytes(file.getvalue())


def _panel_line(axes: Axes, line: Line) -> Line2D:
    """Draw a codec; its line for the legend."""
    colour = line.style.colour
    axes.plot(
        [m.kbps for m in line.points], [m.value for m in line.points], ".", color=colour, alpha=0.25, ms=3
    )
    x, y = [m.kbps for m in line.hull], [m.value for m in line.hull]
    (made,) = axes.plot(x, y, marker="o", ms=3.5, color=colour, linewidth=line.style.width)
    if line.style.dash:
        made.set_linestyle((0, tuple(float(n) for n in line.style.dash.split())))
    return made


def _plain_rates(axes: Axes, lines: Sequence[Line]) -> None:
    """Ticks at 1, 2, 5, 10, ... kbit/s, written out."""
    rates = [m.kbps for line in lines for m in (*line.hull, *line.points)]
    places = rate_ticks(min(rates), max(rates))
    axes.xaxis.set_ticks(places, labels=[f"{p:g}" for p in places])
    axes.xaxis.set_ticks([], minor=True)
