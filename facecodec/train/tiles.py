"""Sheets of pictures side by side, written as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import MediaError, ShapeError

_GAP = 2


def _cell(picture: Tensor, side: int) -> np.ndarray:
    """[3 or 1, h, w] in [0, 1] to [side, side, 3] uint8."""
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise ShapeError("tile", "[1 or 3, h, w]", tuple(picture.shape))
    shown = picture.detach().float().cpu().expand(3, -1, -1)[None]
    if shown.shape[-2:] != (side, side):
        shown = functional.interpolate(shown, (side, side), mode="bilinear", antialias=True)
    pixels = shown[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return np.asarray(pixels.numpy())


def sheet(rows: Sequence[Sequence[Tensor]], side: int = 256) -> np.ndarray:
    """Lay out rows of pictures.

    Args:
        rows: of pictures [3, h, w] or masks [1, h, w] in [0, 1]; shorter rows are filled with grey.
        side: of each cell, in pixels.

    Returns:
        [H, W, 3] uint8, RGB.

    Raises:
        ShapeError: no pictures, or one that is neither picture nor mask.
    """
    width = max((len(row) for row in rows), default=0)
    if width == 0:
        raise ShapeError("tiles", "at least one picture", len(rows))
    step = side + _GAP
    out = np.full((len(rows) * step - _GAP, width * step - _GAP, 3), 128, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            out[y * step : y * step + side, x * step : x * step + side] = _cell(picture, side)
    return out


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write a picture [H, W, 3] uint8 RGB as PNG.

    Raises:
        MediaError: it cannot be written.
    """
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not done:
        raise MediaError(path, "PNG coding failed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as err:
        raise MediaError(path, f"cannot be written: {err.strerror}") from err
