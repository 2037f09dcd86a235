"""Exit codes and what is left behind, with the real codec behind the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest

from facecodec.bitstream import BITSTREAM_VERSION, MAGIC, StreamHeader, pack_unit, parse_unit_head, read_unit
from facecodec.bitstream.framing import frame_unit
from facecodec.cli import main
from facecodec.container.fcv import FcvReader

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stream(short_clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("codes") / "clip.fcv"
    assert main(["encode", str(short_clip), str(path), "--duration", "0.3", "--scene-points", "off"]) == 0
    return path


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("facecodec: error: ")]
    assert len(lines) == 1, lines
    return lines[0]


def header_of(stream: Path) -> tuple[StreamHeader, bytes]:
    """The stream header of a file, and what follows it."""
    data = stream.read_bytes()
    size = parse_unit_head(data[len(MAGIC) :]).total_bytes
    with FcvReader(stream) as reader:
        return reader.header, data[len(MAGIC) + size :]


@pytest.mark.parametrize("command", ["info", "decode"])
def test_a_stream_of_another_version_exits_with_4(stream, tmp_path, capsys, command):
    header, rest = header_of(stream)
    kind, payload, _ = read_unit(pack_unit(header))
    changed = bytes([payload[0] + 1]) + payload[1:]
    (tmp_path / "new.fcv").write_bytes(MAGIC + frame_unit(kind, changed) + rest)
    out = [str(tmp_path / "out.mp4")] if command == "decode" else []
    assert main([command, str(tmp_path / "new.fcv"), *out]) == 4
    assert f"version {BITSTREAM_VERSION}" in complaint(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["new.fcv"]


def test_a_stream_for_another_model_exits_with_5_unless_a_generator_is_named(stream, tmp_path, capsys):
    header, rest = header_of(stream)
    other = replace(header, model_id=b"other-7".ljust(len(header.model_id), b"\0"))
    (tmp_path / "other.fcv").write_bytes(MAGIC + pack_unit(other) + rest)
    args = [str(tmp_path / "other.fcv"), str(tmp_path / "out.mp4")]
    assert main(["decode", *args]) == 5
    assert other.model_id.hex() in complaint(capsys)
    assert not (tmp_path / "out.mp4").exists()
    assert main(["info", args[0]]) == 0
    assert other.model_id.hex() in capsys.readouterr().out
    assert main(["decode", *args, "--generator", "warp-0", "--duration", "0.1"]) == 0
    assert "generator warp-0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_weights_that_cannot_be_read_exit_with_5(short_clip, stream, tmp_path, capsys, command):
    source = short_clip if command == "encode" else stream
    weights = tmp_path / "my.safetensors"
    args = [command, str(source), str(tmp_path / "out"), "--weights", str(weights), "--duration", "0.1"]
    assert main(args) == 5
    assert "my.safetensors" in complaint(capsys)
    weights.write_bytes(b"no weights")
    assert main(args) == 5
    assert "my.safetensors" in complaint(capsys)


def test_a_stream_made_for_some_weights_is_shown_with_them(short_clip, toy_weights, tmp_path, capsys):
    stream, out, weights = str(tmp_path / "a.fcv"), str(tmp_path / "a.mp4"), ["--weights", str(toy_weights)]
    assert main(["encode", str(short_clip), stream, *weights, "--duration", "0.1"]) == 0
    assert main(["decode", stream, out]) == 5
    capsys.readouterr()
    assert main(["decode", stream, out, *weights]) == 0
    assert f"generator {toy_weights.stem}" in capsys.readouterr().err


# A full disk can be had without privileges from this device alone, and only Linux has it.
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_full_disk_exits_with_3(short_clip, stream, capsys, command):
    source = [str(short_clip), "--duration", "0.1"] if command == "encode" else [str(stream)]
    assert main([command, source[0], "/dev/full", *source[1:], "--force"]) == 3
    assert "space" in complaint(capsys)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nobody may make a file: one without the permission or, for root, the kernel's own."""
    if hasattr(os, "getuid") and os.getuid() == 0:
        yield Path("/sys")
        return
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


# Windows has neither: chmod there stops nobody from making files.
@pytest.mark.skipif(sys.platform == "win32", reason="no folder can be locked")
def test_a_folder_that_cannot_be_written_exits_with_3(short_clip, locked, capsys):
    assert main(["encode", str(short_clip), str(locked / "a.fcv"), "--duration", "0.1"]) == 3
    assert "a.fcv" in complaint(capsys)


def test_a_folder_that_is_not_there_exits_with_3(short_clip, tmp_path, capsys):
    assert main(["encode", str(short_clip), str(tmp_path / "no" / "a.fcv")]) == 3
    assert "folder" in complaint(capsys)


def test_a_start_behind_the_end_exits_with_2(stream, tmp_path, capsys):
    assert main(["decode", str(stream), str(tmp_path / "a.mp4"), "--start", "9"]) == 2
    assert "end of the stream" in complaint(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_start_that_is_no_time_exits_with_2(stream, tmp_path, capsys, value):
    assert main(["decode", str(stream), str(tmp_path / "a.mp4"), "--start", value]) == 2
    assert "start" in complaint(capsys)


def test_an_output_that_exists_is_kept_without_force(short_clip, tmp_path, capsys):
    out = tmp_path / "a.fcv"
    out.write_bytes(b"mine")
    assert main(["encode", str(short_clip), str(out)]) == 2
    assert "--force" in complaint(capsys)
    assert out.read_bytes() == b"mine"


def test_a_video_that_is_cut_is_encoded_and_exits_with_3(short_clip, tmp_path, capsys):
    front, cut, out = tmp_path / "front.mp4", tmp_path / "cut.mp4", tmp_path / "out.fcv"
    with (
        av.open(str(short_clip)) as source,
        av.open(str(front), "w", container_options={"movflags": "faststart"}) as sink,
    ):
        copy = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                sink.mux(packet)
    data = front.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    assert main(["encode", str(cut), str(out), "--scene-points", "off"]) == 3
    said = complaint(capsys)
    assert "cut.mp4: " in said
    assert said.endswith("; what could be read was encoded")
    assert out.stat().st_size > 200
    assert main(["info", str(out)]) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["encode", "encode --preset best", "decode"])
def test_a_signal_ends_the_work_and_leaves_nothing(samples, tmp_path, command, number, code):
    clip = samples / "talking_head.mp4"
    if command == "decode":
        source, clip = str(clip), tmp_path.parent / f"{tmp_path.name}.fcv"
        assert main(["encode", source, str(clip), "--audio", "none", "--duration", "4"]) == 0
    arguments = [sys.executable, "-m", "facecodec", *command.split(), clip, tmp_path / "out.mp4"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    # A signal that is ignored here (nohup, a background job) would be ignored there too.
    before = signal.signal(number, signal.default_int_handler)
    try:
        run = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE)
    finally:
        signal.signal(number, before)
    with run:
        begin = time.monotonic()
        while time.monotonic() - begin < 60 and not any(tmp_path.glob(".*/.*.part-*")):
            time.sleep(0.02)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == code
    assert b"Traceback" not in said
    assert said.startswith(b"facecodec: error: ")
    assert list(tmp_path.iterdir()) == []
