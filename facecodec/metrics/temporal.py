"""Temporal error: flicker and swimming that single pictures do not show."""

from __future__ import annotations

import math

import cv2
import numpy as np

from facecodec.errors import ShapeError
from facecodec.metrics.psnr import luma, require_same_pictures
from facecodec.types import F64Array, U8Array

_STILL = 1.5
"""Grey levels of change below which a place stands still."""


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


def static_flicker(source: U8Array, decoded: U8Array) -> float:
    """Mean change of decoded luma from picture to picture where the source stands still.

    A place stands still where the source's luma, averaged over 5 x 5 pixels so that noise does not count,
    changes by less than one and a half grey levels. Breathing of key frames, boiling texture and jitter of a
    warp show here; a moving face does not.

    Args:
        source: RGB, [T, H, W, 3] uint8, T at least 2.
        decoded: the same shape.

    Returns:
        Grey levels of the same averages, 0 to 255; 0 for a decoder that repeats what stands still. NaN where
        less than a hundredth of all places stands still.

    Raises:
        ShapeError: not RGB uint8 clips, fewer than two pictures, or shapes differ.
    """
    require_same_pictures(source, decoded, dims=(4,))
    if len(source) < 2:
        raise ShapeError("clip", "[T, H, W, 3] with T >= 2", source.shape)
    total, places = 0.0, 0
    before = _smooth_luma(source[0]), _smooth_luma(decoded[0])
    for x, y in zip(source[1:], decoded[1:], strict=True):
        now = _smooth_luma(x), _smooth_luma(y)
        still = np.abs(now[0] - before[0]) < _STILL
        total += float(np.abs(now[1] - before[1])[still].sum())
        places += int(still.sum())
        before = now
    every = (len(source) - 1) * before[0].size
    return total / places if places >= 0.01 * every else math.nan


def _smooth_luma(picture: U8Array) -> F64Array:
    return np.asarray(cv2.blur(luma(picture), (5, 5)), np.float64)
