"""A drawn face whose eyes and mouth stand at known places: real enough for the networks, nobody's picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facecodec.track.tracker import MeshTracker
from facecodec.types import U8Array

SCALE = 4


def draw_face(
    face_px: float = 200,
    centre: tuple[float, float] = (240, 180),
    size: tuple[int, int] = (480, 360),
    mouth: float = 0.0,
) -> U8Array:
    """Draw a face.

    Args:
        face_px: about the width of the head; lengths below are for 200.
        centre: of the face, picture pixels. Eyes stand 42 to its sides and 20 over it, the mouth 72 under.
        size: of the picture, width and height.
        mouth: 0 closed, 1 wide open.
    """
    width, height = size
    picture = np.full((height * SCALE, width * SCALE, 3), (90, 120, 140), np.uint8)
    unit = face_px * SCALE / 200
    origin = np.array(centre) * SCALE

    def ellipse(x, y, a, b, colour, angle=0, line=0, start=0, end=360):  # type: ignore[no-untyped-def]
        at = tuple(int(v) for v in origin + np.array([x, y]) * unit)
        axes = (int(a * unit), int(b * unit))
        thick = int(line * unit) if line else -1
        cv2.ellipse(picture, at, axes, angle, start, end, colour, thick, cv2.LINE_AA)

    ellipse(0, 210, 150, 110, (40, 50, 90))
    ellipse(0, 120, 42, 60, (200, 148, 118))
    ellipse(0, -35, 112, 128, (60, 40, 30))
    ellipse(0, 0, 98, 130, (224, 172, 140))
    for side in (-1, 1):
        ellipse(side * 98, 0, 12, 26, (210, 155, 125))
        ellipse(side * 42, -22, 26, 14, (205, 150, 122))
        ellipse(side * 42, -20, 20, 9, (245, 245, 245))
        ellipse(side * 42, -20, 9, 9, (90, 60, 40))
        ellipse(side * 42, -20, 4, 4, (10, 10, 10))
        ellipse(side * 42, -18, 21, 11, (70, 45, 40), line=2, start=200, end=340)
        ellipse(side * 44, -38, 27, 9, (60, 40, 30), angle=side * 4, line=5, start=195, end=345)
        ellipse(side * 11, 38, 5, 3.5, (140, 90, 75))
    ellipse(0, 10, 9, 30, (234, 184, 152))
    ellipse(0, 32, 13, 9, (232, 180, 150))
    ellipse(0, 72, 32, 11 + mouth * 14, (190, 90, 90))
    ellipse(0, 72, 25, 1.5 + mouth * 14, (90, 30, 35))
    ellipse(0, 112, 22, 6, (212, 160, 130))
    picture = cv2.GaussianBlur(picture, (0, 0), 1.5 * unit)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="session")
def drawn_face() -> Callable[..., U8Array]:
    """See :func:`draw_face`."""
    return draw_face


@pytest.fixture(scope="session")
def shared_tracker() -> MeshTracker:
    """A tracker made once; tests reset it."""
    return MeshTracker(threads=1)


@pytest.fixture
def tracker(shared_tracker: MeshTracker) -> MeshTracker:
    """A tracker that knows no face."""
    shared_tracker.reset()
    return shared_tracker


@pytest.fixture(scope="session")
def mesh(shared_tracker: MeshTracker) -> np.ndarray:
    """[478, 3] points of the drawn face, 480 x 360 picture."""
    shared_tracker.reset()
    found = shared_tracker.track(draw_face())
    assert found is not None
    return found.points
