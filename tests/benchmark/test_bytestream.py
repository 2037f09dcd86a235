"""What is taken out of elementary streams before their bytes are counted."""

import struct

import pytest

from facecodec.benchmark.bytestream import split_ivf, split_nal_units, split_obus, strip
from facecodec.errors import MediaError

SPS, SEI, SLICE = b"\x00\x00\x00\x01\x67abc", b"\x00\x00\x01\x06x264 - core 165", b"\x00\x00\x01\x65slice"


def obu(kind, body):
    return bytes([kind << 3 | 2, len(body)]) + body


def test_sei_delimiters_and_filler_go_out_of_h264():
    delimiter, filler = b"\x00\x00\x00\x01\x09\xf0", b"\x00\x00\x01\x0c\xff\xff"
    data = delimiter + SPS + SEI + SLICE + filler
    assert [kind for kind, _ in split_nal_units(data, "h264")] == [9, 7, 6, 5, 12]
    assert strip(data, "h264") == SPS + SLICE
    assert strip(SPS + SLICE, "h264") == SPS + SLICE


def test_sei_goes_out_of_hevc_and_vvc():
    hevc_sei, hevc_slice = b"\x00\x00\x01" + bytes([39 << 1, 1]) + b"info", b"\x00\x00\x01\x02\x01data"
    assert strip(hevc_sei + hevc_slice, "hevc") == hevc_slice
    vvc_sei, vvc_slice = b"\x00\x00\x01\x00" + bytes([23 << 3 | 1]) + b"hash", b"\x00\x00\x01\x00\x41data"
    assert strip(vvc_slice + vvc_sei, "vvc") == vvc_slice


def test_delimiters_metadata_and_padding_go_out_of_av1():
    header, frame = obu(1, b"head"), obu(6, b"f" * 100)
    data = obu(2, b"") + header + obu(5, b"meta") + frame + obu(15, b"\x00" * 9)
    assert [kind for kind, _ in split_obus(data)] == [2, 1, 5, 6, 15]
    assert strip(data, "av1") == header + frame


@pytest.mark.parametrize("data", [b"\x10", b"\x12\x05ab", b"\x12\xff\xff", b"\x12" + b"\xff" * 9])
def test_broken_obus_are_refused(data):
    with pytest.raises(MediaError, match="OBU at byte 0"):
        list(split_obus(data))


def test_frames_come_out_of_ivf_without_its_headers():
    frames = [b"one", b"three"]
    head = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, b"AV01", 64, 64, 25, 1, 2, 0)
    data = head + b"".join(struct.pack("<IQ", len(f), i) + f for i, f in enumerate(frames))
    assert split_ivf(data) == frames
    for cut in (len(data) - 1, len(head) + 5):
        with pytest.raises(MediaError, match="cut short"):
            split_ivf(data[:cut])
    with pytest.raises(MediaError, match="no IVF"):
        split_ivf(b"RIFF" + data[4:])
