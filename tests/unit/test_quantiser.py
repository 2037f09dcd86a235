"""The quantiser of a key frame, read from its header."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecodec.refpic.av1 import crf_of_quality
from facecodec.refpic.intra import encode_still
from facecodec.refpic.predicted import KeyPicture, encode_key, encode_predicted
from facecodec.refpic.quantiser import base_q_idx


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


@pytest.mark.parametrize("quality", [10, 30, 60, 75, 90, 100])
@pytest.mark.parametrize("size", [64, 256])
def test_it_is_what_svt_av1_makes_of_the_crf(quality, size):
    """SVT-AV1's table: four times the quantiser, up to 61 of 63."""
    expected = 4 * crf_of_quality(quality)
    assert base_q_idx(encode_key(picture(size, size), quality, speed="realtime").still) == expected
    assert base_q_idx(encode_still(picture(size, size), quality, speed="realtime")) == expected


def test_pictures_of_several_superblocks_and_odd_sizes():
    assert base_q_idx(encode_still(picture(300, 1000), 50, speed="realtime")) == 4 * crf_of_quality(50)
    assert base_q_idx(encode_still(picture(97, 131), 50, speed="realtime")) == 4 * crf_of_quality(50)


def test_what_is_no_key_frame_has_none():
    key = encode_key(picture(64, 64), 60, speed="realtime")
    named = KeyPicture(0, picture(64, 64), 60, "realtime", key.still)
    predicted = encode_predicted(picture(64, 64, 1), 60, named, speed="realtime")
    assert base_q_idx(predicted.still) is None
    assert base_q_idx(b"") is None
    assert base_q_idx(key.still[:-5]) is None


@given(st.binary(max_size=60), st.integers(0, 40))
def test_no_bytes_make_it_fail(data: bytes, place: int):
    key = b"\x0a\x0b\x00\x00\x00\x24\xcf\x7f\xff\x3c\x02\x1a\x04\x32"
    for made in (data, key + data, key[:place] + data):
        found = base_q_idx(made)
        assert found is None or 0 <= found <= 255
