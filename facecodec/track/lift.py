"""From 68 points of the iBUG layout to the 478 points of the mesh.

A mean mesh, turned and scaled, plus a few of its deformations is fitted to the 68 points it has in
common with the iBUG layout; the rest of the mesh follows. What 68 points cannot tell (gaze, depth,
cheeks) stays as the mean has it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError, ShapeError
from facecodec.track.landmarks import NUM_POINTS
from facecodec.types import F32Array, F64Array

IBUG_68_TO_MESH = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),  # jaw
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
)
"""Mesh point for each iBUG point. Jaw points follow the visible outline, so they fit only roughly."""
_JAW = 17
_JAW_WEIGHT = 0.2
_ROUNDS = 8


class MeshLifter:
    """Fits the mesh to 68 points.

    Args:
        mean_mesh: [478, 3], any unit, z growing away from the camera.
        basis: [K, 478, 3], deformations in the same unit and attitude; K may be 0.
        deviation: [K] standard deviations of the coefficients, all positive; None takes 1 for each.
        noise: standard deviation of the 68 points' error as a share of the mesh's RMS radius. With the
            deviations it decides how far the points may bend the mesh (ridge regression).

    Raises:
        ShapeError: an array has another shape.
        ConfigError: a deviation or ``noise`` is not positive.
    """

    def __init__(
        self,
        mean_mesh: npt.NDArray[np.floating],
        basis: npt.NDArray[np.floating],
        deviation: npt.NDArray[np.floating] | None = None,
        noise: float = 0.01,
    ) -> None:
        if mean_mesh.shape != (NUM_POINTS, 3):
            raise ShapeError("mean_mesh", f"[{NUM_POINTS}, 3]", mean_mesh.shape)
        if basis.ndim != 3 or basis.shape[1:] != (NUM_POINTS, 3):
            raise ShapeError("basis", f"[K, {NUM_POINTS}, 3]", basis.shape)
        spread = np.ones(len(basis)) if deviation is None else np.asarray(deviation, np.float64)
        if spread.shape != (len(basis),):
            raise ShapeError("deviation", f"[{len(basis)}]", spread.shape)
        if not (spread > 0).all() or noise <= 0:
            raise ConfigError("deviation, noise", (spread.tolist(), noise), "above 0")
        self._centre = np.asarray(mean_mesh, np.float64).mean(axis=0)
        self._mean = np.asarray(mean_mesh, np.float64) - self._centre
        self._basis = np.asarray(basis, np.float64) * spread[:, None, None]
        radius = float(np.sqrt((self._mean[:, :2] ** 2).sum(axis=1).mean()))
        self._ridge = (noise * radius) ** 2
        self._weights = np.ones(len(IBUG_68_TO_MESH))
        self._weights[:_JAW] = _JAW_WEIGHT

    def lift(self, points: npt.NDArray[np.floating]) -> F32Array:
        """Fit the mesh.

        Args:
            points: [68, 2], picture pixels.

        Returns:
            [478, 3] float32, picture pixels.

        Raises:
            ShapeError: ``points`` has another shape.
        """
        if points.shape != (len(IBUG_68_TO_MESH), 2):
            raise ShapeError("points", f"[{len(IBUG_68_TO_MESH)}, 2]", points.shape)
        target = np.asarray(points, np.float64)
        picked = list(IBUG_68_TO_MESH)
        mesh = self._mean
        for _ in range(_ROUNDS):
            scale, rotation, shift = _scaled_orthographic(mesh[picked], target, self._weights)
            mesh = self._mean + self._deformation(picked, target, scale, rotation, shift)
        scale, rotation, shift = _scaled_orthographic(mesh[picked], target, self._weights)
        out = scale * mesh @ rotation.T
        out[:, :2] += shift
        return np.asarray(out, np.float32)

    def _deformation(
        self, picked: list[int], target: F64Array, scale: float, rotation: F64Array, shift: F64Array
    ) -> F64Array:
        """Ridge regression of the deformation for a given pose, [478, 3] in the mean's unit."""
        if not len(self._basis):
            return np.zeros_like(self._mean)
        root = np.sqrt(self._weights)[:, None]
        seen = rotation[:2]
        residual = root * ((target - shift) / scale - self._mean[picked] @ seen.T)
        columns = (root * (self._basis[:, picked] @ seen.T)).reshape(len(self._basis), -1)
        normal = columns @ columns.T + self._ridge * np.eye(len(columns))
        coefficients = np.linalg.solve(normal, columns @ residual.ravel())
        return np.asarray(np.tensordot(coefficients, self._basis, axes=1))


def _scaled_orthographic(
    mesh: F64Array, target: F64Array, weights: F64Array
) -> tuple[float, F64Array, F64Array]:
    """Scale, rotation [3, 3] and shift [2] with ``target ~ scale * (mesh @ rotation.T)[:, :2] + shift``.

    The best affine camera, then the nearest scaled rotation to it (DeMenthon and Davis, IJCV 1995).
    """
    share = weights[:, None] / weights.sum()
    mesh_mean, target_mean = (share * mesh).sum(axis=0), (share * target).sum(axis=0)
    root = np.sqrt(share)
    camera = np.linalg.lstsq(root * (mesh - mesh_mean), root * (target - target_mean), rcond=None)[0].T
    left, values, right = np.linalg.svd(camera, full_matrices=False)
    scale = max(float(values.mean()), 1e-9)
    rows = left @ right
    rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
    return scale, rotation, target_mean - scale * rows @ mesh_mean
