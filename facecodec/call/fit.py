"""Pictures of any size to the first one's."""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.types import U8Array


def fill(pixels: U8Array, height: int, width: int) -> U8Array:
    """Scale a picture so that it fills a size, and cut off what is beyond, equally on both sides.

    Browsers send smaller pictures when the machine is busy, and others when a telephone is turned; the
    encoder keeps to the first size.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    size = (max(width, round(pixels.shape[1] * scale)), max(height, round(pixels.shape[0] * scale)))
    large = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width])
