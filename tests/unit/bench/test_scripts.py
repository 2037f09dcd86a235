"""What the benchmark's scripts do besides coding: lists, pairing, averages, tables, choices."""

import argparse
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facecodec.errors import ConfigError, MediaError
from facecodec.types import Frame


def frames_at(times_ms, size=8, value=0):
    pixels = np.full((size, size, 3), value, np.uint8)
    return [Frame(pixels, t, Fraction(1, 1000)) for t in times_ms]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        (tmp_path / "a" / name).write_bytes(b"x")
    rows = "a/one.mp4,test\na/two.mp4,train\na/three.mp4,test\n"
    (tmp_path / "manifest.csv").write_text("file,split\n" + rows)
    return tmp_path


def test_the_manifest_gives_the_clips_of_a_split(dataset):
    from clips import read_manifest

    assert [c.name for c in read_manifest(dataset)] == ["one", "three"]
    assert [c.name for c in read_manifest(dataset, split="all")] == ["one", "two", "three"]
    assert [c.path for c in read_manifest(dataset, only=["three"])] == [dataset / "a" / "three.mp4"]


def test_a_wrong_manifest_or_choice_is_named(dataset, tmp_path):
    from clips import read_manifest

    with pytest.raises(ConfigError, match="one, three"):
        read_manifest(dataset, only=["two"])
    with pytest.raises(ConfigError, match="split"):
        read_manifest(dataset, split="val")
    (dataset / "a" / "three.mp4").unlink()
    with pytest.raises(MediaError, match=r"three\.mp4"):
        read_manifest(dataset)
    (tmp_path / "other.csv").write_text("name\nx\n")
    with pytest.raises(MediaError, match="'file' and 'split'"):
        read_manifest(dataset, tmp_path / "other.csv")
    with pytest.raises(MediaError, match=r"absent\.csv"):
        read_manifest(dataset, tmp_path / "absent.csv")


def test_source_and_stream_are_put_side_by_side(monkeypatch, tmp_path):
    import clips

    times = [0, 40, 80, 120]
    monkeypatch.setattr(clips.api, "decode_frames", lambda *a: iter(frames_at(times, value=2)), raising=False)
    late = [t + 1000 for t in [*times, 160]]
    monkeypatch.setattr(clips.api, "source_crops", lambda *a: iter(frames_at(late, value=1)), raising=False)
    monkeypatch.setattr(
        clips.api, "reference_crops", lambda *a: iter(frames_at(times, value=3)), raising=False
    )
    coded = clips.load_coded(Path("a.mp4"), Path("a.fcv"))
    assert coded.fps == pytest.approx(25.0)
    assert [int(lane.mean()) for lane in (coded.source, coded.decoded, coded.still)] == [1, 2, 3]
    assert coded.source.shape == (4, 8, 8, 3)
    assert len(clips.load_coded(Path("a.mp4"), Path("a.fcv"), 3).decoded) == 3


@pytest.mark.parametrize("times", [[0, 40, 80], [0, 40, 120, 160]])
def test_frames_that_do_not_belong_together_are_refused(monkeypatch, times):
    import clips

    monkeypatch.setattr(
        clips.api, "decode_frames", lambda *a: iter(frames_at([0, 40, 80, 120])), raising=False
    )
    monkeypatch.setattr(clips.api, "source_crops", lambda *a: iter(frames_at(times)), raising=False)
    monkeypatch.setattr(
        clips.api, "reference_crops", lambda *a: iter(frames_at([0, 40, 80, 120])), raising=False
    )
    with pytest.raises(MediaError, match="frame"):
        clips.load_coded(Path("a.mp4"), Path("a.fcv"))


def test_results_hold_no_nan_and_means_leave_gaps_out(tmp_path):
    from report import cell, markdown_table, mean, write_json

    write_json(
        tmp_path / "sub" / "x.json", {"a": math.nan, "b": [np.float32(1.5), math.inf], "c": Path("x").name}
    )
    assert json.loads((tmp_path / "sub" / "x.json").read_text()) == {"a": None, "b": [1.5, None], "c": "x"}
    assert mean([1.0, None, math.nan, 3.0]) == 2.0
    assert mean([None]) is None
    assert (cell(1.234, 2), cell(None, 2), cell(math.nan, 1)) == ("1.23", "-", "-")
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n|---|---:|\n| x | 1 |\n"


def test_facts_name_machine_versions_and_commit():
    from report import code_digest, facts

    found = facts()
    assert {"commit", "cpu", "cores", "torch", "av", "python"} <= found.keys()
    assert found["code"] == code_digest()
    json.dumps(found)


def test_percentiles_leave_the_warm_up_out():
    from speed import percentiles

    found = percentiles([1.0, 0.002, 0.002, 0.004], frames=8)
    assert found["median_ms"] == pytest.approx(2.0)
    assert found["p95_ms"] == pytest.approx(3.8)
    assert found["ms_per_frame"] == pytest.approx(126.0)
    assert found["calls"] == 4
    assert percentiles([0.5], frames=1)["median_ms"] == pytest.approx(500.0)


def test_worst_frames_lie_apart():
    from tiles import worst_frames

    source = np.zeros((20, 2, 2, 3), np.uint8)
    decoded = source.copy()
    for index, error in ((5, 90), (6, 80), (15, 70), (0, 10)):
        decoded[index] = error
    assert worst_frames(source, decoded, 3, apart=4) == [5, 15, 0]


def test_tiles_are_laid_out_in_rows():
    from tiles import LABEL_PX, MARGIN_PX, tile

    source = np.full((3, 16, 20, 3), 100, np.uint8)
    shown = {"still": source + np.uint8(50), "decoded": source + np.uint8(5)}
    sheet = np.asarray(tile(source, shown, {0: "first", 2: "last"}, 25.0))
    assert sheet.shape == (LABEL_PX + 2 * 16, MARGIN_PX + 4 * 20, 3)
    row = sheet[LABEL_PX + 8, MARGIN_PX + 10 :: 20, 0]
    assert row.tolist() == [100, 150, 105, 20]
    plain = np.asarray(tile(source, shown, {1: ""}, 25.0, difference=False))
    assert plain.shape == (LABEL_PX + 16, MARGIN_PX + 3 * 20, 3)


def test_moments_are_the_most_telling_frames(monkeypatch):
    import tiles

    track = np.zeros((6, 478, 3), np.float32)
    track[4] = np.nan
    eyes = np.array([0.3, 0.3, 0.05, 0.3, np.nan, 0.3])
    mouth = np.array([0.1, 0.7, 0.1, 0.1, np.nan, 0.2])
    yaws = iter([0.0, 0.1, 0.0, 0.0, 0.9])
    monkeypatch.setattr(tiles, "openness", lambda track: (eyes, mouth))
    monkeypatch.setattr(tiles, "frontalness", lambda mesh: SimpleNamespace(yaw=next(yaws), pitch=0.0))
    assert tiles.moments(track) == {1: "mouth open most", 2: "eyes closed most", 5: "turned most"}
    monkeypatch.setattr(tiles, "openness", lambda track: (np.full(6, np.nan), np.full(6, np.nan)))
    assert tiles.moments(track) == {}


def test_motion_rd_means_over_clips():
    from motion_rd import mean_curve

    curves = [
        {
            "curve": [
                {"qp": 24, "bits_per_frame": b, "rms_px": r},
                {"qp": 30, "bits_per_frame": b / 2, "rms_px": 2 * r},
            ]
        }
        for b, r in ((40.0, 0.4), (60.0, 0.2))
    ]
    found = mean_curve(curves)
    assert [p["qp"] for p in found] == [24, 30]
    assert found[0]["bits_per_frame"] == pytest.approx(50.0)
    assert found[1]["rms_px"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        ("motion_rd", ["--data", "x", "--out", "y.json", "--qp", "24,99"]),
        ("motion_rd", ["--data", "x", "--out", "y.json", "--qp", "fine"]),
        ("generators", ["--data", "x", "--out", "y.json", "--lpips-every", "0"]),
        ("generators", ["--data", "x", "--out", "y.json", "--deep-every", "-1"]),
        ("generators", ["--data", "x", "--out", "y.json", "--references", "1,5"]),
        ("generators", ["--data", "x", "--out", "y.json", "--references", "two"]),
        ("generators", ["--data", "x", "--out", "y.json", "--jobs", "0"]),
        ("ablate", ["--val", "x", "--out", "y.json"]),
        ("ablate", ["--val", "x", "--out", "y.json", "--data", "z", "--arms", "no-eyes"]),
        ("ablate", ["--val", "x", "--out", "y.json", "--switch", "z", "--arms", "no-temporal-critic"]),
        ("speed", ["clip.mp4", "--out", "y.json", "--frames", "1"]),
        ("tiles", ["a.mp4", "a.fcv", "--out", "y.png", "--frames", "1,b"]),
        ("tiles", ["a.mp4", "--out", "y.png"]),
        ("tiles", ["a.mp4", "a.fcv", "--data", "x", "--out", "y"]),
    ],
)
def test_wrong_arguments_end_with_usage(script, argv, capsys):
    import importlib

    with pytest.raises(SystemExit) as stop:
        importlib.import_module(script).parse_args(argv)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_steps_are_checked():
    from evaluate import sampling

    from facecodec.benchmark.quality import Sampling

    assert sampling(argparse.Namespace(lpips_every=2, deep_every=0)) == Sampling(2, 0)
    with pytest.raises(ValueError, match="lpips-every"):
        sampling(argparse.Namespace(lpips_every=0, deep_every=0))


def test_a_curve_is_monotone_where_bytes_rise_and_distance_never_does():
    from lever import is_monotone, table

    curve = [
        {"quality": q, "kbps": r, "references": 1, "distance": d} for q, r, d in ((10, 1, 0.2), (55, 2, 0.1))
    ]
    assert is_monotone(curve)
    assert not is_monotone(curve[::-1])
    assert not is_monotone([curve[0], curve[1] | {"distance": 0.21}])
    assert not is_monotone([curve[0], curve[1] | {"kbps": 1}])
    text = table([{"clip": "one", "curve": curve, "monotone": True}])
    assert "| one | 55 | 2.00 | 1 | 0.1000 | yes |" in text
    assert "lpips" not in text


def test_a_clip_that_fails_is_named_and_the_others_go_on(dataset):
    from clips import each_clip, read_manifest
    from rich.console import Console

    def measure(clip):
        if clip.name == "one":
            raise MediaError(clip.path, "no face")
        return {"clip": clip.name}

    console = Console(record=True, width=200)
    lines, failed = each_clip(read_manifest(dataset), measure, lambda line: line["clip"].upper(), console)
    assert lines == [{"clip": "three"}]
    assert [line["clip"] for line in failed] == ["one"]
    assert "no face" in failed[0]["failed"]
    assert "three: THREE" in console.export_text()


def test_runs_over_other_lengths_and_sizes_are_a_line_each():
    from readme import more_table

    from facecodec.benchmark.results import load_results

    run = load_results(Path(__file__).parents[3] / "bench" / "results" / "rd_test.json")
    long = replace(run, name="long", points=tuple(replace(p, frames=2 * p.frames) for p in run.points))
    head, _, first, second = [line.split("|")[1:-1] for line in more_table([run, long]).strip().splitlines()]
    named = dict(zip([cell.strip() for cell in head], zip(first, second, strict=True), strict=True))
    assert [cell.strip() for cell in named["set"]] == [f"`{run.name}`", "`long`"]
    assert len({cell.strip() for cell in named["clips"]}) == 1
    lengths = [cell.split() for cell in named["seconds"]]
    assert float(lengths[1][2]) == pytest.approx(2 * float(lengths[0][2]), abs=2)
    assert all(float(cell) < 0 for cell in named["BD-rate to x264, %"])
    without = replace(run, points=tuple(p for p in run.points if p.codec != run.reference))
    line = more_table([without]).strip().splitlines()[2].split("|")[1:-1]  # warp-0 shows the same streams
    assert [cell.strip() for cell in line[:6]] == [cell.strip() for cell in first[:6]]
    assert len(more_table([replace(run, points=())]).strip().splitlines()) == 2
