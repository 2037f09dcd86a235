"""How good the decoded frames are: what is measured, and what keypoints alone foretell.

The distance is that of :mod:`facecodec.metrics.multiscale`, of the whole crop and of the boxes around eyes
and mouth. Where no picture is made it is foretold: from the coded reference picture's own distance, and from
how far the frame has gone from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facecodec.generator.topology import SURFACE_POINTS, MeshTopology
from facecodec.metrics.landmark import expression_boxes
from facecodec.metrics.multiscale import DissimilarityMaps
from facecodec.motion.expression import distances
from facecodec.motion.face import radius
from facecodec.types import F32Array, F64Array, U8Array

_EYES, _MOUTH = (0, 1), 2


class Distances(NamedTuple):
    """Distance of a decoded frame from its source, 0 (equal) to 1.

    Attributes:
        whole: of the crop.
        eyes: in the box around both eyes.
        mouth: in the box around the mouth.
    """

    whole: float
    eyes: float
    mouth: float


class Departure(NamedTuple):
    """How far T frames have gone from their reference picture, [T] each.

    Attributes:
        motion: RMS displacement of the mesh, in face radii.
        uncovered: area of the face that the reference picture does not show, or shows smaller, over its area.
        eyes: distance of the expression of the eyes from the nearest that was sent, mean of both.
        mouth: the same of the mouth.
        scene: RMS displacement of the scene points, crop units.
        appearance: distance of the small picture of the face, see :mod:`facecodec.refpic.appearance`.
    """

    motion: F64Array
    uncovered: F64Array
    eyes: F64Array
    mouth: F64Array
    scene: F64Array
    appearance: F64Array


# Weights of the reference picture's own distance, motion, uncovered, eyes, mouth, scene and appearance, for
# the crop, the eyes and the mouth: non-negative least squares over training clips, by bench/proxy.py --fit.
_WEIGHTS = np.array(
    [
        [0.5003, 0.0356, 0.0, 0.0, 0.0, 0.7586, 0.2777],
        [0.0781, 0.0, 0.0, 1.1919, 0.0046, 0.0, 0.327],
        [0.1592, 0.0, 0.0, 0.7559, 0.7054, 0.0, 0.4181],
    ]
)


def measure(source: U8Array, decoded: U8Array, points: F32Array) -> Distances:
    """Compare a frame with its source.

    Args:
        source: [S, S, 3] uint8.
        decoded: the same shape.
        points: [478, 3], the source's face, crop units.

    Raises:
        ShapeError: shapes differ, or points are not finite.
    """
    side = len(source)
    return Distances(*DissimilarityMaps(source, decoded).means(expression_boxes(points, side, side)))


def departure(
    topology: MeshTopology,
    reference: F64Array,
    meshes: F64Array,
    shapes: F64Array,
    entries: Sequence[tuple[int, F64Array]],
    scene: F32Array | None,
    appearance: F64Array,
) -> Departure:
    """How far frames have gone from their reference picture.

    Args:
        topology: triangles of the mesh.
        reference: [478, 3], the reference picture's mesh, crop units.
        meshes: [T, 478, 3], the frames'.
        shapes: [T, 478, 3], the same in the reference picture's pose.
        entries: region and shape of the palette's entries.
        scene: [T, G, G, 2], offsets of the scene points, crop units; None for none.
        appearance: [T], distance of the small picture of the face.
    """
    away = meshes[:, :SURFACE_POINTS, :2] - reference[:SURFACE_POINTS, :2]
    motion = np.sqrt((away**2).sum(-1).mean(-1)) / max(float(radius(reference)), 1e-6)
    regions = [
        distances(shapes, np.stack([reference, *(s for r, s in entries if r == region)]), region).min(1)
        for region in (*_EYES, _MOUTH)
    ]
    moved = np.zeros(len(meshes))
    if scene is not None:
        moved = np.sqrt((np.asarray(scene, np.float64) ** 2).sum(-1).mean((-1, -2)))
    eyes = (regions[0] + regions[1]) / 2
    return Departure(motion, _uncovered(topology, reference, meshes), eyes, regions[2], moved, appearance)


def foretell(still: Distances, departure: Departure) -> F64Array:
    """Distances of frames, [T, 3]: whole, eyes, mouth.

    Args:
        still: distance of the coded reference picture from its source.
        departure: how far the frames have gone from it.
    """
    gone = np.stack(departure, axis=1)
    return np.asarray(np.clip(_WEIGHTS[:, 0] * np.array(still) + gone @ _WEIGHTS[:, 1:].T, 0.0, 1.0))


def _uncovered(topology: MeshTopology, reference: F64Array, meshes: F64Array) -> F64Array:
    """Share of the face's area in each frame that is new against the reference picture, [T]."""
    before, now = _areas(topology, reference[None]), _areas(topology, meshes)
    side = np.sign(before.sum())
    before, now = np.maximum(side * before, 0), np.maximum(side * now, 0)
    return np.asarray(np.maximum(now - before, 0).sum(1) / np.maximum(now.sum(1), 1e-9))


def _areas(topology: MeshTopology, meshes: F64Array) -> F64Array:
    """Twice the signed area of every triangle in the picture, [T, F]."""
    a, b, c = (meshes[:, topology.triangles[:, corner], :2] for corner in range(3))
    u, v = b - a, c - a
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])
