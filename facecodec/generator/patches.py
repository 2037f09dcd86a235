"""Region patches: an eye or the mouth as really seen in another picture, bent into its present place.

A warp of one picture holds neither lids nor teeth that it does not show; another picture of the same person
may. Patches are one of the hypotheses of the composition.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from facecodec.errors import ShapeError
from facecodec.generator import raster
from facecodec.generator.flow import smooth_step
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.topology import (
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_EYE,
    SURFACE_POINTS,
    MeshTopology,
)
from facecodec.generator.warp import warp


class PatchRegion(IntEnum):
    """Which part of the face a patch shows; right and left are the subject's own."""

    RIGHT_EYE = 0
    LEFT_EYE = 1
    MOUTH = 2


_POINTS = {
    PatchRegion.RIGHT_EYE: RIGHT_EYE,
    PatchRegion.LEFT_EYE: LEFT_EYE,
    PatchRegion.MOUTH: OUTER_LIPS,
}
_REACH = {
    PatchRegion.RIGHT_EYE: (0.04, 0.10),
    PatchRegion.LEFT_EYE: (0.04, 0.10),
    PatchRegion.MOUTH: (0.05, 0.13),
}
"""Distance from the region's contour, in face widths, up to which a patch is whole, and at which it ends."""


@lru_cache(maxsize=4)
def _vertex_weights(topology: MeshTopology) -> Tensor:
    """How far each surface point belongs to each region, [3, 468]."""
    mean = topology.mean_mesh[:SURFACE_POINTS]
    rows = []
    for region in PatchRegion:
        contour = mean[list(_POINTS[region])]
        away = np.linalg.norm(mean[:, None] - contour[None], axis=-1).min(1)
        low, high = contour[:, :2].min(0), contour[:, :2].max(0)
        away[((mean[:, :2] >= low) & (mean[:, :2] <= high)).all(1)] = 0
        rows.append(1 - smooth_step(torch.from_numpy(away).float(), *_REACH[region]))
    return torch.stack(rows)


def patch_masks(warper: WarpGenerator, mesh: Tensor, size: int) -> Tensor:
    """Feathered masks of the regions.

    Args:
        warper: whose topology counts.
        mesh: [N, 478, 3], crop units.
        size: width and height of the masks.

    Returns:
        [N, 3, size, size] in [0, 1], one for each :class:`PatchRegion`.
    """
    weights = _vertex_weights(warper.topology).to(mesh.device)
    ids, share, _ = raster.rasterise(mesh, warper.topology, size)
    corners = weights[:, warper.triangles]
    values = (corners[:, ids.clamp(min=0)] * share).sum(-1)
    return (values * (ids >= 0)).permute(1, 0, 2, 3)


def region_patches(
    warper: WarpGenerator, sources: Sequence[ReferenceState | None], mesh: Tensor, size: int
) -> Tensor:
    """Bend patches into their places.

    Args:
        warper: makes the motion fields.
        sources: for each :class:`PatchRegion` the picture that shows it, or None for no patch.
        mesh: [N, 478, 3], crop units.
        size: width and height of the result.

    Returns:
        [N, 4, size, size]: RGB in [0, 1] times the mask, and the mask; all 0 where there is no patch.

    Raises:
        ShapeError: not one source for each region, or ``mesh`` is not [N, 478, 3].
    """
    if len(sources) != len(PatchRegion):
        raise ShapeError("patch sources", f"{len(PatchRegion)}", len(sources))
    raster.check_mesh(mesh)
    masks = patch_masks(warper, mesh, size)
    out = mesh.new_zeros(len(mesh), 4, size, size)
    shown: dict[int, Tensor] = {}
    for region, source in zip(PatchRegion, sources, strict=True):
        if source is None:
            continue
        if id(source) not in shown:
            shown[id(source)] = warp(source.picture, warper.face_field(source, mesh, size)).clamp(0, 1)
        mask = masks[:, region : region + 1] * (1 - out[:, 3:])
        out = out + torch.cat([shown[id(source)] * mask, mask], 1)
    return out


def lay_over(picture: Tensor, patches: Tensor) -> Tensor:
    """Lay patches [N, 4, S, S] over pictures [N, 3, S, S]."""
    return picture * (1 - patches[:, 3:]) + patches[:, :3]
