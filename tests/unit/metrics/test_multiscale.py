"""The cheap distance of pictures."""

import numpy as np
import pytest

from facecodec.errors import ShapeError
from facecodec.metrics.landmark import Box
from facecodec.metrics.multiscale import DissimilarityMaps
from facecodec.metrics.ssim import ssim_y
from tests.unit.metrics.pictures import picture

PLAIN = picture(0)


def test_equal_pictures_have_no_distance():
    assert DissimilarityMaps(PLAIN, PLAIN).mean() == pytest.approx(0, abs=1e-6)


def test_distance_grows_with_noise_and_is_the_same_both_ways():
    found = [DissimilarityMaps(PLAIN, picture(noise)).mean() for noise in (2, 8, 32)]
    assert 0 < found[0] < found[1] < found[2] <= 1
    assert DissimilarityMaps(picture(8), PLAIN).mean() == pytest.approx(found[1], rel=1e-4)


def test_the_first_scale_is_ssim():
    maps = DissimilarityMaps(PLAIN, picture(16))
    inner = maps._maps[0][5:-5, 5:-5]
    assert 1 - inner.mean() == pytest.approx(ssim_y(PLAIN, picture(16)), abs=3e-3)


def test_a_box_hears_what_lies_in_it():
    changed = PLAIN.copy()
    changed[8:24, 8:40] = picture(60)[8:24, 8:40]
    maps = DissimilarityMaps(PLAIN, changed)
    inside, outside = Box(8, 8, 40, 24), Box(60, 44, 80, 64)
    whole, near, far = maps.means((inside, outside))
    assert near > 2 * whole > 0
    assert far == pytest.approx(0, abs=1e-6)


def test_pictures_have_to_be_alike_in_shape():
    with pytest.raises(ShapeError):
        DissimilarityMaps(PLAIN, PLAIN[:-2])
    with pytest.raises(ShapeError):
        DissimilarityMaps(PLAIN.astype(np.float32), PLAIN.astype(np.float32))
