"""Landmarks: 478 points of a face inside a rotated square (MediaPipe Face Mesh V2 with iris).

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs",
CVPR workshop 2019; Grishchenko et al., "Attention Mesh", CVPR workshop 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facecodec.errors import ShapeError
from facecodec.track.bundle import LANDMARKS_MEMBER, TfliteNetwork, read_member, sigmoid
from facecodec.types import F32Array, U8Array

NUM_POINTS = 478
INPUT_SIZE = 256
EYE_CORNERS = (33, 263)
"""Outer eye corners, picture left first: the line that levels the next square."""
ROI_SCALE = 1.5
"""Side of the square over the longer side of the box that it is made from."""
_COARSE = 2.0
"""Squares with more than this many picture pixels to a network pixel are shrunk by area first."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A rotated square of the picture.

    Attributes:
        cx: centre, picture pixels.
        cy: centre, picture pixels.
        side: side, picture pixels.
        angle: rotation in radians, clockwise as seen (y runs down); 0 is upright.
    """

    cx: float
    cy: float
    side: float
    angle: float

    def to_picture(self, points: npt.NDArray[np.floating]) -> F32Array:
        """Map [..., 3] points of the square (side = 1.0, origin in its corner) to picture pixels."""
        cos, sin = math.cos(self.angle) * self.side, math.sin(self.angle) * self.side
        x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
        out = np.empty(points.shape, np.float32)
        out[..., 0] = self.cx + cos * x - sin * y
        out[..., 1] = self.cy + sin * x + cos * y
        out[..., 2] = points[..., 2] * self.side
        return out


def check_rgb(rgb: U8Array) -> None:
    """Raise ShapeError unless ``rgb`` is a picture, [H, W, 3] uint8 with H and W at least 1."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape or rgb.dtype != np.uint8:
        raise ShapeError("rgb", "[H, W, 3] uint8", f"{rgb.shape} {rgb.dtype}")


def check_points(points: npt.NDArray[np.floating], what: str = "points") -> None:
    """Raise ShapeError unless ``points`` is one face, [478, 2 or 3]."""
    if points.ndim != 2 or points.shape[0] != NUM_POINTS or points.shape[1] not in (2, 3):
        raise ShapeError(what, f"[{NUM_POINTS}, 2 or 3]", points.shape)


def roi_from_eyes(
    eyes: npt.NDArray[np.floating], box: npt.NDArray[np.floating], scale: float = ROI_SCALE
) -> Roi:
    """The square for a detected face.

    Args:
        eyes: [2, 2] eye positions, picture left first, picture pixels.
        box: x, y, width, height in picture pixels.
        scale: side over the box's longer side.

    Returns:
        A square around the box's centre, turned so that the eyes are level in it.
    """
    dx, dy = (float(v) for v in eyes[1] - eyes[0])
    x, y, width, height = (float(v) for v in box)
    return Roi(x + width / 2, y + height / 2, scale * max(width, height), math.atan2(dy, dx))


def roi_from_points(points: npt.NDArray[np.floating], scale: float = ROI_SCALE) -> Roi:
    """The square for the next picture, from the landmarks of this one.

    Args:
        points: [478, 2 or 3], picture pixels.
        scale: side over the longer side of the points' box in the turned axes.

    Returns:
        The square, with the outer eye corners level in it.

    Raises:
        ShapeError: ``points`` has another shape.
    """
    check_points(points)
    left, right = points[EYE_CORNERS[0]], points[EYE_CORNERS[1]]
    angle = math.atan2(float(right[1] - left[1]), float(right[0] - left[0]))
    cos, sin = math.cos(angle), math.sin(angle)
    turned = points[:, :2].astype(np.float64) @ np.array([[cos, -sin], [sin, cos]])
    low, high = turned.min(axis=0), turned.max(axis=0)
    mx, my = (low + high) / 2
    side = scale * float((high - low).max())
    return Roi(float(cos * mx - sin * my), float(sin * mx + cos * my), side, angle)


def cut_roi(rgb: U8Array, roi: Roi, size: int = INPUT_SIZE) -> U8Array:
    """Resample a rotated square.

    Args:
        rgb: the picture, [H, W, 3] uint8.
        roi: the square; outside the picture its border pixels are repeated.
        size: side of the result in pixels.

    Returns:
        [size, size, 3] uint8. Squares much larger than ``size`` are averaged over areas first, so that
        fine texture does not alias into motion of the landmarks.
    """
    factor = 1
    x0 = y0 = 0
    if roi.side > _COARSE * size:
        factor = int(roi.side // size)
        rgb, x0, y0 = _shrink_around(rgb, roi, factor)
    step = roi.side / size
    cos, sin = math.cos(roi.angle) * step, math.sin(roi.angle) * step
    half = (size - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, roi.cx - x0 - cos * half + sin * half],
            [sin, cos, roi.cy - y0 - sin * half - cos * half],
        ]
    )
    matrix /= factor
    matrix[:, 2] -= 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(rgb, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _shrink_around(rgb: U8Array, roi: Roi, factor: int) -> tuple[U8Array, int, int]:
    """The part of the picture around a square, ``factor`` times smaller, and its corner in the picture."""
    height, width = rgb.shape[:2]
    reach = roi.side * 0.75 + factor
    x0, x1 = (int(min(max(roi.cx + s * reach, 0), width)) for s in (-1, 1))
    y0, y1 = (int(min(max(roi.cy + s * reach, 0), height)) for s in (-1, 1))
    # Whole blocks of factor x factor pixels; a part that is too thin takes what the picture has.
    x0, y0 = min(x0, max(width - factor, 0)), min(y0, max(height - factor, 0))
    out_w, out_h = max((x1 - x0) // factor, 1), max((y1 - y0) // factor, 1)
    part = rgb[y0 : y0 + out_h * factor, x0 : x0 + out_w * factor]
    return np.asarray(cv2.resize(part, (out_w, out_h), interpolation=cv2.INTER_AREA), np.uint8), x0, y0


class LandmarkModel:
    """The 478 point landmark network.

    Args:
        threads: threads of one run; 0 leaves the number to LiteRT.

    Raises:
        WeightsError: the model file is absent or damaged.
    """

    def __init__(self, threads: int = 0) -> None:
        self._network = TfliteNetwork(read_member(LANDMARKS_MEMBER), "face landmarks", threads)

    def run(self, rgb: U8Array, roi: Roi) -> tuple[F32Array, float]:
        """Find the points of the face that fills a square.

        Args:
            rgb: the picture, [H, W, 3] uint8.
            roi: the square around the face.

        Returns:
            Points, [478, 3] float32 in picture pixels (z in the same scale, growing away from the
            camera), and the network's belief in [0, 1] that a face is there.

        Raises:
            ShapeError: ``rgb`` is not a picture.
        """
        check_rgb(rgb)
        crop = cut_roi(rgb, roi)
        out = self._network.run((crop.astype(np.float32) / np.float32(255.0))[None])
        points = out["Identity"].reshape(NUM_POINTS, 3) / np.float32(INPUT_SIZE)
        return roi.to_picture(points), float(sigmoid(out["Identity_1"]).item())
