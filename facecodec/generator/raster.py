"""Depth-tested rasterisation of a mesh in plain torch, batched, on CPU and CUDA.

Triangles are cut into rows and rows into pixels (``repeat_interleave``), so only covered pixels are
visited; the winner of a pixel is the smallest of ``depth << bits | triangle`` (``scatter_reduce``).
What is then read off the winners is affine in the pixel's place, and differentiable.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from facecodec.errors import ShapeError
from facecodec.generator.topology import MESH_POINTS, MeshTopology

_NOTHING = 2**31 - 1
_MIN_AREA_PX2 = 1e-3
_EDGE_SLACK_PX = 1e-3


@lru_cache(maxsize=8)
def triangle_tensor(topology: MeshTopology, device: torch.device) -> Tensor:
    """Triangles of a topology on a device, [T, 3] int64."""
    return torch.from_numpy(topology.triangles.astype("int64")).to(device)


def barycentric_planes(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates as affine functions of the place.

    Args:
        corners: [..., 3, 2], the corners (x, y) of triangles.

    Returns:
        ``planes`` [..., 3, 3], so that coordinate k at (x, y) is ``planes[k] @ (x, y, 1)``, and twice the
        signed ``area`` [...], positive for triangles that face the camera. Degenerate triangles have
        finite but meaningless planes.
    """
    a, b, c = corners.unbind(-2)
    area = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]
    safe = torch.where(area.abs() < 1e-12, torch.full_like(area, 1e-12), area)
    rows = []
    for p, q in ((b, c), (c, a), (a, b)):
        dx, dy = q[..., 0] - p[..., 0], q[..., 1] - p[..., 1]
        rows.append(torch.stack([-dy, dx, dy * p[..., 0] - dx * p[..., 1]], -1) / safe[..., None])
    return torch.stack(rows, -2), area


def _spans(corners: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cut triangles [K, 3, 2] (pixel-centre coordinates) into rows of pixels.

    Returns:
        Triangle, y, first x and number of pixels of each row, [R] int64.
    """
    ys = corners[..., 1]
    top = ys.amin(1).ceil().clamp(min=0)
    count = (ys.amax(1).floor().clamp(max=size - 1) - top + 1).clamp(min=0).long()
    which = torch.repeat_interleave(count)
    first = count.cumsum(0) - count
    y = torch.arange(len(which), device=corners.device) - (first - top.long())[which]
    start, end = corners, corners.roll(-1, dims=1)
    dy = end[..., 1] - start[..., 1]
    slope = torch.where(dy == 0, torch.zeros_like(dy), (end[..., 0] - start[..., 0]) / dy)
    sides = torch.stack([start[..., 0], start[..., 1], slope, dy], -1)[which]
    crossing = sides[..., 0] + sides[..., 2] * (y[:, None] - sides[..., 1])
    left = torch.where(sides[..., 3] < 0, crossing, torch.full_like(crossing, -1.0)).amax(1)
    right = torch.where(sides[..., 3] > 0, crossing, torch.full_like(crossing, float(size))).amin(1)
    x = (left - _EDGE_SLACK_PX).ceil().clamp(min=0)
    width = ((right + _EDGE_SLACK_PX).floor().clamp(max=size - 1) - x + 1).clamp(min=0)
    return which, y, x.long(), width.long()


@torch.no_grad()
def winners(mesh: Tensor, triangles: Tensor, size: int) -> Tensor:
    """The nearest front-facing triangle at every pixel centre.

    Args:
        mesh: [B, P, 3] float, crop units, z growing away from the camera.
        triangles: [T, 3] int64, T below 2**15.
        size: width and height of the map in pixels.

    Returns:
        [B, size, size] int64, index of the triangle, -1 where there is none.
    """
    bits = max(1, int(len(triangles) - 1).bit_length())
    corners = mesh.detach().float()[:, triangles]
    xy = corners[..., :2] * size - 0.5
    planes, area = barycentric_planes(xy)
    z = corners[..., 2]
    low, high = z.amin((1, 2), keepdim=True), z.amax((1, 2), keepdim=True)
    steps = (z - low) / (high - low).clamp(min=1e-9) * (2 ** (30 - bits) - 1)
    depth = (planes * steps[..., None]).sum(-2)
    frame, triangle = torch.nonzero(area > _MIN_AREA_PX2, as_tuple=True)
    which, y, x, width = _spans(xy[frame, triangle], size)
    plane = depth[frame, triangle][which]
    left_depth = plane[:, 0] * x + plane[:, 1] * y + plane[:, 2]
    base = (frame[which] * size + y) * size + x
    row = torch.repeat_interleave(width)
    step = torch.arange(len(row), device=mesh.device) - (width.cumsum(0) - width)[row]
    level = (left_depth[row] + plane[:, 0][row] * step).clamp(0, 2 ** (30 - bits) - 1).int()
    key = (level << bits) | triangle[which].int()[row]
    best = torch.full((len(mesh) * size * size,), _NOTHING, dtype=torch.int32, device=mesh.device)
    best.scatter_reduce_(0, base[row] + step, key, "amin")
    found = torch.where(best == _NOTHING, torch.full_like(best, -1), best & (2**bits - 1))
    return found.long().reshape(len(mesh), size, size)


def pixel_places(pixels: Tensor, size: int) -> Tensor:
    """Centres (x, y, 1) in crop units of flat pixel indices [N] of [B, size, size]: [N, 3] float32."""
    x, y = (pixels % size).float(), ((pixels // size) % size).float()
    return torch.stack([(x + 0.5) / size, (y + 0.5) / size, torch.ones_like(x)], -1)


def barycentric(planes: Tensor, places: Tensor) -> Tensor:
    """Coordinates of places (x, y, 1) [N, 3] in triangles of :func:`barycentric_planes` [N, 3, 3]: [N, 3].

    They are 0 or more and add up to 1, also where rounding puts a place just outside its triangle.
    """
    weight = (planes * places[:, None]).sum(-1).clamp(0, 1)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)


def rasterise(mesh: Tensor, topology: MeshTopology, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterise meshes with a depth test; triangles turned away from the camera are left out.

    Args:
        mesh: [B, 478, 3] float, crop units, z growing away from the camera.
        topology: the triangles.
        size: width and height of the maps in pixels.

    Returns:
        Triangle index [B, size, size] int64 (-1 where there is no face), barycentric coordinates
        [B, size, size, 3] float32 in [0, 1] and depth [B, size, size] float32, crop units (both 0 where
        there is no face). The last two carry gradients to ``mesh``.

    Raises:
        ShapeError: ``mesh`` is not [B, 478, 3].
    """
    check_mesh(mesh)
    triangles = triangle_tensor(topology, mesh.device)
    ids = winners(mesh, triangles, size)
    flat = ids.reshape(-1)
    pixels = torch.nonzero(flat >= 0).squeeze(1)
    corners = mesh.float()[:, triangles]
    planes, _ = barycentric_planes(corners[..., :2])
    frame, triangle = pixels // (size * size), flat[pixels]
    weight = barycentric(planes[frame, triangle], pixel_places(pixels, size))
    z = (weight * corners[..., 2][frame, triangle]).sum(-1)
    bary = weight.new_zeros(len(flat), 3).index_copy(0, pixels, weight)
    depth = z.new_zeros(len(flat)).index_copy(0, pixels, z)
    return ids, bary.reshape(*ids.shape, 3), depth.reshape(ids.shape)


def check_mesh(mesh: Tensor) -> None:
    """Raise ShapeError unless ``mesh`` is [B, 478, 3]."""
    if mesh.ndim != 3 or tuple(mesh.shape[1:]) != (MESH_POINTS, 3):
        raise ShapeError("mesh", f"[B, {MESH_POINTS}, 3]", tuple(mesh.shape))


def vertex_facing(mesh: Tensor, triangles: Tensor, points: int) -> Tensor:
    """How far the surface at each point turns to the camera.

    Args:
        mesh: [B, P, 3].
        triangles: [T, 3] int64.
        points: how many points belong to the surface.

    Returns:
        [B, points], cosine between the surface normal and the way to the camera: 1 frontal, below 0 hidden.
    """
    a, b, c = mesh[:, triangles].unbind(2)
    normal = torch.linalg.cross(b - a, c - a, dim=-1)
    total = mesh.new_zeros(len(mesh), points, 3)
    for corner in range(3):
        total = total.index_add(1, triangles[:, corner], normal)
    length = total.square().sum(-1).clamp(min=1e-18).sqrt()
    return total[..., 2] / length
