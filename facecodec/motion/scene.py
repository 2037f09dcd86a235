"""Scene points: from offsets to amplitudes, and back.

A regular grid of ``G`` x ``G`` points covers the crop, borders included. Point ``(i, j)`` stands in the
current picture at ``(x, y) = (j, i) / (G - 1)``; its offset says where the decoder looks in the reference
picture, relative to where it stands. What is coded is the offset less a prior that both ends compute from the
decoded mesh: near the head the scene goes with the head, further away it stays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facecodec.types import F32Array, F64Array

SCENE_SCALE = 4.0
"""Amplitude of an offset of one point: sets how finely scene points are coded beside the face."""
_FINE_QP = 15
"""Above this QP fewer points are coded."""
_REACH = 0.2
"""Beyond this share of the face's size from the mesh, the prior is zero."""
_SURFACE = 468


def scene_grid(qp: int) -> int:
    """Scene points a side that an encoder uses at a QP: a choice of the encoder, written in the header."""
    return 9 if qp <= _FINE_QP else 7


def grid_places(grid: int) -> F64Array:
    """Where the points stand: [G * G, 2] crop units, rows first."""
    step = np.linspace(0.0, 1.0, grid)
    x, y = np.meshgrid(step, step)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def scene_prior(reference: npt.NDArray[np.floating], meshes: npt.NDArray[np.floating], grid: int) -> F64Array:
    """Offsets expected from the head's motion alone.

    The head's motion is the least-squares affine map (6 numbers) from the current mesh to the reference mesh.

    Args:
        reference: [478, 3], the decoded reference mesh.
        meshes: [T, 478, 3], decoded meshes.
        grid: points a side.

    Returns:
        [T, G, G, 2] crop units.
    """
    places = grid_places(grid)
    points = np.asarray(meshes[:, :_SURFACE, :2], np.float64)
    motion = np.asarray(reference[:_SURFACE, :2], np.float64) - points
    lifted = np.concatenate([np.ones((*points.shape[:2], 1)), points], axis=-1)
    normal = np.swapaxes(lifted, 1, 2) @ lifted + 1e-9 * np.eye(3)
    affine = np.linalg.solve(normal, np.swapaxes(lifted, 1, 2) @ motion)
    head = np.concatenate([np.ones((len(places), 1)), places], axis=-1) @ affine
    near = 1.0 - _smooth_step(face_distance(points, places) / _REACH)
    return np.asarray((near[..., None] * head).reshape(-1, grid, grid, 2))


def face_distance(points: F64Array, places: F64Array) -> F64Array:
    """Distance of places [M, 2] to the nearest mesh point of [T, N, 2], in face sizes: [T, M]."""
    size = (points.max(1) - points.min(1)).mean(-1)
    cross = places @ np.swapaxes(points[:, ::2], 1, 2)
    squared = (places**2).sum(-1)[None, :, None] + (points[:, ::2] ** 2).sum(-1)[:, None, :] - 2 * cross
    return np.asarray(np.sqrt(np.maximum(squared.min(-1), 0.0)) / np.maximum(size, 1e-6)[:, None])


def _smooth_step(value: F64Array) -> F64Array:
    t = np.clip(value, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def scene_to_amplitudes(scene: npt.NDArray[np.floating], prior: F64Array) -> F64Array:
    """[T, G, G, 2] offsets to [T, 2 G G] amplitudes."""
    return np.asarray(((scene - prior) * (256.0 * SCENE_SCALE)).reshape(len(prior), -1))


def amplitudes_to_scene(amplitudes: F64Array, prior: F64Array) -> F32Array:
    """Inverse of :func:`scene_to_amplitudes`."""
    return np.asarray(amplitudes.reshape(prior.shape) / (256.0 * SCENE_SCALE) + prior, np.float32)
