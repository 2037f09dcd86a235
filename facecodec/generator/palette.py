"""An expression palette on the screen: entries bent into place and added to the warped reference picture.

A patch holds what another frame shows otherwise than the reference picture bent to the same expression. So
colours meet at its rim by themselves, and what costs no bits stays as sharp as the reference picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import ShapeError
from facecodec.generator import raster
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.patches import PatchRegion, patch_masks
from facecodec.types import F64Array, U8Array

_UNHEARD = 1e-3
"""An entry of less weight is left out."""
_ZERO = 128 / 255
"""Where a patch holds this it changes nothing."""


class RegionPatch(NamedTuple):
    """An entry of a palette as it is decoded.

    Attributes:
        region: 0 right eye, 1 left eye, 2 mouth.
        pixels: [h, w, 3] uint8, half the difference from the warped reference picture, plus 128.
        box: left, top, width and height in the reference picture, its pixels.
        shape: face with this expression in the reference picture's pose, [478, 3] crop units.
    """

    region: int
    pixels: U8Array
    box: tuple[int, int, int, int]
    shape: F64Array


class PatchSource(NamedTuple):
    """An entry of a palette, ready to be shown; made by :func:`prepare_source`.

    Attributes:
        region: what it shows.
        state: its mesh; the picture is the patch alone, [1, 3, h, w], half the difference plus 128/255.
        box: left, top, width and height of the patch in the reference picture, crop units.
    """

    region: PatchRegion
    state: ReferenceState
    box: tuple[float, float, float, float]


def prepare_source(warper: WarpGenerator, patch: RegionPatch, size: int) -> PatchSource:
    """Take in an entry.

    Args:
        warper: makes the motion fields.
        patch: the entry.
        size: side of the reference picture in pixels.
    """
    device = warper.triangles.device
    mesh = torch.from_numpy(patch.shape.astype(np.float32)).to(device)
    state = warper.prepare(mesh.new_zeros(3, size, size), mesh)
    planes = (
        torch.from_numpy(np.ascontiguousarray(patch.pixels)).to(device).permute(2, 0, 1)[None].float() / 255
    )
    left, top, width, height = (value / size for value in patch.box)
    return PatchSource(PatchRegion(patch.region), replace(state, picture=planes), (left, top, width, height))


def palette_patches(
    warper: WarpGenerator,
    reference: ReferenceState,
    sources: Sequence[PatchSource],
    weights: Tensor,
    mesh: Tensor,
    size: int,
) -> Tensor:
    """Bend and blend the entries of a palette, over the warped reference picture.

    Args:
        warper: makes the motion fields.
        reference: the reference picture.
        sources: E entries.
        weights: [N, E], how much of each entry a frame shows; those of a region sum to 1 at most, and what is
            left goes to the reference picture.
        mesh: [N, 478, 3], crop units.
        size: width and height of the result.

    Returns:
        [N, 4, size, size]: RGB in [0, 1] times the mask, and the mask; all 0 where nothing is shown.

    Raises:
        ShapeError: ``weights`` is not [N, E], or ``mesh`` not [N, 478, 3].
    """
    raster.check_mesh(mesh)
    if weights.shape != (len(mesh), len(sources)):
        raise ShapeError("patch weights", f"[{len(mesh)}, {len(sources)}]", tuple(weights.shape))
    mesh = mesh.float()
    out = mesh.new_zeros(len(mesh), 4, size * size)
    shown = weights > _UNHEARD
    if not bool(shown.any()):
        return out.reshape(len(mesh), 4, size, size)
    masks, ids = patch_masks(warper, mesh, size), warper.winners(mesh, size)
    for region in PatchRegion:
        taken = [e for e, source in enumerate(sources) if source.region == region and bool(shown[:, e].any())]
        if not taken:
            continue
        here = torch.where(masks[:, region] > 0, ids, torch.full_like(ids, -1))
        layer = mesh.new_zeros(len(mesh), 4, size * size)
        for e in taken:
            frames = torch.nonzero(shown[:, e]).squeeze(1)
            part = _patch(warper, reference, sources[e], mesh[frames], here[frames])
            layer.index_add_(0, frames, part * weights[frames, e, None, None])
        mask = masks[:, region].reshape(len(mesh), 1, -1) * (1 - out[:, 3:])
        out = out + layer * mask
    return out.reshape(len(mesh), 4, size, size)


def _patch(
    warper: WarpGenerator, reference: ReferenceState, source: PatchSource, mesh: Tensor, ids: Tensor
) -> Tensor:
    """The reference picture changed by an entry, in each frame: RGB and 1, [N, 4, S * S], 0 elsewhere."""
    size = ids.shape[-1]
    shift, _, pixels = warper.face_shift(source.state, mesh, ids)
    place = raster.pixel_places(pixels, size)[:, :2]
    left, top, width, height = source.box
    low, extent = place.new_tensor([left, top]), place.new_tensor([width, height])
    colour = _sample(source.state.picture, (place + shift - low) / extent)
    under, _, _ = warper.face_shift(reference, mesh, ids)
    below = _sample(reference.picture, place + under)
    colour = below + 2 * (colour - _ZERO)
    whole = torch.cat([colour.clamp(0, 1), torch.ones_like(colour[:, :1])], 1)
    flat = whole.new_zeros(len(mesh) * size * size, 4).index_copy(0, pixels, whole)
    return flat.reshape(len(mesh), -1, 4).permute(0, 2, 1)


def _sample(picture: Tensor, where: Tensor) -> Tensor:
    """Colours [P, 3] of a picture [1, 3, h, w] at places [P, 2], its sides 1 long."""
    grid = (where * 2 - 1)[None, :, None]
    return functional.grid_sample(picture, grid, "bicubic", "border", align_corners=False)[0, :, :, 0].T


__all__ = ["PatchSource", "RegionPatch", "palette_patches", "prepare_source"]
