"""``facecodec bench`` as people run it: on a cluster, stopped and run again, without weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence as Words
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facecodec.benchmark import sweep
from facecodec.benchmark.quality import Sampling
from facecodec.benchmark.report import write_report
from facecodec.benchmark.results import load_results
from facecodec.benchmark.sequences import Sequence
from facecodec.cli import main

from .conftest import SAMPLES

OPTIONS = "--frames 8 --points 2 --metrics-every 8 --deep-every 0 --pictures 0".split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "clips"
    made.mkdir()
    (made / "head.mp4").symlink_to(SAMPLES / "talking_head.mp4")
    return made


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_s_workers_measure(
    folder: Path, tmp_path: Path, cluster: Any, ffmpeg: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(folder), "--codecs", "x264", *OPTIONS, "--out", str(tmp_path / "out")]
    assert main([*words, "--scheduler", cluster.scheduler_address]) == 0
    assert "points 9/9: head x264" in capsys.readouterr().err
    assert len(load_results(tmp_path / "out" / "results.json").points) == 9
    # The cluster goes on after the run has left it, and knows what it has done.
    assert cluster.scheduler.workers
    assert main([*words, "--scheduler", cluster.scheduler_address]) == 0
    assert capsys.readouterr().err.count("(cache)") == 9


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there_is_a_wrong_setting(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="the extra [bench] is not installed")
    monkeypatch.setattr("facecodec.benchmark.workers._CONNECT_S", 1)
    words = ["bench", str(folder), *OPTIONS, "--out", str(tmp_path / "out")]
    assert main([*words, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "tcp://127.0.0.1:9" in capsys.readouterr().err


def _start(words: Words[str]) -> subprocess.Popen[str]:
    """A run in a group of its own, which Ctrl-C of a terminal goes to as a whole."""
    command = [sys.executable, "-m", "facecodec", "bench", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_a_run_that_was_interrupted_goes_on(
    folder: Path, tmp_path: Path, ffmpeg: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [str(folder), "--codecs", "x264", *OPTIONS, "--points", "5", "--out", str(out)]
    with _start([*words, "--jobs", "2"]) as first:
        assert first.stderr is not None
        for line in first.stderr:
            if line.startswith("points 2/18"):
                break
        os.killpg(first.pid, signal.SIGINT)
        rest = first.stderr.read()
    assert first.returncode == 130
    assert rest.splitlines()[-1] == "facecodec: error: interrupted"
    assert "Traceback" not in rest
    assert not (out / "results.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (out / "cache" / "points").iterdir()}
    assert 2 <= len(kept) < 18
    assert main(["bench", *words, "--jobs", "1"]) == 0
    assert capsys.readouterr().err.count("(cache)") == len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    results = load_results(out / "results.json")
    assert len(results.points) == 18
    assert not any(item.clip for item in results.left_out)  # measures without weights are named there


def test_measures_without_weights_are_named_in_the_report(
    sample: Sequence, bench_cache: Path, ffmpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LPIPS", "DISTS", "SFACE"):
        monkeypatch.setenv(f"FACECODEC_{name}_WEIGHTS", str(tmp_path))
    settings = sweep.Settings("set", bench_cache, ("x264",), points=2, scales=(4,), sampling=Sampling(5, 5))
    results = sweep.run([sample], settings)
    left_out = {item.reason.split(":")[0] for item in results.left_out if not item.clip and not item.codec}
    assert left_out == {"lpips", "lpips_vgg", "dists", "identity"}
    for point in results.points:
        quality = point.quality
        assert {quality.lpips, quality.lpips_eyes, quality.lpips_vgg, quality.dists, quality.identity} == {
            None
        }
        assert quality.vmaf is not None
    files = write_report(replace(results, name="x"), tmp_path / "report")
    text = files.markdown.read_text(encoding="utf-8")
    table = text.split("## Left out")[1].split("##")[0]
    for name in ("lpips", "lpips\\_vgg", "dists", "identity"):
        (row,) = [line for line in table.splitlines() if line.startswith(f"| all | all | {name}: ")]
        assert "pip install --no-deps" in row
    assert "LPIPS" not in text.split("## All points, mean over clips")[1].split("##")[0]
