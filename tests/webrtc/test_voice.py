"""Opus as the call uses it."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.call.call import Call
from facecodec.call.libopus import OpusDecoder
from facecodec.call.settings import CallSettings
from facecodec.call.voice import VoiceConfig, VoiceDecoder, VoiceEncoder, expected_loss
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


def missed(behind: bool, **settings) -> tuple[float, float]:
    """How like the lost sound what is heard instead is, and how loud against it, mean over all packets."""
    packets = coded(speech(2.0), packet_ms=20, dtx=False, **settings)
    whole = VoiceDecoder()
    pieces = [whole.decode(packet) for packet in packets]
    found = []
    for lost in range(10, len(packets) - 1, 7):
        decoder = VoiceDecoder()
        for packet in packets[:lost]:
            decoder.decode(packet)
        heard, real = decoder.conceal(960, packets[lost + 1] if behind else b""), pieces[lost]
        loud = np.sqrt(np.mean(heard**2) / np.mean(real**2))
        found.append((np.corrcoef(heard, real)[0, 1] if loud > 0 else 0.0, loud))
    return tuple(np.mean(found, 0))


def test_what_did_not_come_is_filled_in_for():
    likeness, loudness = missed(False)
    assert likeness > 0.5
    assert 0.4 < loudness < 1.5


def test_a_packet_brings_a_copy_of_the_one_before_it():
    settings = {"bps": 20000, "expected_loss": 20}
    likeness, loudness = missed(True, **settings)
    guessed, _ = missed(False, **settings)
    assert likeness > guessed + 0.05
    assert 0.7 < loudness < 1.3


def test_a_gap_is_filled_to_the_sample_whatever_its_length():
    decoder = VoiceDecoder()
    packets = coded(speech(0.5), packet_ms=20)
    for packet in packets[:20]:
        decoder.decode(packet)
    for count in (0, 1, 119, 120, 1000, 14000):
        assert decoder.conceal(count).shape == (count,)
        assert decoder.conceal(count, packets[21]).shape == (count,)
    late = decoder.conceal(48_000)
    assert np.abs(late[-480:]).max() < 0.01


def test_without_libopus_what_did_not_come_fades_out(monkeypatch):
    monkeypatch.setattr(OpusDecoder, "open", classmethod(lambda cls: None))
    decoder = VoiceDecoder()
    for packet in coded(speech(0.5)):
        assert len(decoder.decode(packet)) == 1920
    filled = decoder.conceal(960, b"\x08")
    assert filled.shape == (960,)
    assert not filled[480:].any()


@pytest.mark.parametrize("found", [True, False])
def test_junk_gives_nothing(found, monkeypatch):
    if not found:
        monkeypatch.setattr(OpusDecoder, "open", classmethod(lambda cls: None))
    decoder = VoiceDecoder()
    assert decoder.decode(b"\xff" * 40).ndim == 1


def test_the_loss_that_is_prepared_for_follows_the_path_and_is_forgotten_slowly():
    assert [expected_loss(share, 0) for share in (0.0, 0.019, 0.02, 0.07, 0.5)] == [0, 0, 2, 5, 20]
    assert expected_loss(0.06, 10) == 10
    assert expected_loss(0.04, 10) == 2
    assert expected_loss(0.12, 5) == 10


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
