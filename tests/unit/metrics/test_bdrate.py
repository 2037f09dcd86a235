"""BD-rate, refusals, factors and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from facecodec.errors import ConfigError
from facecodec.metrics.bdrate import Curve, bd_rate, bootstrap_interval, cheapest_factor

pytest.importorskip("bjontegaard")

RATES = (8.0, 16.0, 32.0, 64.0, 128.0)
LADDER = (30.0, 33.0, 35.5, 37.0, 38.2)


def test_a_fifth_fewer_bits_everywhere_is_minus_twenty_per_cent() -> None:
    found = bd_rate(Curve.of(RATES, LADDER), Curve.of([0.8 * r for r in RATES], LADDER))

    assert found.akima == pytest.approx(-20.0)
    assert found.pchip == pytest.approx(-20.0)
    assert (found.overlap, found.union, found.reason) == (1.0, 1.0, "")


def test_lines_of_unequal_slope_agree_with_the_integral_by_hand() -> None:
    # log10 of the rate: anchor q, tested codec 2q - 0.5, over q in [0, 1]. The mean difference is that of
    # q - 0.5, which is 0; over [0, 0.75], where a shorter tested curve ends, it is -0.125.
    quality = np.linspace(0, 1, 5)
    anchor = Curve.of(10**quality, quality)
    steep = 10 ** (2 * quality - 0.5)

    assert bd_rate(anchor, Curve.of(steep, quality)).akima == pytest.approx(0.0, abs=1e-9)
    short = bd_rate(anchor, Curve.of(steep[:4], quality[:4]))
    for value in (short.akima, short.pchip):
        assert value == pytest.approx(100 * (10**-0.125 - 1))
    assert short.overlap == 1.0
    assert short.union == pytest.approx(0.75)


def test_points_of_a_published_chart_with_a_measure_where_lower_is_better() -> None:
    # LPIPS-VGG of DAC and VVC (VTM low delay) on VoxCeleb, as the GFVC repository's charts show them.
    dac = Curve.of([1.32, 1.63, 2.49, 4.90], [0.442, 0.310, 0.241, 0.216], lower_is_better=True)
    vvc = Curve.of([4.65, 7.35, 15.3, 31.6], [0.470, 0.343, 0.240, 0.166], lower_is_better=True)

    found = bd_rate(vvc, dac)

    assert found.akima == pytest.approx(-80, abs=1)
    assert found.overlap == pytest.approx(1.0)


def test_swapping_anchor_and_codec_inverts_the_ratio() -> None:
    one = Curve.of(RATES, LADDER)
    two = Curve.of((9.0, 14.0, 40.0, 55.0, 100.0), (30.0, 32.0, 35.0, 37.0, 38.2))
    there, back = bd_rate(one, two).pchip, bd_rate(two, one).pchip
    assert there is not None
    assert back is not None
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0)


def test_less_than_half_of_the_range_is_refused_with_the_overlap() -> None:
    anchor = Curve.of(RATES, (36.0, 38.0, 40.0, 42.0, 44.0))
    test = Curve.of(RATES, (30.0, 32.0, 34.0, 36.0, 40.0))

    found = bd_rate(anchor, test)

    assert found.akima is None
    assert found.pchip is None
    assert found.overlap == pytest.approx(0.4)
    assert "less than half" in found.reason
    assert "overlap 40 %" in str(found)


def test_an_anchor_that_cannot_go_so_low_costs_a_multiple() -> None:
    anchor = Curve.of((12.0, 20.0, 40.0, 80.0), (32.0, 34.0, 36.0, 38.0))
    test = Curve.of((2.0, 3.0, 4.0, 6.0), (27.0, 28.0, 29.0, 30.0))

    found = bd_rate(anchor, test)

    assert found.akima is None
    assert found.cheapest == pytest.approx(2.0)  # 12 kbit/s against the dearest point, 6
    assert "worst point is better" in found.reason


def test_the_factor_is_taken_at_the_best_point_that_the_anchor_matches() -> None:
    test = Curve.of((2.0, 4.0, 6.0), (0.5, 0.7, 0.9))
    assert cheapest_factor(Curve.of((10.0, 20.0, 30.0), (0.4, 0.6, 0.8)), test) == pytest.approx(30 / 4)
    assert cheapest_factor(Curve.of((10.0, 20.0), (0.1, 0.2)), test) is None
    assert cheapest_factor(Curve.of((3.0,), (0.95,)), test) == pytest.approx(0.5)


def test_too_few_points_are_refused() -> None:
    three = Curve.of((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    assert "3 measured points" in bd_rate(three, Curve.of(RATES, LADDER)).reason
    noise = Curve.of(RATES, (5.0, 4.0, 3.0, 6.0, 2.0))
    assert "2 of 5 points of the tested codec" in bd_rate(Curve.of(RATES, LADDER), noise).reason


def test_a_curve_drops_what_another_point_beats_and_what_is_not_measured() -> None:
    curve = Curve.of((4.0, 1.0, 2.0, 3.0, 5.0), (0.1, 0.4, 0.5, 0.3, math.nan), lower_is_better=True)
    assert curve == Curve((1.0, 3.0, 4.0), (-0.4, -0.3, -0.1), measured=4)


@pytest.mark.parametrize(
    ("kbps", "quality"), [((2.0, 1.0), (1.0, 2.0)), ((1.0, 2.0), (2.0, 2.0)), ((0.0,), (1.0,))]
)
def test_curves_that_do_not_rise_are_refused(kbps: tuple[float, ...], quality: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError):
        Curve(kbps, quality, len(kbps))


def test_the_interval_is_the_same_for_the_same_seed_and_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).normal(-40, 10, 14)

    found = bootstrap_interval(values, seed=1)

    assert found == bootstrap_interval(values, seed=1)
    assert found != bootstrap_interval(values, seed=2)
    assert found is not None
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000)
    assert found == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.5)


def test_one_clip_has_no_interval() -> None:
    assert bootstrap_interval([1.0]) is None
    with pytest.raises(ConfigError):
        bootstrap_interval([1.0, 2.0], level=95)
