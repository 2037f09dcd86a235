"""Face motion: from tracked points to pose and deformation against the reference mesh, and back.

A mesh is [478, 3] in crop units. With ``M`` the reference mesh, ``c`` its centroid and ``Q`` the rotation
that turns the canonical mean mesh into the reference's attitude, frame ``t`` is

    X(t) = s R (M + sum_k a_k Q B_k / 256 - c) + c + (tx, ty, 0)

with rotation ``R`` from a rotation vector. The deformations ``B_k`` are a fixed basis, learned from
training clips by ``facecodec.train.basis`` and shipped as integer tables; they are orthonormal under the
point weights, so a change of any amplitude ``a_k`` by one moves the mesh equally far. Pose parameters are
scaled the same way (see :meth:`FaceModel.pose_scale`): all channels share one quantisation step.

Amplitudes are in points (1/256 of the crop's side) summed in quadrature over the 478 mesh points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from facecodec.errors import ShapeError
from facecodec.types import F32Array, F64Array

POSE_CHANNELS = 6
POINTS = 478
_DEPTH_WEIGHT = 0.15
"""Weight of z in the fit: the tracker guesses depth, the picture shows only x and y."""
_TURN_RADIUS = 0.6
"""How far pitch and yaw move a point in the picture, relative to a turn in the picture's plane."""


@dataclass(frozen=True)
class FaceModel:
    """The canonical face and its deformations.

    Attributes:
        mean: [478, 3], centred, frontal, RMS radius in x and y of one.
        basis: [K, 478, 3], orthonormal under ``weights``, in the mean's attitude.
        sigma: [K], standard deviation of each amplitude on the training clips, for a face of RMS
            radius one point.
        weights: [478], mean one.
    """

    mean: F64Array
    basis: F64Array
    sigma: F64Array
    weights: F64Array

    @property
    def channels(self) -> int:
        """Pose and deformation channels."""
        return POSE_CHANNELS + len(self.basis)


@cache
def load_face_model() -> FaceModel:
    """The shipped model, basis id 1 of FORMAT.md."""
    source = resources.files("facecodec.motion").joinpath("data", "basis_1.npz")
    with source.open("rb") as file, np.load(file) as tables:
        scale = float(tables["scale"])
        return FaceModel(
            mean=tables["mean"] / scale,
            basis=tables["basis"] / scale,
            sigma=tables["sigma"] / scale,
            weights=tables["weights"] / scale,
        )


def radius(mesh: F64Array) -> F64Array:
    """RMS distance in x and y of [..., 478, 3] from its centroid, [...]."""
    flat = mesh[..., :2] - mesh[..., :2].mean(axis=-2, keepdims=True)
    return np.asarray(np.sqrt((flat**2).sum(-1).mean(-1)))


def align(
    source: F64Array, target: F64Array, weights: F64Array
) -> tuple[F64Array, F64Array, F64Array, F64Array]:
    """Similarity that best maps source onto target (Umeyama, PAMI 1991), batched.

    Args:
        source: [..., N, 3].
        target: [..., N, 3].
        weights: [N].

    Returns:
        Scale [...], rotation [..., 3, 3], centroid of source and of target [..., 3]:
        ``target ~ scale * rotation @ (source - cs) + ct``.
    """
    w = weights[:, None] / weights.sum()
    cs, ct = (source * w).sum(-2), (target * w).sum(-2)
    p, q = source - cs[..., None, :], target - ct[..., None, :]
    u, d, vt = np.linalg.svd(np.swapaxes(q * w, -1, -2) @ p)
    sign = np.ones(d.shape)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (d * sign).sum(-1) / (p**2 * w).sum((-1, -2))
    return scale, rotation, cs, ct


def rotation_matrix(vector: F64Array) -> F64Array:
    """Rodrigues' formula: [..., 3] rotation vectors to [..., 3, 3]."""
    angle = np.sqrt((vector**2).sum(-1))[..., None, None]
    safe = np.maximum(angle, 1e-9)
    k = np.zeros((*vector.shape[:-1], 3, 3))
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -z, y, -x
    k[..., 1, 0], k[..., 2, 0], k[..., 2, 1] = z, -y, x
    eye = np.eye(3)
    return np.asarray(eye + np.sin(angle) / safe * k + (1 - np.cos(angle)) / safe**2 * (k @ k))


def rotation_vector(matrix: F64Array) -> F64Array:
    """Inverse of :func:`rotation_matrix` for angles below pi."""
    skew = np.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        axis=-1,
    )
    sine = np.sqrt((skew**2).sum(-1)) / 2
    cosine = (np.trace(matrix, axis1=-2, axis2=-1) - 1) / 2
    angle = np.arctan2(sine, cosine)
    return np.asarray(skew * (angle / np.maximum(2 * sine, 1e-12))[..., None])


class FaceMotion:
    """Fits and applies motion against one reference mesh.

    Args:
        reference: [478, 3] crop units, as decoded.
        model: the canonical face; the shipped one by default.
    """

    def __init__(self, reference: F32Array | F64Array, model: FaceModel | None = None) -> None:
        if reference.shape != (POINTS, 3):
            raise ShapeError("reference mesh", "[478, 3]", list(reference.shape))
        self.model = model or load_face_model()
        self.reference = np.asarray(reference, dtype=np.float64)
        self.centroid = self.reference.mean(axis=0)
        self.radius = max(float(radius(self.reference)), 1e-3)
        _, attitude, _, _ = align(self.model.mean, self.reference, self.model.weights)
        self._basis = np.einsum("ij,knj->kni", attitude, self.model.basis) / 256.0
        self._centred = self.reference - self.centroid

    def pose_scale(self) -> F64Array:
        """[6] amplitude of one unit of (tx, ty, log scale, roll, pitch, yaw)."""
        move = 256.0 * np.sqrt(POINTS)
        turn = move * self.radius
        return np.array([move, move, turn, turn, turn * _TURN_RADIUS, turn * _TURN_RADIUS])

    def apply(self, amplitudes: F64Array) -> F64Array:
        """Meshes of frames: [T, 6 + K] amplitudes to [T, 478, 3] crop units."""
        pose = amplitudes[:, :POSE_CHANNELS] / self.pose_scale()
        k = self._basis.shape[0]
        shape = self._centred + (amplitudes[:, POSE_CHANNELS:] @ self._basis.reshape(k, -1)).reshape(
            -1, POINTS, 3
        )
        rotation = rotation_matrix(pose[:, [4, 5, 3]]) * np.exp(pose[:, 2])[:, None, None]
        out = shape @ np.swapaxes(rotation, -1, -2) + self.centroid
        out[..., :2] += pose[:, None, :2]
        return np.asarray(out)

    def fit(self, meshes: F32Array | F64Array, iterations: int = 2) -> F64Array:
        """Amplitudes that bring the reference mesh onto the tracked ones.

        Gauss-Newton on weighted squared distance in the picture, with the deformations' variance on the
        training clips as prior.

        Args:
            meshes: [T, 478, 3] crop units.
            iterations: Gauss-Newton steps after a rigid start.

        Returns:
            [T, 6 + K] amplitudes.
        """
        target = np.asarray(meshes, dtype=np.float64)
        if target.ndim != 3 or target.shape[1:] != (POINTS, 3):
            raise ShapeError("meshes", "[T, 478, 3]", list(target.shape))
        target = target - np.array([0.0, 0.0, 1.0]) * (
            target[..., 2:].mean(axis=1, keepdims=True) - self.centroid[2]
        )
        amplitudes = self._rigid(target)
        for _ in range(iterations):
            amplitudes += self._gauss_newton(target, amplitudes)
        return amplitudes

    def _rigid(self, target: F64Array) -> F64Array:
        source = np.broadcast_to(self.reference, target.shape)
        scale, rotation, cs, ct = align(source, target, self.model.weights)
        out = np.zeros((target.shape[0], self.model.channels))
        shift = ct - self.centroid - scale[:, None] * np.einsum("tij,tj->ti", rotation, cs - self.centroid)
        out[:, :2] = shift[:, :2]
        out[:, 2] = np.log(np.maximum(scale, 1e-3))
        vector = rotation_vector(rotation)
        out[:, 3], out[:, 4], out[:, 5] = vector[:, 2], vector[:, 0], vector[:, 1]
        out[:, :POSE_CHANNELS] *= self.pose_scale()
        return out

    def _gauss_newton(self, target: F64Array, amplitudes: F64Array) -> F64Array:
        frames, k = target.shape[0], self._basis.shape[0]
        scale = self.pose_scale()
        pose = amplitudes[:, :POSE_CHANNELS] / scale
        rotation = rotation_matrix(pose[:, [4, 5, 3]]) * np.exp(pose[:, 2])[:, None, None]
        here = self.apply(amplitudes)
        arm = here - self.centroid
        arm[..., :2] -= pose[:, None, :2]
        jacobian = np.zeros((frames, POSE_CHANNELS + k, POINTS, 3))
        jacobian[:, 0, :, 0] = 1.0
        jacobian[:, 1, :, 1] = 1.0
        jacobian[:, 2] = arm
        jacobian[:, 3, :, 0], jacobian[:, 3, :, 1] = -arm[..., 1], arm[..., 0]
        jacobian[:, 4, :, 1], jacobian[:, 4, :, 2] = -arm[..., 2], arm[..., 1]
        jacobian[:, 5, :, 0], jacobian[:, 5, :, 2] = arm[..., 2], -arm[..., 0]
        jacobian[:, :POSE_CHANNELS] /= scale[:, None, None]
        jacobian[:, POSE_CHANNELS:] = (self._basis.reshape(1, -1, 3) @ np.swapaxes(rotation, -1, -2)).reshape(
            frames, k, POINTS, 3
        )
        jacobian *= 256.0
        weight = self.model.weights[:, None] * np.array([1.0, 1.0, _DEPTH_WEIGHT])
        weighted = (jacobian * weight).reshape(frames, POSE_CHANNELS + k, -1)
        normal = weighted @ np.swapaxes(jacobian.reshape(frames, POSE_CHANNELS + k, -1), -1, -2)
        error = ((target - here) * 256.0).reshape(frames, -1, 1)
        gradient = (weighted @ error)[..., 0]
        prior = np.zeros(POSE_CHANNELS + k)
        prior[POSE_CHANNELS:] = 1.0 / np.maximum(self.model.sigma * self.radius * 256.0, 1e-3) ** 2
        normal += np.diag(prior)
        gradient -= prior * amplitudes
        return np.asarray(np.linalg.solve(normal, gradient[..., None])[..., 0])
