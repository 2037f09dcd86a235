"""A run as CSV: floats in full, what was not measured empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from facecodec.benchmark.compare import Comparison
from facecodec.benchmark.quality import MEASURES
from facecodec.benchmark.results import PartBytes, RatePoint
from facecodec.benchmark.tables import Table

_POINT_FIELDS = (
    *("clip", "codec", "scale", "setting", "size_bytes", "kbps", "frames", "width", "height", "fps"),
    *("still_share", "version", "key", "deep_key", "command"),
)
_COSTS = ("encode_fps", "decode_fps", "peak_mib")
_COMPARED = (
    *("pchip", "akima", "overlap", "union", "clips", "used", "factor", "unmatched", "verdict", "reason"),
)
_OF_A_CLIP = ("pchip", "akima", "overlap", "union", "cheapest", "reason")


def points_csv(points: Sequence[RatePoint]) -> str:
    """Every point with every measure."""
    parts = [f.name for f in fields(PartBytes)]
    rows: list[list[Any]] = [[*_POINT_FIELDS, *_COSTS, *(f"bytes_{part}" for part in parts), *MEASURES]]
    for p in points:
        row = [getattr(p, name) for name in _POINT_FIELDS]
        row += [getattr(p.cost, name) for name in _COSTS] + [getattr(p.parts, part) for part in parts]
        rows.append([*row, *(getattr(p.quality, name) for name in MEASURES)])
    return _csv(rows)


def bd_csv(found: Sequence[Comparison]) -> str:
    """Every comparison, over the clips."""
    rows: list[list[Any]] = [["anchor", "measure", *_COMPARED, "low", "high", "factor_low", "factor_high"]]
    for c in found:
        ends = (*(c.interval or (None, None)), *(c.factor_interval or (None, None)))
        rows.append([c.anchor, c.measure.field, *(getattr(c, name) for name in _COMPARED), *ends])
    return _csv(rows)


def clips_csv(found: Sequence[Comparison]) -> str:
    """Every comparison, clip by clip."""
    rows: list[list[Any]] = [["anchor", "measure", "clip", *_OF_A_CLIP]]
    for c in found:
        for clip, bd in c.by_clip:
            rows.append([c.anchor, c.measure.field, clip, *(getattr(bd, name) for name in _OF_A_CLIP)])
    return _csv(rows)


def table_csv(table: Table) -> str:
    """A table of a report."""
    return _csv([table.head, *([cell.text for cell in row] for row in table.rows)])


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(["" if cell is None or cell != cell else cell for cell in row])
    return text.getvalue()
