"""Build ``data/topology.npz``: ``python -m facecodec.generator.build_topology TRACKS OUT``.

``TRACKS`` is a folder of ``.npz`` files, each with ``points`` [T, 478, 3] (and ``valid`` [T] bool), as
tracks of frontal faces. They are aligned (generalised Procrustes analysis), the frames with open eyes
and mouth averaged, so that no opening is degenerate, the mean made symmetric, unwrapped onto a
vertical cylinder, triangulated by Delaunay, and every edge of the named contours forced in by edge
flips. What lies outside the face oval is dropped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from facecodec.errors import WeightsError
from facecodec.generator import topology as topo
from facecodec.generator.topology import MeshTopology, Region
from facecodec.types import F64Array

Contour = tuple[int, ...]
_REGION_CONTOURS: tuple[tuple[Region, Contour], ...] = (
    (Region.RIGHT_BROW, topo.RIGHT_BROW),
    (Region.LEFT_BROW, topo.LEFT_BROW),
    (Region.LIPS, topo.OUTER_LIPS),
    (Region.INNER_MOUTH, topo.INNER_LIPS),
    (Region.RIGHT_EYE, topo.RIGHT_EYE),
    (Region.LEFT_EYE, topo.LEFT_EYE),
)


def align(shapes: F64Array, rounds: int = 4) -> F64Array:
    """Generalised Procrustes analysis.

    Args:
        shapes: [N, P, 3].
        rounds: how often the mean is taken anew.

    Returns:
        [N, P, 3], each with its centre at 0 and root mean square radius 1, turned onto their mean.
    """
    out: F64Array = shapes - shapes.mean(1, keepdims=True)
    out /= np.sqrt((out**2).sum(-1).mean(-1))[:, None, None]
    for _ in range(rounds):
        mean = out.mean(0)
        u, _, vt = np.linalg.svd(np.einsum("npi,pj->nij", out, mean))
        flip = np.ones((len(out), 3))
        flip[:, 2] = np.sign(np.linalg.det(u @ vt))
        out = out @ ((u * flip[:, None, :]) @ vt)
    return out


def mean_shape(shapes: F64Array) -> F64Array:
    """Mean of the fifth of the shapes whose eyes and mouth are widest open, symmetric and frontal.

    Args:
        shapes: [N, 478, 3], any pose and scale.

    Returns:
        [478, 3]: x right, y down, z away from the camera, symmetric about x = 0.
    """
    aligned = align(shapes)

    def gap(a: int, b: int) -> F64Array:
        distance: F64Array = np.linalg.norm(aligned[:, a] - aligned[:, b], axis=-1)
        distance /= distance.mean()
        return distance

    openness = np.minimum(gap(13, 14) / 2, np.minimum(gap(159, 145), gap(386, 374)))
    mean: F64Array = aligned[np.argsort(-openness)[: max(1, len(aligned) // 5)]].mean(0)
    x = mean[list(topo.LEFT_EYE)].mean(0) - mean[list(topo.RIGHT_EYE)].mean(0)
    x /= np.linalg.norm(x)
    y = mean[152] - mean[10]
    y -= x * (x @ y)
    y /= np.linalg.norm(y)
    front = (mean - mean[[1, 4, 152, 10, 168]].mean(0)) @ np.stack([x, y, np.cross(x, y)], 1)
    mirrored = front * [-1, 1, 1]
    _, twin = linear_sum_assignment(np.linalg.norm(front[:, None] - mirrored[None], axis=-1))
    symmetric: F64Array = (front + mirrored[twin]) / 2
    symmetric -= (symmetric.min(0) + symmetric.max(0)) / 2
    return symmetric


def unwrap(mean: F64Array) -> F64Array:
    """Unwrap a mean mesh [478, 3] onto a vertical cylinder behind the face: [468, 2]."""
    surface = mean[: topo.SURFACE_POINTS]
    axis_z = surface[[234, 454], 2].mean() + 0.5 * np.ptp(surface[:, 0])
    radius = np.hypot(surface[:, 0], axis_z - surface[:, 2])
    angle = np.arctan2(surface[:, 0], axis_z - surface[:, 2])
    return np.stack([angle * radius.mean(), surface[:, 1]], 1)


def _cross(a: F64Array, b: F64Array, c: F64Array) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _crossing(layout: F64Array, p: int, q: int, a: int, b: int) -> bool:
    """Whether segments pq and ab cross inside."""
    at = layout
    return (
        _cross(at[p], at[q], at[a]) * _cross(at[p], at[q], at[b]) < 0
        and _cross(at[a], at[b], at[p]) * _cross(at[a], at[b], at[q]) < 0
    )


def _flip_towards(layout: F64Array, triangles: list[set[int]], p: int, q: int) -> bool:
    """Flip one edge that crosses the wanted edge pq and whose two triangles form a convex quadrilateral."""
    for i, first in enumerate(triangles):
        for j in range(i + 1, len(triangles)):
            shared = first & triangles[j]
            if len(shared) != 2:
                continue
            a, b = shared
            if p in shared or q in shared or not _crossing(layout, p, q, a, b):
                continue
            (c,), (d,) = first - shared, triangles[j] - shared
            if _crossing(layout, a, b, c, d):
                triangles[i], triangles[j] = {c, d, a}, {c, d, b}
                return True
    return False


def triangulate(layout: F64Array, contours: tuple[Contour, ...]) -> npt.NDArray[np.int64]:
    """Delaunay triangulation of [P, 2] with every edge of the closed contours forced in, [T, 3].

    Raises:
        WeightsError: a contour edge cannot be had by flips (the layout folds there).
    """
    triangles = [set(map(int, t)) for t in Delaunay(layout).simplices]
    for contour in contours:
        for p, q in zip(contour, contour[1:] + contour[:1], strict=True):
            for _ in range(100):
                if any(p in t and q in t for t in triangles):
                    break
                if not _flip_towards(layout, triangles, p, q):
                    raise WeightsError(f"contour edge {p}-{q} cannot be forced into the triangulation")
    out = np.array([sorted(t) for t in triangles])
    turned = [_cross(*layout[t]) < 0 for t in out]
    out[turned] = out[turned][:, ::-1]
    return out


def _inside(polygon: F64Array, points: F64Array) -> npt.NDArray[np.bool_]:
    """Which of points [N, 2] lie in a polygon [P, 2] (even-odd rule)."""
    a, b = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]
    rise = np.where(b[:, 1] == a[:, 1], 1e-12, b[:, 1] - a[:, 1])
    hit = ((a[:, 1] > y) != (b[:, 1] > y)) & (x < a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0]))
    odd: npt.NDArray[np.bool_] = hit.sum(1) % 2 == 1
    return odd


def build(mean: F64Array) -> MeshTopology:
    """The topology of a mean mesh [478, 3] with open eyes and mouth.

    Raises:
        WeightsError: a contour cannot be forced into the triangulation.
    """
    layout = unwrap(mean)
    contours = (topo.FACE_OVAL, *(c for _, c in _REGION_CONTOURS))
    triangles = triangulate(layout, contours)
    triangles = triangles[_inside(layout[list(topo.FACE_OVAL)], layout[triangles].mean(1))]
    centres = layout[triangles].mean(1)
    regions = np.full(len(triangles), Region.SKIN, np.int16)
    for region, contour in _REGION_CONTOURS:
        regions[_inside(layout[list(contour)], centres)] = region
    order = np.lexsort(triangles.T[::-1])
    scaled = (mean / np.ptp(mean[: topo.SURFACE_POINTS, 0])).astype(np.float32)
    return MeshTopology(triangles[order].astype(np.int16), regions[order], scaled)


def main(tracks: Path, out: Path) -> None:
    """Read the tracks of a folder, build the topology, write it to ``out`` (.npz)."""
    shapes = []
    for path in sorted(tracks.glob("*.npz")):
        with np.load(path) as data:
            points = data["points"].astype(np.float64)
            keep = data["valid"] if "valid" in data else np.ones(len(points), bool)
        shapes.append(points[keep][::10])
    topology = build(mean_shape(np.concatenate(shapes)))
    np.savez_compressed(
        out, triangles=topology.triangles, regions=topology.regions, mean_mesh=topology.mean_mesh
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
