"""How the 478 points hang together: triangles, regions and contours.

The triangulation is facecodec's own: ``build_topology.py`` makes it by a constrained Delaunay
triangulation of a mean mesh unwrapped onto a cylinder. The irises (points 468 to 477) lie under the
lids and belong to no triangle. Which point is which follows the FaceLandmarker layout; *right* and
*left* are the subject's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from importlib import resources
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from facecodec.errors import ShapeError, WeightsError
from facecodec.types import F32Array

I16Array = npt.NDArray[np.int16]

MESH_POINTS = 478
"""Points of a mesh, irises included."""
SURFACE_POINTS = 468
"""Points of the skin: the mesh without its irises."""


class Region(IntEnum):
    """What a triangle shows."""

    SKIN = 0
    LIPS = 1
    INNER_MOUTH = 2
    RIGHT_EYE = 3
    LEFT_EYE = 4
    RIGHT_BROW = 5
    LEFT_BROW = 6


FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
INNER_LIPS = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)


@dataclass(frozen=True, slots=True, eq=False)
class MeshTopology:
    """Triangles over the 468 surface points; the contours are constants of this module.

    Attributes:
        triangles: [T, 3] int16, indices below 468; wound so that a triangle that faces the camera has
            a positive signed area ``(b - a) x (c - a)`` in picture coordinates (y down).
        regions: [T] int16, a :class:`Region` each.
        mean_mesh: [478, 3] float32, the mesh it was made from: a mean face, frontal, eyes and mouth open;
            x right, y down, z away from the camera, about the centre of the face, whose width is 1.
    """

    triangles: I16Array
    regions: I16Array
    mean_mesh: F32Array

    def __post_init__(self) -> None:
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            raise ShapeError("triangles", "[T, 3]", self.triangles.shape)
        if self.regions.shape != (len(self.triangles),):
            raise ShapeError("regions", f"[{len(self.triangles)}]", self.regions.shape)
        if self.mean_mesh.shape != (MESH_POINTS, 3):
            raise ShapeError("mean mesh", f"[{MESH_POINTS}, 3]", self.mean_mesh.shape)
        if self.triangles.min(initial=0) < 0 or self.triangles.max(initial=0) >= SURFACE_POINTS:
            raise WeightsError(f"topology: a triangle names a point outside 0..{SURFACE_POINTS - 1}")

    @property
    def rings(self) -> I16Array:
        """[468] int16: edges from each point to the nearest point of the face oval (0 on the oval)."""
        ring = np.full(SURFACE_POINTS, SURFACE_POINTS, np.int16)
        ring[list(FACE_OVAL)] = 0
        edges = np.concatenate([self.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
        while True:
            near = ring.copy()
            np.minimum.at(near, edges[:, 0], ring[edges[:, 1]] + 1)
            np.minimum.at(near, edges[:, 1], ring[edges[:, 0]] + 1)
            if np.array_equal(near, ring):
                return ring
            ring = near


def load_topology() -> MeshTopology:
    """The topology that ships with the package.

    Raises:
        WeightsError: the package's data file is absent or damaged.
    """
    source = resources.files("facecodec.generator") / "data" / "topology.npz"
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return MeshTopology(data["triangles"], data["regions"], data["mean_mesh"])
    except (OSError, KeyError, ValueError, BadZipFile) as err:
        raise WeightsError(f"package data generator/data/topology.npz cannot be read: {err}") from err
