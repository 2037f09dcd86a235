"""Pictures near one rate: which points, and that they are decoded from what the cache holds."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from facecodec.benchmark import points as points_module
from facecodec.benchmark import showcase
from facecodec.benchmark.pictures import write_lossless
from facecodec.benchmark.points import Job, KeptStream, Measuring, kept_stream
from facecodec.benchmark.previews import SOURCE
from facecodec.benchmark.quality import Sampling
from facecodec.benchmark.results import Results
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
    monkeypatch.setattr(points_module, "stream_key", lambda job: "key")
    cache = tmp_path / "cache"
    how = Measuring(cache, Sampling(), ())
    job = Job(clip, "x264", ("x264",), 1, "51")
    kept_stream(job, how, lambda: KeptStream((b"one", b"two"), 1.0, 2.0, ()))
    seen: list[object] = []

    def decode(anchor: object, packets: object, width: int, height: int, count: int) -> object:
        seen.append((packets, width, height, count))
        return np.full((4, 32, 32, 3), 9, np.uint8), 0.1

    monkeypatch.setattr(showcase.anchors, "decode", decode)
    found = showcase.decoded_pictures(job, "x264", cache)
    assert found.mean() == 9
    assert seen == [((b"one", b"two"), 32, 32, 4)]
    with pytest.raises(MediaError, match="no stream of x265, crf 51, on clip_0"):
        showcase.decoded_pictures(replace(job, codec="x265"), "x265", cache)


def test_what_cannot_be_shown_is_left_out_with_a_warning(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def pictures(job: Job, curve: str, cache: Path) -> np.ndarray:
        if curve == "x264":
            raise MediaError(cache, "gone")
        return np.zeros((4, 32, 32, 3), np.uint8)

    monkeypatch.setattr(showcase, "decoded_pictures", pictures)
    with caplog.at_level(logging.WARNING):
        found = showcase.find_previews(_run_of("facecodec", "x264", "vvenc"), [clip], tmp_path)
    assert [p.codec for p in found] == [SOURCE, "facecodec", "vvenc"]
    assert np.array_equal(found[0].frames, clip.read())
    assert "no pictures of clip_0 by x264" in caplog.text
    none = showcase.find_previews(_run_of("x264"), [clip], tmp_path)
    assert none == ()
