"""The command line as a process on the samples."""

from __future__ import annotations

import json
import time

import pytest

from facecodec.media.writer import synthetic_mark


@pytest.fixture(scope="module")
def encoded(cli, short_clip, tmp_path_factory):
    """The first second of the sample, encoded."""
    path = tmp_path_factory.mktemp("encoded") / "clip.fcv"
    run = cli("encode", short_clip, path, "--stats", path.with_suffix(".jsonl"))
    assert run.returncode == 0, run.stderr.decode()
    return path


def error_line(run) -> str:
    """The one line of standard error of a run that failed."""
    text = run.stderr.decode()
    assert text.startswith("facecodec: error: "), text
    assert text.count("\n") == 1, text
    return text


def test_help_is_quick(cli):
    begin = time.monotonic()
    run = cli("--help")
    assert time.monotonic() - begin < 2
    assert run.returncode == 0
    for command in (b"encode", b"decode", b"info", b"demo"):
        assert command in run.stdout


def test_version_is_that_of_the_package(cli):
    import facecodec

    assert cli("--version").stdout.decode().split() == ["facecodec", facecodec.__version__]


def test_encoding_costs_little_and_says_how_much(encoded, short_clip):
    size = encoded.stat().st_size
    assert 200 < size < short_clip.stat().st_size / 4
    lines = [json.loads(line) for line in encoded.with_suffix(".jsonl").read_text().splitlines()]
    assert len(lines) == 24


def test_info_counts_every_byte(cli, encoded):
    run = cli("info", encoded, "--json")
    assert run.returncode == 0
    info = json.loads(run.stdout)
    assert info["bytes"] == encoded.stat().st_size == sum(info["section_bytes"].values())
    assert (info["width"], info["height"], info["frames"], info["complete"]) == (640, 360, 24, True)
    assert info["duration_s"] == pytest.approx(24 * 1001 / 24000, abs=0.01)
    assert info["kbps"] == pytest.approx(8 * info["bytes"] / info["duration_s"] / 1000, rel=1e-3)
    assert "opus" in info["audio"].lower()
    assert info["references"] >= 1


def test_info_without_json_is_a_table(cli, encoded):
    run = cli("info", encoded)
    assert run.returncode == 0
    assert b"640x360" in run.stdout
    assert b"total" in run.stdout


def test_decoding_gives_the_pictures_and_the_sound_back(cli, encoded, short_clip, tmp_path):
    import av
    import numpy as np

    out = tmp_path / "out.mp4"
    run = cli("decode", encoded, out)
    assert run.returncode == 0, run.stderr.decode()
    with av.open(str(out)) as made, av.open(str(short_clip)) as source:
        assert [stream.type for stream in made.streams] == ["video", "audio"]
        name = made.metadata["facecodec_model"]
        assert f"generator {name}," in run.stderr.decode()
        assert made.metadata.items() >= synthetic_mark(name).items()
        pictures = [frame.to_ndarray(format="rgb24") for frame in made.decode(video=0)]
        originals = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    assert len(pictures) == len(originals) == 24
    assert pictures[0].shape == originals[0].shape
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(pictures, originals, strict=True)]
    psnr = 10 * np.log10(255**2 / np.mean(errors))
    assert psnr > 22


def test_a_pipe_carries_a_stream_in_and_a_part_out(cli, encoded, tmp_path):
    out = tmp_path / "part.mp4"
    run = cli("decode", "-", out, "--start", "0.5", "--view", "crop", stdin=encoded.read_bytes())
    assert run.returncode == 0, run.stderr.decode()
    import av

    with av.open(str(out)) as made:
        video = made.streams.video[0]
        assert video.width == video.height
        assert 10 <= sum(1 for _ in made.decode(video)) <= 13


def test_a_cut_file_gives_its_frames_and_exit_code_4(cli, encoded, tmp_path):
    cut, out = tmp_path / "cut.fcv", tmp_path / "out.mp4"
    data = encoded.read_bytes()
    cut.write_bytes(data[: len(data) * 95 // 100])
    run = cli("decode", cut, out)
    assert run.returncode == 4
    report, error = run.stderr.decode().splitlines()
    assert "frames" in report
    assert error.startswith("facecodec: error: the file is cut short")


def test_a_clip_without_a_face_exits_with_3_and_writes_nothing(cli, samples, tmp_path):
    run = cli("encode", samples / "no_face.mp4", tmp_path / "out.fcv")
    assert run.returncode == 3
    assert "face" in error_line(run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"this is a text and not a film\n" * 50], ids=["empty", "text"])
def test_what_is_no_clip_exits_with_3(cli, tmp_path, data):
    (tmp_path / "in.mp4").write_bytes(data)
    run = cli("encode", tmp_path / "in.mp4", tmp_path / "out.fcv")
    assert run.returncode == 3
    assert "in.mp4" in error_line(run)
    assert not (tmp_path / "out.fcv").exists()


@pytest.mark.parametrize("command", ["info", "decode"])
@pytest.mark.parametrize("data", [b"", b"this is a text and not a stream\n" * 50], ids=["empty", "text"])
def test_what_is_no_stream_exits_with_4(cli, tmp_path, data, command):
    (tmp_path / "in.fcv").write_bytes(data)
    run = cli(command, tmp_path / "in.fcv", *([tmp_path / "out.mp4"] if command == "decode" else []))
    assert run.returncode == 4
    assert error_line(run)
    assert not (tmp_path / "out.mp4").exists()


def test_an_existing_output_is_kept(cli, encoded, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    run = cli("decode", encoded, out)
    assert run.returncode == 2
    assert "--force" in error_line(run)
    assert out.read_bytes() == b"mine"


def test_debug_shows_a_traceback(cli, tmp_path):
    run = cli("info", tmp_path / "missing.fcv", "--debug")
    assert run.returncode == 3
    assert b"Traceback" in run.stderr
    assert b"facecodec: error: " in run.stderr


def test_demo_sets_source_and_result_side_by_side(cli, tmp_path):
    import av

    run = cli("demo", "--out", tmp_path / "demo", "--duration", "0.5", "--generator", "warp-0")
    assert run.returncode == 0, run.stderr.decode()
    for name in ("talking_head.fcv", "talking_head.mp4", "side_by_side.mp4"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
        assert name.encode() in run.stdout
    assert b"total" in run.stdout
    assert b"warp-0" in run.stdout
    with av.open(str(tmp_path / "demo" / "side_by_side.mp4")) as made:
        video = made.streams.video[0]
        assert (video.width, video.height) == (1280, 392)
        assert "facecodec" in made.metadata["comment"]
        assert 11 <= sum(1 for _ in made.decode(video)) <= 13
