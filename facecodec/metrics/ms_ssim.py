"""Multi-scale structural similarity (MS-SSIM).

Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar Conference
on Signals, Systems and Computers, 2003: five scales with the paper's exponents, the window of
:mod:`facecodec.metrics.ssim`, halving by the mean of 2 x 2 pixels, contrast and structure of every scale and
luminance of the coarsest.
"""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.errors import ShapeError
from facecodec.metrics.psnr import luma, require_same_pictures
from facecodec.types import F64Array, U8Array

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from full size to a sixteenth."""

MIN_SIDE = 176
"""The coarsest scale has to hold a whole window of 11 pixels."""

_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def ms_ssim_y(source: U8Array, decoded: U8Array) -> float:
    """MS-SSIM of luma (BT.601).

    Args:
        source: RGB, [H, W, 3] uint8, at least 176 x 176.
        decoded: the same shape.

    Returns:
        0 to 1; 1 where the luma is equal. Negative means of a scale count as 0.

    Raises:
        ShapeError: not one RGB uint8 picture, too small, or shapes differ.
    """
    require_same_pictures(source, decoded, dims=(3,))
    if min(source.shape[:2]) < MIN_SIDE:
        raise ShapeError("picture for MS-SSIM", f"at least {MIN_SIDE} x {MIN_SIDE}", source.shape)
    x, y = luma(source), luma(decoded)
    product = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        if scale:
            x, y = _halved(x), _halved(y)
        structure, whole = _similarities(x, y)
        last = scale == len(EXPONENTS) - 1
        product *= max(whole if last else structure, 0.0) ** exponent
    return product


def _halved(plane: F64Array) -> F64Array:
    """Mean of 2 x 2 pixels; an odd last row or column is left out."""
    even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    return np.asarray((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)


def _blur(plane: F64Array) -> F64Array:
    """Weighted mean in the window of each position that has a whole one."""
    edge = _WINDOW // 2
    smooth = cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA)
    return np.asarray(smooth[edge:-edge, edge:-edge], np.float64)


def _similarities(x: F64Array, y: F64Array) -> tuple[float, float]:
    """Means of contrast and structure alone, and of SSIM with luminance."""
    mean_x, mean_y = _blur(x), _blur(y)
    spread = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
    together = _blur(x * y) - mean_x * mean_y
    structure = (2 * together + _C2) / (spread + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return float(structure.mean()), float((luminance * structure).mean())
