"""When a new reference picture is sent, and which frame becomes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from facecodec.generator.adapt import mesh_shape
from facecodec.refpic.appearance import patch_distance
from facecodec.refpic.buffer import Reference
from facecodec.track.quality import HeadAngles, eye_openness_each, frontalness
from facecodec.types import CropTransform, F32Array, F64Array

MAX_TURN = math.radians(32)
"""A head turned further than this from the reference picture asks for another one."""
REUSE_TURN = math.radians(16)
"""A buffered picture within this turn is named again instead."""
MAX_SCALE = 1.6
MIN_FRAMES = 24
"""Frames between reference pictures at least, except at a cut."""
_OUTSIDE = 0.03


@dataclass(frozen=True, slots=True)
class ViewPoint:
    """Attitude and size of a face: what decides whether a reference picture still shows enough of it."""

    angles: HeadAngles
    size: float

    @classmethod
    def of(cls, mesh: F32Array | F64Array) -> ViewPoint:
        """Read the view off a mesh [478, 3], any unit."""
        mesh = np.asarray(mesh, np.float64)
        return cls(frontalness(mesh), float(np.ptp(mesh[:, 1])))

    def turn_to(self, other: ViewPoint) -> float:
        """Larger of the differences in yaw and pitch, radians."""
        a, b = self.angles, other.angles
        return max(abs(a.yaw - b.yaw), abs(a.pitch - b.pitch))

    def scale_to(self, other: ViewPoint) -> float:
        """Ratio of sizes, 1 or more."""
        ratio = max(self.size, 1e-9) / max(other.size, 1e-9)
        return max(ratio, 1.0 / ratio)


def serves(reference: Reference, points: F32Array, max_turn: float = MAX_TURN) -> bool:
    """Whether a reference picture can show a run of frames.

    Args:
        reference: the picture.
        points: [T, 478, 3] picture pixels.
        max_turn: largest turn of the head, radians.
    """
    here = reference.crop.to_crop(points)
    middle = here[len(here) // 2]
    view, own = ViewPoint.of(middle), ViewPoint.of(reference.mesh)
    return inside(here) and view.turn_to(own) <= max_turn and view.scale_to(own) <= MAX_SCALE


def inside(points: F32Array) -> bool:
    """Whether faces [T, 478, 3] in crop units stay inside the crop but for a little."""
    flat = points[..., :2]
    return bool(flat.min() > -_OUTSIDE and flat.max() < 1 + _OUTSIDE)


def frame_costs(points: F32Array, sharp: F64Array, patches: F32Array) -> F64Array:
    """How little each frame of a window is fit to be its reference picture.

    A good one is near frontal and near the window's usual attitude, has both eyes open, is sharp, and looks
    like the others: a turned head hides a cheek that later frames need, closed lids hide the eyes, a hand
    hides the mouth.

    Args:
        points: [T, 478, 3], frames that hold a face.
        sharp: [T], sharpness of the face in each.
        patches: [T, 48, 48], the faces' patches (see ``appearance.py``).

    Returns:
        [T], 0 for the best that there could be.
    """
    angles = [frontalness(p) for p in points]
    attitude = np.array([[a.yaw, a.pitch] for a in angles])
    eyes = np.array([min(eye_openness_each(p)) for p in points])
    usual = max(float(np.quantile(eyes, 0.7)), 1e-3)
    cost = 0.7 * np.abs(attitude).max(1) + 1.0 * np.abs(attitude - np.median(attitude, axis=0)).max(1)
    cost += 1.5 * np.clip(1.0 - eyes / usual, 0.0, 1.0)
    cost += 0.5 * (1.0 - sharp / max(float(sharp.max()), 1e-9))
    cost += 2.0 * np.array([float(patch_distance(patch, patches).mean()) for patch in patches])
    cost += 0.002 * np.arange(len(points))
    return np.asarray(cost)


def resized(crop: CropTransform, size: int) -> CropTransform:
    """The same square coded at another size: all reference pictures of a stream have one."""
    return CropTransform(crop.x, crop.y, crop.side, size)


def nearest(references: Sequence[Reference], meshes: F32Array | F64Array, count: int) -> list[list[int]]:
    """The pictures whose faces are most like those of frames, in attitude and expression, wherever they are.

    Args:
        references: pictures of one square.
        meshes: [T, 478, 3], the frames' faces.
        count: pictures wanted.

    Returns:
        For each frame the ``ref_id`` of at most ``count`` of them, the nearest first.
    """
    if not references or not count:
        return [[] for _ in meshes]
    own = mesh_shape(torch.from_numpy(np.stack([reference.mesh for reference in references])).double())
    there = mesh_shape(torch.from_numpy(np.asarray(meshes, np.float64)))
    order = torch.cdist(there, own).argsort(dim=1, stable=True)[:, :count]
    return [[references[i].ref_id for i in row] for row in order.tolist()]
