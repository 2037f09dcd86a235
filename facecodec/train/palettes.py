"""Expression palettes in training: the entries that a decoder would show of frames, bent as it bends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facecodec.generator.palette import RegionPatch
from facecodec.generator.patches import PatchRegion
from facecodec.generator.warp import warp
from facecodec.train.pack import Pack
from facecodec.types import F32Array, F64Array

_SHOWN = 1e-4
"""Where the mask of patches is less, they hold no colour."""


class FramePalette(NamedTuple):
    """Entries of one reference picture, and how much of each some frames show.

    Attributes:
        patches: E entries.
        weights: [T, E].
    """

    patches: list[RegionPatch]
    weights: F64Array


def palette_of(pack: Pack, reference: int, frames: Sequence[int]) -> FramePalette:
    """The entries of a reference picture that frames show, as a decoder would.

    Args:
        pack: where the rows are.
        reference: row of the reference picture.
        frames: rows of frames; one that is made from another reference picture shows nothing.

    Raises:
        MediaError: a picture of the pack is damaged.
    """
    own = set(pack.entries_of_reference(reference))
    shown = [{e: weight for e, weight in pack.shown(row) if e in own} for row in frames]
    rows = sorted(set().union(*shown))
    patches = []
    for row in rows:
        entry = pack.entry(row)
        patches.append(RegionPatch(entry.region, entry.pixels, entry.box, entry.mesh.astype(np.float64)))
    weights = np.array([[line.get(row, 0.0) for row in rows] for line in shown])
    return FramePalette(patches, weights.reshape(len(frames), len(rows)))


def thinned(
    palette: FramePalette, rng: np.random.Generator, region_dropout: float, dropout: float
) -> FramePalette:
    """The palette without the entries of some regions, each on its own, and sometimes without any.

    Args:
        palette: the palette.
        rng: where chance comes from; it moves on as far whatever the palette holds.
        region_dropout: chance that a region loses its entries.
        dropout: chance that all are lost.
    """
    kept = rng.random(len(PatchRegion)) >= region_dropout
    if rng.random() < dropout:
        kept[:] = False
    chosen = [e for e, patch in enumerate(palette.patches) if kept[patch.region]]
    return FramePalette([palette.patches[e] for e in chosen], palette.weights[:, chosen])


def recoloured(patches: Tensor, colours: F32Array) -> Tensor:
    """Patches [T, 4, S, S] (RGB times mask, and the mask) with their colours through a table [256, 3]."""
    mask = patches[:, 3:]
    level = torch.where(mask > _SHOWN, patches[:, :3] / mask.clamp(min=_SHOWN), 0).clamp(0, 1)
    places, steps = np.linspace(0, 1, len(colours)), level.numpy()
    planes = [np.interp(steps[:, c], places, colours[:, c]).astype(np.float32) for c in range(3)]
    return torch.cat([torch.from_numpy(np.stack(planes, 1)) * mask, mask], 1)


def refitted(patches: Tensor, change: Tensor, field: Tensor) -> Tensor:
    """Patches over a reference picture that was changed afterwards, such as by the post filter.

    An entry is a difference from the bent reference picture; so what was added to that one belongs to both.

    Args:
        patches: [B, 4, S, S], RGB times mask, and the mask.
        change: what was added to the reference picture, [B, 3, S, S].
        field: motion field into it, [B, S, S, 2], crop units.
    """
    rows = torch.nonzero(patches[:, 3].amax((1, 2)) > 0).squeeze(1)
    if not len(rows):
        return patches
    mask = patches[rows, 3:]
    colour = patches[rows, :3] + mask * warp(change[rows], field[rows])
    return patches.index_copy(0, rows, torch.cat([colour, mask], 1))


__all__ = ["FramePalette", "palette_of", "recoloured", "refitted", "thinned"]
