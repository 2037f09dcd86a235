"""Face motion: fit against apply, rotations, and the reference's own pose."""

import numpy as np
import pytest

from facecodec.errors import ShapeError
from facecodec.motion.face import (
    POSE_CHANNELS,
    FaceMotion,
    align,
    load_face_model,
    radius,
    rotation_matrix,
    rotation_vector,
)
from facecodec.types import F64Array


def reference(turn: tuple[float, float, float] = (0.1, -0.15, 0.05)) -> F64Array:
    mesh = 0.18 * load_face_model().mean @ rotation_matrix(np.array(turn)).T
    return np.asarray(mesh + np.array([0.5, 0.48, 0.0]))


def rms_points(a: F64Array, b: F64Array) -> float:
    return float(np.sqrt((((a - b)[..., :2] * 256) ** 2).sum(-1).mean()))


def test_model_is_normalised() -> None:
    model = load_face_model()
    assert model.channels == 46
    assert radius(model.mean) == pytest.approx(1.0, abs=1e-3)
    assert np.abs(model.mean.mean(0)).max() < 1e-3
    assert model.weights.mean() == pytest.approx(1.0, abs=1e-3)
    gram = np.einsum("aij,bij,i->ab", model.basis[..., :2], model.basis[..., :2], model.weights)
    assert np.abs(np.diag(gram) - 1).max() < 5e-3
    assert (np.diff(model.sigma) <= model.sigma[:-1] * 0.5).all()


def test_mean_face_looks_at_the_camera() -> None:
    mean = load_face_model().mean
    nose, chin, forehead, right, left = mean[[1, 152, 10, 234, 454]]
    assert nose[2] < min(right[2], left[2])
    assert chin[1] > forehead[1]
    across = left - right
    assert across[0] > 0
    assert abs(np.degrees(np.arctan2(across[2], across[0]))) < 6
    assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 3


def test_zero_amplitudes_give_the_reference() -> None:
    mesh = reference()
    motion = FaceMotion(mesh)
    assert motion.apply(np.zeros((3, 46))) == pytest.approx(np.broadcast_to(mesh, (3, 478, 3)), abs=1e-12)
    assert np.abs(motion.fit(np.stack([mesh, mesh]))).max() < 1e-6


def test_fit_recovers_what_apply_made() -> None:
    motion = FaceMotion(reference())
    rng = np.random.default_rng(1)
    amplitudes = np.zeros((6, 46))
    amplitudes[:, :6] = rng.normal(0, 0.05, (6, 6)) * motion.pose_scale()
    spread = motion.model.sigma * motion.radius * 256
    amplitudes[:, 6:] = rng.normal(0, 1, (6, 40)) * spread
    meshes = motion.apply(amplitudes)
    got = motion.fit(meshes, iterations=4)
    assert rms_points(motion.apply(got), meshes) < 0.15  # the prior pulls a little
    assert np.abs(got - amplitudes)[:, 6:].max() < 0.5 * spread[0]
    assert np.abs((got - amplitudes)[:, :6] / motion.pose_scale()).max() < 0.01


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_turn_of_thirty_degrees(axis: int, degrees: int) -> None:
    mesh = reference()
    vector = np.zeros(3)
    vector[axis] = np.radians(degrees)
    centre = mesh.mean(0)
    turned = 1.1 * (mesh - centre) @ rotation_matrix(vector).T + centre + np.array([0.03, -0.02, 0.0])
    motion = FaceMotion(mesh)
    got = motion.fit(turned[None])
    assert rms_points(motion.apply(got)[0], turned) < 0.02
    pose = got[0, :6] / motion.pose_scale()
    assert pose[[4, 5, 3]] == pytest.approx(vector, abs=1e-3)
    assert pose[2] == pytest.approx(np.log(1.1), abs=1e-3)


def test_every_amplitude_moves_the_mesh_equally_far() -> None:
    motion = FaceMotion(reference((0.0, 0.0, 0.0)))
    step = 4.0
    moved = motion.apply(step * np.eye(46)) - motion.reference
    far = np.sqrt(((moved[..., :2] * 256) ** 2 * motion.model.weights[:, None]).sum((1, 2))) / step
    assert far[:2] == pytest.approx(1.0, rel=0.01)
    assert far[2:4] == pytest.approx(1.0, rel=0.2)
    assert far[POSE_CHANNELS:] == pytest.approx(1.0, rel=0.15)
    assert (far[4:6] > 0.4).all()
    assert (far[4:6] < 2.5).all()


def test_depth_of_the_track_does_not_matter() -> None:
    mesh = reference()
    motion = FaceMotion(mesh)
    assert motion.fit((mesh + np.array([0, 0, 0.7]))[None]) == pytest.approx(motion.fit(mesh[None]), abs=1e-6)


def test_rotation_vectors_return() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 0.8, (50, 3))
    matrices = rotation_matrix(vectors)
    assert matrices @ np.swapaxes(matrices, 1, 2) == pytest.approx(
        np.broadcast_to(np.eye(3), (50, 3, 3)), abs=1e-12
    )
    assert rotation_vector(matrices) == pytest.approx(vectors, abs=1e-9)
    assert rotation_vector(np.eye(3)) == pytest.approx(np.zeros(3))


def test_align_finds_a_similarity_and_never_mirrors() -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(size=(20, 3))
    turn = rotation_matrix(np.array([0.3, -0.7, 0.2]))
    scale, rotation, cs, ct = align(source, 2.5 * source @ turn.T + 4.0, np.ones(20))
    assert scale == pytest.approx(2.5)
    assert rotation == pytest.approx(turn)
    assert ct - 2.5 * turn @ cs == pytest.approx(np.full(3, 4.0))
    _, rotation, _, _ = align(source, source * np.array([-1.0, 1.0, 1.0]), np.ones(20))
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_wrong_shapes() -> None:
    with pytest.raises(ShapeError, match="reference mesh"):
        FaceMotion(np.zeros((468, 3)))
    with pytest.raises(ShapeError, match="meshes"):
        FaceMotion(reference()).fit(np.zeros((478, 3)))
