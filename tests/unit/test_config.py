"""Settings are checked when they are made."""

from __future__ import annotations

import dataclasses

import pytest

from facecodec import ConfigError, DecoderConfig, EncoderConfig, FacecodecError, SpeedConfig

BAD_ENCODER = [
    ("size", 300),
    ("size", 0),
    ("view", "face"),
    ("qp", -1),
    ("qp", 52),
    ("qp", 24.0),
    ("qp", True),
    ("ref_quality", 101),
    ("quality", -1),
    ("quality", 101),
    ("quality", None),
    ("picture_bps", 999),
    ("scene_points", "on"),
    ("intra_period", -1),
    ("intra_period", 1_000_001),
    ("lookahead", -1),
    ("lookahead", 257),
    ("tracker", "dlib"),
    ("audio_bps", 5999),
    ("audio_bps", 256_001),
    ("audio_bps", -1),
    ("model_id", b"short"),
    ("model_id", "12345678"),
]
BAD_DECODER = [
    ("generator", "warp-1"),
    ("view", "frame"),
    ("composite", "paste"),
    ("references", 0),
    ("references", 5),
]
BAD_SPEED = [("device", "tpu"), ("threads", -1), ("threads", 1025), ("batch", 0), ("batch", 257)]

ALL_BAD = (
    [(EncoderConfig, *case) for case in BAD_ENCODER]
    + [(DecoderConfig, *case) for case in BAD_DECODER]
    + [(SpeedConfig, *case) for case in BAD_SPEED]
)


@pytest.mark.parametrize(("kind", "field", "value"), ALL_BAD)
def test_a_bad_setting_names_its_field_value_and_range(kind, field, value):
    with pytest.raises(ConfigError) as caught:
        kind(**{field: value})
    assert caught.value.field == field
    assert caught.value.value == value
    assert field in str(caught.value)
    assert repr(value) in str(caught.value)
    assert caught.value.allowed in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("qp", 0), ("qp", 51), ("ref_quality", 0), ("ref_quality", 100), ("audio_bps", 0), ("audio_bps", 6000)]
    + [("quality", 0), ("quality", 100), ("qp", None), ("ref_quality", None), ("picture_bps", 1000)]
    + [("audio_bps", 256_000), ("lookahead", 0), ("lookahead", 256), ("intra_period", 1), ("size", 512)],
)
def test_the_ends_of_the_ranges_are_allowed(field, value):
    assert getattr(EncoderConfig(**{field: value}), field) == value


def test_defaults_are_those_of_the_documentation():
    config = EncoderConfig()
    assert (config.size, config.view, config.tracker, config.audio_bps) == (256, "frame", "mesh", 16000)
    assert DecoderConfig() == DecoderConfig(
        generator="auto", view="auto", composite="feather", speed=SpeedConfig()
    )


def test_the_lever_moves_everything_and_what_is_given_stays():
    points = [EncoderConfig(quality=quality).rate for quality in range(101)]
    assert (points[60].qp, points[60].ref_quality, points[60].price) == (19, 60, 1.0)
    assert all(a.qp >= b.qp for a, b in zip(points, points[1:], strict=False))
    assert all(a.ref_quality < b.ref_quality for a, b in zip(points, points[1:], strict=False))
    assert all(a.price > b.price > 0 for a, b in zip(points, points[1:], strict=False))
    assert points[0].qp > 26
    assert points[100].qp <= 10
    fixed = EncoderConfig(quality=80, qp=30, ref_quality=20).rate
    assert (fixed.qp, fixed.ref_quality, fixed.price) == (30, 20, points[80].price)


@pytest.mark.parametrize("config", [EncoderConfig(), DecoderConfig(), SpeedConfig()])
def test_settings_cannot_be_changed(config):
    field = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, None)


def test_warp_0_takes_no_weights():
    assert DecoderConfig(generator="lite", weights="my.safetensors").weights == "my.safetensors"
    with pytest.raises(ConfigError, match="weights"):
        DecoderConfig(generator="warp-0", weights="my.safetensors")


def test_a_config_error_is_a_value_error_too():
    with pytest.raises(ValueError, match="qp is 99"):
        EncoderConfig(qp=99)
    assert issubclass(ConfigError, FacecodecError)
