"""Openness, attitude, sharpness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facecodec.errors import ShapeError
from facecodec.track.quality import (
    eye_openness,
    eye_openness_each,
    frontalness,
    mouth_openness,
    sharpness,
)


def test_openness_is_lid_distance_over_eye_width() -> None:
    points = np.zeros((478, 3))
    points[33], points[133], points[159], points[145] = (0, 0, 0), (20, 0, 5), (10, -2, 0), (10, 4, 0)
    points[263], points[362], points[386], points[374] = (60, 0, 0), (50, 0, 0), (55, 0, 0), (55, 1, 0)
    points[61], points[291], points[13], points[14] = (0, 50, 0), (30, 90, 0), (20, 70, 0), (20, 75, 9)
    assert eye_openness_each(points) == pytest.approx((0.3, 0.1))
    assert eye_openness(points) == pytest.approx(0.2)
    assert mouth_openness(points) == pytest.approx(0.1)
    assert eye_openness(points[:, :2] * 3) == pytest.approx(0.2)
    with pytest.raises(ShapeError):
        eye_openness(points[:68])


def test_openness_of_a_drawn_mouth(drawn_face, tracker) -> None:
    openness = []
    for mouth in (0.0, 0.5, 1.0):
        tracker.reset()
        openness.append(mouth_openness(tracker.track(drawn_face(mouth=mouth)).points))
    assert openness[0] < 0.05 < openness[1] < openness[2]


@pytest.mark.parametrize(("axis", "name"), [(0, "pitch"), (1, "yaw"), (2, "roll")])
@pytest.mark.parametrize("turn", [-0.4, 0.25])
def test_angles_of_a_turned_mesh(mesh, axis, name, turn) -> None:
    rest = frontalness(mesh)
    assert abs(rest.yaw) < 0.1
    assert abs(rest.roll) < 0.05
    assert rest.off_axis < 0.3
    rotation = np.array(cv2.Rodrigues(np.eye(3)[axis] * turn)[0])
    turned = frontalness((mesh - mesh.mean(axis=0)) @ rotation.T)
    # About x and y, a positive rotation takes the nose (at -z) down and to the picture's left.
    sign = {"pitch": 1, "yaw": -1, "roll": 1}[name]
    assert getattr(turned, name) - getattr(rest, name) == pytest.approx(sign * turn, abs=0.06)
    if name != "roll":
        assert turned.off_axis > rest.off_axis + 0.1


def test_frontalness_needs_depth(mesh) -> None:
    with pytest.raises(ShapeError):
        frontalness(mesh[:, :2])


def test_sharpness_falls_with_blur_and_stays_in_the_box() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[50:150, 100:200] = np.random.default_rng(0).integers(0, 256, (100, 100, 1), dtype=np.uint8)
    box = (100.0, 50.0, 200.0, 150.0)
    blurred = [sharpness(cv2.GaussianBlur(picture, (0, 0), s), box) for s in (0.5, 1, 2)]
    assert sharpness(picture, box) > blurred[0] > blurred[1] > blurred[2] > 0
    assert sharpness(picture, (0, 0, 90, 200)) == 0
    assert sharpness(picture, (400, 0, 500, 100)) == 0, "outside the picture"
    assert sharpness(picture) > 0
