"""Hulls over resolutions, means over clips, and comparisons over clips."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from facecodec.benchmark.compare import compare
from facecodec.benchmark.curves import codecs_of, curve_of, mean_curve, mean_points, upper_hull
from facecodec.benchmark.leads import Ahead, ahead, where_ahead
from facecodec.benchmark.measures import SHOWN, measure_of
from facecodec.benchmark.quality import MEASURES
from facecodec.benchmark.results import Results
from facecodec.benchmark.tables import verdict_cell
from facecodec.benchmark.wording import by_group, headline, missing_reference, statements
from facecodec.metrics.bdrate import Curve, bd_rate
from tests.benchmark.synthetic import make_results

pytest.importorskip("bjontegaard")

LPIPS, PSNR = measure_of("lpips"), measure_of("psnr")


def test_a_hull_by_hand() -> None:
    # (4, 6) is cheaper and better than (5, 5). (2, 2.4) lies under the line from (1, 2) to (4, 6), which is
    # at 3.33 there; (8, 7.5) lies over the one from (4, 6) to (16, 8).
    rates, quality = (1.0, 2.0, 4.0, 5.0, 8.0, 16.0), (2.0, 2.4, 6.0, 5.0, 7.5, 8.0)
    hull = upper_hull(rates, quality)
    assert hull.kbps == (1.0, 4.0, 8.0, 16.0)
    assert hull.quality == (2.0, 6.0, 7.5, 8.0)
    assert hull.measured == 6
    down = upper_hull(rates, [-q for q in quality], lower_is_better=True)
    assert down == hull


def test_the_rate_is_linear_in_the_hull() -> None:
    # Quality that grows with the logarithm of the rate is strictly concave over the rate: every point stays.
    # Over the logarithm all of them lie on one line, and noise would throw half of them out.
    rates = 2.0 ** np.arange(6)
    noisy = np.log2(rates) + np.array([0.0, -0.02, 0.02, -0.02, 0.02, 0.0])
    assert upper_hull(rates, noisy).kbps == tuple(rates)


def test_a_hull_over_resolutions_takes_the_best_of_each() -> None:
    results = make_results(1)
    own = [p for p in results.points if p.codec == "x264"]
    for measure in (PSNR, LPIPS):
        curve = curve_of(own, measure)
        scales = [next(p.scale for p in own if p.kbps == k) for k in curve.kbps]
        assert scales[0] == 4
        assert scales[-1] == 1
        sign = 1 if measure.higher_is_better else -1
        for point in own:  # nothing lies above it
            value = sign * measure.of(point.quality)
            assert value <= np.interp(point.kbps, curve.kbps, curve.quality) + 1e-12


def test_means_are_over_settings_that_all_clips_have() -> None:
    results = make_results(2)
    first = next(p for p in results.points if p.codec == "x264" and p.scale == 1)
    rest = tuple(p for p in results.points if p is not first)
    points = mean_points(replace(results, points=rest), (PSNR, LPIPS))

    there = {(p.codec, p.scale, p.setting) for p in points}
    assert ("x264", 1, first.setting) not in there
    assert ("x264", 2, first.setting) in there
    ours = next(p for p in points if p.setting == "quality 60")
    both = [p for p in results.points if p.setting == "quality 60"]
    assert ours.kbps == pytest.approx((both[0].kbps + both[1].kbps) / 2)
    assert ours.values[0] == pytest.approx((both[0].quality.psnr + both[1].quality.psnr) / 2)
    curve = mean_curve([p for p in points if p.codec == "facecodec"], PSNR, (PSNR, LPIPS))
    assert curve.measured == 5


def test_a_clip_without_a_measure_takes_it_from_the_mean() -> None:
    results = make_results(2)
    first = results.points[0]
    lost = replace(first, quality=replace(first.quality, lpips=None))
    points = mean_points(replace(results, points=(lost, *results.points[1:])), (PSNR, LPIPS))
    found = next(p for p in points if (p.codec, p.scale, p.setting) == (first.codec, 1, first.setting))
    assert math.isnan(found.values[1])
    assert math.isfinite(found.values[0])


def test_every_shown_measure_is_a_field_of_quality_and_no_other_is_forgotten() -> None:
    assert {m.field for m in SHOWN} == set(MEASURES) - {"faces"}


@pytest.fixture(scope="module")
def run() -> Results:
    return make_results(3)


def test_what_codecs_are_compared_in(run: Results) -> None:
    found = {(c.anchor, c.measure.field): c for c in compare(run)}
    assert len(found) == 5 * len(SHOWN)
    good = found["x264-ld", "lpips"]
    assert good.pchip is not None
    assert good.pchip < -50
    assert good.interval is not None
    assert good.interval[0] < good.pchip < good.interval[1] < 0
    assert (good.verdict, good.used, good.clips) == ("win", 3, 3)
    assert found["vvenc", "psnr"].verdict == "loss"


def test_the_mean_over_clips_is_that_of_the_logarithms(run: Results) -> None:
    singles = []
    for clip in ("clip_0", "clip_1", "clip_2"):
        one = replace(run, points=tuple(p for p in run.points if p.clip == clip))
        (found,) = [c for c in compare(one, (LPIPS,)) if c.anchor == "svt-av1"]
        assert found.interval is None
        assert found.pchip is not None
        assert found.verdict == "win"
        singles.append(math.log(1 + found.pchip / 100))
    (all_three,) = [c for c in compare(run, (LPIPS,)) if c.anchor == "svt-av1"]
    assert all_three.pchip == pytest.approx(100 * (math.exp(np.mean(singles)) - 1))


def test_refused_comparisons_say_how_many_times_the_bits(run: Results) -> None:
    # The anchor starts where facecodec ends: its floor is better than facecodec's best.
    floor = [p for p in run.points if p.codec == "svt-av1" and p.scale == 1]
    ours = [p for p in run.points if p.codec == "facecodec"]
    better = [replace(p, quality=replace(p.quality, psnr=p.quality.psnr + 10)) for p in floor]
    (found,) = compare(replace(run, points=(*better, *ours)), (PSNR,))
    assert found.pchip is None
    assert found.verdict == "loss"  # and its floor is cheaper than facecodec's best point
    cheap = [replace(p, kbps=3 * p.kbps) for p in better]
    (found,) = compare(replace(run, points=(*cheap, *ours)), (PSNR,))
    assert found.verdict == "floor"
    first, last = (min(cheap, key=lambda p: p.kbps), max(ours, key=lambda p: p.kbps))
    assert first.clip == "clip_0"
    expected = 3 * 9.5 / (4.4 * 1.22**4)  # both grow alike from clip to clip
    assert found.factor == pytest.approx(expected)
    assert last.kbps > 0
    worse = [replace(p, quality=replace(p.quality, psnr=p.quality.psnr - 40)) for p in floor]
    (found,) = compare(replace(run, points=(*worse, *ours)), (PSNR,))
    assert (found.verdict, found.unmatched, found.factor) == ("win", 3, None)


def test_words_follow_the_data(run: Results) -> None:
    found = compare(run)
    said = headline(run, found)
    wins, losses = (sum(c.verdict == v for c in found) for v in ("win", "loss"))
    assert f"fewer bits for equal quality in {wins} of {len(found)} comparisons, more in {losses}" in said
    assert any(line.startswith("Fidelity: 25 lost of 25") for line in by_group(found))
    (x264,) = [s for s in statements(found) if s.anchor == "x264"]
    assert "LPIPS \u2212" in x264.wins
    assert "PSNR +" in x264.losses


def test_this_codec_s_own_baselines_are_counted_apart(run: Results) -> None:
    own = [p for p in run.points if p.codec == "facecodec"]
    still = [replace(p, codec="still", kbps=2 * p.kbps) for p in own]
    both = replace(run, points=(*still, *run.points))
    found = compare(both)
    assert [c.anchor for c in found][-1] == "still"
    assert "still" not in {c.anchor for c in found[: -len(SHOWN)]}
    said, before = headline(both, found), headline(run, compare(run))
    codecs, rest = said.split(" Against baselines made of its own streams (still): ")
    assert before.startswith(codecs)
    assert f"fewer bits for equal quality in {len(SHOWN)} of {len(SHOWN)} comparisons, more in 0." in rest
    assert by_group(found) == by_group(compare(run))
    assert [s.anchor for s in statements(found)][-1] == "still"
    alone = replace(run, points=(*still, *own))
    assert headline(alone, compare(alone)).startswith(
        "facecodec on 3 clips in 19 measures. Against baselines"
    )


@pytest.mark.parametrize(
    ("anchor", "wanted"),
    [
        (((1.0, 0.0), (4.0, 6.0)), [(2.0, None)]),  # 2 (r - 1) meets the corner
        (((1.0, 2.0), (5.0, 2.5)), [(1.0, 3.0)]),  # 2 + (r - 1) / 8 meets 2 + (r - 2) / 4
        (((3.0, 1.0), (3.5, 1.5)), []),
        (((3.0, 2.9), (9.0, 4.0)), [(3.0, None)]),  # from its cheapest point on
        (((5.0, 9.0), (9.0, 9.5)), []),  # begins above the range
        (((0.5, 1.5),), [(1.0, 1.5)]),  # keeps the quality of its best point
    ],
)
def test_hulls_cross_where_their_lines_do(
    anchor: tuple[tuple[float, float], ...], wanted: list[tuple[float, float | None]]
) -> None:
    reference = Curve((1.0, 2.0, 4.0), (1.0, 2.0, 2.5), 3)
    found = ahead(Curve(tuple(p[0] for p in anchor), tuple(p[1] for p in anchor), len(anchor)), reference)
    assert len(found) == len(wanted)
    for (begin, end), (low, high) in zip(found, wanted, strict=True):
        assert begin == pytest.approx(low)
        assert end == (None if high is None else pytest.approx(high))


def test_where_other_codecs_are_ahead_is_said(run: Results) -> None:
    def said(*moves: tuple[str, float]) -> Ahead:
        """Curves that are facecodec's own, with another PSNR."""
        own = [p for p in run.points if p.codec == "facecodec"]
        points = list(own)
        for name, step in moves:
            better = [
                replace(p, codec=name, quality=replace(p.quality, psnr=p.quality.psnr + step)) for p in own
            ]
            points += better
        moved = replace(run, points=tuple(points))
        return where_ahead(moved, mean_points(moved, (PSNR, LPIPS)), (PSNR, LPIPS))

    lowest = sum(p.kbps for p in run.points if (p.codec, p.setting) == ("facecodec", "quality 20")) / 3
    found = said(("x264", 1.0), ("vvenc", -1.0), ("still", 2.0))
    assert found.lines == (f"PSNR: x264 is ahead from {lowest:.1f} kbit/s on.",)
    assert found.said.endswith("another codec is ahead somewhere in 1 of 2 measures, and none in LPIPS.")
    assert f"own range of {lowest:.1f} to " in found.said
    none = said(("x264", -1.0), ("still", 2.0))
    assert none.lines == ()
    assert none.said.endswith("no other codec is ahead anywhere in 2 measures.")
    anchors = replace(run, points=tuple(p for p in run.points if p.codec != "facecodec"))
    assert where_ahead(anchors, mean_points(anchors, (PSNR,)), (PSNR,)).lines == ()


def test_runs_without_reference_or_anchors_say_so(run: Results) -> None:
    anchors = replace(run, points=tuple(p for p in run.points if p.codec != "facecodec"))
    assert compare(anchors) == ()
    assert "No point of facecodec" in missing_reference(anchors)
    alone = replace(run, points=tuple(p for p in run.points if p.codec == "facecodec"))
    assert codecs_of(alone) == ("facecodec",)
    assert "No anchor" in missing_reference(alone)
    assert missing_reference(run) == ""


def test_akima_is_named_where_it_swings_out(run: Results) -> None:
    (found,) = [c for c in compare(run, (LPIPS,)) if c.anchor == "x265"]
    assert found.pchip is not None
    assert "Akima" not in verdict_cell(replace(found, akima=found.pchip)).note
    swung = verdict_cell(replace(found, akima=found.pchip / 2))
    assert swung.text.endswith("%")
    assert "Akima \u2212" in swung.note
    # Four points of a measure that saturates: Akima leaves the measured rates, PCHIP does not.
    steep = Curve.of((5.0, 20.0, 40.0, 80.0), (0.5, 0.90, 0.91, 0.911))
    flat = Curve.of((10.0, 20.0, 40.0, 80.0), (0.5, 0.6, 0.7, 0.911))
    pchip = bd_rate(flat, steep).pchip
    assert pchip is not None
    assert 5 / 80 < 1 + pchip / 100 < 80 / 10


def test_one_clip_of_several_decides_nothing(run: Results) -> None:
    (found,) = [c for c in compare(run, (LPIPS,)) if c.anchor == "x265"]
    assert found.verdict == "win"
    assert replace(found, interval=None, used=1).verdict == "open"
    assert replace(found, interval=None, used=1, clips=1).verdict == "win"
    refused = replace(found, pchip=None, interval=None, factor=2.0, factor_interval=None)
    assert refused.verdict == "unknown"
    assert replace(refused, clips=1).verdict == "floor"
    assert replace(refused, factor_interval=(1.2, 3.0)).verdict == "floor"
    assert replace(refused, factor_interval=(0.8, 3.0)).verdict == "open"
    assert replace(refused, factor=0.5, factor_interval=(0.4, 0.6)).verdict == "loss"


def test_few_clips_are_said_to_say_little(run: Results) -> None:
    assert "So few clips" in headline(run, compare(run, (LPIPS,)))
    many = make_results(6)
    assert "So few clips" not in headline(many, compare(many, (LPIPS,)))
