"""Lifting 68 points, and the adapter for face-alignment with stand-in weights."""

from __future__ import annotations

import urllib.error
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from facecodec.errors import ConfigError, ShapeError, WeightsError
from facecodec.track import alignment
from facecodec.track.alignment import FaceAlignmentTracker
from facecodec.track.lift import IBUG_68_TO_MESH, MeshLifter
from facecodec.track.tracker import make_tracker
from facecodec.types import KeypointSet

PICKED = list(IBUG_68_TO_MESH)


@pytest.fixture(scope="session")
def model(mesh) -> tuple[np.ndarray, np.ndarray]:
    """A mean mesh of RMS radius 1 and six smooth deformations of it."""
    mean = (mesh - mesh.mean(axis=0)).astype(np.float64)
    mean /= np.sqrt((mean[:, :2] ** 2).sum(axis=1).mean())
    rng = np.random.default_rng(4)
    waves = [np.sin(mean @ rng.normal(0, 1.5, (3, 3)) + rng.uniform(0, 6, 3)) for _ in range(6)]
    return mean, 0.05 * np.stack(waves)


def _pose(points: np.ndarray, turn: list[float], scale: float) -> np.ndarray:
    rotation = np.array(cv2.Rodrigues(np.array(turn, np.float64))[0])
    return scale * points @ rotation.T + [300, 200, 0]


def test_the_table_names_the_right_places(mesh) -> None:
    points = mesh[PICKED, :2]
    assert len(set(PICKED)) == 68
    for left, right in [(0, 16), (4, 12), (7, 9), (17, 26), (31, 35), (36, 45), (39, 42), (48, 54), (60, 64)]:
        assert points[left, 0] < points[right, 0]
        assert points[left, 1] == pytest.approx(points[right, 1], abs=6)
        assert points[[left, right], 0].mean() == pytest.approx(240, abs=4), "the drawn face is symmetric"
    assert (np.diff(points[:9, 1]) > 0).all(), "down the jaw"
    assert (np.diff(points[27:31, 1]) > 0).all(), "down the nose"
    assert points[19, 1] < points[37, 1] < points[41, 1] < points[30, 1] < points[51, 1] < points[57, 1]


@pytest.mark.parametrize("turn", [[0.0, 0.0, 0.0], [0.2, -0.4, 0.1], [-0.1, 0.5, -0.6]])
def test_a_deformed_mesh_comes_back_from_68_points(model, turn) -> None:
    mean, basis = model
    truth = _pose(mean + np.tensordot([1.0, -0.7, 0.5, 0, 1.2, -1.0], basis, axes=1), turn, 80.0)
    lifted = MeshLifter(mean, basis, noise=0.001).lift(truth[PICKED, :2])
    assert lifted.dtype == np.float32
    assert np.abs(lifted - truth)[:, :2].mean() < 0.01 * 80
    depth = lifted[:, 2] - truth[:, 2]
    assert depth.std() < 0.06 * 80
    stiff = MeshLifter(mean, basis[:0]).lift(truth[PICKED, :2])
    assert np.abs(stiff - truth)[:, :2].mean() > 2 * np.abs(lifted - truth)[:, :2].mean()


def test_noise_bends_the_mesh_little(model) -> None:
    mean, basis = model
    seen = _pose(mean, [0, 0.2, 0], 80.0)
    noisy = seen[PICKED, :2] + np.random.default_rng(0).normal(0, 1.0, (68, 2))
    lifted = MeshLifter(mean, basis).lift(noisy)
    assert np.abs(lifted - seen)[:, :2].mean() < 0.6


def test_small_deviations_hold_the_mesh_stiff(model) -> None:
    mean, basis = model
    truth = _pose(mean + basis[0], [0, 0, 0], 80.0)
    stiff = MeshLifter(mean, basis, np.full(6, 1e-4)).lift(truth[PICKED, :2])
    free = MeshLifter(mean, basis).lift(truth[PICKED, :2])
    assert np.abs(free - truth)[:, :2].mean() < 0.5 * np.abs(stiff - truth)[:, :2].mean()


def test_lifter_refuses_what_it_cannot_take(model) -> None:
    mean, basis = model
    for bad in [(mean[:10], basis, None), (mean, basis[:, :10], None), (mean, basis, np.ones(2))]:
        with pytest.raises(ShapeError):
            MeshLifter(*bad)
    with pytest.raises(ConfigError):
        MeshLifter(mean, basis, np.zeros(6))
    with pytest.raises(ShapeError):
        MeshLifter(mean, basis).lift(np.zeros((5, 2)))


def _stand_in(
    faces: list[list[float]], shown: dict[float, np.ndarray], score: float = 0.8
) -> SimpleNamespace:
    """An object like face_alignment.FaceAlignment that knows its answers; ``shown`` is by the box's x0."""

    def landmarks(_image, detected_faces, return_landmark_score):
        assert return_landmark_score
        # The package's own code fails on numpy scalars in boxes.
        assert all(type(v) is float for v in detected_faces[0])
        return [shown[detected_faces[0][0]]], [torch.full((68,), score)], None

    detector = SimpleNamespace(detect_from_image=lambda _: [np.array(f, np.float32) for f in faces])
    return SimpleNamespace(face_detector=detector, get_landmarks_from_image=landmarks)


def test_adapter_lifts_and_follows(model, monkeypatch) -> None:
    mean, basis = model
    a, b = (_pose(mean, [0, 0, 0], 40.0) + [x, 0, 0] for x in (-200, 100))
    faces = [[50.0, 150.0, 150.0, 250.0, 0.9], [350.0, 150.0, 450.0, 245.0, 0.9]]
    shown = {50.0: a[PICKED, :2] - 0.5, 350.0: b[PICKED, :2] - 0.5}
    networks = _stand_in(faces, shown)
    monkeypatch.setattr(alignment, "_load_networks", lambda _: networks)
    tracker = make_tracker("face-alignment", mean_mesh=mean, basis=basis)
    assert isinstance(tracker, FaceAlignmentTracker)
    assert tracker.keypoint_set is KeypointSet.DLIB_68
    picture = np.zeros((400, 600, 3), np.uint8)
    found = tracker.track(picture)
    assert found.keypoint_set is KeypointSet.DLIB_68
    assert found.score == pytest.approx(0.8)
    assert np.abs(found.points - a)[:, :2].max() < 0.5
    faces[1][3] = 280.0  # the neighbour is the larger one now
    assert tracker.track(picture).points[:, 0].mean() < 200
    tracker.reset()
    assert tracker.track(picture).points[:, 0].mean() > 300
    faces.clear()
    assert tracker.track(picture) is None
    assert tracker.track(picture[:20]) is None


def test_adapter_drops_a_face_that_scores_low(model, monkeypatch) -> None:
    mean, basis = model
    networks = _stand_in([[0.0, 0.0, 90.0, 90.0, 0.9]], {0.0: mean[PICKED, :2]}, score=0.05)
    monkeypatch.setattr(alignment, "_load_networks", lambda _: networks)
    assert FaceAlignmentTracker(mean, basis).track(np.zeros((100, 100, 3), np.uint8)) is None


def test_weights_that_cannot_be_fetched_are_a_weights_error(model, monkeypatch, tmp_path) -> None:
    def offline(*_args, **_kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"s3fd-619a316812\.pth.*hub/checkpoints"):
        FaceAlignmentTracker(*model)


def test_adapter_runs_the_real_networks_with_random_weights(model, monkeypatch, tmp_path) -> None:
    """The package's own loading and code paths; numba's compilation is left out to save seconds."""
    import face_alignment.utils
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    for name in ("_get_preds_fromhm", "transform_np"):
        monkeypatch.setattr(face_alignment.utils, name, getattr(face_alignment.utils, name).py_func)
    torch.manual_seed(0)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.save(s3fd().state_dict(), folder / alignment.WEIGHT_FILES[0])
    torch.save(FAN(4).state_dict(), folder / alignment.WEIGHT_FILES[1])
    monkeypatch.setattr(alignment, "MIN_SCORE", -1.0)
    tracker = FaceAlignmentTracker(*model)
    picture = np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    assert isinstance(tracker._networks.face_detector.detect_from_image(picture), list)
    box = np.array([20, 10, 70, 65, 0.9], np.float32)
    tracker._networks.face_detector.detect_from_image = lambda _: [box]
    found = tracker.track(picture)
    assert found is not None
    assert found.points.shape == (478, 3)
    assert np.isfinite(found.points).all()
    (folder / alignment.WEIGHT_FILES[1]).write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="2DFAN4"):
        FaceAlignmentTracker(*model)
