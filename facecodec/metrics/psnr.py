"""Peak signal-to-noise ratio of 8 bit pictures."""

from __future__ import annotations

import math

import numpy as np

from facecodec.errors import ShapeError
from facecodec.types import F64Array, U8Array

_LUMA_BT601 = np.array([0.299, 0.587, 0.114])


def require_same_pictures(source: U8Array, decoded: U8Array, *, dims: tuple[int, ...] = (3, 4)) -> None:
    """Check that two arrays hold pictures of one shape.

    Args:
        source: RGB, [H, W, 3] or [T, H, W, 3] uint8.
        decoded: the same shape.
        dims: numbers of dimensions that the caller takes.

    Raises:
        ShapeError: not RGB uint8, no pixels, or the shapes differ.
    """
    for name, array in (("source", source), ("decoded", decoded)):
        if array.dtype != np.uint8 or array.ndim not in dims or array.shape[-1] != 3 or array.size == 0:
            wanted = " or ".join("[T, H, W, 3]" if d == 4 else "[H, W, 3]" for d in dims)
            raise ShapeError(f"{name} picture", f"{wanted} uint8", f"{array.shape} {array.dtype}")
    if source.shape != decoded.shape:
        raise ShapeError("decoded picture", str(source.shape), decoded.shape)


def luma(rgb: U8Array) -> F64Array:
    """Luma of RGB pictures, ITU-R BT.601 weights at full range.

    Args:
        rgb: [..., 3] uint8.

    Returns:
        [...] float64 in [0, 255], not rounded.
    """
    return np.asarray(rgb @ _LUMA_BT601, dtype=np.float64)


def _psnr_db(mean_square: float) -> float:
    return math.inf if mean_square == 0 else 10.0 * math.log10(255.0**2 / mean_square)


def psnr(source: U8Array, decoded: U8Array) -> float:
    """PSNR over all three channels.

    Args:
        source: RGB, [H, W, 3] uint8, or [T, H, W, 3] for the PSNR of the mean squared error of a clip.
        decoded: the same shape.

    Returns:
        dB; infinity where the pictures are equal.

    Raises:
        ShapeError: not RGB uint8 or shapes differ.
    """
    require_same_pictures(source, decoded)
    return _psnr_db(float(np.mean(np.square(source.astype(np.float32) - decoded), dtype=np.float64)))


def psnr_y(source: U8Array, decoded: U8Array) -> float:
    """PSNR of luma (see :func:`luma`).

    Args:
        source: RGB, [H, W, 3] or [T, H, W, 3] uint8.
        decoded: the same shape.

    Returns:
        dB; infinity where the luma is equal.

    Raises:
        ShapeError: not RGB uint8 or shapes differ.
    """
    require_same_pictures(source, decoded)
    return _psnr_db(float(np.mean(np.square(luma(source) - luma(decoded)))))
