"""Are the tables of a packed data set sound: do all row numbers lead somewhere, and all lengths agree?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from facecodec.train.records import POINTS, Take

_REGIONS = 3
_Tables = Mapping[str, npt.NDArray[Any]]


def fault(tables: _Tables, blob_bytes: int, takes: Sequence[Take], clips: int) -> str | None:
    """What is wrong with the tables of a pack, or None.

    Args:
        tables: all of :data:`facecodec.train.records.TENSORS` but ``pictures.data``.
        blob_bytes: length of ``pictures.data``.
        takes: the takes.
        clips: how many clips there are.
    """
    checks = (
        _lengths(tables),
        _shapes(tables),
        _offsets(tables, blob_bytes),
        _rows(tables, len(takes)),
        _takes(tables, takes, clips),
    )
    return next(chain.from_iterable(checks), None)


def _lengths(tables: _Tables) -> Iterator[str]:
    leads = {
        "references.": "references.coded", "entries.": "entries.picture", "shown.": "shown.entry",
        "frames.": "frames.picture", "stills.": "stills.coded",
    }  # fmt: skip
    for name, table in tables.items():
        for prefix, lead in leads.items():
            if name.startswith(prefix) and name != "shown.offsets" and len(table) != len(tables[lead]):
                yield f"{name} has another length"


def _shapes(tables: _Tables) -> Iterator[str]:
    for name in ("frames.mesh", "references.mesh", "entries.mesh"):
        if tables[name].shape[1:] != (POINTS, 3):
            yield f"{name} is not [n, {POINTS}, 3]"
    if tables["entries.box"].shape[1:] != (4,):
        yield "entries.box is not [n, 4]"


def _offsets(tables: _Tables, blob_bytes: int) -> Iterator[str]:
    frames = len(tables["frames.picture"])
    ends = {
        "pictures.offsets": blob_bytes,
        "scenes.offsets": len(tables["scenes.data"]),
        "shown.offsets": len(tables["shown.entry"]),
        "runs.offsets": frames,
    }
    for name, end in ends.items():
        table = tables[name]
        whole = len(table) > 0 and table[0] == 0 and table[-1] == end and bool((np.diff(table) >= 0).all())
        if not whole:
            yield f"{name} does not cover its data"
    if len(tables["shown.offsets"]) != frames + 1:
        yield "shown.offsets has another length"


def _rows(tables: _Tables, takes: int) -> Iterator[str]:
    pictures, references = len(tables["pictures.offsets"]) - 1, len(tables["references.coded"])
    frames, runs = len(tables["frames.picture"]), len(tables["runs.offsets"]) - 1
    limits = {
        "references.coded": pictures, "references.original": pictures, "references.take": takes,
        "entries.picture": pictures, "entries.reference": references, "entries.region": _REGIONS,
        "shown.entry": len(tables["entries.picture"]),
        "frames.picture": pictures, "frames.take": takes, "frames.reference": references,
        "frames.run": runs, "stills.coded": pictures, "stills.frame": frames,
    }  # fmt: skip
    for name, limit in limits.items():
        table = tables[name]
        if len(table) and (table.min() < 0 or table.max() >= limit):
            yield f"{name} points nowhere"
    if (np.diff(tables["entries.reference"]) < 0).any():
        yield "entries.reference is not in order"
    shown = np.repeat(tables["frames.reference"], np.diff(tables["shown.offsets"]))
    if not np.array_equal(tables["entries.reference"][tables["shown.entry"]], shown):
        yield "a frame shows entries of another reference picture"
    weights = tables["shown.weight"]
    if not ((weights >= 0) & (weights <= 1)).all():
        yield "shown.weight holds what is no weight"


def _takes(tables: _Tables, takes: Sequence[Take], clips: int) -> Iterator[str]:
    if not all(0 <= take.clip < clips for take in takes):
        yield "a take names a clip that is not there"
    values = np.array([2 * take.grid**2 for take in takes], np.int64)[tables["frames.take"]]
    if not np.array_equal(np.diff(tables["scenes.offsets"]), values):
        yield "scenes.offsets does not fit the grids of the takes"
    runs = np.repeat(np.arange(len(tables["runs.offsets"]) - 1), np.diff(tables["runs.offsets"]))
    if not np.array_equal(runs, tables["frames.run"]):
        yield "frames.run does not agree with runs.offsets"
