"""Structural similarity (SSIM).

Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13(4), 2004.

Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, mean over the
positions whose whole window lies in the picture; no downsampling before it.
"""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.errors import ShapeError
from facecodec.metrics.psnr import luma, require_same_pictures
from facecodec.types import F64Array, U8Array

_RADIUS = 5
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def _window() -> F64Array:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _blur(planes: F64Array, window: F64Array) -> F64Array:
    """Weighted mean in the window of each position that has a whole one: [H - 10, W - 10] or [.., .., 3]."""
    smooth = cv2.sepFilter2D(planes, cv2.CV_64F, window, window)
    return np.asarray(smooth[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS], np.float64)


def _ssim(x: F64Array, y: F64Array) -> float:
    """Mean SSIM of planes, [H, W] or [H, W, 3]."""
    window = _window()
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    var_x = _blur(x * x, window) - mean_x**2
    var_y = _blur(y * y, window) - mean_y**2
    cov = _blur(x * y, window) - mean_x * mean_y
    ratio = ((2 * mean_x * mean_y + _C1) * (2 * cov + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    )
    return float(ratio.mean())


def _require_window(picture: U8Array) -> None:
    if min(picture.shape[:2]) < 2 * _RADIUS + 1:
        raise ShapeError("picture for SSIM", "at least 11 x 11", picture.shape)


def ssim_y(source: U8Array, decoded: U8Array) -> float:
    """SSIM of luma (BT.601), as in the paper.

    Args:
        source: RGB, [H, W, 3] uint8, at least 11 x 11.
        decoded: the same shape.

    Returns:
        Mean SSIM in [-1, 1]; 1 where the luma is equal.

    Raises:
        ShapeError: not one RGB uint8 picture, too small, or shapes differ.
    """
    require_same_pictures(source, decoded, dims=(3,))
    _require_window(source)
    return _ssim(luma(source), luma(decoded))


def ssim_rgb(source: U8Array, decoded: U8Array) -> float:
    """Mean of the SSIM of the three channels.

    Args:
        source: RGB, [H, W, 3] uint8, at least 11 x 11.
        decoded: the same shape.

    Returns:
        Mean SSIM in [-1, 1]; 1 where the pictures are equal.

    Raises:
        ShapeError: not one RGB uint8 picture, too small, or shapes differ.
    """
    require_same_pictures(source, decoded, dims=(3,))
    _require_window(source)
    x, y = source.astype(np.float64), decoded.astype(np.float64)
    return _ssim(x, y)
