"""Plot what a training run logged: losses and validation scores against time.

    python bench/learning_curve.py RUN [RUN ...] --out bench/results/learning_curve.png

A run is a folder with ``log.csv`` and ``validation.csv``, as ``facecodec train run`` leaves it. Scores
of what the network is compared with (warp-0, or the reference picture as coded) are dashed lines.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

Array = np.ndarray[Any, np.dtype[np.float64]]

BASELINES = {"made_": "warp0_", "restored_": "coded_"}
"""Prefix of a validation score to that of the score it is compared with."""

_SMOOTHING = 20
"""Lines of the log over which losses are averaged."""


class Series(NamedTuple):
    """Columns of a CSV file, NaN where a line has nothing.

    Attributes:
        hours: of training, [N].
        columns: name to values [N].
    """

    hours: Array
    columns: dict[str, Array]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png")
    parser.add_argument(
        "--chain", action="store_true", help="each run went on from the one before: add times"
    )
    return parser.parse_args(argv)


def read_csv(path: Path) -> Series:
    """Read a log.

    Raises:
        ValueError: there is no column ``seconds``, or a value is no number.
        OSError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and "seconds" not in rows[0]:
        raise ValueError(f"{path}: has no column 'seconds'")
    names = [name for name in (rows[0] if rows else {}) if name]
    columns = {name: np.array([float(row[name] or math.nan) for row in rows]) for name in names}
    return Series(columns.pop("seconds", np.zeros(0)) / 3600, columns)


def smooth(values: Array, width: int) -> Array:
    """Mean of the last ``width`` values that are there, at every place."""
    out = np.full(len(values), math.nan)
    for i in range(len(values)):
        part = values[max(0, i + 1 - width) : i + 1]
        part = part[np.isfinite(part)]
        if len(part):
            out[i] = part.mean()
    return out


def panels(logs: dict[str, Series], validations: dict[str, Series]) -> list[str]:
    """Columns that are drawn: the total loss first, then every score of a network."""
    names: dict[str, None] = {}
    for series in validations.values():
        names |= dict.fromkeys(name for name in series.columns if name.startswith(tuple(BASELINES)))
    return ["loss"] * any("loss" in series.columns for series in logs.values()) + list(names)


def draw_panel(axis: Any, column: str, runs: dict[str, Series]) -> None:
    """Draw a column of every run, and what it is compared with."""
    for number, (name, series) in enumerate(runs.items()):
        colour = f"C{number % 10}"
        if column in series.columns:
            values = series.columns[column]
            drawn = smooth(values, _SMOOTHING) if column == "loss" else values
            axis.plot(series.hours, drawn, color=colour, marker=None if column == "loss" else ".", label=name)
        for made, base in BASELINES.items():
            other = column.replace(made, base, 1)
            if column.startswith(made) and other in series.columns:
                axis.plot(series.hours, series.columns[other], "--", color=colour, alpha=0.5)
    axis.set_title(column, fontsize=9)
    axis.set_xlabel("hours", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)


def draw(logs: dict[str, Series], validations: dict[str, Series], out: Path) -> None:
    """Write the picture.

    Args:
        logs: name of a run to its ``log.csv``.
        validations: name of a run to its ``validation.csv``.
        out: the picture.
    """
    shown = panels(logs, validations)
    across = min(3, max(1, len(shown)))
    down = math.ceil(max(1, len(shown)) / across)
    figure, axes = pyplot.subplots(down, across, figsize=(4.2 * across, 3 * down), squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, shown, strict=False):
        draw_panel(axis, column, logs if column == "loss" else validations)
    if shown:
        axes.flat[0].legend(fontsize=7)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if the picture was written, 1 if a log cannot be read."""
    args = parse_args(argv)
    logs: dict[str, Series] = {}
    validations: dict[str, Series] = {}
    passed = 0.0
    try:
        for run in args.runs:
            name = run.name
            log, validation = read_csv(run / "log.csv"), Series(np.zeros(0), {})
            if (run / "validation.csv").is_file():
                validation = read_csv(run / "validation.csv")
            logs[name] = Series(log.hours + passed, log.columns)
            validations[name] = Series(validation.hours + passed, validation.columns)
            if args.chain:
                passed += float(np.nanmax(log.hours, initial=0.0))
        draw(logs, validations, args.out)
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
