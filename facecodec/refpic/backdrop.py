"""The backdrop: a still of the whole picture, sent beside a reference picture.

The crop is pasted over it, so what lies well inside the crop is never seen; the encoder fills it smoothly
from its border, which costs next to nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.types import CropTransform, U8Array

MAX_SIDE = 640
_INSET = 0.16
"""Share of the crop's side that is kept on each edge: the feather, and room to solve a seam in."""
_FILL_SIDE = 96


def backdrop_size(width: int, height: int) -> tuple[int, int]:
    """Coded width and height of the backdrop of a picture: at most 640 on the longer side."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return max(16, round(width * scale)), max(16, round(height * scale))


def covers(crop: CropTransform, width: int, height: int) -> bool:
    """Whether the crop hides the whole picture, so that no backdrop is seen."""
    return crop.x <= 0 and crop.y <= 0 and crop.x + crop.side >= width and crop.y + crop.side >= height


def make_backdrop(picture: U8Array, crop: CropTransform) -> U8Array:
    """Prepare the backdrop of a picture.

    Args:
        picture: [H, W, 3] uint8.
        crop: the square that will be pasted over it.

    Returns:
        [h, w, 3] uint8 of :func:`backdrop_size`.
    """
    height, width = picture.shape[:2]
    size = backdrop_size(width, height)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    sx, sy = size[0] / width, size[1] / height
    inset = crop.side * _INSET
    x0, x1 = (round((crop.x + inset) * sx), round((crop.x + crop.side - inset) * sx))
    y0, y1 = (round((crop.y + inset) * sy), round((crop.y + crop.side - inset) * sy))
    x0 = 0 if crop.x <= 0 else max(x0, 0)
    y0 = 0 if crop.y <= 0 else max(y0, 0)
    x1 = size[0] if crop.x + crop.side >= width else min(x1, size[0])
    y1 = size[1] if crop.y + crop.side >= height else min(y1, size[1])
    if x1 - x0 < 4 or y1 - y0 < 4:
        return np.asarray(small, np.uint8)
    hole = np.zeros(small.shape[:2], np.uint8)
    hole[y0:y1, x0:x1] = 255
    return np.asarray(np.where(hole[..., None] > 0, _filled(small, hole), small), np.uint8)


def _filled(small: U8Array, hole: U8Array) -> U8Array:
    if hole.all():
        return np.full_like(small, 128)
    scale = min(1.0, _FILL_SIDE / max(small.shape[:2]))
    tiny_size = (max(8, round(small.shape[1] * scale)), max(8, round(small.shape[0] * scale)))
    tiny_hole = (cv2.resize(hole, tiny_size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    if tiny_hole.all():
        return np.full_like(small, 128)
    tiny = cv2.inpaint(
        cv2.resize(small, tiny_size, interpolation=cv2.INTER_AREA), tiny_hole, 3, cv2.INPAINT_NS
    )
    tiny = np.where(tiny_hole[..., None] > 0, cv2.GaussianBlur(tiny, (0, 0), 3), tiny)
    return np.asarray(cv2.resize(tiny, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_LINEAR))
