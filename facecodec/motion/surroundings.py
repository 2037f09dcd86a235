"""Scene points for a picture of a head that was never seen moving."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facecodec.motion.openings import fade
from facecodec.motion.scene import face_distance, grid_places
from facecodec.types import F32Array, F64Array

_CHIN, _SURFACE = 152, 468
_SCENE_GRID = 9
_HAIR = (0.55, 1.2)
"""Distance from the mesh, in face sizes, up to which all goes with the head, and from which nothing does."""
_BORDER = 0.2
"""Distance from a pinned side, in crop sides, on which motion fades out."""
_BODY = 2.0
"""Distance that a place gains for every face size that it lies below the chin."""


class Sides(NamedTuple):
    """Something said of each side of the crop."""

    left: bool
    top: bool
    right: bool
    bottom: bool


def head_scene(
    reference: npt.NDArray[np.floating], meshes: npt.NDArray[np.floating], pinned: Sides
) -> F32Array:
    """Scene points for a picture that nobody has filmed moving: hair goes with the head, the body stays.

    Args:
        reference: [478, 3], crop units.
        meshes: [T, 478, 3], crop units.
        pinned: sides on which nothing moves, since the picture goes on beyond them.

    Returns:
        [T, G, G, 2] offsets in crop units.
    """
    places = grid_places(_SCENE_GRID)
    points = np.asarray(meshes[:, :_SURFACE, :2], np.float64)
    head = _head_offsets(np.asarray(reference[:_SURFACE, :2], np.float64), points, places)
    chin = points[:, _CHIN, 1]
    size = (points.max(1) - points.min(1)).mean(-1)
    below = np.clip((places[None, :, 1] - chin[:, None]) / np.maximum(size, 1e-9)[:, None], 0.0, 1.0)
    away = face_distance(points, places) + _BODY * below
    near = fade((away - _HAIR[0]) / (_HAIR[1] - _HAIR[0]))
    edges = (places[:, 0], places[:, 1], 1 - places[:, 0], 1 - places[:, 1])
    for is_pinned, edge in zip(pinned, edges, strict=True):
        near *= 1 - fade(edge / _BORDER) if is_pinned else 1.0
    offsets = (head * near[..., None]).reshape(-1, _SCENE_GRID, _SCENE_GRID, 2)
    return np.asarray(offsets, np.float32)


def _head_offsets(reference: F64Array, points: F64Array, places: F64Array) -> F64Array:
    """From places [M, 2] to where they lie in the reference if all moves as the heads [T, N, 2] do."""
    ones = np.ones((*points.shape[:2], 1))
    affine = np.linalg.pinv(np.concatenate([ones, points], axis=-1)) @ (reference - points)
    return np.asarray(np.concatenate([np.ones((len(places), 1)), places], axis=-1) @ affine)
