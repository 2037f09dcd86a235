"""Landmark distance, correlation of expression, and the boxes in which expression is judged.

Tracks come from the caller as arrays: this module tracks nothing. Points follow the 478 point layout
of ``KeypointSet.MESH_478``, in crop units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecodec.errors import ShapeError

POINTS_PER_SIDE = 256
"""Distances are given in points: 1/256 of the crop's side."""

EYE_POINTS = (33, 133, 159, 145, 160, 144, 158, 153, 263, 362, 386, 374, 387, 373, 385, 380)
"""Corners and lids of both eyes."""
MOUTH_POINTS = (61, 291, 0, 17, 37, 267, 39, 269, 84, 314, 181, 405)
"""Corners and outer lips."""

_BOX_MARGIN = 0.25
_BOX_MIN_PX = 48


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels: columns ``x0`` to ``x1``, rows ``y0`` to ``y1``, ends not included."""

    x0: int
    y0: int
    x1: int
    y1: int

    def cut(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part of a [H, W, 3] picture inside the box."""
        return picture[self.y0 : self.y1, self.x0 : self.x1]


def landmark_distance(source: npt.NDArray[np.floating], decoded: npt.NDArray[np.floating]) -> float:
    """Mean distance of points in the picture plane; ``z`` is left out.

    Args:
        source: track of the source, [T, N, 2 or 3] in crop units. Frames with a NaN (no face) are left out.
        decoded: track of the decoded pictures, the same shape.

    Returns:
        Points (pixels at 256 x 256); NaN where no frame has both faces.

    Raises:
        ShapeError: not [T, N, 2 or 3], or the shapes differ.
    """
    if source.ndim != 3 or source.shape[-1] not in (2, 3):
        raise ShapeError("source track", "[T, N, 2 or 3]", source.shape)
    if source.shape != decoded.shape:
        raise ShapeError("decoded track", str(source.shape), decoded.shape)
    offset = np.asarray(source, dtype=np.float64)[..., :2] - decoded[..., :2]
    per_frame = np.linalg.norm(offset, axis=-1).mean(axis=-1)
    seen = per_frame[np.isfinite(per_frame)]
    return float(seen.mean()) * POINTS_PER_SIDE if len(seen) else math.nan


def expression_correlation(source: npt.NDArray[np.floating], decoded: npt.NDArray[np.floating]) -> float:
    """Pearson correlation over time of an openness (eyes or mouth) with that of the source.

    Args:
        source: [T], NaN where no face was tracked; those frames are left out.
        decoded: [T], likewise.

    Returns:
        -1 to 1; 0 where the decoded series is constant (it tells nothing about the source); NaN where
        the source never changes or fewer than three frames have both faces.

    Raises:
        ShapeError: not two series of one length.
    """
    if source.ndim != 1 or source.shape != decoded.shape:
        raise ShapeError("openness series", f"[T], twice {source.shape}", decoded.shape)
    both = np.isfinite(source) & np.isfinite(decoded)
    x = np.asarray(source, dtype=np.float64)[both]
    y = np.asarray(decoded, dtype=np.float64)[both]
    if len(x) < 3 or float(np.ptp(x)) == 0:
        return math.nan
    if float(np.ptp(y)) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _box(points_px: npt.NDArray[np.floating], width: int, height: int) -> Box:
    low, high = points_px.min(axis=0), points_px.max(axis=0)
    middle = (low + high) / 2
    margin = _BOX_MARGIN * float((high - low).max())
    ends = []
    for axis, limit in ((0, width), (1, height)):
        side = min(limit, max(_BOX_MIN_PX, math.ceil(float(high[axis] - low[axis]) + 2 * margin)))
        start = round(float(middle[axis]) - side / 2)
        start = max(0, min(limit - side, start))
        ends.append((start, start + side))
    (x0, x1), (y0, y1) = ends
    return Box(x0, y0, x1, y1)


def expression_boxes(points: npt.NDArray[np.floating], width: int, height: int) -> tuple[Box, Box]:
    """Boxes around both eyes and around the mouth of one frame.

    Each is the bounding box of its points and a quarter of its longer side around them, at least 48
    pixels wide and high (a network needs that much), moved into the picture.

    Args:
        points: [478, 2 or 3] crop units, finite.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        (eyes, mouth).

    Raises:
        ShapeError: not the 478 point layout, or points that are not finite.
    """
    if points.ndim != 2 or points.shape[0] != 478 or points.shape[1] not in (2, 3):
        raise ShapeError("points", "[478, 2 or 3]", points.shape)
    if not np.isfinite(points).all():
        raise ShapeError("points", "478 finite points", "NaN or infinity")
    scaled = np.asarray(points, dtype=np.float64)[:, :2] * (width, height)
    return (
        _box(scaled[list(EYE_POINTS)], width, height),
        _box(scaled[list(MOUTH_POINTS)], width, height),
    )
