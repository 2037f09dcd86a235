"""Motion of the iris inside the eye opening: where a gaze goes when the lids stay.

The mesh moves the whole opening with its lids. On top of that the iris is moved as a disc, and the
white on both sides of it is stretched or squeezed along the eye's axis, so that it stays one iris.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.generator.topology import LEFT_IRIS, RIGHT_IRIS, Region

_RIM = 1.15
"""What moves with the iris, in iris radii: its dark rim too."""
_MIN_WHITE = 0.03
"""Least width of the white between iris and corner, in lengths of the eye."""


class Eye(NamedTuple):
    """An eye of the mesh.

    Attributes:
        number: 0 for the right eye, 1 for the left.
        region: that of its opening.
        iris: points of the iris, the centre first.
        corners: its corners, the one on the left of the picture first.
    """

    number: int
    region: int
    iris: tuple[int, ...]
    corners: tuple[int, int]


EYES = (
    Eye(0, int(Region.RIGHT_EYE), RIGHT_IRIS, (33, 133)),
    Eye(1, int(Region.LEFT_EYE), LEFT_IRIS, (362, 263)),
)


class IrisPlace(NamedTuple):
    """An iris and its eye, for each of B meshes.

    Attributes:
        centre: [B, 2], crop units.
        radius: [B], crop units.
        corner: [B, 2], the eye's corner on the left of the picture.
        axis: [B, 2], from there to the other corner.
    """

    centre: Tensor
    radius: Tensor
    corner: Tensor
    axis: Tensor

    def knots(self) -> Tensor:
        """Where the iris begins and ends along the axis, [B, 2], in lengths of the eye."""
        length = self.axis.square().sum(-1).clamp(min=1e-8)
        middle = ((self.centre - self.corner) * self.axis).sum(-1) / length
        half = _RIM * self.radius / length.sqrt()
        start = (middle - half).clamp(_MIN_WHITE, 0.6)
        end = torch.maximum((middle + half).clamp(0.4, 1 - _MIN_WHITE), start + 0.1)
        return torch.stack([start, end], -1)


def locate(mesh: Tensor, iris: tuple[int, ...], corners: tuple[int, int]) -> IrisPlace:
    """Find an iris in meshes [B, 478, 3].

    Args:
        mesh: [B, 478, 3], crop units.
        iris: its points, the centre first.
        corners: the eye's corners, the one on the left of the picture first.
    """
    centre = mesh[:, iris[0], :2]
    ring = mesh[:, list(iris[1:]), :2] - centre[:, None]
    radius = ring.square().sum(-1).mean(1).clamp(min=1e-8).sqrt()
    corner = mesh[:, corners[0], :2]
    return IrisPlace(centre, radius, corner, mesh[:, corners[1], :2] - corner)


def slide(look: Tensor, now: IrisPlace, then: IrisPlace, frame: Tensor) -> Tensor:
    """Further displacement along the eye's axis, piecewise linear: corners stay, iris goes to iris.

    Args:
        look: where pixels of the opening look in the reference picture by the mesh alone, [N, 2].
        now: the eye in the current pictures, B of them.
        then: the eye in the reference picture, one.
        frame: [N] int64 below B, the picture of each pixel.

    Returns:
        [N, 2], crop units.
    """
    axis, corner = then.axis[0], then.corner[0]
    along = ((look - corner) * axis).sum(-1) / axis.square().sum().clamp(min=1e-8)
    start, end = now.knots()[frame].unbind(-1)
    goal_start, goal_end = then.knots()[0].unbind(-1)
    before = along * goal_start / start
    within = goal_start + (along - start) * (goal_end - goal_start) / (end - start)
    after = 1 - (1 - along) * (1 - goal_end) / (1 - end)
    goal = torch.where(along < start, before, torch.where(along > end, after, within))
    goal = torch.where((along < 0) | (along > 1), along, goal)
    return (goal - along)[:, None] * axis


def disc(
    place: Tensor, shift: Tensor, now: IrisPlace, then: IrisPlace, frame: Tensor
) -> tuple[Tensor, Tensor]:
    """The iris as a rigid disc.

    Args:
        place: pixels of the opening, [N, 2], crop units.
        shift: their displacement so far, [N, 2].
        now: the eye in the current pictures, B of them.
        then: the eye in the reference picture, one.
        frame: [N] int64 below B, the picture of each pixel.

    Returns:
        Where each pixel would look if it moved with the disc, [N, 2], and how much it does, [N]: 1 on the
        iris, 0 from twice its radius on, further out the more the disc moves (the map must not fold).
    """
    away = place - now.centre[frame]
    target = then.centre[0] + away * (then.radius[0] / now.radius)[frame, None]
    far = away.square().sum(-1).clamp(min=1e-12).sqrt() / now.radius[frame]
    turn = (target - place - shift).square().sum(-1).clamp(min=1e-12).sqrt() / then.radius[0]
    fade = ((far - 1) / (2 * turn).clamp(min=1.0)).clamp(0, 1)
    return target, 1 - fade * fade * (3 - 2 * fade)


def look(
    eye: Eye, mesh: Tensor, reference: Tensor, opening: Tensor, frame: Tensor, place: Tensor, shift: Tensor
) -> Tensor:
    """Displacement of pixels inside an eye opening, the iris moved as a disc.

    Args:
        eye: which.
        mesh: current meshes, [B, 478, 3], crop units.
        reference: the reference picture's mesh, [478, 3].
        opening: how far inside its eye opening a place of the reference picture lies, [1, s, s].
        frame: [N] int64 below B, the picture of each pixel.
        place: pixels of the opening, [N, 2], crop units.
        shift: their displacement by the mesh alone, [N, 2].

    Returns:
        [N, 2], crop units.
    """
    now = locate(mesh, eye.iris, eye.corners)
    then = locate(reference[None], eye.iris, eye.corners)
    shift = shift + slide(place + shift, now, then, frame)
    target, weight = disc(place, shift, now, then, frame)
    inside = functional.grid_sample(
        opening[None], (target * 2 - 1)[None, None], "bilinear", "zeros", align_corners=False
    )
    return shift + (weight * inside.reshape(-1))[:, None] * (target - place - shift)
