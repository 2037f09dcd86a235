"""Stills: what goes in comes out, and nothing else can come in."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecodec.errors import BitstreamError, ConfigError, LimitError, ShapeError, TruncatedError
from facecodec.refpic.intra import coded_size, crf_of_quality, decode_still, encode_still


def scene(width=128, height=96):
    """Smooth shading, an edge and some texture in colour."""
    y, x = np.mgrid[0:height, 0:width] / 96
    rng = np.random.default_rng(5)
    r = 110 + 60 * np.sin(5 * x) + 40 * y
    g = 100 + 50 * np.cos(4 * y) + 60 * (x > 0.5)
    b = 90 + 80 * x * y
    picture = np.stack([r, g, b], -1) + rng.normal(0, 4, (height, width, 1))
    return picture.clip(0, 255).astype(np.uint8)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.fixture(scope="module")
def still():
    return encode_still(scene(), 60, speed="realtime")


def test_quality_map_is_the_documented_line():
    assert [crf_of_quality(q) for q in (0, 60, 100)] == [63, 30, 8]
    crfs = [crf_of_quality(q) for q in range(101)]
    assert crfs == sorted(crfs, reverse=True)
    for bad in (-1, 101):
        with pytest.raises(ConfigError, match="quality"):
            crf_of_quality(bad)


def test_more_quality_means_more_bytes_and_less_error():
    picture = scene()
    stills = [encode_still(picture, q, speed="realtime") for q in (10, 50, 90)]
    errors = [psnr(picture, decode_still(s, width=128, height=96)) for s in stills]
    assert len(stills[0]) < len(stills[1]) < len(stills[2])
    assert errors[0] < errors[1] < errors[2]
    assert errors[1] > 33


def test_best_takes_no_more_bytes_for_the_error_it_leaves():
    picture = scene()
    best, fast = (encode_still(picture, 60, speed=s) for s in ("best", "realtime"))
    gain = psnr(picture, decode_still(best, width=128, height=96)) - psnr(
        picture, decode_still(fast, width=128, height=96)
    )
    # 6 dB are about a factor of 2 in bytes at these rates.
    assert len(best) < len(fast) * 2 ** (gain / 6) * 1.02


def test_same_input_same_bytes(still):
    assert encode_still(scene(), 60, speed="realtime") == still


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (65, 67), (129, 64), (320, 180)])
def test_any_size(size):
    width, height = size
    picture = scene(width, height)
    out = decode_still(encode_still(picture, 80, speed="realtime"), width=width, height=height)
    assert out.shape == (height, width, 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert psnr(picture, out) > 30


def test_coded_size_is_even_and_at_least_64():
    assert coded_size(1, 63) == (64, 64)
    assert coded_size(65, 66) == (66, 66)


def test_colours_are_not_shifted():
    for colour in ((250, 10, 10), (10, 250, 10), (10, 10, 250), (128, 128, 128), (0, 0, 0), (255, 255, 255)):
        picture = np.full((64, 64, 3), colour, np.uint8)
        out = decode_still(encode_still(picture, 90, speed="realtime"), width=64, height=64)
        assert np.abs(out.astype(int) - picture).max() <= 3


def test_only_a_sequence_header_and_a_frame_are_kept(still):
    assert still[0] == 0x0A  # OBU 1 with a size
    frame = 2 + still[1]
    assert still[frame] == 0x32  # OBU 6 with a size, to the end
    assert still[2] >> 3 == 0b00011  # profile 0, still picture, reduced header


def test_nothing_on_stderr_and_the_environment_as_it_was():
    # SVT-AV1 settles its log level once a process, so this takes one of its own.
    code = (
        "import os, numpy as np; from facecodec.refpic.intra import encode_still;"
        "encode_still(np.zeros((64, 64, 3), np.uint8), 60, speed='realtime');"
        "assert 'SVT_LOG' not in os.environ"
    )
    env = {k: v for k, v in os.environ.items() if k != "SVT_LOG"} | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# Other systems cannot be asked for the policy of a thread.
@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux alone tells")
def test_the_thread_is_scheduled_as_before():
    before = os.sched_getscheduler(0)
    encode_still(np.full((64, 64, 3), 90, np.uint8), 50, speed="realtime")
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize(("width", "height"), [(130, 96), (128, 98), (64, 64), (256, 192)])
def test_a_still_of_another_size_is_refused(still, width, height):
    with pytest.raises(LimitError, match="coded"):
        decode_still(still, width=width, height=height)


@pytest.mark.parametrize("width", [0, -1, 4097])
def test_sizes_out_of_range(still, width):
    with pytest.raises(LimitError, match="width"):
        decode_still(still, width=width, height=96)


def test_named_errors(still):
    with pytest.raises(TruncatedError):
        decode_still(still[:-1], width=128, height=96)
    with pytest.raises(BitstreamError, match="OBU types"):
        decode_still(b"", width=128, height=96)
    with pytest.raises(BitstreamError, match="OBU types"):
        decode_still(b"\x12\x00" + still, width=128, height=96)
    with pytest.raises(BitstreamError, match="OBU types"):
        decode_still(still + still, width=128, height=96)
    with pytest.raises(BitstreamError, match="more than 8 bytes"):
        decode_still(b"\x0a" + b"\xff" * 9, width=128, height=96)
    with pytest.raises(ShapeError):
        encode_still(scene()[..., 0], 60)
    with pytest.raises(ConfigError, match="speed"):
        encode_still(scene(), 60, speed="slow")  # type: ignore[arg-type]


def decode_or_refuse(data):
    """True if decoded; any error but BitstreamError fails the test."""
    refusal = out = None
    try:
        out = decode_still(data, width=128, height=96)
    except BitstreamError as err:
        refusal = err
    if refusal is not None or out is None:
        assert refusal.unit == "reference"
        return False
    assert out.shape == (96, 128, 3)
    return True


def test_mutated_stills_decode_or_are_refused(still):
    rng = random.Random(7)
    decoded, slowest = 0, 0.0
    for i in range(400):
        data = bytearray(still)
        if i % 4 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randint(1, 6)):
            low, high = (0, 40) if i % 2 else (0, len(data) or 1)
            if data:
                data[min(rng.randrange(low, high), len(data) - 1)] = rng.randrange(256)
        begin = time.perf_counter()
        decoded += decode_or_refuse(bytes(data))
        slowest = max(slowest, time.perf_counter() - begin)
    assert decoded > 10  # the fuzzing reaches the decoder itself
    assert slowest < 2


@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_or_decoded(data):
    decode_or_refuse(data)
    decode_or_refuse(b"\x0a" + data)
