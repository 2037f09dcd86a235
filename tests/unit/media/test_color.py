"""Colour conversion against the formulas of BT.709."""

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from facecodec.errors import ShapeError
from facecodec.media.color import to_rgb, to_yuv420p


def bt709(rgb, full):
    r, g, b = (np.asarray(rgb, float) / 255).T
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    cb, cr = (b - y) / 1.8556, (r - y) / 1.5748
    if full:
        return np.stack([255 * y, 128 + 255 * cb, 128 + 255 * cr], -1)
    return np.stack([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr], -1)


@pytest.mark.parametrize("full", [False, True])
def test_flat_colours_match_the_standard(full):
    colours = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    for colour in colours:
        planes = to_yuv420p(np.tile(colour, (4, 4, 1)), full_range=full).to_ndarray()
        got = np.array([planes[0, 0], planes[4, 0], planes[5, 0]], float)
        assert np.abs(got - np.clip(bt709(colour, full), 0, 255)).max() <= 1.01


def test_chroma_is_not_biased():
    rgb = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    planes = to_yuv420p(rgb, full_range=True).to_ndarray()
    chroma = planes[128:].reshape(2, 64, 64).mean((1, 2))
    assert chroma == pytest.approx(bt709(rgb.reshape(-1, 3), True).mean(0)[1:], abs=0.05)


@pytest.mark.parametrize("full", [False, True])
def test_there_and_back(full):
    y, x = np.mgrid[0:63, 0:95] / 95
    rgb = np.stack([40 + 150 * x, 200 - 100 * y, 90 + 60 * np.sin(3 * x + 2 * y)], -1).astype(np.uint8)
    frame = to_yuv420p(rgb, full_range=full)
    assert (frame.width, frame.height, frame.colorspace) == (96, 64, 1)
    back = to_rgb(frame, VideoReformatter(), width=96, height=64)[:63, :95]
    assert np.abs(back.astype(int) - rgb)[1:-1, 1:-1].max() <= 4
    assert np.abs(back.astype(float).mean((0, 1)) - rgb.mean((0, 1))).max() < 0.6


def test_odd_edges_are_repeated():
    rgb = np.full((3, 3, 3), 90, np.uint8)
    rgb[2] = rgb[:, 2] = 200
    planes = to_yuv420p(rgb, full_range=True).to_ndarray()
    assert np.array_equal(planes[:4, :4], [[90, 90, 200, 200]] * 2 + [[200] * 4] * 2)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_other_shapes_are_refused(bad):
    with pytest.raises(ShapeError):
        to_yuv420p(bad)
