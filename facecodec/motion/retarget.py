"""One person's motion on another person's face.

The driver's frames are compared with one of them, the *match*, whose expression and attitude are nearest to
the reference's. Head motion against it is applied about the reference's own axes and in its own size; the
deformation against it is turned into the attitude of the reference, scaled by its proportions, and added.
Lids and lips must meet where the driver's meet, however far apart they stand in the reference: so eyes open
by a map that takes the driver's closed eye to a closed eye and the match to the reference, and the inner lips
stand as far apart as the driver's, in widths of the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError, ShapeError
from facecodec.motion.face import POINTS, FaceModel, align, load_face_model, rotation_vector
from facecodec.motion.openings import LEFT_EYE, MOUTH, RIGHT_EYE, UPPER_SHARES, OpeningMap
from facecodec.types import F64Array

_TINY = 1e-9
_EXPRESSION_SPREAD = np.array([0.05, 0.05, 0.08, 0.06, 0.06, 0.06, 0.06, 0.1, 0.05])
"""Differences that count alike: lids, lips, where the irises stand along and across each eye, the smile."""
_TURN_SPREAD = np.array([0.18, 0.18, 0.26])
"""The same for pitch, yaw and roll, radians."""
_IRISES = (468, 473)
_NOSE_TIP = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Canon:
    """A face in the mean mesh's attitude, size and place.

    Attributes:
        shape: [..., 478, 3].
        scale: size of the face, [...].
        attitude: rotation from the canonical face to the mesh, [..., 3, 3].
        centre: place in the mesh, [..., 3].
    """

    shape: F64Array
    scale: F64Array
    attitude: F64Array
    centre: F64Array


class Retargeter:
    """Moves a driver's motion onto a reference mesh.

    Args:
        reference: [478, 3], the face to move, crop units.
        match: [478, 3], the driver's face when it looks most like the reference's, any unit; see
            :func:`find_match`.
        model: the canonical face; the shipped one by default.

    Raises:
        ShapeError: a mesh is not [478, 3].
        ConfigError: a mesh is not finite, or has no extent.
    """

    def __init__(
        self,
        reference: npt.NDArray[np.floating],
        match: npt.NDArray[np.floating],
        model: FaceModel | None = None,
    ) -> None:
        self._model = model or load_face_model()
        self._weights = rigid_weights(self._model)
        self._reference = _canonical(_checked("reference mesh", reference), self._model, self._weights)
        self._match = _canonical(_checked("match mesh", match), self._model, self._weights)
        self._gain = self._proportions()
        self._openings = [
            OpeningMap(opening, share, self._reference.shape, self._match.shape, self._model.mean)
            for opening, share in zip((RIGHT_EYE, LEFT_EYE, MOUTH), UPPER_SHARES, strict=True)
        ]

    def apply(self, meshes: npt.NDArray[np.floating]) -> F64Array:
        """The reference's face with the driver's motion.

        Args:
            meshes: [T, 478, 3], the driver's faces, in the unit of ``match``.

        Returns:
            [T, 478, 3] crop units of the reference. The match gives the reference, but for lips that the
            driver holds otherwise.

        Raises:
            ShapeError: the meshes have another shape.
        """
        target = np.asarray(meshes, np.float64)
        if target.ndim != 3 or target.shape[1:] != (POINTS, 3):
            raise ShapeError("meshes", "[T, 478, 3]", list(target.shape))
        driver = _canonical(target, self._model, self._weights)
        shape = self._reference.shape + self._gain[:, None] * (driver.shape - self._match.shape)
        for opening in self._openings:
            shape = opening.correct(shape, driver.shape)
        return self._place(shape, driver)

    def _proportions(self) -> F64Array:
        """How large the reference's features are against the driver's, point by point: [478]."""
        gain = np.ones(POINTS)
        for opening in (RIGHT_EYE, LEFT_EYE, MOUTH):
            ratio = opening.ratio(self._reference.shape, self._match.shape)
            gain += opening.nearness(self._model.mean, 1.0) * (ratio - 1)
        return gain

    def _place(self, shape: F64Array, driver: _Canon) -> F64Array:
        """Canonical shapes [T, 478, 3] in the picture, with the driver's head motion since the match."""
        own, match = self._reference, self._match
        turn = np.swapaxes(match.attitude, -1, -2) @ driver.attitude
        attitude = own.attitude @ turn
        ratio = own.scale / np.maximum(match.scale, _TINY)
        scale = own.scale * driver.scale / np.maximum(match.scale, _TINY)
        centre = own.centre + ratio * (driver.centre - match.centre)
        centre[:, 2] = own.centre[2]
        out = scale[:, None, None] * (shape @ np.swapaxes(attitude, -1, -2)) + centre[:, None]
        return np.asarray(out)


def find_match(reference: npt.NDArray[np.floating], meshes: npt.NDArray[np.floating]) -> int:
    """The driver's frame whose expression and attitude are nearest to the reference's.

    Compared are lids, lips, gaze and the turn of the head: what does not depend on whose face it is.

    Args:
        reference: [478, 3], any unit.
        meshes: [T, 478, 3], any unit.

    Returns:
        The frame's number; the first of equals.

    Raises:
        ShapeError: an array has another shape, or there are no frames.
    """
    frames = np.asarray(meshes, np.float64)
    if frames.ndim != 3 or frames.shape[1:] != (POINTS, 3) or not len(frames):
        raise ShapeError("meshes", "[T, 478, 3], T at least 1", list(frames.shape))
    model = load_face_model()
    weights = rigid_weights(model)
    own = _canonical(_checked("reference mesh", reference), model, weights)
    driver = _canonical(frames, model, weights)
    look = (_expression(driver.shape) - _expression(own.shape)) / _EXPRESSION_SPREAD
    turn = rotation_vector(np.swapaxes(own.attitude, -1, -2) @ driver.attitude) / _TURN_SPREAD
    return int(((look**2).sum(-1) + (turn**2).sum(-1)).argmin())


def rigid_weights(model: FaceModel) -> F64Array:
    """Weights [478] of what moves with the skull: the mean's upper face without lids and irises."""
    y = model.mean[:, 1]
    weights = np.clip((y[_NOSE_TIP] + 0.15 - y) / 0.3, 0.0, 1.0) + 1e-3
    for opening in (RIGHT_EYE, LEFT_EYE):
        weights[[point for pair in opening.pairs for point in pair]] = 1e-3
    weights[468:] = 1e-3
    return np.asarray(weights)


def _checked(what: str, mesh: npt.NDArray[np.floating]) -> F64Array:
    if mesh.shape != (POINTS, 3):
        raise ShapeError(what, "[478, 3]", list(mesh.shape))
    out = np.asarray(mesh, np.float64)
    if not np.isfinite(out).all() or float(np.ptp(out[:, :2], axis=0).min()) <= 0:
        raise ConfigError(what, "not finite, or without extent", "a face")
    return out


def _canonical(mesh: F64Array, model: FaceModel, weights: F64Array) -> _Canon:
    """Meshes [..., 478, 3] in the mean's attitude, size and place."""
    mean = np.broadcast_to(model.mean, mesh.shape)
    scale, attitude, own, centre = align(mean, mesh, weights)
    shape = (mesh - centre[..., None, :]) @ attitude / np.maximum(scale, _TINY)[..., None, None]
    # The place of a head is that of the canonical origin: ``centre`` goes with the weights' own centroid.
    origin = centre - scale[..., None] * np.einsum("...ij,...j->...i", attitude, own)
    return _Canon(np.asarray(shape + own[..., None, :]), scale, attitude, np.asarray(origin))


def _expression(shape: F64Array) -> F64Array:
    """Lids, lips, gaze and smile of canonical shapes [..., 478, 3]: [..., 9]."""
    parts = [opening.gap(shape) for opening in (RIGHT_EYE, LEFT_EYE, MOUTH)]
    for opening, iris in zip((RIGHT_EYE, LEFT_EYE), _IRISES, strict=True):
        middle = shape[..., list(opening.corners), :2].mean(-2)
        away = (shape[..., iris, :2] - middle) / np.maximum(opening.width(shape), _TINY)[..., None]
        parts += [away[..., 0], away[..., 1]]
    first, last = MOUTH.corners
    lifted = shape[..., [0, 17], 1].mean(-1) - shape[..., [first, last], 1].mean(-1)
    parts += [MOUTH.width(shape), lifted]
    return np.stack(parts, axis=-1)
