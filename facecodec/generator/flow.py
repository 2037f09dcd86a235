"""The motion field: where each pixel of the current picture looks in the reference picture.

Inside the face the field is the motion of the mesh; outside it is a thin plate spline [1]_ through mesh
points and scene points, so that hair goes with the head and the background stays.

.. [1] F. L. Bookstein, "Principal Warps: Thin-Plate Splines and the Decomposition of Deformations",
   IEEE Trans. PAMI 11(6), 1989.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

MESH_STIFFNESS = 1e-5
"""Diagonal of the spline system at trusted controls; larger lets the spline miss them."""
IGNORED_STIFFNESS = 1e3
"""The same at controls that are not trusted: the spline hardly feels them."""


def smooth_step(value: Tensor, low: float, high: float) -> Tensor:
    """Rise from 0 at ``low`` to 1 at ``high`` with zero slope at both ends."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def stiffness(trust: Tensor) -> Tensor:
    """Diagonal of the spline system for controls trusted between 0 (ignored) and 1 (interpolated)."""
    slack = 0.05 * ((1 - trust) / (trust + 1e-6)).square()
    return (MESH_STIFFNESS + slack).clamp(max=IGNORED_STIFFNESS)


def grid_points(count: int, like: Tensor) -> Tensor:
    """A regular grid over the crop including its borders, [count * count, 2], rows first."""
    step = torch.linspace(0, 1, count, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(step, step, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def _kernel(squared: Tensor) -> Tensor:
    """The thin plate kernel r^2 log r from r^2."""
    safe = squared.clamp(min=1e-12)
    return safe * safe.log() * 0.5


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """[..., N, D] and [..., M, D] to [..., N, M]."""
    dx = a[..., :, None, 0] - b[..., None, :, 0]
    dy = a[..., :, None, 1] - b[..., None, :, 1]
    return dx * dx + dy * dy


def fit_spline(controls: Tensor, values: Tensor, diagonal: Tensor) -> Tensor:
    """Fit thin plate splines.

    Args:
        controls: [B, N, 2], where the values stand.
        values: [B, N, C].
        diagonal: [B, N], stiffness of each control (0 interpolates it exactly).

    Returns:
        [B, N + 3, C] float32: kernel weights, then the affine part (1, x, y).
    """
    at, rhs = controls.double(), values.double()
    batch, count, _ = at.shape
    poly = torch.cat([torch.ones_like(at[..., :1]), at], -1)
    kernel = _kernel(_squared_distance(at, at)) + torch.diag_embed(diagonal.double())
    top = torch.cat([kernel, poly], -1)
    bottom = torch.cat([poly.mT, poly.new_zeros(batch, 3, 3)], -1)
    rhs = torch.cat([rhs, rhs.new_zeros(batch, 3, rhs.shape[-1])], 1)
    system = torch.cat([top, bottom], 1)
    if system.is_cuda:
        batched: Tensor = torch.linalg.solve(system, rhs)
        return batched.float()
    # One by one: MKL's batched LU fails or hangs at some sizes with several threads (torch 2.13, AMD).
    return torch.stack([torch.linalg.solve(a, b) for a, b in zip(system, rhs, strict=True)]).float()


def evaluate_spline(controls: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """Evaluate splines of :func:`fit_spline` at places [M, 2]: [B, M, C]."""
    out = []  # one frame at a time: its kernel matrix stays in the cache
    lifted = torch.cat([places, places.square().sum(-1, keepdim=True), torch.ones_like(places[:, :1])], -1)
    affine = torch.cat([torch.ones_like(places[:, :1]), places], -1)
    for at, weight in zip(controls.float(), weights, strict=True):
        side = torch.cat([-2 * at, torch.ones_like(at[:, :1]), at.square().sum(-1, keepdim=True)], -1)
        kernel = _kernel(lifted @ side.T)
        out.append(kernel @ weight[:-3] + affine @ weight[-3:])
    return torch.stack(out)


def spline_field(controls: Tensor, values: Tensor, diagonal: Tensor, nodes: int, size: int) -> Tensor:
    """Spline through displacements, evaluated on nodes and enlarged.

    Args:
        controls: [B, N, 2], crop units.
        values: [B, N, 2], displacement at the controls.
        diagonal: [B, N], stiffness.
        nodes: evaluations a side.
        size: width and height of the field.

    Returns:
        [B, size, size, 2] displacements at pixel centres.
    """
    weights = fit_spline(controls, values, diagonal)
    nodes = min(nodes, size)
    places = grid_points(nodes, weights) * (1 - 1 / size) + 0.5 / size
    field = evaluate_spline(controls, weights, places).reshape(-1, nodes, nodes, 2)
    if nodes == size:
        return field
    planes = field.permute(0, 3, 1, 2)
    large = functional.interpolate(planes, (size, size), mode="bilinear", align_corners=True)
    return large.permute(0, 2, 3, 1)


def nearest_distance(places: Tensor, points: Tensor) -> Tensor:
    """Distance from places [M, 2] to the nearest of points [B, N, 2]: [B, M]."""
    return _squared_distance(places.expand(len(points), -1, -1), points).amin(-1).clamp(min=1e-12).sqrt()


def previous_field(now: Tensor, before: Tensor) -> Tensor:
    """Where pixels look in the previous picture, when both look into the same reference picture.

    A place p shows the reference at ``now(p)``; the previous picture showed that at the q with
    ``before(q) = now(p)``. One step of Newton's method from p, with ``before`` close to a shift, is
    ``q = p + now(p) - before(p)``.

    Args:
        now: current motion fields, [B, H, W, 2], crop units.
        before: the previous pictures' motion fields, likewise.

    Returns:
        [B, H, W, 2], crop units.
    """
    height, width = now.shape[1:3]
    y = (torch.arange(height, device=now.device) + 0.5) / height
    x = (torch.arange(width, device=now.device) + 0.5) / width
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    return place + now - before


def stretch(field: Tensor) -> Tensor:
    """Logarithm of how much a field [B, 2, H, W] enlarges what it shows, about -1 to 1: [B, 1, H, W].

    Above 0 the current picture shrinks what the reference shows (a closing eye), below 0 it stretches it (an
    opening mouth).
    """
    height, width = field.shape[2:]
    dx = functional.pad((field[..., 1:] - field[..., :-1]) * width, (0, 1, 0, 0), mode="replicate")
    dy = functional.pad((field[..., 1:, :] - field[..., :-1, :]) * height, (0, 0, 0, 1), mode="replicate")
    area = dx[:, :1] * dy[:, 1:] - dx[:, 1:] * dy[:, :1]
    return area.clamp(0.05, 20.0).log() / 3
