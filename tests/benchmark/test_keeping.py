"""What a run takes from the results of an earlier one, and what it says of the rest."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facecodec.benchmark import anchors, own, points, sweep
from facecodec.benchmark import jobs as jobs_module
from facecodec.benchmark.quality import Judge, Networks, Sampling
from facecodec.benchmark.results import RatePoint, Results, save_results
from facecodec.benchmark.sequences import Clip, Sequence
from facecodec.errors import MediaError


class Half:
    """A network that says one half."""

    def distance(self, source: object, decoded: object) -> float:
        return 0.5


def refuse(*args: object, **kwargs: object) -> Any:
    raise AssertionError("made again")


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS-vgg and DISTS alone, by a stand-in."""
    networks = Networks(lpips_vgg=Half(), dists=Half())  # type: ignore[arg-type]
    monkeypatch.setattr(points, "_networks", lambda names, folder: networks if names else Networks())
    monkeypatch.setattr(sweep, "available", lambda *args: {"lpips_vgg": "", "dists": ""})


def _empty(folder: Path, clip: Clip) -> Path:
    """A cache that holds the clip alone: to track faces takes time."""
    shutil.copytree(clip.path.parent, folder / "clips")
    return folder


@pytest.fixture
def settings(tmp_path: Path, clip: Clip, deep: None, ffmpeg: Path) -> sweep.Settings:
    sampling = Sampling(5, 10)
    _empty(tmp_path / "one", clip)
    for name in ("empty", "third"):
        _empty(tmp_path / name, clip)
    return sweep.Settings("set", tmp_path / "one", ("x264", "vp9"), points=2, scales=(4,), sampling=sampling)


def _again(settings: sweep.Settings, earlier: Results, folder: Path, **change: Any) -> sweep.Settings:
    """The same settings with an empty cache, and an earlier run to keep."""
    save_results(earlier, folder / "earlier.json")
    return replace(settings, **{"cache": folder / "empty", "keep": folder / "earlier.json", **change})


def test_a_second_empty_cache_is_filled_from_results(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep.run([sample], settings)
    assert all(p.deep_key and p.quality.dists == 0.5 for p in first.points)
    for module, name in (
        (anchors, "encode"),
        (anchors, "decode"),
        (Judge, "measure"),
        (Judge, "measure_deep"),
    ):
        monkeypatch.setattr(module, name, refuse)
    steps: list[sweep.Step] = []
    again = _again(settings, first, tmp_path)
    second = sweep.run([sample], again, on_step=steps.append)
    assert second.points == first.points
    assert second.left_out == ()
    assert [(s.done, s.total) for s in steps if s.phase == "kept"] == [(5, 5)]
    assert second.kept[0].startswith("5 points of earlier.json: ")
    assert first.machine.commit in second.kept[0]
    # The cache has them now, and does without the file.
    assert sweep.run([sample], replace(again, keep=None)).points == first.points


def test_what_the_run_does_not_measure_is_given_back(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep.run([sample], settings)
    monkeypatch.setattr(anchors, "encode", refuse)
    again = _again(settings, first, tmp_path, codecs=("vp9",))
    second = sweep.run([sample], again)
    assert sorted(second.points, key=str) == sorted(first.points, key=str)
    assert [p.codec for p in second.points] == ["vp9"] * 2 + ["x264"] * 3
    assert second.left_out == ()


def _changed(results: Results, codec: str, **change: Any) -> Results:
    return replace(
        results, points=tuple(replace(p, **change) if p.codec == codec else p for p in results.points)
    )


def _reasons(results: Results) -> list[tuple[str, str, str]]:
    return [(item.clip, item.codec, item.reason) for item in results.left_out]


def test_what_does_not_hold_is_made_again_or_dropped(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path
) -> None:
    first = sweep.run([sample], settings)
    stale = _changed(first, "x264", key="stale")
    made = sweep.run([sample], _again(settings, stale, tmp_path))
    assert [(p.setting, p.key) for p in made.points] == [(p.setting, p.key) for p in first.points]
    assert made.kept[0].startswith("2 points of")
    assert made.left_out == ()
    other = sweep.run([sample], _again(settings, stale, tmp_path, codecs=("vp9",)))
    assert {p.codec for p in other.points} == {"vp9"}
    (gone,) = _reasons(other)
    assert gone[:2] == ("", "x264")
    assert gone[2].startswith("3 earlier points were dropped: made of other frames")


def test_other_settings_clips_and_codecs_are_dropped_by_name(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path
) -> None:
    first = sweep.run([sample], settings)
    x264, vp9 = (next(p for p in first.points if p.codec == name) for name in ("x264", "vp9"))
    strange = (replace(x264, setting="crf 50"), replace(vp9, codec="h120"), replace(x264, clip="elsewhere"))
    second = sweep.run([sample], _again(settings, replace(first, points=strange), tmp_path))
    assert second.points[0].quality == first.points[0].quality
    assert [(clip, codec, reason.rsplit(": ", 1)[1]) for clip, codec, reason in _reasons(second)] == [
        ("", "x264", "this run does not have the setting"),
        ("", "h120", "this program has no such codec or setting"),
        ("", "", "this run does not have the clip"),
    ]


def test_deep_measures_are_taken_by_their_own_key(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(jobs_module, "DEEP_RULE", 1)
        first = sweep.run([sample], settings)
    monkeypatch.setattr(Judge, "measure", refuse)
    measured: list[object] = []

    def measure_deep(self: Judge, decoded: object) -> dict[str, float | None]:
        measured.append(decoded)
        return {"lpips_vgg": 0.25, "dists": None}

    monkeypatch.setattr(Judge, "measure_deep", measure_deep)
    second = sweep.run([sample], _again(settings, first, tmp_path, codecs=("vp9",)))
    assert len(measured) == 2  # the streams are gone, so these two are coded again
    vp9 = [p for p in second.points if p.codec == "vp9"]
    assert [(p.quality.lpips_vgg, p.quality.dists) for p in vp9] == [(0.25, None)] * 2
    assert [p.cost for p in vp9] == [p.cost for p in first.points if p.codec == "vp9"]
    x264 = [p for p in second.points if p.codec == "x264"]
    assert [(p.quality.lpips_vgg, p.deep_key) for p in x264] == [(None, "")] * 3
    assert _reasons(second) == [("", "x264", "3 earlier points have no LPIPS-vgg and DISTS of these frames")]
    # Results of a program that did not say how it sampled have no deep key.
    unsaid = _changed(first, "x264", deep_key="")
    change = {"codecs": ("x264",), "cache": tmp_path / "third"}
    third = sweep.run([sample], _again(settings, unsaid, tmp_path, **change))
    assert len(measured) == 5
    assert {p.quality.lpips_vgg for p in third.points if p.codec == "x264"} == {0.25}


def test_curves_of_this_codec_hold_while_its_code_and_weights_do(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep.run([sample], settings)
    monkeypatch.setattr(own, "stream_key", lambda *args: "code")
    monkeypatch.setattr(own, "picture_key", lambda curve: curve)
    monkeypatch.setattr(anchors, "encode", refuse)

    def ours(curve: str) -> RatePoint:
        point = replace(first.points[0], codec=curve, scale=1, setting="quality 60")
        how = jobs_module.Measuring(tmp_path, settings.sampling, ("lpips_vgg", "dists"))
        clip = sweep.prepare(sample, settings.cache)
        job = jobs_module.job_of(curve, 1, "quality 60", clip)
        assert job is not None
        key = jobs_module.point_key(job, curve, how.shallow)
        return replace(point, key=key, deep_key=jobs_module.deep_key(job, curve, how))

    made = replace(first, points=(*first.points, *(ours(curve) for curve in own.CURVES)))
    kept = sweep.run([sample], _again(settings, made, tmp_path))
    assert {p.codec for p in kept.points} == {"x264", "vp9", *own.CURVES}
    monkeypatch.setattr(own, "picture_key", lambda curve: curve if curve == own.STILL else "new weights")
    less = sweep.run([sample], _again(settings, made, tmp_path))
    assert {p.codec for p in less.points} == {"x264", "vp9", own.STILL}
    assert [codec for _, codec, _ in _reasons(less)] == [own.OWN, own.WARP]


def test_a_file_that_is_no_results_is_named(
    sample: Sequence, settings: sweep.Settings, tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(MediaError, match="holds no results"):
        sweep.run([sample], replace(settings, keep=tmp_path / "r.json"))
