"""A small run as a page, as Markdown, as CSV and as plots."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facecodec.benchmark.compare import with_bd_rates
from facecodec.benchmark.previews import show_previews
from facecodec.benchmark.quality import MEASURES
from facecodec.benchmark.report import (
    SOURCE,
    Preview,
    ReportFiles,
    summary_markdown,
    write_report,
)
from facecodec.benchmark.results import LeftOut, Results, Sampled
from facecodec.benchmark.spreadsheets import points_csv
from facecodec.benchmark.svg import Line, Mark, Style, plot, rate_ticks, ticks
from facecodec.benchmark.tables import share_table, speed_table
from facecodec.errors import ConfigError, MediaError, ShapeError
from tests.benchmark.synthetic import make_results

pytest.importorskip("bjontegaard")
pytest.importorskip("matplotlib")

HOSTILE = "<script>alert('x')</script>|`a`"
KEPT = {"lpips", "eyes", "psnr"}


class Page(HTMLParser):
    """Collects what a test asks of a page, and whether its tags are closed in order."""

    VOID = {"meta", "img", "br", "line", "circle", "polyline"}

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.cells = 0
        self.ids: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        self.cells += tag == "td"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def _few(results: Results) -> Results:
    """Three measures alone: plots take time."""
    gone = {m: None for m in MEASURES if m not in KEPT}
    points = tuple(replace(p, quality=replace(p.quality, **gone)) for p in results.points)
    return replace(results, points=points)


def _clip(seed: int) -> np.ndarray:
    y, x = np.mgrid[0:48, 0:64]
    frames = [np.stack((3 * x + 5 * t, 4 * y, x + y + 30 * seed), -1) for t in range(8)]
    return np.stack(frames).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def run() -> Results:
    results = _few(make_results(2))
    points = tuple(replace(p, clip=HOSTILE) if p.clip == "clip_1" else p for p in results.points)
    left = (*results.left_out, LeftOut(HOSTILE, "", "<b>gone</b>"))
    kept, sampled = ("7 points of <i>r.json</i>",), Sampled(25, 50, 2)
    return replace(results, points=points, left_out=left, name=HOSTILE, kept=kept, sampled=sampled)


@pytest.fixture(scope="module")
def previews() -> list[Preview]:
    return [
        Preview("clip_0", "x265", 6.4, _clip(1)),
        Preview("clip_0", SOURCE, 0.0, _clip(0)),
        Preview("clip_0", HOSTILE, 6.0, _clip(2)),
    ]


@pytest.fixture(scope="module")
def files(run: Results, previews: list[Preview], tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return write_report(run, tmp_path_factory.mktemp("out") / "made" / "here", previews)


def test_the_page_is_whole_and_alone(files: ReportFiles) -> None:
    text = files.html.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert page._open == []
    for link in page.links:
        assert link.startswith(("#", "data:image/jpeg;base64,", "data:video/mp4;base64,")), link[:60]
        if link.startswith("#"):
            assert link[1:] in page.ids
    assert re.search(r"https?://|url\(|@import", text) is None
    assert len(page.ids) == len(set(page.ids))


def test_the_page_holds_every_table_and_plot(files: ReportFiles, run: Results) -> None:
    text = files.html.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    wanted = ["Where we win, where we lose", "BD-rate", "Where the bytes go", "Speed and memory", "Left out"]
    wanted += ["Stages of facecodec", "Commands and versions", "Machine", "All points, mean over clips"]
    for title in wanted:
        assert title in page.headings
    assert "script" not in page.tags
    # One plot for each measure: of the means, and of both clips.
    assert text.count('role="img"') == len(KEPT) * 3
    assert page.tags.count("tr") > len({(p.codec, p.scale, p.setting) for p in run.points})
    assert "overlap 100 %" in text
    assert "0123456789ab" in text
    assert "x264 --preset veryslow" in text
    assert re.search(r"<li>PSNR: \S+ is ahead from \d+\.\d kbit/s on", text)


def test_names_of_files_are_escaped_everywhere(files: ReportFiles) -> None:
    for path in (files.html, files.markdown):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<b>gone" not in text
    assert "&lt;script&gt;" in files.html.read_text(encoding="utf-8")
    rows = [line for line in files.markdown.read_text(encoding="utf-8").splitlines() if "gone" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 4  # three cells, whatever the name holds


def test_markdown_tables_have_rows_as_long_as_their_heads(files: ReportFiles) -> None:
    width = None
    for line in files.markdown.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            width = None
            continue
        columns = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, columns)
        width = columns


def test_points_come_back_from_csv(files: ReportFiles, run: Results) -> None:
    with files.points_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.points)
    for row, point in zip(rows, run.points, strict=True):
        assert (row["clip"], row["codec"], row["setting"]) == (point.clip, point.codec, point.setting)
        assert float(row["kbps"]) == point.kbps
        assert float(row["psnr"]) == point.quality.psnr
        assert int(row["bytes_reference"]) == point.parts.reference
        assert row["vmaf"] == ""
        assert row["command"] == point.command


def test_what_is_not_a_number_is_an_empty_cell(run: Results) -> None:
    point = run.points[0]
    odd = replace(point, quality=replace(point.quality, eyes=float("nan")))
    (row,) = csv.DictReader(io.StringIO(points_csv([odd])))
    assert row["eyes"] == ""


def test_comparisons_are_in_a_csv_too(files: ReportFiles) -> None:
    with files.bd_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * len(KEPT)
    for row in rows:
        if row["pchip"]:
            assert float(row["low"]) <= float(row["pchip"]) <= float(row["high"])
        else:
            assert row["reason"]


def test_comparisons_of_clips_are_in_a_csv_and_in_stored_results(files: ReportFiles, run: Results) -> None:
    with files.clips_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * len(KEPT)
    stored = with_bd_rates(run).bd_rates
    assert len(stored) == 5 * len(KEPT)
    by_place = {(row["anchor"], row["measure"], row["clip"]): row for row in rows}
    for record in stored:
        assert [clip for clip, _ in record.clips] == ["clip_0", HOSTILE]
        for clip, value in record.clips:
            row = by_place[record.anchor, record.measure, clip]
            assert row["pchip"] == ("" if value is None else str(value))
            assert bool(row["reason"]) == (value is None)
        there = [1 + value / 100 for _, value in record.clips if value is not None]
        if record.mean is not None:
            assert record.mean == pytest.approx(100 * (math.prod(there) ** (1 / len(there)) - 1))
            assert record.low is not None
            assert record.low <= record.mean
    assert any(record.mean is not None for record in stored)


def test_the_machine_and_the_way_of_measuring_are_in_every_form(files: ReportFiles) -> None:
    with files.machine_csv.open(newline="", encoding="utf-8") as file:
        facts = {row["fact"]: row["value"] for row in csv.DictReader(file)}
    assert facts["processor"] == "a processor"
    assert facts["commit"] == "0123456789ab"
    assert facts["kept of an earlier run"] == "7 points of <i>r.json</i>"
    for text in (facts["sampling"], files.markdown.read_text("utf-8"), files.html.read_text("utf-8")):
        assert "identity: frames 0, 25, 50, ...; LPIPS-vgg, DISTS: the middle of every stretch of 50" in text


def test_plots_are_pictures(files: ReportFiles) -> None:
    assert sorted(p.name for p in files.plots) == ["all.png", "eyes.png", "lpips.png", "psnr.png"]
    for path in files.plots:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert len(np.unique(picture.astype(int) @ (1, 256, 65536))) > 50


def test_previews_are_pictures_and_a_video(previews: list[Preview]) -> None:
    (shown,) = show_previews(previews)
    assert [s.caption for s in shown.strips] == ["source", "x265, 6.4 kbit/s", f"{HOSTILE}, 6.0 kbit/s"]
    kind, data = shown.strips[0].uri.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    strip = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert strip is not None
    assert strip.shape == (48, 64 * len(shown.moments), 3)
    source = previews[1].frames[round(shown.moments[0] * 25)]
    assert np.abs(strip[:, :64, ::-1].astype(int) - source).mean() < 4
    video = io.BytesIO(base64.b64decode(shown.video_uri.split(",", 1)[1]))
    with av.open(video) as container:
        frames = list(container.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (8, 3 * 64, 48)


def test_previews_of_unlike_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match="preview of c by x264"):
        show_previews([Preview("c", SOURCE, 0, _clip(0)), Preview("c", "x264", 5, _clip(0)[:, :40])])
    with pytest.raises(ShapeError, match="uint8"):
        Preview("c", "x264", 5, _clip(0).astype(np.float32))


def test_a_run_without_anchors_or_points_is_reported_all_the_same(run: Results, tmp_path: Path) -> None:
    alone = replace(run, points=tuple(p for p in run.points if p.codec == "facecodec"))
    page = write_report(alone, tmp_path / "alone").html.read_text(encoding="utf-8")
    assert "No anchor was measured" in page
    none = write_report(replace(run, points=()), tmp_path / "none")
    assert none.plots == ()
    assert "No point of facecodec" in none.markdown.read_text(encoding="utf-8")
    assert "gone" in none.html.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_named(run: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MediaError, match="file"):
        write_report(run, tmp_path / "file" / "out")


def test_the_summary_for_a_readme(run: Results, tmp_path: Path) -> None:
    text = summary_markdown(run, ("lpips", "psnr"), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()
    assert "| LPIPS-alex |" in text
    assert "eye openness" not in text
    assert "overlap" in text
    assert "Left out: 3" in text
    assert "| facecodec | 34.0 | 272 | 1.36 | 11 | 334 |" in text
    assert "Stages of facecodec, ms a frame: track 9.50, scene 6.25, code 1.50." in text
    assert re.search(r"^\* PSNR: \S+ is ahead from \d+\.\d kbit/s on", text, re.MULTILINE)


def test_what_costs_nothing_to_decode_has_a_dash(run: Results) -> None:
    free = [replace(p, codec="still", cost=replace(p.cost, decode_fps=float("nan"))) for p in run.points[-5:]]
    rows = {row[0].text: [c.text for c in row] for row in speed_table(replace(run, points=tuple(free))).rows}
    assert rows["still"][2:5:2] == ["-", "-"]
    assert rows["still"][1] == "34.0"
    assert rows["still"][3] == "1.36"


def test_shares_of_the_bytes_sum_to_all(run: Results) -> None:
    rows = share_table(run).rows
    ours = [c.text for c in next(r for r in rows if r[0].text == "facecodec, quality 60, 10 s")]
    assert ours[3] == "62.0 %"
    assert sum(float(c.removesuffix(" %")) for c in ours[3:] if c != "-") == pytest.approx(100, abs=0.3)
    x264 = next(r for r in rows if r[0].text == "x264, crf 51, 10 s")
    assert x264[3].text == "30.0 %"


def test_ticks_are_round() -> None:
    assert ticks(0.13, 0.49) == pytest.approx([0.2, 0.3, 0.4])
    assert rate_ticks(4.0, 60.0) == [5, 10, 20, 50]
    assert ticks(1.0, 1.0) == [1.0]


def test_a_plot_places_more_bits_to_the_right_and_larger_values_above() -> None:
    marks = tuple(Mark(k, v, "a") for k, v in ((1.0, 20.0), (10.0, 30.0), (100.0, 40.0)))
    svg = plot("PSNR", [Line("c", Style("#000", "", 1.0), marks)], higher_is_better=True)
    found = re.search(r'points="([^"]+)"', svg)
    assert found is not None
    places = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.15)
    assert places[0][1] > places[1][1] > places[2][1]
    assert plot("PSNR", [], higher_is_better=True) == ""


def test_an_absent_package_is_named(run: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facecodec.benchmark.sweep import Settings
    from facecodec.cli.bench import _report

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError, match=r"jinja2.*facecodec\[bench\]"):
        _report(run, [], Settings("set", tmp_path / "cache"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
