"""How long a reference picture is likely to serve, and its quality."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facecodec.refpic.lifetime import (
    PRIOR_S,
    QUALITY_MOST,
    QUALITY_PER_OCTAVE,
    USUAL_S,
    expected_service,
    quality_for,
)


def test_the_first_picture_serves_to_the_end_of_a_short_video() -> None:
    assert expected_service(0.0, 12.0, 0) == 12.0


def test_the_first_picture_of_a_long_video_serves_the_prior() -> None:
    assert expected_service(0.0, 3600.0, 0) == PRIOR_S


def test_frequent_pictures_are_expected_to_be_followed_soon() -> None:
    often, seldom = expected_service(60.0, 3600.0, 20), expected_service(60.0, 3600.0, 1)
    assert often < 5.0
    assert seldom == (PRIOR_S + 60.0) / 2


def test_behind_the_stated_end_nothing_is_served() -> None:
    assert expected_service(20.0, -1.0, 1) == 0.0


def test_twice_the_service_is_worth_an_octave() -> None:
    assert quality_for(50, USUAL_S) == 50
    assert quality_for(50, 2 * USUAL_S) == 50 + QUALITY_PER_OCTAVE


@given(st.integers(0, 100), st.floats(0, 1e6), st.floats(0, 1e6))
def test_quality_rises_with_service_and_with_the_lever(quality: int, one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert quality <= quality_for(quality, short) <= quality_for(quality, long) <= max(quality, QUALITY_MOST)
    assert quality_for(quality, one) <= quality_for(min(quality + 1, 100), one)
