"""The H.264 anchor: what is counted, what is decoded, which point is taken."""

from types import SimpleNamespace

import numpy as np
import pytest

from facecodec.errors import ConfigError, ShapeError


@pytest.fixture
def x264():
    from anchors import x264

    return x264


@pytest.fixture(scope="module")
def moving_clip():
    """12 frames of 66 x 70: a coloured pattern that moves."""
    y, x = np.mgrid[0:66, 0:70]
    phase = np.arange(12)[:, None, None, None] / 4 + np.arange(3)
    clip = 128 + 90 * np.sin(x[..., None] / 6 + phase) * np.cos(y[..., None] / 8 - phase)
    return np.rint(clip).astype(np.uint8)


def test_nal_units_keep_their_start_codes(x264):
    stream = (
        b"\x00\x00\x00\x01\x67ab"
        + b"\x00\x00\x01\x06\x05x264 - core 9 o\x00\x80"
        + b"\x00\x00\x01\x65\x00\x01c"
    )
    units = x264.split_nal_units(stream, "h264")
    assert [kind for kind, _ in units] == [7, 6, 5]
    assert b"".join(data for _, data in units) == stream
    rest, settings = x264.strip_sei(stream)
    assert rest == b"\x00\x00\x00\x01\x67ab" + b"\x00\x00\x01\x65\x00\x01c"
    assert settings == "x264 - core 9 o"


@pytest.mark.parametrize("scale", [1, 2])
def test_a_clip_comes_back_whole(x264, moving_clip, scale):
    point = x264.encode(moving_clip, 25.0, 20, scale)
    assert point.decoded.shape == moving_clip.shape
    assert point.kbps == pytest.approx(point.size_bytes * 8 * 25 / 12 / 1000)
    assert "bframes=8" in point.settings
    assert "keyint=infinite" in point.settings
    error = np.abs(point.decoded.astype(int) - moving_clip).mean()
    assert error < 10
    # In display order: every frame is nearest to its own source.
    for i, decoded in enumerate(point.decoded):
        distances = [np.abs(decoded.astype(int) - s).mean() for s in moving_clip]
        assert int(np.argmin(distances)) == i


def test_a_sweep_goes_over_crf_and_resolution(x264, moving_clip):
    points = list(x264.sweep(moving_clip, 25.0, (20, 45), (1, 2)))
    assert [(p.scale, p.crf) for p in points] == [(1, 20), (1, 45), (2, 20), (2, 45)]
    assert points[0].size_bytes > points[1].size_bytes
    assert points[0].size_bytes > points[2].size_bytes


def test_bisection_finds_the_nearest_rate(x264):
    tried = []

    def encode_at(crf):
        tried.append(crf)
        return SimpleNamespace(crf=crf, kbps=1000 * 0.89**crf)

    rates = {crf: 1000 * 0.89**crf for crf in range(x264.CRF_MIN, x264.CRF_MAX + 1)}
    for wanted in (150.0, 20.0, 5.0, 3.0):
        tried.clear()
        point = x264._nearest_crf(encode_at, wanted)
        assert point.crf == min(rates, key=lambda c: max(rates[c] / wanted, wanted / rates[c]))
        assert len(tried) <= 7


def test_out_of_reach_rates_give_the_ends(x264):
    ends = [x264._nearest_crf(lambda c: SimpleNamespace(crf=c, kbps=100.0 - c), k).crf for k in (1.0, 900.0)]
    assert ends == [x264.CRF_MAX, x264.CRF_MIN]


def test_at_a_rate_the_better_resolution_wins(x264, monkeypatch):
    frames = np.full((2, 4, 4, 3), 100, np.uint8)
    made = {1: (10.0, 30), 2: (10.5, 5), 4: (30.0, 1)}

    def fake(clip, fps, crf, scale=1):
        kbps, error = made[scale]
        return SimpleNamespace(kbps=kbps, scale=scale, decoded=clip + np.uint8(error))

    monkeypatch.setattr(x264, "encode", fake)
    assert x264.nearest_rate(frames, 25.0, 10.0).scale == 2
    assert x264.nearest_rate(frames, 25.0, 29.0).scale == 4
    assert x264.nearest_rate(frames, 25.0, 3.0).scale == 1


def test_wrong_input_is_refused(x264, moving_clip):
    with pytest.raises(ConfigError, match="crf"):
        x264.encode(moving_clip, 25.0, 52)
    with pytest.raises(ConfigError, match="scale"):
        x264.encode(moving_clip, 25.0, 30, 3)
    with pytest.raises(ShapeError, match="even"):
        x264.encode(moving_clip[:, :65], 25.0, 30)
    with pytest.raises(ConfigError, match="kbps"):
        x264.nearest_rate(moving_clip, 25.0, 0.0)
