"""Pictures near one rate: which points, and that they are decoded from what the cache holds."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from facecodec.benchmark import kept, showcase
from facecodec.benchmark.jobs import Job
from facecodec.benchmark.kept import KeptStream
from facecodec.benchmark.own import OwnCost
from facecodec.benchmark.pictures import write_lossless
from facecodec.benchmark.previews import SOURCE
from facecodec.benchmark.results import RatePoint, Results
from facecodec.benchmark.sequences import Clip
from facecodec.errors import MediaError
from tests.benchmark.synthetic import make_results


def test_points_near_the_reference_codec_s_middle_rate() -> None:
    results = make_results(2)
    found = showcase.nearest_points(results, "clip_1")
    assert found[0].setting == "quality 60"
    assert [p.codec for p in found] == ["facecodec", "x264-ld", "x264", "x265", "svt-av1", "vvenc"]
    assert {p.clip for p in found} == {"clip_1"}
    for point in found[1:]:
        others = [p for p in results.points if (p.clip, p.codec) == ("clip_1", point.codec)]
        nearest = min(max(p.kbps / found[0].kbps, found[0].kbps / p.kbps) for p in others)
        own = max(point.kbps / found[0].kbps, found[0].kbps / point.kbps)
        assert own <= 1.11 * nearest
        rivals = [p for p in others if abs(p.kbps / point.kbps - 1) < 0.02]
        assert point.quality.psnr_y == max(p.quality.psnr_y for p in rivals)
    assert showcase.nearest_points(results, "elsewhere") == ()


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    write_lossless(frames, Fraction(25), tmp_path / "clip.avi")
    return Clip("clip_0", tmp_path / "clip.avi", tmp_path / "none.npy", "d1", 4, 32, "25", (0, 0, 32))


def _run_of(*codecs: str) -> Results:
    results = make_results(1)
    named = [replace(p, setting="crf 51" if p.scale == 1 else p.setting) for p in results.points]
    return replace(results, points=tuple(p for p in named if p.codec in codecs))


def test_streams_of_the_cache_are_decoded(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "stream_key", lambda job: job.codec)
    cache = tmp_path / "cache"
    job = Job(clip, "x264", ("x264",), 1, "crf 51")
    kept.kept_stream(job, cache, lambda: KeptStream((b"one", b"two"), 1.0, 2.0, ()))
    seen: list[object] = []

    def decode(anchor: object, packets: object, width: int, height: int, count: int) -> object:
        seen.append((packets, width, height, count))
        return np.full((4, 32, 32, 3), 9, np.uint8), 0.1

    monkeypatch.setattr(showcase.anchors, "decode", decode)
    found = showcase.decoded_pictures(job, "x264", cache)
    assert found.mean() == 9
    assert seen == [((b"one", b"two"), 32, 32, 4)]


def test_streams_that_the_cache_has_lost_are_made_again(
    clip: Clip, tmp_path: Path, ffmpeg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = _run_of("facecodec", "x264")
    results = replace(results, points=tuple(replace(p, scale=1, setting="qp 51") for p in results.points))
    ours = [replace(p, setting="quality 60") for p in results.points if p.codec == "facecodec"]
    results = replace(results, points=(*ours, *(p for p in results.points if p.codec == "x264")))
    coded: list[object] = []

    def encode(path: Path, label: str, size: int, stream: Path) -> OwnCost:
        coded.append((path, label, size))
        stream.write_bytes(b"stream")
        return OwnCost(1.0, 2.0, ())

    monkeypatch.setattr(showcase.own, "stream_key", lambda digest, label, size: "key")
    monkeypatch.setattr(showcase.own, "encode", encode)
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    monkeypatch.setattr(showcase.own, "decode", lambda stream, curve: (pictures, OwnCost(1.0, 2.0, ())))
    found = showcase.find_previews(results, [clip], tmp_path / "empty")
    assert [p.codec for p in found] == [SOURCE, "facecodec", "x264"]
    assert coded == [(clip.path, "quality 60", 32)]
    assert np.abs(found[2].frames.astype(int) - found[0].frames).mean() < 80
    assert found[2].frames.std() > 1


def test_what_cannot_be_shown_is_left_out_with_a_warning(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def pictures(point: RatePoint, clip: Clip, cache: Path) -> np.ndarray:
        if point.codec == "x264":
            raise MediaError(cache, "gone")
        return np.zeros((4, 32, 32, 3), np.uint8)

    monkeypatch.setattr(showcase, "_pictures", pictures)
    with caplog.at_level(logging.WARNING):
        found = showcase.find_previews(_run_of("facecodec", "x264", "vvenc"), [clip], tmp_path)
    assert [p.codec for p in found] == [SOURCE, "facecodec", "vvenc"]
    assert np.array_equal(found[0].frames, clip.read())
    assert "no pictures of clip_0 by x264" in caplog.text
    none = showcase.find_previews(_run_of("x264"), [clip], tmp_path)
    assert none == ()
