"""The window of tracked frames."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.analysis.window import TrackWindow
from facecodec.types import Frame, Landmarks
from tests.codec.clips import BASE


class Puppet:
    """A tracker that reads the face's place off the first pixel: 0 means no face."""

    def track(self, picture: np.ndarray) -> Landmarks | None:
        place = int(picture[0, 0, 0])
        if place == 0:
            return None
        x, y = np.meshgrid(np.linspace(0, 40, 24), np.linspace(0, 50, 20))
        points = np.zeros((478, 3), np.float32)
        points[:, 0], points[:, 1] = x.ravel()[:478] + place, y.ravel()[:478] + 20
        return Landmarks(points, 1.0)

    def reset(self) -> None:
        pass


@pytest.fixture
def window():
    made = TrackWindow(Puppet(), False, {})
    yield made
    made.close()


def push(window: TrackWindow, places: list[int], start: int = 0, shade: int = 90) -> None:
    for i, place in enumerate(places):
        pixels = np.full((120, 160, 3), shade, np.uint8)
        pixels[0, 0, 0] = place
        window.push(Frame(pixels, 40 * (start + i), BASE))


def left_edge(points: np.ndarray) -> np.ndarray:
    return points[:, 0, 0]


def test_frames_wait_in_order_and_are_dropped(window):
    push(window, [50, 51, 52])
    assert len(window) == 3
    assert [item.frame.pts for item in window.frames(2)] == [0, 40]
    window.drop(2)
    assert [item.frame.pts for item in window.frames()] == [80]


def test_lost_frames_lie_between_their_neighbours(window):
    push(window, [50, 0, 0, 53, 0])
    points, valid = window.smoothed(5)
    assert valid.tolist() == [True, False, False, True, False]
    edge = left_edge(points)
    assert np.all(np.diff(edge) >= -1e-4)
    assert edge[4] == pytest.approx(edge[3])


def test_a_group_is_smoothed_as_a_part_of_the_whole(window):
    places = [50, 53, 51, 54, 52, 55, 53, 56, 54, 57, 55, 58]
    push(window, places)
    whole, _ = window.smoothed(12)
    window.drop(6)
    part, valid = window.smoothed(6)
    assert valid.all()
    np.testing.assert_allclose(left_edge(part), left_edge(whole)[6:], atol=0.02)
    assert np.std(np.diff(left_edge(whole))) < np.std(np.diff(places))


def test_a_cut_of_the_picture_ends_a_group_and_the_smoothing(window):
    push(window, [50, 50, 50])
    push(window, [60, 60, 60], start=3, shade=250)
    assert window.first_cut(6) == 3
    points, _ = window.smoothed(3)
    np.testing.assert_allclose(left_edge(points), 50, atol=1e-3)
    window.drop(3)
    assert window.frames(1)[0].is_cut
    assert window.first_cut(3) == 3
    points, _ = window.smoothed(3)
    np.testing.assert_allclose(left_edge(points), 60, atol=1e-3)


def test_a_cut_starts_tracking_and_the_causal_filter_anew():
    puppet = Puppet()
    asked = []
    puppet.reset = lambda: asked.append(True)
    window = TrackWindow(puppet, True, {})
    push(window, [50, 50])
    push(window, [55], start=2, shade=250)
    points, _ = window.smoothed(3)
    assert left_edge(points)[2] == 55
    assert asked == [True]
    window.close()


def test_a_jump_of_the_face_is_a_cut_too(window):
    push(window, [10, 10, 110, 110])
    assert window.first_cut(4) == 2


def test_a_window_without_faces(window):
    push(window, [0, 0, 0])
    points, valid = window.smoothed(3)
    assert not valid.any()
    assert points.shape == (3, 478, 3)
    assert window.first_cut(3) == 3


def test_the_tracker_s_failure_reaches_the_caller():
    class Broken:
        def track(self, picture: np.ndarray) -> None:
            raise RuntimeError("broken")

    window = TrackWindow(Broken(), False, {})
    push(window, [1])
    with pytest.raises(RuntimeError, match="broken"):
        window.frames()
    window.close()
