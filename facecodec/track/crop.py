"""The coded square: chosen once for the life of a reference picture, and cut from each picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError, ShapeError
from facecodec.track.landmarks import NUM_POINTS, check_points, check_rgb
from facecodec.types import CropTransform, F64Array, Landmarks, U8Array

MIN_SIZE = 64
"""Smallest coded size in pixels; smaller squares are enlarged."""
FACE_SHARE = 0.5
"""Width of the reference's face in the square: hair and chin stay clear of its border."""
MARGIN = 0.08
"""Room kept around the face over the whole window, as a share of the side."""
_ASPECT = 1.25
"""Height over width of an upright mesh: a turned face is measured by its height."""
_CENTRE = 0.37
"""Height in the mesh that stands at the square's centre, from the forehead: a little below the eyes."""
_SNAP = 0.05
"""A side this near to the coded size is set to it, so that pixels need no resampling."""


def face_box(points: npt.NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Box of a face's points.

    Args:
        points: [478, 2 or 3].

    Returns:
        x0, y0, x1, y1 in the unit of the points.

    Raises:
        ShapeError: ``points`` has another shape.
    """
    check_points(points)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def is_face_crop(width: int, height: int, landmarks: Landmarks) -> bool:
    """Whether the picture is a talking-head crop already: square, the face over a third of its width."""
    x0, _, x1, _ = face_box(landmarks.points)
    return width == height and x1 - x0 > width / 3


def choose_crop(
    tracks: npt.NDArray[np.floating], reference_index: int, width: int, height: int, size: int
) -> CropTransform:
    """Choose the square to code, fixed for the life of a reference picture.

    The reference's face takes :data:`FACE_SHARE` of the side, with room for hair and shoulders. The
    square grows until every face of the window stays inside with :data:`MARGIN`. It stays inside the
    picture where the faces fit into such a square; else it reaches over the border, which is repeated.
    A picture that is a talking-head crop already is taken whole.

    Args:
        tracks: [T, 478, 2 or 3], the faces of the window, picture pixels; valid frames only.
        reference_index: which of them the reference picture shows.
        width: of the picture in pixels.
        height: of the picture in pixels.
        size: largest coded size in pixels, even, :data:`MIN_SIZE` or more.

    Returns:
        The square. Its coded size is even, at most ``size``, and not larger than the side unless the
        side is under :data:`MIN_SIZE`.

    Raises:
        ShapeError: ``tracks`` has another shape or is empty.
        ConfigError: ``reference_index``, ``width``, ``height`` or ``size`` is out of range.
    """
    if tracks.ndim != 3 or tracks.shape[0] == 0 or tracks.shape[1] != NUM_POINTS:
        raise ShapeError("tracks", f"[T, {NUM_POINTS}, 2 or 3], T at least 1", tracks.shape)
    if not 0 <= reference_index < len(tracks):
        raise ConfigError("reference_index", reference_index, f"0 to {len(tracks) - 1}")
    if width < 1 or height < 1:
        raise ConfigError("width, height", (width, height), "1 or more")
    if size < MIN_SIZE or size % 2:
        raise ConfigError("size", size, f"an even number from {MIN_SIZE}")
    reference = tracks[reference_index]
    if is_face_crop(width, height, Landmarks(np.asarray(reference, np.float32), 1.0)):
        return _finish(0, 0, width, size)
    flat = np.asarray(tracks, np.float64)[..., :2]
    low, high = flat.min(axis=(0, 1)), flat.max(axis=(0, 1))
    side = _choose_side(face_box(reference), low, high, min(width, height), size)
    x0, y0, x1, y1 = face_box(reference)
    centre = np.array([(x0 + x1) / 2, y0 + _CENTRE * (y1 - y0)])
    reach = max(0.5 - MARGIN, float((high - low).max()) / (2 * side)) * side
    centre = np.clip(centre, high - reach, low + reach)
    x, y = (
        _place(float(c) - side / 2, side, length) for c, length in zip(centre, (width, height), strict=True)
    )
    return _finish(x, y, side, size)


def _choose_side(
    box: tuple[float, float, float, float], low: F64Array, high: F64Array, shorter: int, size: int
) -> int:
    """Side of the square from the reference's face and the box of all faces."""
    x0, y0, x1, y1 = box
    span = float((high - low).max())
    needed = span / (1 - 2 * MARGIN)
    side = max(max(x1 - x0, (y1 - y0) / _ASPECT) / FACE_SHARE, needed, 1.0)
    if abs(side / size - 1) <= _SNAP and needed <= size:
        side = float(size)
    if side > shorter >= span:
        side = float(shorter)
    return max(round(side), 1)


def _place(start: float, side: int, length: int) -> int:
    """Move the square's edge so that it lies in the picture, or covers it where it is larger."""
    return min(max(round(start), min(0, length - side)), max(0, length - side))


def _finish(x: int, y: int, side: int, size: int) -> CropTransform:
    """Set the coded size; a side not over ``size`` becomes even, so that pixels are kept as they are."""
    even = side - side % 2
    if MIN_SIZE <= even <= size:
        return CropTransform(x, y, even, even)
    return CropTransform(x, y, side, max(min(size, even), MIN_SIZE))


def crop_picture(rgb: U8Array, crop: CropTransform) -> U8Array:
    """Cut the coded square from a picture.

    Args:
        rgb: [H, W, 3] uint8.
        crop: the square; outside the picture its border is repeated.

    Returns:
        [size, size, 3] uint8, a copy: the same pixels where side and size agree, else averaged over
        areas (smaller) or bicubic (larger).

    Raises:
        ShapeError: ``rgb`` is not a picture.
        ConfigError: the side or size of the square is below 1.
    """
    check_rgb(rgb)
    if crop.side < 1 or crop.size < 1:
        raise ConfigError("crop", crop, "side and size of 1 or more")
    height, width = rgb.shape[:2]
    if crop.x >= 0 and crop.y >= 0 and crop.x + crop.side <= width and crop.y + crop.side <= height:
        square = rgb[crop.y : crop.y + crop.side, crop.x : crop.x + crop.side]
    else:
        rows = np.clip(np.arange(crop.y, crop.y + crop.side), 0, height - 1)
        columns = np.clip(np.arange(crop.x, crop.x + crop.side), 0, width - 1)
        square = rgb[rows][:, columns]
    if crop.side == crop.size:
        return square.copy()
    mode = cv2.INTER_AREA if crop.side > crop.size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (crop.size, crop.size), interpolation=mode), np.uint8)
