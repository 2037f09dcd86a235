"""The reference mesh: from 478 points to a few integers, and back.

A mesh is the canonical mean plus principal shapes (identity and expression together), turned, scaled and
moved to its place:

    M = s R (mean + sum_k b_k S_k) + c

Levels, in this order: centre x, y (1/16 point), log scale (1/4096), rotation vector x, y, z (1/4096 rad),
then the shape coefficients ``b_k`` (1/64 of the face's RMS radius).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from facecodec.motion.face import POINTS, align, rotation_matrix, rotation_vector
from facecodec.types import F64Array, I32Array

PLACE_LEVELS = 6
_CENTRE_STEP = 1 / (16 * 256)
_LOG_SCALE_STEP = 1 / 4096
_TURN_STEP = 1 / 4096
_SHAPE_STEP = 1 / 64
_STEPS = np.array([_CENTRE_STEP, _CENTRE_STEP, _LOG_SCALE_STEP, _TURN_STEP, _TURN_STEP, _TURN_STEP])
_DEPTH_WEIGHT = 0.3
_RADIUS_BASE = 0.2
"""Log scale is relative to a face whose RMS radius is a fifth of the crop's side."""


@dataclass(frozen=True)
class ShapeModel:
    """Mean [478, 3] and principal shapes [S, 478, 3] of the canonical face, and their deviations [S]."""

    mean: F64Array
    basis: F64Array
    sigma: F64Array

    @property
    def levels(self) -> int:
        """How many levels a mesh has."""
        return PLACE_LEVELS + len(self.basis)


@cache
def load_shape_model() -> ShapeModel:
    """The shipped model, basis id 1 of FORMAT.md."""
    source = resources.files("facecodec.motion").joinpath("data", "basis_1.npz")
    with source.open("rb") as file, np.load(file) as tables:
        scale = float(tables["scale"])
        return ShapeModel(
            tables["mean"] / scale, tables["shape_basis"] / scale, tables["shape_sigma"] / scale
        )


def mesh_to_levels(mesh: F64Array, model: ShapeModel | None = None) -> I32Array:
    """Quantise a mesh.

    Args:
        mesh: [478, 3] crop units.
        model: the shipped one by default.

    Returns:
        [6 + S] int32.
    """
    model = model or load_shape_model()
    weights = np.ones(POINTS)
    axis = np.array([1.0, 1.0, _DEPTH_WEIGHT])
    flat = (model.basis * axis).reshape(model.basis.shape[0], -1)
    prior = np.diag((0.2 / np.maximum(model.sigma * 50, 1e-3)) ** 2)
    mesh = np.asarray(mesh, np.float64)
    shape = model.mean
    for _ in range(3):
        scale, rotation, cs, ct = align(shape, mesh, weights)
        canonical = (mesh - ct) @ rotation / scale + cs
        wanted = ((canonical - model.mean) * axis).ravel()
        coefficients = np.linalg.solve(flat @ flat.T + prior, flat @ wanted)
        shape = model.mean + (coefficients @ model.basis.reshape(len(coefficients), -1)).reshape(POINTS, 3)
    centre = ct - scale * (rotation @ cs)
    place = np.concatenate([centre[:2], [np.log(scale / _RADIUS_BASE)], rotation_vector(rotation)])
    levels = np.concatenate([place / _STEPS, coefficients / _SHAPE_STEP])
    return np.asarray(np.rint(levels).astype(np.int32))


def levels_to_mesh(levels: I32Array, model: ShapeModel | None = None) -> F64Array:
    """Inverse of :func:`mesh_to_levels`: [6 + S] levels to [478, 3] crop units, z centred."""
    model = model or load_shape_model()
    place = levels[:PLACE_LEVELS] * _STEPS
    coefficients = levels[PLACE_LEVELS:] * _SHAPE_STEP
    shape = model.mean + (coefficients @ model.basis.reshape(len(coefficients), -1)).reshape(POINTS, 3)
    scale = _RADIUS_BASE * np.exp(np.clip(place[2], -5.0, 5.0))
    mesh = scale * (shape @ rotation_matrix(place[3:6]).T)
    mesh[:, :2] += place[:2]
    mesh[:, 2] -= mesh[:, 2].mean()
    return np.asarray(mesh)
