"""Detector, landmark network and the shipped model file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from facecodec.errors import ConfigError, ShapeError, WeightsError
from facecodec.track import bundle
from facecodec.track.detector import Detection, FaceDetector, iou, non_maximum_suppression, ssd_anchors
from facecodec.track.landmarks import LandmarkModel, Roi, cut_roi, roi_from_eyes, roi_from_points


def test_model_file_is_named_by_its_hash_and_has_its_licence_beside_it() -> None:
    folder = bundle.MODEL_PATH.parent
    assert len(bundle.read_member(bundle.DETECTOR_MEMBER)) == 229746
    assert "Apache License" in (folder / "LICENSE-Apache-2.0").read_text()
    notice = (folder / "NOTICE").read_text()
    assert "MediaPipe FaceLandmarker" in notice
    assert bundle.MODEL_SHA256 in notice


def test_damaged_or_absent_model_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        bundle.read_member(bundle.DETECTOR_MEMBER, tmp_path / "nowhere.task")
    damaged = bytearray(bundle.MODEL_PATH.read_bytes())
    damaged[1000] ^= 1
    (tmp_path / "damaged.task").write_bytes(damaged)
    with pytest.raises(WeightsError, match="sha256"):
        bundle.read_member(bundle.DETECTOR_MEMBER, tmp_path / "damaged.task")
    with pytest.raises(WeightsError, match="no readable member"):
        bundle.read_member("absent.tflite")


def test_bytes_that_are_no_network_are_a_weights_error() -> None:
    with pytest.raises(WeightsError, match="toy"):
        bundle.TfliteNetwork(b"not a network", "toy")
    with pytest.raises(ConfigError, match="threads"):
        bundle.TfliteNetwork(b"", "toy", threads=-1)


def test_anchors_follow_the_ssd_rule() -> None:
    anchors = ssd_anchors()
    assert anchors.shape == (896, 2)
    assert np.allclose(anchors[:3], [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]])
    assert np.allclose(anchors[512:518], 1 / 16)
    assert np.allclose(anchors[-1], 15 / 16)


def test_detector_finds_the_drawn_face_with_its_eyes(drawn_face) -> None:
    found = FaceDetector(threads=1).detect(drawn_face(160, (170, 200)))
    assert len(found) == 1
    eyes = found[0].keypoints[:2]
    assert np.allclose(eyes, [[170 - 33.6, 184], [170 + 33.6, 184]], atol=6)
    assert found[0].score > 0.7
    x, y, width, height = found[0].box
    assert x < 140 < 200 < x + width
    assert y < 184 < 258 < y + height


def test_tiles_find_a_small_face_in_a_large_picture(drawn_face) -> None:
    picture = np.full((1080, 1920, 3), 110, np.uint8)
    picture[700:790, 1500:1620] = drawn_face(60, (60, 45), (120, 90))
    detector = FaceDetector(threads=1)
    assert detector.detect(picture, tiles=False) == []
    found = detector.detect(picture)
    assert len(found) == 1
    assert np.allclose(found[0].keypoints[:2].mean(axis=0), [1560, 739], atol=8)


def test_nms_merges_one_face_and_keeps_two() -> None:
    def make(x: float, score: float) -> Detection:
        return Detection(np.array([x, 0, 10, 10], np.float32), np.full((6, 2), x, np.float32), score)

    kept = non_maximum_suppression([make(100, 0.6), make(0, 0.9), make(1, 0.9)])
    assert [round(d.score, 3) for d in kept] == [0.9, 0.6]
    assert kept[0].box[0] == pytest.approx(0.5)
    assert kept[0].keypoints[0, 0] == pytest.approx(0.5)
    assert iou(make(0, 1).box, make(5, 1).box) == pytest.approx(1 / 3)
    assert iou(make(0, 1).box, make(10, 1).box) == 0.0


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2])
@pytest.mark.parametrize("side", [10.0, 23.0, 75.0, 100.0])
def test_cut_roi_agrees_with_the_way_back(angle: float, side: float) -> None:
    """Pixels that hold twice their own column and row show where each pixel of the cut was read."""
    rows, columns = np.mgrid[0:128, 0:128]
    ramp = np.stack([2 * columns, 2 * rows, rows * 0], axis=-1).astype(np.uint8)
    roi = Roi(65.0, 62.0, side, angle)
    cut = cut_roi(ramp, roi, 12).astype(float)
    places = (np.mgrid[0:12, 0:12][::-1].transpose(1, 2, 0) + 0.5) / 12
    back = roi.to_picture(np.dstack([places, np.zeros((12, 12))]))[..., :2]
    inside = ((back > 9) & (back < 119)).all(axis=-1)
    error = (cut[..., :2] / 2 + 0.5 - back)[inside]
    assert np.abs(error).max() < 0.6
    assert np.abs(error.mean(axis=0)).max() < 0.35


def test_landmarks_stand_on_the_drawn_eyes_and_mouth(mesh) -> None:
    assert mesh.dtype == np.float32
    for iris, x in ((468, 240 - 42), (473, 240 + 42)):
        assert np.allclose(mesh[iris, :2], [x, 160], atol=4)
    assert np.allclose(mesh[[61, 291], :2], [[240 - 30, 252], [240 + 30, 252]], atol=8)
    assert np.allclose(mesh[[13, 14], :2].mean(axis=0), [240, 252], atol=5)
    assert mesh[1, 2] < mesh[234, 2] - 30, "the nose is nearer to the camera than the ear"


def test_landmarks_follow_a_turned_square(drawn_face, mesh) -> None:
    model = LandmarkModel(threads=1)
    picture = drawn_face()
    roi = roi_from_points(mesh)
    points, score = model.run(picture, Roi(roi.cx, roi.cy, roi.side, roi.angle + 0.15))
    assert score > 0.9
    assert np.abs(points[:, :2] - mesh[:, :2]).mean() < 3


def test_squares_level_the_eyes() -> None:
    roi = roi_from_eyes(np.array([[10.0, 10.0], [20.0, 20.0]]), np.array([0.0, 0.0, 40.0, 30.0]))
    assert roi.angle == pytest.approx(math.pi / 4)
    assert (roi.cx, roi.cy, roi.side) == (20, 15, 60)
    points = np.zeros((478, 3), np.float32)
    points[33], points[263], points[0, :2] = (10, 10, 0), (10, 30, 0), (20, 20)
    points[1:33, 0] = points[34:263, 0] = points[264:, 0] = 10
    points[1:33, 1] = points[34:263, 1] = points[264:, 1] = 20
    upright = roi_from_points(points)
    assert upright.angle == pytest.approx(math.pi / 2)
    assert (upright.cx, upright.cy, upright.side) == pytest.approx((15, 20, 30))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_no_picture_is_a_shape_error(bad) -> None:
    with pytest.raises(ShapeError, match="rgb"):
        FaceDetector(threads=1).detect(bad)
    with pytest.raises(ShapeError, match="points"):
        roi_from_points(np.zeros((68, 2)))
