"""The expression palette of a reference picture, and the mosaic that carries its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from facecodec.types import F64Array, U8Array


class Rect(NamedTuple):
    """A rectangle of the reference picture, pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class PaletteEntry:
    """A region as seen in another frame.

    Attributes:
        region: 0 right eye, 1 left eye, 2 mouth.
        rect: where it lies in the reference picture.
        patch: decoded pixels, [height, width, 3].
        shape: mesh of the face with this expression in the reference picture's pose, [478, 3] crop units.
    """

    region: int
    rect: Rect
    patch: U8Array
    shape: F64Array


@dataclass(slots=True, eq=False)
class Palette:
    """Entries of one reference picture, the oldest first.

    Attributes:
        entries: the entries.
        limit: entries of a region at most.
    """

    limit: int
    entries: list[PaletteEntry] = field(default_factory=list)

    def add(self, entries: Sequence[PaletteEntry]) -> None:
        """Append entries; the oldest of a region go where there are too many."""
        kept = [*self.entries, *entries]
        for region in {entry.region for entry in entries}:
            own = [entry for entry in kept if entry.region == region]
            gone = {id(entry) for entry in own[: -self.limit]}
            kept = [entry for entry in kept if id(entry) not in gone]
        self.entries = kept


def mosaic_layout(
    regions: Sequence[int], sizes: dict[int, tuple[int, int]]
) -> tuple[list[tuple[int, int, int, int]], int, int]:
    """Where the patches stand in the mosaic: a column for each region, from the left, filled from the top.

    Args:
        regions: for each shape, bit r set where region r of it is shown.
        sizes: width and height of each region's patches, pixels.

    Returns:
        (shape, region, x, y) of each patch, by shape, then by region; and the mosaic's width and height.
    """
    left, x = {}, 0
    for region, (width, _) in sorted(sizes.items()):
        left[region] = x
        x += width
    filled = dict.fromkeys(sizes, 0)
    places = []
    for shape, mask in enumerate(regions):
        for region in sorted(sizes):
            if mask >> region & 1:
                places.append((shape, region, left[region], filled[region]))
                filled[region] += sizes[region][1]
    return places, x, max(filled.values())


def build_mosaic(
    patches: dict[tuple[int, int], U8Array], regions: Sequence[int], sizes: dict[int, tuple[int, int]]
) -> U8Array:
    """Put patches, by (shape, region), into a mosaic; what stays empty is 128."""
    places, width, height = mosaic_layout(regions, sizes)
    out = np.full((height, width, 3), 128, np.uint8)
    for shape, region, x, y in places:
        w, h = sizes[region]
        out[y : y + h, x : x + w] = patches[shape, region]
    return out


def cut_mosaic(
    mosaic: U8Array, regions: Sequence[int], sizes: dict[int, tuple[int, int]]
) -> dict[tuple[int, int], U8Array]:
    """The inverse of :func:`build_mosaic`."""
    places, _, _ = mosaic_layout(regions, sizes)
    return {
        (shape, region): mosaic[y : y + sizes[region][1], x : x + sizes[region][0]]
        for shape, region, x, y in places
    }
