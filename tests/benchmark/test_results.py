"""Results go to JSON and come back, and damaged ones are named."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from facecodec.benchmark.quality import MEASURES, Quality
from facecodec.benchmark.results import (
    BdRecord,
    Cost,
    LeftOut,
    Machine,
    PartBytes,
    RatePoint,
    Results,
    Sampled,
    load_results,
    save_results,
)
from facecodec.errors import MediaError


@pytest.fixture
def results():
    quality = Quality(**dict.fromkeys(MEASURES, 0.5) | {"lpips": None})
    cost = Cost(100.0, 200.0, 64.0, (("track", 8.0), ("code", 1.5)))
    common = {"width": 256, "height": 256, "fps": 25.0, "quality": quality, "cost": cost}
    made = {"command": "x264 --crf 35", "version": "x264 core 165", "key": "abc"}
    anchor = RatePoint("clip", "x264-ld", 2, "crf 35", 1234, 12.5, 10, **common, **made)
    ours = replace(
        anchor, codec="facecodec", scale=1, parts=PartBytes(reference=900, face=200), still_share=0.7
    )
    machine = Machine("a processor", 2, 1024, "Linux", "3.11", "2.13", "9.0", "abcdef")
    left_out = (LeftOut("b", "", "gone"),)
    more = {
        "kept": ("3 points of r.json",),
        "sampled": Sampled(10, 50, 2),
        "bd_rates": (BdRecord("x264-ld", "lpips", -12.5, -20.0, -3.0, (("clip", -12.5), ("b", None))),),
    }
    return Results("samples", "facecodec", (anchor, ours), left_out, machine, "2026-01-01", **more)


def test_results_come_back_as_they_were(results, tmp_path):
    save_results(results, tmp_path / "r.json")
    assert load_results(tmp_path / "r.json") == results


def test_what_is_not_a_number_comes_back_as_nan(results, tmp_path):
    first = results.points[0]
    lost = replace(first, quality=replace(first.quality, eyes=math.nan))
    save_results(replace(results, points=(lost,)), tmp_path / "r.json")
    assert "NaN" not in (tmp_path / "r.json").read_text()
    back = load_results(tmp_path / "r.json").points[0].quality
    assert math.isnan(back.eyes)
    assert back.lpips is None


def test_results_of_older_programs_are_read(results, tmp_path):
    path = tmp_path / "r.json"
    save_results(results, path)
    data = json.loads(path.read_text())
    for name in ("kept", "sampled", "bd_rates"):
        del data[name]
    for point in data["points"]:
        del point["deep_key"]
    path.write_text(json.dumps(data))
    older = replace(results, kept=(), sampled=None, bd_rates=())
    assert load_results(path) == older


@pytest.mark.parametrize("name", ["rd_test.json", "rd_test_512.json"])
def test_stored_results_are_read(name):
    stored = load_results(Path(__file__).parents[2] / "bench" / "results" / name)
    assert stored.reference == "facecodec"
    assert len({(p.clip, p.codec, p.scale, p.setting) for p in stored.points}) == len(stored.points) > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("schema"), "no results"),
        (lambda d: d.update(schema=99), "version 99"),
        (lambda d: d.pop("machine"), "machine"),
        (lambda d: d["points"][1].pop("kbps"), "points.*kbps"),
        (lambda d: d["points"][0].update(kbps="much"), r"points\[0\]\.kbps"),
        (lambda d: d["points"][0]["cost"].update(power=5), "power"),
        (lambda d: d.update(points={}), "points is no list"),
        (lambda d: d["points"][0]["cost"].update(stages_ms=[["track"]]), "1 entries instead of 2"),
    ],
)
def test_damaged_results_are_named(results, tmp_path, change, message):
    path = tmp_path / "r.json"
    save_results(results, path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(MediaError, match=message) as err:
        load_results(path)
    assert str(path) in str(err.value)


def test_files_that_are_no_json_or_absent_are_named(tmp_path):
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(MediaError, match="no JSON"):
        load_results(tmp_path / "r.json")
    with pytest.raises(MediaError, match="no such file"):
        load_results(tmp_path / "absent.json")
