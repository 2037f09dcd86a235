"""Following one face."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.errors import ConfigError, ShapeError
from facecodec.track import tracker as module
from facecodec.track.tracker import MeshTracker, make_tracker
from facecodec.types import KeypointSet


def _centre(found) -> np.ndarray:
    assert found is not None
    return found.points[:, :2].mean(axis=0)


def test_follows_motion_without_detecting_again(drawn_face, tracker, monkeypatch) -> None:
    first = _centre(tracker.track(drawn_face(120, (200, 180))))
    monkeypatch.setattr(tracker, "_search", lambda _: pytest.fail("detector ran on a followed face"))
    for step in range(1, 6):
        found = tracker.track(drawn_face(120, (200 + 8 * step, 180)))
        assert np.allclose(_centre(found) - first, [8 * step, 0], atol=2)
        assert found.keypoint_set is KeypointSet.MESH_478
        assert found.score > 0.9


def test_a_still_face_keeps_still(drawn_face, tracker) -> None:
    picture = drawn_face()
    points = [tracker.track(picture).points for _ in range(4)]
    assert np.abs(points[1] - points[-1])[:, :2].max() < 0.5
    assert np.abs(points[0] - points[-1])[:, :2].max() < 1.5, "the first picture is settled too"


def test_a_cut_to_another_place_is_found_in_the_same_picture(drawn_face, tracker) -> None:
    tracker.track(drawn_face(100, (100, 120)))
    found = tracker.track(drawn_face(180, (350, 200)))
    tracker.reset()
    alone = tracker.track(drawn_face(180, (350, 200)))
    assert np.abs(found.points - alone.points)[:, :2].mean() < 1


def test_takes_the_largest_and_stays_with_it(drawn_face, tracker) -> None:
    def pair(left: float, right: float) -> np.ndarray:
        return np.hstack([drawn_face(px, (160, 180), (320, 360)) for px in (left, right)])

    assert _centre(tracker.track(pair(90, 140)))[0] > 320
    assert _centre(tracker.track(pair(140, 130)))[0] > 320, "a growing neighbour does not take over"
    tracker._roi = None  # as after a loss
    assert _centre(tracker.track(pair(140, 110)))[0] > 320, "the last known face comes before the largest"
    tracker.reset()
    assert _centre(tracker.track(pair(140, 110)))[0] < 320


def test_loss_and_return(drawn_face, tracker) -> None:
    empty = np.full((360, 480, 3), 100, np.uint8)
    assert tracker.track(empty) is None
    assert tracker.track(drawn_face()) is not None
    assert tracker.track(empty) is None
    assert tracker.track(drawn_face(120, (100, 200))) is not None


def test_tiles_are_searched_now_and_then_only(tracker, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(tracker._detector, "detect", lambda _, tiles: calls.append(tiles) or [])
    for _ in range(2 * module._TILE_PERIOD):
        assert tracker.track(np.zeros((64, 64, 3), np.uint8)) is None
    assert calls == ([True] + [False] * (module._TILE_PERIOD - 1)) * 2


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (31, 20), (5, 700), (2160, 3840)])
def test_any_size_of_picture_is_taken(tracker, shape) -> None:
    assert tracker.track(np.full((*shape, 3), 50, np.uint8)) is None


def test_small_and_large_faces_agree(drawn_face, tracker) -> None:
    small = tracker.track(drawn_face(14, (16, 14), (32, 28)))
    assert small is not None
    tracker.reset()
    picture = drawn_face(200, (240, 180))
    large = tracker.track(np.repeat(np.repeat(picture, 6, axis=0), 6, axis=1))
    tracker.reset()
    usual = tracker.track(picture)
    assert np.abs(large.points[:, :2] / 6 - usual.points[:, :2]).mean() < 1


def test_make_tracker() -> None:
    assert isinstance(make_tracker("mesh", threads=1), MeshTracker)
    with pytest.raises(ConfigError, match="tracker"):
        make_tracker("other")
    with pytest.raises(ConfigError, match="mean_mesh"):
        make_tracker("face-alignment")


def test_wrong_pictures_are_refused(tracker) -> None:
    with pytest.raises(ShapeError):
        tracker.track(np.zeros((10, 10, 4), np.uint8))
