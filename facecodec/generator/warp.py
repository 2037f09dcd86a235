"""Resampling of the reference picture along a motion field."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import ShapeError


def warp(picture: Tensor, field: Tensor) -> Tensor:
    """Resample a picture along a backward motion field, bicubically.

    Args:
        picture: [B, C, H, W] or [1, C, H, W] (the same for every field), any range.
        field: where each output pixel looks in ``picture``, [B, h, w, 2], (x, y) in crop units with pixel
            centres at half-integers (align_corners=False).

    Returns:
        [B, C, h, w] float32. Samples outside the picture repeat its border; overshoot of the cubic
        kernel is left in.

    Raises:
        ShapeError: the batches disagree or an array has the wrong number of dimensions.
    """
    if field.ndim != 4 or field.shape[-1] != 2:
        raise ShapeError("motion field", "[B, h, w, 2]", tuple(field.shape))
    if picture.ndim != 4 or len(picture) not in (1, len(field)):
        raise ShapeError("picture", f"[{len(field)} or 1, C, H, W]", tuple(picture.shape))
    source = picture.float().expand(len(field), -1, -1, -1)
    grid = field.float() * 2.0 - 1.0
    return functional.grid_sample(source, grid, "bicubic", "border", align_corners=False)
