"""Temporal error: flicker and swimming that single pictures do not show."""

from __future__ import annotations

import numpy as np

from facecodec.errors import ShapeError
from facecodec.metrics.psnr import require_same_pictures
from facecodec.types import U8Array


def temporal_error(source: U8Array, decoded: U8Array) -> float:
    """Mean |(x_t - x_(t-1)) - (y_t - y_(t-1))| over a clip: the change from picture to picture that is wrong.

    Args:
        source: RGB x, [T, H, W, 3] uint8, T at least 2.
        decoded: RGB y, the same shape.

    Returns:
        Grey levels, 0 to 510; 0 where every change is right, even if all pictures are off by the same.

    Raises:
        ShapeError: not RGB uint8 clips, fewer than two pictures, or shapes differ.
    """
    require_same_pictures(source, decoded, dims=(4,))
    if len(source) < 2:
        raise ShapeError("clip", "[T, H, W, 3] with T >= 2", source.shape)
    total = 0.0
    before = source[0].astype(np.int16) - decoded[0]
    for x, y in zip(source[1:], decoded[1:], strict=True):
        now = x.astype(np.int16) - y
        total += float(np.abs(now - before).mean())
        before = now
    return total / (len(source) - 1)
