"""Tests of scene points: amplitudes and prior, and the fit to real motion."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from facecodec.analysis.scene import SceneFit, SceneFitter
from facecodec.errors import ShapeError
from facecodec.generator import load_topology
from facecodec.generator.model import WarpGenerator
from facecodec.generator.workers import workers
from facecodec.motion.quantise import QP_COUNT
from facecodec.motion.scene import (
    amplitudes_to_scene,
    grid_places,
    scene_grid,
    scene_prior,
    scene_to_amplitudes,
)
from facecodec.types import F64Array, U8Array

SIZE = 128
POINT = 1 / 256


def make_mesh(x: float = 0.0, y: float = 0.0, width: float = 0.3) -> F64Array:
    """The mean face in the middle of the crop, moved by x and y crop units."""
    mean = np.asarray(load_topology().mean_mesh, np.float64)
    return np.asarray(mean * width + np.array([0.5 + x, 0.5 + y, 0.0]))


@pytest.fixture(scope="module")
def texture() -> U8Array:
    """A picture with detail everywhere."""
    noise = np.random.default_rng(3).uniform(30, 220, (SIZE // 8, SIZE // 8, 3)).astype(np.float32)
    large = cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large, 0, 255), np.uint8)


def shift(picture: U8Array, x: float, y: float) -> U8Array:
    """Move a picture right and down by crop units."""
    size = picture.shape[0]
    move = np.array([[1, 0, x * size], [0, 1, y * size]])
    return np.asarray(cv2.warpAffine(picture, move, (size, size), borderMode=cv2.BORDER_REPLICATE))


def make_fitter(picture: U8Array, mesh: F64Array, grid: int = 7) -> SceneFitter:
    generator = WarpGenerator()
    tensor = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    state = generator.prepare(tensor, torch.from_numpy(mesh.astype(np.float32)))
    return SceneFitter(generator, state, picture, mesh, grid, workers(2))


def fit_pan(texture: U8Array, x: float, y: float, frames: int = 4) -> SceneFit:
    """The fit of a picture that moves as a whole, face and scene, by (x, y)."""
    meshes = np.repeat(make_mesh(x, y)[None], frames, 0)
    return make_fitter(texture, make_mesh()).fit([shift(texture, x, y)] * frames, meshes)


def far_points(grid: int) -> npt.NDArray[np.bool_]:
    """Points of the inner grid that stand clear of the face: bool [G, G]."""
    off = np.abs(grid_places(grid) - 0.5).max(-1)
    return np.asarray((off > 0.3) & (off < 0.4)).reshape(grid, grid)


class TestAmplitudes:
    @pytest.mark.parametrize("grid", [5, 7, 9])
    def test_round_trip(self, grid: int) -> None:
        rng = np.random.default_rng(grid)
        scene, prior = rng.normal(0, 0.05, (2, 3, grid, grid, 2))
        amplitudes = scene_to_amplitudes(scene, prior)
        assert amplitudes.shape == (3, 2 * grid * grid)
        np.testing.assert_allclose(amplitudes_to_scene(amplitudes, prior), scene, atol=1e-6)

    def test_zero_amplitudes_are_the_prior(self) -> None:
        prior = np.random.default_rng(0).normal(0, 0.05, (1, 7, 7, 2))
        np.testing.assert_allclose(amplitudes_to_scene(np.zeros((1, 98)), prior), prior, atol=1e-7)

    def test_x_and_y_of_a_point_are_neighbours(self) -> None:
        scene = np.zeros((1, 5, 5, 2))
        scene[0, 1, 2] = 3.0, 4.0
        amplitudes = scene_to_amplitudes(scene, np.zeros_like(scene))[0]
        assert np.flatnonzero(amplitudes).tolist() == [14, 15]
        assert amplitudes[15] / amplitudes[14] == pytest.approx(4 / 3)


class TestPrior:
    def test_is_zero_where_nothing_moved(self) -> None:
        mesh = make_mesh()
        assert np.abs(scene_prior(mesh, mesh[None], 7)).max() < 1e-9

    def test_follows_the_head_near_it_and_stays_far_away(self) -> None:
        prior = scene_prior(make_mesh(), make_mesh(x=0.05, y=-0.02)[None], 9)[0]
        np.testing.assert_allclose(prior[4, 4], [-0.05, 0.02], rtol=0.2)
        np.testing.assert_allclose(prior[0, 0], 0.0, atol=1e-9)

    def test_grid_follows_qp(self) -> None:
        grids = [scene_grid(qp) for qp in range(QP_COUNT)]
        assert set(grids) <= {5, 7, 9}
        assert grids == sorted(grids, reverse=True)


class TestFit:
    @pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (4.0, 0.0), (-3.0, 5.0), (9.5, -7.0)])
    def test_recovers_a_pan(self, texture: U8Array, x: float, y: float) -> None:
        fit = fit_pan(texture, x * POINT, y * POINT)
        found = fit.scene[:, far_points(7)] / POINT
        assert np.abs(found + [x, y]).max() < 0.5

    def test_brings_the_picture_closer(self, texture: U8Array) -> None:
        mesh = make_mesh()
        fitter = make_fitter(texture, mesh)
        pictures, meshes = [shift(texture, 0.02, 0.01)] * 2, np.repeat(mesh[None], 2, 0)
        fit = fitter.fit(pictures, meshes)
        still = np.zeros_like(fit.scene)
        before, after = (fitter.error(pictures, meshes, scene).sum() for scene in (still, fit.scene))
        assert after < 0.3 * before
        assert fitter.pays(pictures, meshes, fit.scene.astype(np.float32), still.astype(np.float32))
        assert not fitter.pays(pictures, meshes, still.astype(np.float32), fit.scene.astype(np.float32))

    def test_covered_points_weigh_nothing(self, texture: U8Array) -> None:
        fit = fit_pan(texture, 0.01, 0.0)
        assert np.abs(fit.weight[:, 3, 3]).max() == 0.0
        assert fit.weight[:, far_points(7)].min() > 0.01

    @pytest.mark.parametrize("level", [0, 128, 255])
    def test_flat_pictures_weigh_nothing(self, level: int) -> None:
        flat = np.full((64, 64, 3), level, np.uint8)
        mesh = make_mesh()
        meshes = np.stack([make_mesh(x=0.02), mesh])
        fit = make_fitter(flat, mesh).fit([flat, flat], meshes)
        assert np.all(fit.weight == 0.0)
        assert np.all(np.isfinite(fit.scene))

    def test_edges_bind_only_across(self) -> None:
        stripes = np.zeros((SIZE, SIZE, 3), np.uint8)
        stripes[:, (np.arange(SIZE) // 8) % 2 == 0] = 200
        mesh = make_mesh()
        fit = make_fitter(stripes, mesh).fit([shift(stripes, 0.008, 0.0)], mesh[None])
        clear = far_points(7)
        assert fit.weight[0, clear, 1].max() < 0.05 * fit.weight[0, clear, 0].min()

    def test_runs_may_be_cut_anywhere(self, texture: U8Array) -> None:
        mesh = make_mesh()
        pictures = [shift(texture, 0.002 * t, 0.0) for t in range(6)]
        meshes = np.repeat(mesh[None], 6, 0)
        whole = make_fitter(texture, mesh).fit(pictures, meshes).scene
        fitter = make_fitter(texture, mesh)
        parts = [fitter.fit([picture], mesh[None]).scene for picture in pictures]
        off = np.abs(np.concatenate(parts) - whole)[:, far_points(7)] / POINT
        assert off.max() < 1.0

    @pytest.mark.parametrize("size", [64, 218])
    def test_any_size(self, texture: U8Array, size: int) -> None:
        picture = cv2.resize(texture, (size, size))
        mesh = make_mesh()
        fit = make_fitter(picture, mesh, 5).fit([picture] * 3, np.repeat(mesh[None], 3, 0))
        assert fit.scene.shape == fit.weight.shape == (3, 5, 5, 2)
        assert np.abs(fit.scene).max() < POINT

    def test_needs_a_mesh_a_picture(self, texture: U8Array) -> None:
        mesh = make_mesh()
        with pytest.raises(ShapeError):
            make_fitter(texture, mesh).fit([texture, texture], mesh[None])
