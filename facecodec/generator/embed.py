"""Stage 1, embed: keypoints to label maps, the semantic input of the generator.

The mesh is rasterised with a depth test at twice the map's size and averaged, so that thin things (lids,
lips) move smoothly. The channels are those of :class:`Label`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import ConfigError
from facecodec.generator import gaze, raster
from facecodec.generator.flow import smooth_step
from facecodec.generator.topology import (
    LEFT_IRIS,
    RIGHT_IRIS,
    SURFACE_POINTS,
    MeshTopology,
    Region,
    load_topology,
)


class Label(IntEnum):
    """Channels of a label map; all but the first three lie between 0 and 1, or are 0 outside the face.

    ``X``, ``Y`` and ``Z`` are where on the mean face a place lies (the face is 2 wide), ``FACING`` the cosine
    between the surface's normal and the way to the camera.
    """

    X = 0
    Y = 1
    Z = 2
    FACE = 3
    LIPS = 4
    INNER_MOUTH = 5
    RIGHT_EYE = 6
    LEFT_EYE = 7
    BROWS = 8
    IRIS = 9
    FACING = 10


LABELS = len(Label)
"""Channels of a label map."""

_CHANNEL = {
    Region.LIPS: Label.LIPS,
    Region.INNER_MOUTH: Label.INNER_MOUTH,
    Region.RIGHT_EYE: Label.RIGHT_EYE,
    Region.LEFT_EYE: Label.LEFT_EYE,
    Region.RIGHT_BROW: Label.BROWS,
    Region.LEFT_BROW: Label.BROWS,
}
_IRISES = ((Region.RIGHT_EYE, RIGHT_IRIS, (33, 133)), (Region.LEFT_EYE, LEFT_IRIS, (362, 263)))


@lru_cache(maxsize=4)
def _region_table(device: torch.device) -> Tensor:
    """One row of label channels (from ``FACE`` on) for each region."""
    table = torch.zeros(len(Region), LABELS)
    table[:, Label.FACE] = 1
    for region, channel in _CHANNEL.items():
        table[region, channel] = 1
    return table.to(device)


@lru_cache(maxsize=1)
def _topology() -> MeshTopology:
    return load_topology()


@lru_cache(maxsize=4)
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Triangles [T, 3], their regions [T] and the mean face [468, 3]."""
    topology = _topology()
    triangles = raster.triangle_tensor(topology, device)
    regions = torch.from_numpy(topology.regions.astype("int64")).to(device)
    return triangles, regions, torch.from_numpy(2 * topology.mean_mesh[:SURFACE_POINTS]).to(device)


def _iris(mesh: Tensor, regions: Tensor, frame: Tensor, place: Tensor) -> Tensor:
    """How far pixels [N] lie on an iris: 1 inside, 0 outside, and 0 where no eye opening is."""
    out = torch.zeros_like(place[:, 0])
    for region, iris, corners in _IRISES:
        where = gaze.locate(mesh, iris, corners)
        far = (place[:, :2] - where.centre[frame]).square().sum(-1).clamp(min=1e-12).sqrt()
        on = 1 - smooth_step(far / where.radius[frame], 0.85, 1.15)
        out = out + on * (regions == region)
    return out


def label_map(mesh: Tensor, size: int, ids: Tensor | None = None) -> Tensor:
    """Label maps of meshes.

    Args:
        mesh: [B, 478, 3], crop units.
        size: width and height of the map, at least 8.
        ids: what :func:`facecodec.generator.raster.winners` gives at twice this size, where it is known.

    Returns:
        [B, LABELS, size, size] float32.

    Raises:
        ConfigError: ``size`` is too small.
        ShapeError: ``mesh`` is not [B, 478, 3].
    """
    if size < 8:
        raise ConfigError("size", size, "at least 8")
    raster.check_mesh(mesh)
    mesh = mesh.float()
    triangles, regions, mean = _constants(mesh.device)
    fine = 2 * size
    flat = (raster.winners(mesh, triangles, fine) if ids is None else ids).reshape(-1)
    pixels = torch.nonzero(flat >= 0).squeeze(1)
    frame, triangle = pixels // (fine * fine), flat[pixels]
    place = raster.pixel_places(pixels, fine)
    planes, _ = raster.barycentric_planes(mesh[:, triangles, :2])
    share = raster.barycentric(planes[frame, triangle], place)
    facing = raster.vertex_facing(mesh, triangles, SURFACE_POINTS)[:, triangles]
    region = regions[triangle]
    seen = _region_table(mesh.device)[region]
    seen[:, : Label.FACE] = (share[..., None] * mean[triangles][triangle]).sum(1)
    seen[:, Label.FACING] = (share * facing[frame, triangle]).sum(1).clamp(0, 1)
    seen[:, Label.IRIS] = _iris(mesh, region, frame, place)
    maps = seen.new_zeros(len(flat), LABELS).index_copy(0, pixels, seen)
    planes = maps.reshape(len(mesh), fine, fine, LABELS).permute(0, 3, 1, 2)
    return functional.avg_pool2d(planes, 2)
