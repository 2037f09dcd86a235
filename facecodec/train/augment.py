"""Random changes to training samples: colour, windows, what a previous output may look like."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import ConfigError
from facecodec.train.regions import REGIONS
from facecodec.types import F32Array, U8Array

WINDOW_STEP = 16
"""Windows begin at multiples of this many pixels."""
_MOUTH_SHARE, _EYE_SHARE = 0.5, 0.25
_RIGHT_EYE, _LEFT_EYE, _MOUTH = range(3)
_WARP_SHARE, _MIXED_SHARE = 0.25, 0.5
_PATCHWORK = 8
"""Cells a side of the random map that mixes a worn picture with a plain warp."""


@dataclass(frozen=True, slots=True)
class ColourRange:
    """How far colours are changed; each number is the half width of a uniform draw.

    Attributes:
        gain: of all channels, logarithmic.
        balance: of each channel for itself, logarithmic.
        offset: added, in parts of full scale.
        gamma: exponent, logarithmic.

    Raises:
        ConfigError: a number is not between 0 and 1.
    """

    gain: float = 0.15
    balance: float = 0.06
    offset: float = 0.04
    gamma: float = 0.15

    def __post_init__(self) -> None:
        for name in ("gain", "balance", "offset", "gamma"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(name, value, "0 to 1")


def draw_colours(rng: np.random.Generator, limits: ColourRange) -> F32Array:
    """Draw a change of colours.

    Returns:
        [256, 3] float32 in [0, 1]: what each 8 bit value becomes in each channel.
    """
    level = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    gain = np.exp(rng.uniform(-limits.gain, limits.gain) + rng.uniform(-limits.balance, limits.balance, 3))
    gamma = np.exp(rng.uniform(-limits.gamma, limits.gamma))
    offset = rng.uniform(-limits.offset, limits.offset)
    return np.asarray(np.clip(level**gamma * gain + offset, 0, 1), np.float32)


def to_planes(picture: U8Array, colours: F32Array) -> Tensor:
    """A picture through a table of colours.

    Args:
        picture: [H, W, 3] uint8.
        colours: [256, 3], see :func:`draw_colours`.

    Returns:
        [3, H, W] float32 in [0, 1].
    """
    planes = np.empty((3, *picture.shape[:2]), np.float32)
    for channel in range(3):
        np.take(colours[:, channel], picture[:, :, channel], out=planes[channel])
    return torch.from_numpy(planes)


def resized(picture: U8Array, size: int) -> U8Array:
    """A picture [S, S, 3] at another size; itself where it has that size."""
    side = len(picture)
    if side == size:
        return picture
    way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=way), np.uint8)


def draw_window(rng: np.random.Generator, mesh: F32Array, size: int, window: int) -> tuple[int, int]:
    """Choose a training window: half of them near the mouth, a quarter near an eye, the rest anywhere.

    Args:
        rng: where chance comes from.
        mesh: [478, 3] of the frame, crop units.
        size: width and height of the frame in pixels.
        window: width and height of the window in pixels, at most ``size``.

    Returns:
        Top row and left column, multiples of 16.

    Raises:
        ConfigError: the window is larger than the frame.
    """
    if window > size:
        raise ConfigError("window", window, f"at most {size}")
    last = (size - window) // WINDOW_STEP
    kind = rng.random()
    anywhere = rng.integers(0, last + 1, 2)
    eye = rng.integers(_RIGHT_EYE, _LEFT_EYE + 1)
    jitter = rng.uniform(-0.25, 0.25, 2) * window
    if kind >= _MOUTH_SHARE + _EYE_SHARE:
        return int(anywhere[0]) * WINDOW_STEP, int(anywhere[1]) * WINDOW_STEP
    points = mesh[list(REGIONS[_MOUTH if kind < _MOUTH_SHARE else int(eye)]), :2]
    middle = (points.min(0) + points.max(0))[::-1] / 2 * size
    corner = np.rint((middle + jitter - window / 2) / WINDOW_STEP)
    y, x = np.clip(np.nan_to_num(corner), 0, last).astype(int)
    return int(y) * WINDOW_STEP, int(x) * WINDOW_STEP


def put_out(true: Tensor, warped: Tensor, rng: np.random.Generator) -> Tensor:
    """Something that a generator may have put out: the true frame worn, in places or all of it a plain warp.

    A generator that only ever saw true previous frames would come to copy them, errors and all.

    Args:
        true: [3, H, W] in [0, 1].
        warped: the reference picture bent to the same frame, [3, H, W].
        rng: where chance comes from.

    Returns:
        [3, H, W] in [0, 1].
    """
    kind, softness = rng.random(), float(rng.uniform(0, 0.8))
    tint = torch.from_numpy(rng.normal(0, 0.01, 3).astype(np.float32))[:, None, None]
    places = torch.from_numpy(rng.random((1, 1, _PATCHWORK, _PATCHWORK), dtype=np.float32))
    if kind < _WARP_SHARE:
        return warped.clamp(0, 1)
    soft = functional.avg_pool2d(functional.pad(true[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
    out = true + softness * (soft - true) + tint
    if kind < _WARP_SHARE + _MIXED_SHARE:
        smooth = functional.interpolate(places, true.shape[-2:], mode="bilinear", align_corners=False)[0]
        out = out + ((smooth - 0.5) * 8 + 0.5).clamp(0, 1) * (warped - out)
    return out.clamp(0, 1)
