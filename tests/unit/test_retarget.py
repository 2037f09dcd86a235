"""One person's motion on another's face: identity, closed stays closed, pose, and what surrounds the head."""

import numpy as np
import pytest

from facecodec.errors import ConfigError, ShapeError
from facecodec.motion.face import FaceMotion, align, load_face_model, rotation_matrix, rotation_vector
from facecodec.motion.openings import EYE_CLOSED, LEFT_EYE, MOUTH, RIGHT_EYE, Opening
from facecodec.motion.retarget import Retargeter, find_match, rigid_weights
from facecodec.motion.surroundings import Sides, head_scene

SIZE = 0.15
"""RMS radius of the faces, crop units."""


def face(identity: int = 0, scale: float = SIZE) -> np.ndarray:
    """A mesh of one of several people, [478, 3], eyes and mouth open."""
    model = load_face_model()
    rng = np.random.default_rng(identity)
    shape = model.mean.copy()
    if identity:
        shape *= 1 + rng.uniform(-0.12, 0.12, 3)
        shape += np.tensordot(rng.normal(0, 0.5, len(model.basis)) * model.sigma, model.basis, 1)
    return shape * scale + np.array([0.5, 0.5, 0.0])


def closed(mesh: np.ndarray, opening: Opening, share: float = 1.0) -> np.ndarray:
    """The mesh with the edges of an opening moved together."""
    out = mesh.copy()
    for upper, lower in opening.pairs:
        middle = (mesh[upper] + mesh[lower]) / 2
        out[[upper, lower]] = middle + (1 - share) * (mesh[[upper, lower]] - middle)
    return out


def clip(mesh: np.ndarray, frames: int = 12, seed: int = 3) -> np.ndarray:
    """Talking and nodding, [T, 478, 3]; frame 0 is the mesh."""
    motion = FaceMotion(mesh)
    rng = np.random.default_rng(seed)
    amplitudes = np.cumsum(rng.normal(0, 1, (frames, motion.model.channels)), axis=0)
    amplitudes[:, :6] *= motion.pose_scale() * 0.01
    amplitudes[:, 6:] *= motion.model.sigma * motion.radius * 256 * 0.15
    amplitudes[0] = 0
    return motion.apply(amplitudes)


def rms_points(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((one - other)[..., :2] ** 2).sum(-1).mean(-1)).max() * 256)


def test_a_face_drives_itself_unchanged():
    own = face(1)
    moving = clip(own)
    assert find_match(own, moving) == 0
    assert rms_points(moving[1:], moving[:1]) > 2
    assert rms_points(Retargeter(own, moving[0]).apply(moving), moving) < 0.3


def test_the_match_gives_the_reference():
    own, driver = face(1), face(2, 0.31)
    driver = closed(driver, MOUTH, 1 - float(MOUTH.gap(own) / MOUTH.gap(driver)))
    assert rms_points(Retargeter(own, driver).apply(driver[None])[0], own) < 0.4


@pytest.mark.parametrize("opening", [RIGHT_EYE, LEFT_EYE])
@pytest.mark.parametrize("own_gap", [0.6, 1.4])
def test_lids_meet_where_the_driver_s_meet(opening, own_gap):
    own, driver = closed(face(1), opening, 1 - own_gap), face(2, 0.3)
    shut = closed(driver, opening)
    squint = closed(driver, opening, 0.5)
    made = Retargeter(own, driver).apply(np.stack([driver, squint, shut]))
    gaps = opening.gap(made)
    assert gaps[0] == pytest.approx(float(opening.gap(own)), rel=0.05)
    assert gaps[2] < EYE_CLOSED / 2
    assert gaps[2] < gaps[1] < gaps[0]


def test_an_eye_that_is_closed_in_the_reference_opens_with_the_driver_s():
    own, driver = closed(face(1), RIGHT_EYE, 0.9), face(2)
    made = Retargeter(own, driver).apply(driver[None])
    assert RIGHT_EYE.gap(made)[0] == pytest.approx(float(RIGHT_EYE.gap(driver)), rel=0.1)


def test_lips_stand_as_far_apart_as_the_driver_s():
    own, driver = face(1), face(2, 0.3)
    shut = closed(driver, MOUTH)
    frames = np.stack([driver, closed(driver, MOUTH, 0.5), shut])
    for match in frames[[0, 2]]:
        made = Retargeter(own, match).apply(frames)
        assert MOUTH.gap(made)[2] < 0.01
        np.testing.assert_allclose(MOUTH.gap(made), MOUTH.gap(frames), atol=0.05)


def test_pose_is_relative_and_in_the_reference_s_size():
    model = load_face_model()
    weights = rigid_weights(model)
    turned = rotation_matrix(np.array([0.1, -0.2, 0.3]))
    own, driver = face(1) @ rotation_matrix(np.array([0.0, 0.25, 0.0])).T, face(2, 0.3)
    centre = driver.mean(0)
    moved = 1.2 * (driver - centre) @ turned.T + centre + np.array([0.1, 0.05, 0.0])
    made = Retargeter(own, driver).apply(np.stack([driver, moved]))
    scale, rotation, _, _ = align(made[0], made[1], weights)
    assert scale == pytest.approx(1.2, rel=1e-6)
    _, attitude, _, _ = align(model.mean, made[0], weights)
    _, driver_attitude, _, _ = align(model.mean, driver, weights)
    expected = attitude @ driver_attitude.T @ turned @ driver_attitude @ attitude.T
    assert np.linalg.norm(rotation_vector(rotation @ expected.T)) < 0.02
    sizes = [float(align(model.mean, mesh, weights)[0]) for mesh in (made[0], driver)]
    straight = Retargeter(own, driver).apply((driver + np.array([0.1, 0.05, 0.0]))[None])[0]
    shift = (straight - made[0])[:, :2].mean(0)
    np.testing.assert_allclose(shift, np.array([0.1, 0.05]) * sizes[0] / sizes[1], rtol=1e-6)


def test_the_match_has_the_same_expression_and_attitude():
    own, driver = face(1), face(2)
    shut, turned = closed(driver, MOUTH), driver @ rotation_matrix(np.array([0.0, 0.6, 0.0])).T
    frames = np.stack([closed(driver, RIGHT_EYE), turned, shut, driver])
    assert find_match(closed(own, MOUTH), frames) == 2
    assert find_match(closed(own, RIGHT_EYE), frames) == 0
    assert find_match(own @ rotation_matrix(np.array([0.0, 0.6, 0.0])).T, frames) == 1


def test_wrong_meshes_are_refused():
    with pytest.raises(ShapeError, match="reference mesh"):
        Retargeter(face()[:400], face())
    with pytest.raises(ConfigError, match="match mesh"):
        Retargeter(face(), np.zeros((478, 3)))
    with pytest.raises(ShapeError, match="meshes"):
        Retargeter(face(), face()).apply(face())
    with pytest.raises(ShapeError, match="T at least 1"):
        find_match(face(), np.zeros((0, 478, 3)))


def test_hair_goes_with_the_head_and_the_border_stays():
    own = face()
    moved = own + np.array([0.04, 0.0, 0.0])
    still = head_scene(own, own[None], Sides(True, True, True, True))
    np.testing.assert_allclose(still, 0, atol=1e-6)
    scene = head_scene(own, moved[None], Sides(True, False, True, True))[0]
    assert scene.shape == (9, 9, 2)
    np.testing.assert_allclose(scene[:, [0, -1]], 0, atol=1e-6)
    np.testing.assert_allclose(scene[-1], 0, atol=1e-6)
    np.testing.assert_allclose(scene[1, 4], [-0.04, 0], atol=1e-3)
    assert abs(scene[0, 4, 0]) > 0.02
