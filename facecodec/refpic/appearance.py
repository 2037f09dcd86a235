"""What a face looks like, apart from where it is: tells when a reference picture no longer shows it.

A patch is the face brought onto the mean face's outline by a similarity, small, blurred, and freed of
brightness and contrast. Patches of one speaker under one light differ little, whatever the expression; a
hand before the face, another light or another person make them differ a lot.
"""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.motion.face import align, load_face_model
from facecodec.types import F32Array, F64Array, U8Array

PATCH_SIDE = 48
STALE = 0.45
"""A face further than this from its reference picture is not shown by it."""
DOUBTFUL = 0.36
"""Nor is one that stays further than this for :data:`PATIENCE` frames."""
PATIENCE = 48
BETTER = 0.65
"""Another reference picture has to come this much nearer to be worth its bytes."""
_SPAN = 3.12
"""Side of the patch in radii of the mean face."""
_LOWER = 0.15
"""The patch's centre lies this far below the mean face's."""


def face_patch(picture: U8Array, points: F32Array) -> F32Array:
    """Cut the patch of a face.

    Args:
        picture: [H, W, 3] uint8.
        points: [478, 3], its face in picture pixels.

    Returns:
        [48, 48] float32, mean 0 and standard deviation 1 (less on flat faces).
    """
    model = load_face_model()
    scale, rotation, cs, ct = align(model.mean, points.astype(np.float64), model.weights)
    turn = (scale * rotation)[:2, :2]
    step, corner = _SPAN / PATCH_SIDE, -_SPAN / 2
    matrix = np.empty((2, 3))
    matrix[:, :2] = turn * step
    matrix[:, 2] = turn @ np.array([corner, corner + _LOWER]) + ct[:2] - turn @ cs[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    small = cv2.warpAffine(
        picture, matrix, (PATCH_SIDE, PATCH_SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    gray = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.2), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray((gray - gray.mean()) / max(float(gray.std()), 8.0), np.float32)


def patch_distance(a: F32Array, b: F32Array) -> F64Array:
    """Mean absolute difference of patches [..., 48, 48], broadcast."""
    return np.asarray(np.abs(a - b).mean((-1, -2)), np.float64)
