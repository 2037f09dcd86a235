"""Conventional encoders: bytes and pictures agree with calls of FFmpeg that share no code with it."""

import re
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from facecodec.benchmark.anchors import ANCHORS, SCALES, check_anchor, decode, encode
from facecodec.benchmark.bytestream import split_nal_units, strip
from facecodec.benchmark.pictures import to_planes
from facecodec.errors import ConfigError, MediaError, ShapeError
from facecodec.metrics.psnr import psnr


def call(ffmpeg, folder, text):
    command = [str(ffmpeg), "-hide_banner", "-nostdin", "-y", *text.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr


def test_x264_has_the_bytes_and_the_psnr_of_a_call_of_ffmpeg(clip, ffmpeg, tmp_path):
    frames = clip.read()
    made = encode(ANCHORS["x264"], frames, clip.fps, "crf 39")
    (tmp_path / "source.yuv").write_bytes(b"".join(to_planes(frames)))
    (tmp_path / "source.rgb").write_bytes(frames.tobytes())
    raw = f"-f rawvideo -video_size 256x256 -framerate {clip.fps}"
    # FFmpeg's own filter takes the SEI out.
    call(
        ffmpeg,
        tmp_path,
        f"{raw} -pix_fmt yuv420p -color_range tv -colorspace bt709 -i source.yuv -c:v libx264"
        " -preset veryslow -x264-params keyint=infinite:scenecut=0:threads=1 -crf 39"
        " -bsf:v filter_units=remove_types=6 out.h264",
    )
    assert b"".join(made.packets) == (tmp_path / "out.h264").read_bytes()
    assert 6 not in {kind for kind, _ in split_nal_units(b"".join(made.packets), "h264")}
    call(
        ffmpeg,
        tmp_path,
        f"-framerate {clip.fps} -i out.h264 {raw} -pix_fmt rgb24 -i source.rgb -filter_complex "
        "[0:v]scale=in_color_matrix=bt709:in_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=gbrp[a];"
        "[1:v]format=gbrp[b];[a][b]psnr=stats_file=psnr.log -f null -",
    )
    told = [float(x) for x in re.findall(r"psnr_avg:([\d.]+)", (tmp_path / "psnr.log").read_text())]
    decoded, seconds = decode(ANCHORS["x264"], made.packets, 256, 256, len(frames))
    ours = [psnr(x, y) for x, y in zip(frames, decoded, strict=True)]
    assert np.mean(ours) == pytest.approx(np.mean(told), abs=0.01)
    assert seconds > 0


@pytest.mark.parametrize("name", ANCHORS)
def test_every_anchor_codes_at_its_floor_and_comes_back(name, clip, ffmpeg):
    anchor = ANCHORS[name]
    check_anchor(anchor)
    frames = clip.read()[:5]
    settings = (anchor.floor, anchor.settings(2)[-1], f"{anchor.quantiser} 30")
    made = [encode(anchor, frames, clip.fps, setting, 2) for setting in settings if setting]
    floor, finer = made[0], made[-1]
    assert 0 < max(stream.size_bytes for stream in made[:-1]) < finer.size_bytes
    assert (floor.width, floor.height) == (128, 128)
    assert floor.encode_s > 0
    assert 5 < floor.peak_mib < 4000
    decoded, _ = decode(anchor, finer.packets, 256, 256, 5)
    assert decoded.shape == frames.shape
    assert psnr(frames, decoded) > 24


def test_sweeps_rise_to_the_floor_of_the_quantiser():
    for anchor in ANCHORS.values():
        lossy = anchor.syntax in ("h264", "hevc")
        assert anchor.floor == ("qp 51" if lossy else "")
        for scale in SCALES:
            settings = anchor.settings(scale)
            assert {setting.split()[0] for setting in settings} == {anchor.quantiser}
            values = [int(setting.split()[1]) for setting in settings]
            assert len(values) >= 4
            assert values == sorted(values)
            assert values[-1] == (51 if lossy else 63)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x264", "-preset veryslow -threads 1 -x264-params keyint=infinite:scenecut=0:qp=51"),
        ("x265", "-preset veryslow -qp 51 -x265-params keyint=-1:scenecut=0:pools=none:frame-threads=1"),
    ],
)
def test_a_constant_qp_is_what_another_call_of_ffmpeg_makes_of_it(name, options, clip, ffmpeg, tmp_path):
    anchor, frames = ANCHORS[name], clip.read()
    (tmp_path / "source.yuv").write_bytes(b"".join(to_planes(frames)))
    raw = f"-f rawvideo -video_size 256x256 -framerate {clip.fps} -pix_fmt yuv420p"
    source = f"{raw} -color_range tv -colorspace bt709 -i source.yuv"
    call(ffmpeg, tmp_path, f"{source} -c:v {anchor.encoder} {options} -f {anchor.muxer} out")
    made = encode(anchor, frames, clip.fps, anchor.floor)
    assert b"".join(made.packets) == strip((tmp_path / "out").read_bytes(), anchor.syntax)


def test_streams_that_do_not_hold_the_frames_are_refused(clip, ffmpeg):
    anchor = ANCHORS["x264"]
    made = encode(anchor, clip.read()[:4], clip.fps, "crf 45", 4)
    with pytest.raises(MediaError, match="5 frames went in, 4 came out"):
        decode(anchor, made.packets, 256, 256, 5)
    with pytest.raises(MediaError, match="x264"):
        decode(anchor, [b"\x00\x00\x01\x65rubbish"], 256, 256, 1)


def test_odd_sizes_and_failing_encoders_are_named(ffmpeg):
    odd = np.zeros((2, 31, 32, 3), np.uint8)
    with pytest.raises(ShapeError, match="even"):
        encode(ANCHORS["x264"], odd, Fraction(25), "crf 30")
    with pytest.raises(MediaError, match="x264: failed"):
        encode(ANCHORS["x264"], np.zeros((2, 32, 32, 3), np.uint8), Fraction(25), "crf -7")


def test_an_encoder_that_is_not_in_the_build_is_named(monkeypatch, tmp_path):
    tool = tmp_path / "ffmpeg"
    tool.write_text("#!/bin/sh\necho ' V....D libx264 H.264'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("FACECODEC_FFMPEG", str(tool))
    check_anchor(ANCHORS["x264"])
    with pytest.raises(ConfigError, match="has no libvvenc"):
        check_anchor(ANCHORS["vvenc"])
    monkeypatch.setenv("FACECODEC_FFMPEG", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="FACECODEC_FFMPEG"):
        check_anchor(ANCHORS["x264"])
