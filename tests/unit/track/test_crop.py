"""The coded square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecodec.errors import ConfigError, ShapeError
from facecodec.track.crop import FACE_SHARE, MARGIN, choose_crop, crop_picture, face_box, is_face_crop
from facecodec.types import CropTransform, Landmarks

SHAPE = np.random.default_rng(3).uniform(-0.5, 0.5, (478, 3)) * [1, 1.25, 1]
SHAPE[:4, :2] = [[-0.5, 0], [0.5, 0], [0, -0.625], [0, 0.625]]


def _face(x: float, y: float, width: float) -> np.ndarray:
    return (SHAPE * width + [x, y, 0]).astype(np.float32)


def _inside(crop: CropTransform, width: int, height: int) -> bool:
    fits_across = crop.x >= 0 and crop.x + crop.side <= width
    return fits_across and crop.y >= 0 and crop.y + crop.side <= height


def test_face_box_and_face_crop() -> None:
    face = _face(100, 120, 80)
    assert face_box(face) == pytest.approx((60, 70, 140, 170))
    landmarks = Landmarks(face, 1.0)
    assert is_face_crop(200, 200, landmarks)
    assert not is_face_crop(200, 201, landmarks)
    assert not is_face_crop(256, 256, landmarks)
    with pytest.raises(ShapeError):
        face_box(np.zeros((68, 2)))


def test_a_talking_head_crop_is_taken_pixel_for_pixel() -> None:
    face = _face(128, 130, 140)[None]
    assert choose_crop(face, 0, 256, 256, 256) == CropTransform(0, 0, 256, 256)
    assert choose_crop(face, 0, 225, 225, 256) == CropTransform(0, 0, 224, 224)
    assert choose_crop(face * 2, 0, 512, 512, 256) == CropTransform(0, 0, 512, 256)
    assert choose_crop(face * 2, 0, 512, 512, 512) == CropTransform(0, 0, 512, 512)


def test_a_wide_picture_gets_the_usual_framing() -> None:
    crop = choose_crop(_face(960, 500, 300)[None], 0, 1920, 1080, 256)
    assert crop.size == 256
    x0, y0, x1, y1 = face_box(crop.to_crop(_face(960, 500, 300)))
    assert 0.48 <= x1 - x0 <= 0.52
    assert (x0 + x1) / 2 == pytest.approx(0.5, abs=0.01)
    assert y0 > 0.22, "room for hair"
    assert 1 - y1 > 0.08, "room under the chin"


def test_sides_near_the_coded_size_are_not_resampled() -> None:
    crop = choose_crop(_face(300, 200, FACE_SHARE * 262)[None], 0, 640, 480, 256)
    assert (crop.side, crop.size) == (256, 256)
    small = choose_crop(_face(300, 200, 100)[None], 0, 640, 480, 256)
    assert small.side == small.size
    assert small.size % 2 == 0


def test_the_square_grows_with_motion_and_keeps_a_margin() -> None:
    window = np.stack([_face(x, 500, 300) for x in (800, 900, 1150)])
    crop = choose_crop(window, 1, 1920, 1080, 256)
    flat = crop.to_crop(window)[..., :2].reshape(-1, 2)
    assert flat.min() >= MARGIN - 0.01
    assert flat.max() <= 1 - MARGIN + 0.01
    assert crop.side > choose_crop(window[1:2], 0, 1920, 1080, 256).side


def test_at_the_border_the_square_stays_in_the_picture() -> None:
    assert _inside(choose_crop(_face(130, 150, 200)[None], 0, 1920, 1080, 256), 1920, 1080)
    close = choose_crop(_face(320, 240, 330)[None], 0, 640, 480, 256)
    assert close.side == 480, "the shorter side, though the usual framing wants more"
    assert _inside(close, 640, 480)


def test_a_face_larger_than_the_picture_reaches_over_the_border() -> None:
    face = _face(320, 240, 500)
    crop = choose_crop(face[None], 0, 640, 480, 256)
    assert crop.side > 625
    assert crop.y < 0 < 480 < crop.y + crop.side


@given(
    x=st.floats(-50, 700),
    y=st.floats(-50, 400),
    width=st.floats(3, 900),
    drift=st.floats(-100, 100),
    frame=st.tuples(st.integers(1, 700), st.integers(1, 500)),
    size=st.sampled_from([64, 256, 512]),
)
def test_any_face_gives_a_square_that_can_be_cut(x, y, width, drift, frame, size) -> None:
    window = np.stack([_face(x, y, width), _face(x + drift, y, width)])
    crop = choose_crop(window, 0, *frame, size)
    assert crop.size % 2 == 0
    assert 64 <= crop.size <= size
    assert crop.size <= max(crop.side, 64)
    if crop.side <= min(frame):
        assert _inside(crop, *frame)
    picture = crop_picture(np.zeros((frame[1], frame[0], 3), np.uint8), crop)
    assert picture.shape == (crop.size, crop.size, 3)


def test_choose_crop_refuses_what_it_cannot_take() -> None:
    face = _face(100, 100, 50)[None]
    with pytest.raises(ShapeError, match="tracks"):
        choose_crop(face[:0], 0, 200, 200, 256)
    with pytest.raises(ConfigError, match="reference_index"):
        choose_crop(face, 1, 200, 200, 256)
    with pytest.raises(ConfigError, match="size"):
        choose_crop(face, 0, 200, 200, 63)
    with pytest.raises(ConfigError, match="width, height"):
        choose_crop(face, 0, 0, 200, 256)


def test_crop_picture_copies_averages_and_repeats() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    same = crop_picture(picture, CropTransform(10, 20, 64, 64))
    assert np.array_equal(same, picture[20:84, 10:74])
    same[:] = 0
    assert picture[20:84, 10:74].any(), "a copy"
    half = crop_picture(picture, CropTransform(0, 0, 120, 60))
    mean = picture[:, :120].reshape(60, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - mean).max() <= 0.5
    over = crop_picture(picture, CropTransform(-8, -8, 64, 64))
    assert np.array_equal(over[8:, 8:], picture[:56, :56])
    assert (over[:8, :8] == picture[0, 0]).all()
    large = crop_picture(picture, CropTransform(0, 0, 40, 80))
    assert large.shape == (80, 80, 3)
    with pytest.raises(ConfigError):
        crop_picture(picture, CropTransform(0, 0, 0, 64))


def test_points_and_pixels_of_a_crop_agree() -> None:
    """A bright spot stays where its point says, at every scale."""
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[200:204, 240:244] = 255
    spot = np.array([[242.0, 202.0]])
    for square in ((100, 90, 200, 100), (230, 180, 50, 200), (9, 9, 300, 300)):
        crop = CropTransform(*square)
        cut = crop_picture(picture, crop)[..., 0].astype(float)
        rows, columns = np.mgrid[0 : crop.size, 0 : crop.size] + 0.5
        seen = np.array([(cut * columns).sum(), (cut * rows).sum()]) / cut.sum()
        assert np.allclose(crop.to_crop(spot)[0] * crop.size, seen, atol=0.1)
