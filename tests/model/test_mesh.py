"""Topology and rasteriser: a clean triangulation, and the right triangle at the right pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from facecodec.errors import ShapeError, WeightsError
from facecodec.generator import MeshTopology, Region, load_topology
from facecodec.generator import topology as topo
from facecodec.generator.build_topology import build, mean_shape, triangulate
from facecodec.generator.flow import evaluate_spline, fit_spline
from facecodec.generator.raster import rasterise
from facecodec.generator.warp import warp

MakeFace = Callable[..., Tensor]
CONTOURS = (
    topo.FACE_OVAL,
    topo.RIGHT_EYE,
    topo.LEFT_EYE,
    topo.INNER_LIPS,
    topo.OUTER_LIPS,
    topo.RIGHT_BROW,
    topo.LEFT_BROW,
)


@pytest.fixture(scope="module")
def topology() -> MeshTopology:
    return load_topology()


def test_triangulation_is_a_disc_over_all_surface_points(topology: MeshTopology) -> None:
    triangles = topology.triangles
    assert np.array_equal(np.unique(triangles), np.arange(topo.SURFACE_POINTS))
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
    )
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    assert topo.SURFACE_POINTS - len(unique) + len(triangles) == 1  # Euler characteristic of a disc
    oval = {frozenset(e) for e in zip(topo.FACE_OVAL, np.roll(topo.FACE_OVAL, -1).tolist(), strict=True)}
    assert {frozenset(e.tolist()) for e in unique[uses == 1]} == oval
    assert uses.max() == 2


def test_every_contour_is_made_of_edges(topology: MeshTopology) -> None:
    edges = {frozenset((int(t[i]), int(t[(i + 1) % 3]))) for t in topology.triangles for i in range(3)}
    for contour in CONTOURS:
        assert len(set(contour)) == len(contour)
        for pair in zip(contour, contour[1:] + contour[:1], strict=True):
            assert frozenset(pair) in edges


def test_openings_are_triangulated_from_their_own_contours(topology: MeshTopology) -> None:
    for region, contour in (
        (Region.RIGHT_EYE, topo.RIGHT_EYE),
        (Region.LEFT_EYE, topo.LEFT_EYE),
        (Region.INNER_MOUTH, topo.INNER_LIPS),
    ):
        inside = topology.triangles[topology.regions == region]
        assert len(inside) == len(contour) - 2
        assert set(np.unique(inside)) == set(contour)


def test_rings_count_from_the_oval(topology: MeshTopology) -> None:
    rings = topology.rings
    assert set(np.flatnonzero(rings == 0)) == set(topo.FACE_OVAL)
    assert rings[4] == rings.max() or rings[4] > 6


def test_building_from_the_mean_mesh_gives_the_topology_back(topology: MeshTopology) -> None:
    rng = np.random.default_rng(2)
    mean = topology.mean_mesh.astype(np.float64)
    shapes = mean * rng.uniform(0.5, 2, (6, 1, 1)) + rng.uniform(-1, 1, (6, 1, 3))
    built = build(mean_shape(shapes))
    assert np.array_equal(built.triangles, topology.triangles)
    assert np.array_equal(built.regions, topology.regions)
    assert np.abs(built.mean_mesh - topology.mean_mesh).max() < 1e-4


def test_a_missing_edge_is_forced_in() -> None:
    square = np.array([[0.0, 0.0], [2.0, 0.1], [2.1, 2.0], [0.0, 1.0]])
    for corners in ((0, 2, 1), (1, 3, 0)):
        edges = {
            frozenset(e) for t in triangulate(square, (corners,)) for e in zip(t, np.roll(t, 1), strict=True)
        }
        assert frozenset(corners[:2]) in edges


def test_a_topology_with_wrong_arrays_is_refused(topology: MeshTopology) -> None:
    with pytest.raises(ShapeError, match="regions"):
        MeshTopology(topology.triangles, topology.regions[1:], topology.mean_mesh)
    with pytest.raises(WeightsError, match="467"):
        MeshTopology(topology.triangles + np.int16(300), topology.regions, topology.mean_mesh)


def test_barycentric_coordinates_lead_back_to_the_pixel(topology: MeshTopology, face: MakeFace) -> None:
    mesh = torch.stack([face(), face(0.5)])
    ids, bary, depth = rasterise(mesh, topology, 96)
    covered = ids >= 0
    assert 0.15 < covered.float().mean() < 0.5
    assert torch.allclose(bary.sum(-1)[covered], torch.ones(int(covered.sum())), atol=1e-3)
    corners = mesh[:, torch.from_numpy(topology.triangles.astype(np.int64))]
    frame = torch.nonzero(covered)[:, 0]
    point = (bary[covered][..., None] * corners[frame, ids[covered]]).sum(1)
    _, y, x = torch.nonzero(covered, as_tuple=True)
    assert torch.allclose(point[:, :2] * 96, torch.stack([x, y], -1) + 0.5, atol=2e-2)
    assert torch.allclose(point[:, 2], depth[covered], atol=1e-5)


def test_a_frontal_face_has_no_holes(topology: MeshTopology, face: MakeFace) -> None:
    ids, _, _ = rasterise(face()[None], topology, 128)
    for row in (ids[0] >= 0).int():
        assert (row.diff().abs().sum()) <= 2


def test_the_nearer_triangle_wins(topology: MeshTopology) -> None:
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int16)
    two = MeshTopology(triangles, np.zeros(2, np.int16), topology.mean_mesh)
    mesh = torch.zeros(1, 478, 3)
    mesh[0, :3] = torch.tensor([[0.0, 0.0, 0.3], [1.0, 0.0, 0.3], [0.0, 1.0, 0.3]])
    mesh[0, 3:6] = torch.tensor([[0.0, 0.0, 0.6], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    ids, _, _ = rasterise(mesh, two, 16)
    assert ids[0, 1, 3] == 0  # here the second one lies deeper, at about 0.48
    assert ids[0, 1, 13] == 1
    assert ids[0, 14, 3] == -1


def test_a_triangle_turned_away_is_left_out(topology: MeshTopology, face: MakeFace) -> None:
    ids, _, _ = rasterise(face(yaw=np.pi)[None], topology, 64)
    assert (ids >= 0).float().mean() < 0.03


def test_spline_interpolates_its_controls_and_keeps_affine_maps() -> None:
    at = torch.rand(2, 20, 2, generator=torch.Generator().manual_seed(0))
    values = torch.stack([at[..., 0] * 2 + 1, torch.sin(9 * at[..., 1])], -1)
    weights = fit_spline(at, values, torch.zeros(2, 20))
    for i in range(2):
        again = evaluate_spline(at[i : i + 1], weights[i : i + 1], at[i])
        assert torch.allclose(again[0], values[i], atol=1e-3)
    elsewhere = torch.tensor([[0.13, 0.71], [0.9, 0.2]])
    assert torch.allclose(evaluate_spline(at, weights, elsewhere)[..., 0], elsewhere[:, 0] * 2 + 1, atol=1e-3)


def test_warp_refuses_arrays_that_disagree() -> None:
    with pytest.raises(ShapeError, match="motion field"):
        warp(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ShapeError, match="picture"):
        warp(torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, 2))
