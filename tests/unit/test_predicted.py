"""Key and predicted pictures: they come back as they were coded, and nothing else comes in."""

import random

import cv2
import numpy as np
import pytest

from facecodec.errors import BitstreamError, ConfigError, LimitError, TruncatedError
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.refpic.obu import FRAME, SEQUENCE_HEADER, key_size, read_obus, still_size
from facecodec.refpic.predicted import (
    KeyPicture,
    decode_picture,
    decode_predicted,
    encode_key,
    encode_predicted,
    is_key,
)
from tests.unit.test_intra import psnr

SIDE = 128


def texture():
    """Blobs of all colours, which take many bytes alone and none where they only move."""
    coarse = np.random.default_rng(5).uniform(20, 235, (24, 24, 3))
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


FIRST = texture()
SECOND = np.roll(FIRST, 5, 1)
SECOND[40:60, 40:70] = 200


@pytest.fixture(scope="module")
def key():
    coded = encode_key(FIRST, 60, speed="realtime")
    return KeyPicture(3, FIRST, 60, "realtime", coded.still)


@pytest.fixture(scope="module")
def predicted(key):
    return encode_predicted(SECOND, 60, key, speed="realtime")


def test_a_key_picture_is_as_good_as_a_still_of_the_same_quality(key):
    shown = decode_picture(key.still, width=SIDE, height=SIDE)
    still = encode_still(FIRST, 60, speed="realtime")
    assert psnr(FIRST, shown) > psnr(FIRST, decode_still(still, width=SIDE, height=SIDE)) - 1.0
    assert len(key.still) < 1.05 * len(still)
    assert is_key(key.still)
    assert not is_key(still)


def test_a_predicted_picture_takes_fewer_bytes_for_the_same_quality(key, predicted):
    alone = encode_key(SECOND, 60, speed="realtime")
    assert predicted.is_sound
    assert predicted.key is key
    assert len(predicted.still) < 0.8 * len(alone.still)
    assert psnr(SECOND, predicted.picture) > psnr(SECOND, alone.picture) - 0.3
    shown = decode_predicted(predicted.still, key.still, width=SIDE, height=SIDE)
    assert np.array_equal(shown, predicted.picture)


@pytest.mark.parametrize("quality", [0, 30, 100])
def test_it_has_a_quality_of_its_own(key, predicted, quality):
    other = encode_predicted(SECOND, quality, key, speed="realtime")
    assert other.is_sound
    assert (len(other.still) > len(predicted.still)) == (quality > 60)


def test_a_key_picture_coded_otherwise_is_noticed(key):
    assert not encode_predicted(SECOND, 60, key, speed="best").is_sound
    assert not encode_predicted(SECOND, 60, key._replace(quality=50), speed="realtime").is_sound
    with pytest.raises(ConfigError, match="quality"):
        encode_predicted(SECOND, 101, key, speed="realtime")


def test_a_still_of_an_older_stream_is_read():
    still = encode_still(FIRST, 60, speed="realtime")
    shown = decode_picture(still, width=SIDE, height=SIDE)
    assert np.array_equal(shown, decode_still(still, width=SIDE, height=SIDE))


def test_what_is_no_picture_of_its_kind_is_refused(key, predicted):
    still = encode_still(FIRST, 60, speed="realtime")
    with pytest.raises(BitstreamError, match=r"OBU types \[6\], not \[1, 6\]"):
        decode_picture(predicted.still, width=SIDE, height=SIDE)
    with pytest.raises(BitstreamError, match=r"OBU types \[1, 6\], not \[6\]"):
        decode_predicted(key.still, key.still, width=SIDE, height=SIDE)
    with pytest.raises(BitstreamError, match="plain one of profile 0"):
        decode_predicted(predicted.still, still, width=SIDE, height=SIDE)
    with pytest.raises(BitstreamError, match="still picture"):
        decode_still(key.still, width=SIDE, height=SIDE)
    with pytest.raises(LimitError, match="coded width"):
        decode_picture(key.still, width=96, height=SIDE)
    with pytest.raises(LimitError, match="coded height"):
        decode_predicted(predicted.still, key.still, width=SIDE, height=64)
    with pytest.raises(LimitError, match="width"):
        decode_predicted(predicted.still, key.still, width=5000, height=64)
    with pytest.raises(TruncatedError):
        decode_predicted(predicted.still[:-1], key.still, width=SIDE, height=SIDE)
    with pytest.raises(BitstreamError):
        decode_picture(b"", width=SIDE, height=SIDE)
    with pytest.raises(BitstreamError):
        decode_predicted(b"", key.still, width=SIDE, height=SIDE)


def test_any_bytes_are_safe(key, predicted):
    rng = random.Random(4)
    for _ in range(150):
        data = bytearray(predicted.still)
        for _ in range(rng.choice((1, 3, 20))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        base = bytearray(key.still)
        if rng.random() < 0.3:
            base[rng.randrange(len(base))] ^= 1 << rng.randrange(8)
        try:
            shown = decode_predicted(bytes(data), bytes(base), width=SIDE, height=SIDE)
        except (BitstreamError, LimitError, TruncatedError):
            continue
        assert shown.shape == (SIDE, SIDE, 3)


def test_sizes_are_read_from_both_sequence_headers(key):
    header = next(read_obus(key.still)).payload
    assert key_size(header) == (SIDE, SIDE)
    assert [obu.kind for obu in read_obus(key.still)] == [SEQUENCE_HEADER, FRAME]
    with pytest.raises(TruncatedError):
        key_size(header[:4])
    with pytest.raises(TruncatedError):
        still_size(b"\x18")
