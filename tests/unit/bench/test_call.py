"""bench/call.py: what it keeps of a call, and its table."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from facecodec.call.config import CallConfig
from facecodec.transport import SCTP


@pytest.fixture
def bench(bench_on_path):
    """The script."""
    return importlib.import_module("call")


class Judge:
    """Stands in for LPIPS: mean absolute difference, of 255."""

    def distance(self, source, decoded):
        assert source.shape == decoded.shape
        return float(np.abs(source.astype(float) - decoded).mean() / 255)


def test_figures_of_a_call_with_an_outage(bench, samples):
    frames, sound, step = bench.material(samples / "talking_head.mp4", 7.0)
    assert len(frames) == 168
    assert step == pytest.approx(1 / 24, rel=0.01)
    call = bench.run(frames, sound, bench.NETWORKS["outage 2 s"], CallConfig())
    found = bench.figures(call, frames, step, Judge(), bench.NETWORKS["outage 2 s"])
    assert sum(found["wire_kbps"].values()) == pytest.approx(found["wire_total_kbps"])
    assert found["wire_total_kbps"] * 7 * 125 == pytest.approx(call.path.bytes, rel=0.02)
    assert found["answers_kbps"] * 7 * 125 == pytest.approx(call.path.sent * SCTP.answer, rel=0.02)
    assert 0 < found["recovery_s"] < 0.5
    assert found["undecodable"] == 0
    assert 0.2 < found["states"]["idle"] < 0.4
    assert 0 < found["lpips"] < 0.2
    assert json.loads(json.dumps(found)) is not None
    clip = {"clip": "c", "networks": {"outage 2 s": found}}
    clip |= {"minute_kbps": 14.0, "minute_fps": 20.0, "minute_srtp_kbps": 13.0, "minute_srtp_fps": 20.0}
    assert f"{found['recovery_s']:.2f} |" in bench.tables([clip])


def test_a_clip_that_is_not_there_is_told(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "Lpips", lambda net: Judge())
    out = tmp_path / "call.json"
    assert bench.main(["--clip", str(tmp_path / "none.mp4"), "--out", str(out)]) == 1
    assert "none" in json.loads(out.read_text())["failed"][0]["clip"]


@pytest.mark.parametrize("seconds", ["1", "10000"])
def test_seconds_are_bounded(bench, seconds):
    with pytest.raises(SystemExit):
        bench.parse_args(["--clip", "a", "--out", "b", "--seconds", seconds])
