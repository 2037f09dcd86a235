"""Eyes and mouth of a mesh: weight maps and boxes for losses, and where to look in the first place."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facecodec.generator.raster import check_mesh
from facecodec.generator.topology import LEFT_EYE, LEFT_IRIS, OUTER_LIPS, RIGHT_EYE, RIGHT_IRIS

REGIONS: tuple[tuple[int, ...], ...] = (RIGHT_EYE + RIGHT_IRIS, LEFT_EYE + LEFT_IRIS, OUTER_LIPS)
"""Points of the right eye, the left eye and the mouth."""

BOX_SHARE = 1 / 4
"""Side of a region's box, as a share of the crop's side: 64 px of 256."""


class Boxes(NamedTuple):
    """Square boxes in a batch of pictures.

    Attributes:
        sample: [N] int64, the picture of each box.
        y: [N] int64, its top row.
        x: [N] int64, its left column.
        side: width and height of all of them, pixels.
    """

    sample: Tensor
    y: Tensor
    x: Tensor
    side: int


def region_centres(mesh: Tensor) -> Tensor:
    """Middles of the bounding boxes of right eye, left eye and mouth: [B, 3, 2] (x, y) in crop units."""
    return torch.stack([(low + high) / 2 for low, high in _extents(mesh)], 1)


def _extents(mesh: Tensor) -> list[tuple[Tensor, Tensor]]:
    check_mesh(mesh)
    chosen = [mesh[:, list(points), :2].float() for points in REGIONS]
    return [(points.amin(1), points.amax(1)) for points in chosen]


def region_weights(mesh: Tensor, size: int, boost: float = 4.0, margin: float = 0.015) -> Tensor:
    """Weights of the pixels of a crop, larger on eyes and mouth.

    Args:
        mesh: [B, 478, 3], crop units.
        size: width and height of the crop in pixels.
        boost: what is added inside an eye's or the mouth's bounding box.
        margin: how far around the box the boost reaches, crop units; it fades out over as much again.

    Returns:
        [B, 1, size, size] float32, 1 to 1 + ``boost``.

    Raises:
        ShapeError: ``mesh`` is not [B, 478, 3].
    """
    step = (torch.arange(size, device=mesh.device) + 0.5) / size
    most = mesh.new_zeros(len(mesh), size, size, dtype=torch.float32)
    for low, high in _extents(mesh):
        outside = [
            torch.maximum(low[:, axis, None] - step, step - high[:, axis, None]).clamp(min=0)
            for axis in (0, 1)
        ]
        far = torch.maximum(outside[0][:, None, :], outside[1][:, :, None])
        most = torch.maximum(most, (2 - far / max(margin, 1e-6)).clamp(0, 1))
    return 1 + boost * most[:, None]


def region_boxes(
    mesh: Tensor, size: int, windows: Tensor | None = None, window_size: int | None = None
) -> Boxes:
    """Boxes around the eyes and the mouth, those that lie in the window.

    A box that reaches over an edge is moved inside; one whose middle lies outside is left out.

    Args:
        mesh: [B, 478, 3], crop units.
        size: width and height of the whole crop in pixels.
        windows: [B, 2] int64, top row and left column of each training window, or None for whole crops.
        window_size: width and height of the windows.

    Returns:
        Boxes of up to a quarter of the crop's side, in pixels of the window.

    Raises:
        ShapeError: ``mesh`` is not [B, 478, 3].
    """
    extent = size if windows is None or window_size is None else window_size
    side = min(extent, round(size * BOX_SHARE))
    middle = region_centres(mesh).flip(-1) * size
    if windows is not None:
        middle = middle - windows[:, None].to(middle)
    inside = ((middle >= 0) & (middle < extent)).all(-1)
    corner = (middle - side / 2).round().long().clamp(0, extent - side)
    sample, region = torch.nonzero(inside, as_tuple=True)
    y, x = corner[sample, region].unbind(-1)
    return Boxes(sample, y, x, side)


def cut_boxes(picture: Tensor, boxes: Boxes) -> Tensor:
    """Cut boxes out of pictures [B, C, h, w]: [N, C, side, side], with gradients."""
    side = boxes.side
    places = zip(boxes.sample.tolist(), boxes.y.tolist(), boxes.x.tolist(), strict=True)
    cut = [picture[sample, :, y : y + side, x : x + side] for sample, y, x in places]
    if not cut:
        return picture.new_zeros(0, picture.shape[1], side, side)
    return torch.stack(cut)


def cut_windows(picture: Tensor, windows: Tensor, window_size: int) -> Tensor:
    """Cut each sample's window out of [B, ..., H, W]: [B, ..., window_size, window_size].

    Args:
        picture: pictures, or [B, T, C, H, W] clips.
        windows: [B, 2] int64, top row and left column.
        window_size: width and height.
    """
    places = zip(picture, windows.tolist(), strict=True)
    return torch.stack([p[..., y : y + window_size, x : x + window_size] for p, (y, x) in places])
