"""Landmark distance, correlation of expression, boxes."""

import math

import numpy as np
import pytest

from facecodec.errors import ShapeError
from facecodec.metrics.landmark import (
    EYE_POINTS,
    MOUTH_POINTS,
    expression_boxes,
    expression_correlation,
    landmark_distance,
)


def face_points():
    """478 points of which only eyes and mouth matter here."""
    points = np.full((478, 3), 0.5, np.float32)
    points[list(EYE_POINTS), 0] = np.linspace(0.35, 0.65, len(EYE_POINTS))
    points[list(EYE_POINTS), 1] = 0.4
    points[list(MOUTH_POINTS), 0] = np.linspace(0.42, 0.58, len(MOUTH_POINTS))
    points[list(MOUTH_POINTS), 1] = 0.7
    return points


def test_distance_is_in_points_and_leaves_out_depth():
    source = np.tile(face_points(), (3, 1, 1))
    decoded = source + np.array([3 / 256, 4 / 256, 0.5], np.float32)
    assert landmark_distance(source, decoded) == pytest.approx(5.0, abs=1e-4)


def test_frames_without_a_face_are_left_out():
    source = np.tile(face_points(), (4, 1, 1))
    decoded = source + np.float32(1 / 256)
    decoded[1] = np.nan
    assert landmark_distance(source, decoded) == pytest.approx(math.sqrt(2), abs=1e-4)
    assert math.isnan(landmark_distance(source, np.full_like(source, np.nan)))


def test_correlation_is_that_of_numpy():
    rng = np.random.default_rng(3)
    x = rng.normal(size=50)
    y = 0.3 * x + rng.normal(size=50)
    expected = np.corrcoef(x, y)[0, 1]
    assert expression_correlation(x, y) == pytest.approx(expected, abs=1e-12)
    assert expression_correlation(x, -2 * x + 1) == pytest.approx(-1.0)


def test_correlation_leaves_out_frames_without_a_face():
    x = np.array([0.0, 1.0, 2.0, 5.0])
    y = np.array([0.0, 1.0, 2.0, math.nan])
    assert expression_correlation(x, y) == pytest.approx(1.0)


def test_constant_series():
    x = np.arange(5.0)
    assert expression_correlation(x, np.ones(5)) == 0.0
    assert math.isnan(expression_correlation(np.ones(5), x))


def test_boxes_hold_their_points():
    points = face_points()
    eyes, mouth = expression_boxes(points, 256, 256)
    for box, members in ((eyes, EYE_POINTS), (mouth, MOUTH_POINTS)):
        px = points[list(members), :2] * 256
        assert (px >= (box.x0, box.y0)).all()
        assert (px <= (box.x1, box.y1)).all()
    assert eyes.y1 < mouth.y1
    assert eyes.x1 - eyes.x0 == pytest.approx(0.3 * 256 * 1.5, abs=1.01)


def test_boxes_stay_in_the_picture_and_keep_their_size():
    points = face_points() * np.float32(0.1)
    for box in expression_boxes(points, 256, 200):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= 256
        assert box.y1 <= 200
        assert box.cut(np.zeros((200, 256, 3), np.uint8)).shape == (48, 48, 3)


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError):
        landmark_distance(np.zeros((2, 478, 3)), np.zeros((3, 478, 3)))
    with pytest.raises(ShapeError):
        landmark_distance(np.zeros((478, 3)), np.zeros((478, 3)))
    with pytest.raises(ShapeError):
        expression_correlation(np.zeros(3), np.zeros(4))
    with pytest.raises(ShapeError):
        expression_boxes(np.zeros((68, 3)), 256, 256)
    with pytest.raises(ShapeError, match="finite"):
        expression_boxes(np.full((478, 3), np.nan), 256, 256)
