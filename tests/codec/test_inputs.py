"""Pictures of unusual shape, through the whole codec."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facecodec.api import decode_file, decode_frames, encode_file, probe
from facecodec.config import DecoderConfig, EncoderConfig
from facecodec.errors import MediaError
from tests.codec.clips import timed, write_clip

QUICK = EncoderConfig(scene_points="off", audio_bps=0)


def round_trip(source: Path, folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures of a clip, and what the codec makes of them."""
    from facecodec.media.reader import VideoReader

    encode_file(source, folder / "a.fcv", QUICK)
    with VideoReader(source) as reader:
        before = [frame.pixels for frame in reader.frames()]
    return before, [frame.pixels for frame in decode_frames(folder / "a.fcv")]


def mean_error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(
    "cut",
    [np.s_[:, 120:580], np.s_[21:355, 101:565], np.s_[:, 330:540]],
    ids=["wide", "odd place", "portrait"],
)
def test_every_shape_comes_back_in_its_size(faces, tmp_path, cut):
    pictures = [np.ascontiguousarray(frame.pixels[cut]) for frame in faces[:3]]
    height, width = pictures[0].shape[:2]
    before, after = round_trip(write_clip(tmp_path / "in.mp4", timed(pictures)), tmp_path)
    assert after[0].shape == (height, width, 3)
    for one, other in zip(after, before, strict=True):
        assert one.shape == other.shape
        assert mean_error(one, other) < 9


def test_a_talking_head_crop_comes_back_in_its_size_without_a_backdrop(faces, tmp_path):
    pictures = [np.ascontiguousarray(frame.pixels[:, 260:620]) for frame in faces[:3]]
    before, after = round_trip(write_clip(tmp_path / "in.mp4", timed(pictures)), tmp_path)
    assert after[0].shape == (360, 360, 3)
    assert mean_error(after[0], before[0]) < 9
    info = probe(tmp_path / "a.fcv")
    assert (info.coded_size, info.section_bytes["backdrop"]) == (256, 0)


def test_odd_sizes_from_a_picture_file(faces, tmp_path):
    odd = np.ascontiguousarray(faces[0].pixels[:333, 101:500])
    cv2.imwrite(str(tmp_path / "in.png"), odd[..., ::-1])
    before, after = round_trip(tmp_path / "in.png", tmp_path)
    assert after[0].shape == before[0].shape == (333, 399, 3)
    assert mean_error(after[0], before[0]) < 9
    report = decode_file(tmp_path / "a.fcv", tmp_path / "out.mp4")
    assert (report.width, report.height, report.frames) == (399, 333, 1)


def test_a_small_square_picture(faces, tmp_path):
    pictures = [cv2.resize(f.pixels[:, 140:500], (96, 96), interpolation=cv2.INTER_AREA) for f in faces[:3]]
    before, after = round_trip(write_clip(tmp_path / "in.mp4", timed(pictures)), tmp_path)
    assert after[0].shape == (96, 96, 3)
    assert mean_error(after[1], before[1]) < 12


def test_a_rotated_video_is_shown_upright(faces, tmp_path):
    turned = [np.ascontiguousarray(np.rot90(frame.pixels, -1)) for frame in faces[:2]]
    plain = write_clip(tmp_path / "plain.mp4", timed(turned))
    source = tmp_path / "in.mp4"
    with av.open(str(plain)) as one, av.open(str(source), "w") as out:
        copy = out.add_stream_from_template(one.streams.video[0])
        for packet in one.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16  # to the matrix of the track header, version 0
    one = (1 << 16).to_bytes(4, "big", signed=True)
    minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
    data[place : place + 20] = bytes(4) + minus + bytes(4) + one + bytes(4)
    source.write_bytes(data)
    before, after = round_trip(source, tmp_path)
    assert after[0].shape == before[0].shape == (360, 640, 3)
    assert mean_error(after[0], faces[0].pixels) < 9


def test_a_grey_video(faces, tmp_path):
    path = tmp_path / "grey.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "gray"
        for i, frame in enumerate(faces[:3]):
            grey = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
            picture = av.VideoFrame.from_ndarray(grey, format="gray")
            picture.pts = i
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    before, after = round_trip(path, tmp_path)
    assert np.ptp(after[1].astype(int), axis=2).max() < 24
    assert mean_error(after[1], before[1]) < 9


def test_a_small_face_in_a_large_picture(faces, tmp_path):
    pictures = []
    for frame in faces[:2]:
        large = np.full((2160, 3840, 3), 60, np.uint8)
        large[900:1260, 1600:2240] = frame.pixels
        pictures.append(large)
    before, after = round_trip(write_clip(tmp_path / "in.mp4", timed(pictures)), tmp_path)
    assert after[0].shape == (2160, 3840, 3)
    middle = np.s_[960:1200, 1700:2100]
    assert mean_error(after[1][middle], before[1][middle]) < 12


@pytest.mark.parametrize(
    ("config", "side"),
    [
        (EncoderConfig(size=512, view="crop", audio_bps=0), 256),
        (EncoderConfig(size=256, qp=51, ref_quality=0, audio_bps=0), 256),
    ],
    ids=["512", "coarse"],
)
def test_settings_reach_the_stream(faces, tmp_path, config, side):
    source = write_clip(tmp_path / "in.mp4", timed([frame.pixels for frame in faces[:3]]))
    encode_file(source, tmp_path / "a.fcv", config)
    info = probe(tmp_path / "a.fcv")
    assert info.coded_size >= side
    assert info.coded_size <= config.size
    assert info.view == config.view
    assert info.scene_grid > 0
    decode_file(tmp_path / "a.fcv", tmp_path / "a.mkv", DecoderConfig(composite="poisson"))


def test_a_picture_too_small_is_refused_by_name(tmp_path):
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((8, 200, 3), np.uint8))
    with pytest.raises(MediaError, match=r"tiny.png.*200x8"):
        encode_file(tmp_path / "tiny.png", tmp_path / "a.fcv")
