"""What a face shows: how open eyes and mouth are, where it looks, how sharp it is.

The encoder chooses reference pictures by these numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facecodec.errors import ShapeError
from facecodec.track.landmarks import check_points, check_rgb
from facecodec.types import U8Array

_LEFT_EYE = (33, 133, 159, 145)
_RIGHT_EYE = (263, 362, 386, 374)
"""Outer corner, inner corner, upper lid, lower lid; left and right as the picture shows them."""
_MOUTH = (61, 291, 13, 14)
"""Corners, middle of the upper and lower inner lip."""
_ACROSS = (234, 454)
_DOWN = (10, 152)
_REST_PITCH = 0.12
"""The line from forehead to chin leans this much in a face that looks straight ahead (median of clips)."""
_SHARPNESS_SIDE = 128


@dataclass(frozen=True, slots=True)
class HeadAngles:
    """Attitude of a head in radians; all zero looks straight into the camera.

    Attributes:
        yaw: positive turns the nose to the right of the picture.
        pitch: positive turns the nose down.
        roll: positive leans the head clockwise as the picture shows it.
    """

    yaw: float
    pitch: float
    roll: float

    @property
    def off_axis(self) -> float:
        """Angle between nose and camera, radians: 0 is frontal. Roll does not count."""
        return math.acos(max(-1.0, min(1.0, math.cos(self.yaw) * math.cos(self.pitch))))


def _opening(points: npt.NDArray[np.floating], indices: tuple[int, int, int, int]) -> float:
    """Distance of the third and fourth point over that of the first and second, in the picture plane."""
    check_points(points)
    a, b, upper, lower = (points[i, :2].astype(np.float64) for i in indices)
    return float(np.linalg.norm(lower - upper) / max(float(np.linalg.norm(b - a)), 1e-9))


def eye_openness_each(points: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Lid distance over eye width of each eye.

    Args:
        points: [478, 2 or 3], any unit.

    Returns:
        Picture left eye, picture right eye. About 0.3 for an open eye, under 0.12 for a closed one.

    Raises:
        ShapeError: ``points`` has another shape.
    """
    return _opening(points, _LEFT_EYE), _opening(points, _RIGHT_EYE)


def eye_openness(points: npt.NDArray[np.floating]) -> float:
    """Lid distance over eye width, both eyes averaged. See :func:`eye_openness_each`."""
    return sum(eye_openness_each(points)) / 2


def mouth_openness(points: npt.NDArray[np.floating]) -> float:
    """Distance of the inner lips over the width of the mouth; 0 is closed.

    Args:
        points: [478, 2 or 3], any unit.

    Returns:
        0 or more.

    Raises:
        ShapeError: ``points`` has another shape.
    """
    return _opening(points, _MOUTH)


def frontalness(points: npt.NDArray[np.floating]) -> HeadAngles:
    """Estimate the attitude of the head from the mesh.

    The axes are ear to ear and forehead to chin, with the network's own depth, so these are estimates:
    good for choosing a frontal picture, not for measuring.

    Args:
        points: [478, 3], any unit, z growing away from the camera.

    Returns:
        The angles.

    Raises:
        ShapeError: ``points`` has another shape.
    """
    check_points(points)
    if points.shape[1] != 3:
        raise ShapeError("points", "[478, 3]", points.shape)
    mesh = points.astype(np.float64)
    across = mesh[_ACROSS[1]] - mesh[_ACROSS[0]]
    down = mesh[_DOWN[1]] - mesh[_DOWN[0]]
    across /= max(float(np.linalg.norm(across)), 1e-9)
    down -= across * float(across @ down)
    down /= max(float(np.linalg.norm(down)), 1e-9)
    nose = -np.cross(across, down)  # z grows away from the camera, so a frontal nose points to -z
    yaw = math.atan2(float(nose[0]), -float(nose[2]))
    pitch = math.asin(max(-1.0, min(1.0, float(nose[1])))) - _REST_PITCH
    return HeadAngles(yaw, pitch, math.atan2(float(across[1]), float(across[0])))


def sharpness(rgb: U8Array, box: tuple[float, float, float, float] | None = None) -> float:
    """Variance of the Laplacian, a measure of focus (Pech-Pacheco et al., ICPR 2000).

    Args:
        rgb: [H, W, 3] uint8.
        box: x0, y0, x1, y1 in pixels of ``rgb``, such as :func:`facecodec.track.crop.face_box` gives;
            clipped to the picture. None takes the whole picture.

    Returns:
        0 or more, in squared steps of luma. Larger boxes are shrunk to 128 pixels first, so that faces
        of different size compare. 0 where the box has no pixels in the picture.

    Raises:
        ShapeError: ``rgb`` is not a picture.
    """
    check_rgb(rgb)
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = box if box is not None else (0.0, 0.0, float(width), float(height))
    left, right = max(math.floor(x0), 0), min(math.ceil(x1), width)
    top, bottom = max(math.floor(y0), 0), min(math.ceil(y1), height)
    if left >= right or top >= bottom:
        return 0.0
    grey = cv2.cvtColor(rgb[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    scale = _SHARPNESS_SIDE / max(grey.shape)
    if scale < 1:
        out = (max(round(grey.shape[1] * scale), 1), max(round(grey.shape[0] * scale), 1))
        grey = cv2.resize(grey, out, interpolation=cv2.INTER_AREA)
    return float(np.var(cv2.Laplacian(grey, cv2.CV_64F)))
