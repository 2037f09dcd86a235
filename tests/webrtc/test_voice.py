"""Opus as the call uses it."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.call.call import Call
from facecodec.call.settings import CallSettings
from facecodec.call.voice import VoiceConfig, VoiceDecoder, VoiceEncoder
from facecodec.errors import ConfigError

RATE = 48_000


def speech(seconds: float) -> np.ndarray:
    """A hum with overtones whose loudness goes up and down, as syllables do."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    return (0.1 * tone * (1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def coded(sound: np.ndarray, **settings) -> list[bytes]:
    encoder = VoiceEncoder(VoiceConfig(**settings))
    return [p for start in range(0, len(sound), 700) for p in encoder.push(sound[start : start + 700])]


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
def test_sound_comes_back_in_packets_of_the_asked_length(packet_ms):
    sound = speech(2.0)
    packets = coded(sound, packet_ms=packet_ms)
    assert abs(len(packets) - 2000 // packet_ms) <= 1
    assert sum(map(len, packets)) * 8 / 2.0 < 9000
    decoder = VoiceDecoder()
    heard = np.concatenate([decoder.decode(packet) for packet in packets])
    lag = round(VoiceEncoder(VoiceConfig(packet_ms=packet_ms)).delay_s * RATE)
    both = min(len(heard) - lag, len(sound))
    likeness = np.corrcoef(np.abs(heard[lag : lag + both]), np.abs(sound[:both]))[0, 1]
    assert likeness > 0.6


def test_silence_costs_next_to_nothing():
    noise = 1e-3 * np.random.default_rng(1).standard_normal(RATE * 4).astype(np.float32)
    packets = coded(np.concatenate([speech(1.0), noise, speech(1.0)]))
    loud, quiet, again = packets[:25], packets[35:125], packets[126:]
    assert all(loud)
    assert sum(map(len, quiet)) * 8 / (len(quiet) * 0.04) < 600
    assert any(quiet)  # a sign of life now and then
    assert all(again)


def test_what_did_not_come_fades_out_and_junk_gives_nothing():
    decoder = VoiceDecoder()
    for packet in coded(speech(0.5)):
        decoder.decode(packet)
    filled = decoder.conceal(960)
    assert filled.shape == (960,)
    assert not filled[480:].any()
    assert decoder.decode(b"\xff" * 40).ndim == 1


@pytest.mark.parametrize(
    ("field", "value"), [("bps", 5000), ("bps", 64000), ("packet_ms", 30), ("expected_loss", 80)]
)
def test_settings_have_ranges(field, value):
    with pytest.raises(ConfigError, match=field):
        VoiceConfig(**{field: value})


def test_the_times_of_sound_follow_the_microphone():
    class Session:
        def __init__(self):
            self.times: list[float] = []

        def push_voice(self, packet, pts_s, seconds):
            self.times.append(pts_s + call._voice.delay_s)

    call = Call(CallSettings("ws://127.0.0.1:1", "room", "token"))
    call.session = session = Session()
    step = call._voice.packet_samples / 48000
    for i in range(1000):
        # the microphone pauses for 40 ms once, too short to be seen at once
        call.push_sound(np.zeros(960, np.float32), 5.0 + i * 0.02 + (0.04 if i > 300 else 0.0))
    times = np.array(session.times)
    assert times[0] == pytest.approx(5.0)
    assert times[-1] == pytest.approx(5.04 + (len(times) - 1) * step, abs=0.002)
    assert np.abs(np.diff(times) - step).max() < 0.003
