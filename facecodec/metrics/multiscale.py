"""Structural dissimilarity over several scales: a cheap distance that follows LPIPS.

Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar Conference
on Signals, Systems and Computers, 2003; with equal weights and the mean over scales instead of the product,
so that a box of the picture has a distance of its own. ``bench/proxy.py`` compares it with LPIPS.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facecodec.metrics.landmark import Box
from facecodec.metrics.psnr import require_same_pictures
from facecodec.types import F32Array, U8Array

SCALES = 3
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


class DissimilarityMaps:
    """How unlike two pictures are at every place, at full, half and quarter size.

    Args:
        source: RGB, [H, W, 3] uint8, at least 16 x 16.
        decoded: the same shape.

    Raises:
        ShapeError: not one RGB uint8 picture, or shapes differ.
    """

    def __init__(self, source: U8Array, decoded: U8Array) -> None:
        require_same_pictures(source, decoded, dims=(3,))
        x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (source, decoded))
        self._maps = _maps(x, y)

    def mean(self, box: Box | None = None) -> float:
        """Mean over a box, in pixels of the whole picture, or over everything; 0 (equal) to 1 (unlike)."""
        parts = self._maps if box is None else [_cut(m, box, scale) for scale, m in enumerate(self._maps)]
        return min(max(float(np.mean([part.mean() for part in parts])), 0.0), 1.0)

    def means(self, boxes: Sequence[Box]) -> tuple[float, ...]:
        """The mean over everything, and over each box."""
        return (self.mean(), *(self.mean(box) for box in boxes))


def luma_distance(source: U8Array, decoded: U8Array) -> float:
    """The mean distance of two planes of luma, [H, W] uint8: 0 (equal) to 1 (unlike)."""
    return min(max(float(np.mean([part.mean() for part in _maps(source, decoded)])), 0.0), 1.0)


def _maps(source: U8Array, decoded: U8Array) -> list[F32Array]:
    """1 - SSIM at every place of two planes, at full, half and quarter size."""
    x, y = source.astype(np.float32), decoded.astype(np.float32)
    maps = [_dissimilarity(x, y)]
    for _ in range(SCALES - 1):
        x, y = _halved(x), _halved(y)
        maps.append(_dissimilarity(x, y))
    return maps


def _cut(plane: F32Array, box: Box, scale: int) -> F32Array:
    """The part of a map, ``scale`` times halved, inside a box."""
    low, high = (box.x0 >> scale, box.y0 >> scale), (-(-box.x1 >> scale), -(-box.y1 >> scale))
    return plane[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]


def _halved(plane: F32Array) -> F32Array:
    size = (max(1, plane.shape[1] // 2), max(1, plane.shape[0] // 2))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _blur(plane: F32Array) -> F32Array:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), _SIGMA, borderType=cv2.BORDER_REFLECT), np.float32)


def _dissimilarity(x: F32Array, y: F32Array) -> F32Array:
    """1 - SSIM of two planes, with the windows that lie over the border mirrored."""
    mean_x, mean_y = _blur(x), _blur(y)
    cross, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    spread, together = _blur(x * x + y * y) - squares, _blur(x * y) - cross
    similar = (2 * cross + _C1) * (2 * together + _C2) / ((squares + _C1) * (spread + _C2))
    return np.asarray(1 - similar, np.float32)
