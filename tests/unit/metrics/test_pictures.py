"""PSNR, SSIM and temporal error on a seeded picture; SSIM and PSNR against scikit-image 0.26's values."""

import math

import numpy as np
import pytest

from facecodec.errors import ShapeError
from facecodec.metrics.ms_ssim import ms_ssim_y
from facecodec.metrics.psnr import luma, psnr, psnr_y
from facecodec.metrics.ssim import ssim_rgb, ssim_y
from facecodec.metrics.temporal import static_flicker, temporal_error


def picture_pair():
    """A smooth coloured pattern of 64 x 80 and a fainter, noisy copy."""
    y, x = np.mgrid[0:64, 0:80]
    base = 127 + 80 * np.sin(x / 7)[..., None] * np.cos(y[..., None] / 9 + np.arange(3))
    noise = np.random.default_rng(7).integers(-20, 21, base.shape)
    source = np.clip(np.rint(base), 0, 255).astype(np.uint8)
    decoded = np.clip(np.rint(base * 0.9 + 8 + noise), 0, 255).astype(np.uint8)
    return source, decoded


def test_psnr_is_that_of_scikit_image():
    source, decoded = picture_pair()
    assert psnr(source, decoded) == pytest.approx(25.60584618570011, abs=1e-4)


def test_ssim_is_that_of_scikit_image():
    # structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    source, decoded = picture_pair()
    assert ssim_rgb(source, decoded) == pytest.approx(0.6338411116009608, abs=1e-9)
    assert ssim_y(source, decoded) == pytest.approx(0.7480205698046916, abs=1e-9)


def test_psnr_of_a_known_error():
    source = np.full((4, 6, 3), 100, np.uint8)
    decoded = source.copy()
    decoded[..., 0] += 10
    assert psnr(source, decoded) == pytest.approx(10 * math.log10(255**2 / (100 / 3)), abs=1e-6)
    assert psnr_y(source, decoded) == pytest.approx(20 * math.log10(255 / 2.99), abs=1e-6)


def test_equal_pictures():
    source, _ = picture_pair()
    assert psnr(source, source) == math.inf
    assert psnr_y(source, source) == math.inf
    assert ssim_rgb(source, source) == pytest.approx(1.0, abs=1e-12)


def test_psnr_of_a_clip_is_that_of_its_mean_error():
    source = np.zeros((2, 4, 4, 3), np.uint8)
    decoded = source.copy()
    decoded[1] = 2
    assert psnr(source, decoded) == pytest.approx(10 * math.log10(255**2 / 2), abs=1e-6)


def test_luma_of_white_is_255():
    assert luma(np.full((1, 1, 3), 255, np.uint8))[0, 0] == pytest.approx(255.0)


def test_a_constant_offset_has_no_temporal_error():
    clip = np.random.default_rng(1).integers(0, 200, (5, 8, 8, 3), dtype=np.uint8)
    assert temporal_error(clip, clip + 20) == 0.0


def test_temporal_error_of_flicker():
    source = np.full((4, 8, 8, 3), 100, np.uint8)
    decoded = source.copy()
    decoded[1::2] += 6
    assert temporal_error(source, decoded) == pytest.approx(6.0)


@pytest.mark.parametrize("measure", [psnr, psnr_y, ssim_rgb, ssim_y])
def test_pictures_that_do_not_match_are_refused(measure):
    picture = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ShapeError, match="decoded picture"):
        measure(picture, picture[:12])
    with pytest.raises(ShapeError, match="uint8"):
        measure(picture.astype(np.float32), picture)


def test_pictures_smaller_than_the_window_are_refused():
    picture = np.zeros((10, 16, 3), np.uint8)
    with pytest.raises(ShapeError, match="11 x 11"):
        ssim_y(picture, picture)


def test_temporal_error_needs_two_pictures():
    with pytest.raises(ShapeError, match="T >= 2"):
        temporal_error(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8))


def _grey(plane):
    return np.repeat(plane[..., None], 3, axis=-1).astype(np.uint8)


def test_ms_ssim_of_flat_pictures_is_the_luminance_term_of_the_coarsest_scale():
    x, y = np.full((176, 192), 100), np.full((176, 192), 140)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 140 + c1) / (100**2 + 140**2 + c1)
    assert ms_ssim_y(_grey(x), _grey(y)) == pytest.approx(luminance**0.1333, abs=1e-6)


@pytest.mark.parametrize(("period", "exponent"), [(1, 0.0448), (2, 0.2856), (4, 0.3001)])
def test_ms_ssim_of_a_chequerboard_is_the_contrast_term_of_its_own_scale(period, exponent):
    # Squares of 1, 2 or 4 pixels at amplitudes of 64 and 16 vanish at the next coarser scale.
    rows, columns = np.mgrid[0:192, 0:192] // period
    sign = np.where((rows + columns) % 2, 1, -1)
    found = ms_ssim_y(_grey(128 + 64 * sign), _grey(128 + 16 * sign))
    contrast = (2 * 64 * 16 + (0.03 * 255) ** 2) / (64**2 + 16**2 + (0.03 * 255) ** 2)
    finer = {1: 0.0, 2: 0.0448, 4: 0.0448 + 0.2856}[period]
    # A window holds nearly as much contrast at a finer scale, where the squares are larger than its pixels.
    assert found == pytest.approx(contrast ** (exponent + finer), rel=0.02 if finer else 1e-4)


def test_ms_ssim_refuses_pictures_without_room_for_five_scales():
    small = np.zeros((175, 256, 3), np.uint8)
    with pytest.raises(ShapeError, match="176 x 176"):
        ms_ssim_y(small, small)


def test_flicker_counts_where_the_source_stands_still_and_nowhere_else():
    source = np.full((5, 32, 64, 3), 90, np.uint8)
    source[:, :, 32:] = np.array([40, 140, 40, 140, 40], np.uint8)[
        :, None, None, None
    ]  # the right half moves
    decoded = source.copy()
    decoded[1::2, :, :16] += 8  # a quarter flickers by 8
    decoded[1::2, :, 40:] -= 30  # wrong where it moves: not flicker
    # Averages over 5 x 5: columns 0 to 29 stand still, 16 of them flicker by 8; the two averages on either
    # side of the border hold a part each, and sum to the same.
    assert static_flicker(source, decoded) == pytest.approx(8 * 16 / 30)


def test_motion_everywhere_leaves_no_flicker_to_judge():
    source = np.arange(0, 3 * 40, 40, dtype=np.uint8)[:, None, None, None] + np.zeros((16, 16, 3), np.uint8)
    assert math.isnan(static_flicker(source, source[:, ::-1].copy()))
    still = np.repeat(source[:1], 3, axis=0)
    assert static_flicker(still, still) == 0.0
    with pytest.raises(ShapeError, match="T >= 2"):
        static_flicker(still[:1], still[:1])
