"""The reference mesh and its levels."""

import numpy as np
import pytest

from facecodec.bitstream.mesh import SHAPE_LIMIT, decode_mesh, encode_mesh
from facecodec.motion.face import rotation_matrix
from facecodec.motion.shape import PLACE_LEVELS, levels_to_mesh, load_shape_model, mesh_to_levels
from facecodec.types import F64Array


def some_mesh(seed: int, share: float = 0.7) -> F64Array:
    model, rng = load_shape_model(), np.random.default_rng(seed)
    shape = model.mean + np.einsum(
        "k,kij->ij", rng.normal(0, share, len(model.sigma)) * model.sigma, model.basis
    )
    turn = rotation_matrix(rng.normal(0, 0.2, 3))
    return np.asarray(0.17 * shape @ turn.T + np.array([0.52, 0.47, 0.0]))


def rms_points(a: F64Array, b: F64Array) -> float:
    return float(np.sqrt((((a - b)[:, :2] * 256) ** 2).sum(-1).mean()))


@pytest.mark.parametrize("seed", range(5))
def test_a_mesh_survives(seed: int) -> None:
    mesh = some_mesh(seed)
    levels = mesh_to_levels(mesh)
    assert levels.dtype == np.int32
    assert len(levels) == load_shape_model().levels == 102
    data = encode_mesh(levels)
    assert len(data) < 120
    assert rms_points(levels_to_mesh(decode_mesh(data, 102)), mesh) < 0.3


def test_the_mean_needs_no_shape() -> None:
    mesh = 0.2 * load_shape_model().mean + np.array([0.5, 0.5, 0.0])
    levels = mesh_to_levels(mesh)
    assert np.abs(levels - np.array([2048, 2048] + [0] * 100)).max() <= 1
    assert rms_points(levels_to_mesh(levels), mesh) < 0.1


def test_levels_name_place_size_and_turn() -> None:
    model = load_shape_model()
    levels = np.zeros(102, np.int32)
    levels[:PLACE_LEVELS] = [1024, 3072, 2839, 0, 0, 0]
    mesh = levels_to_mesh(levels)
    assert mesh[:, :2].mean(0) == pytest.approx([0.25, 0.75], abs=1e-3)
    assert mesh[:, 2].mean() == pytest.approx(0, abs=1e-12)
    assert np.ptp(mesh[:, 0]) == pytest.approx(0.4 * np.ptp(model.mean[:, 0]), rel=1e-3)
    levels[5] = round(np.pi / 2 * 4096)
    turned = levels_to_mesh(levels)
    assert turned[:, 0] - 0.25 == pytest.approx(-(mesh[:, 1] - 0.75), abs=1e-3)


def test_the_worst_levels_give_finite_meshes() -> None:
    for sign in (-1, 1):
        levels = np.full(102, sign * SHAPE_LIMIT, np.int32)
        levels[:PLACE_LEVELS] = sign * 32767
        assert np.isfinite(levels_to_mesh(decode_mesh(encode_mesh(levels), 102))).all()


def test_depth_is_centred_and_does_not_matter() -> None:
    mesh = some_mesh(9)
    assert np.array_equal(mesh_to_levels(mesh), mesh_to_levels(mesh + np.array([0, 0, 0.25])))
