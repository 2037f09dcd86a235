"""Sound is coded in step with the pictures."""

from fractions import Fraction

import av
import numpy as np
import pytest

from facecodec.errors import ConfigError, MediaError
from facecodec.media import OpusStreamInfo, has_audio, read_opus
from tests.unit.media.clips import click, onset_s, quarters, write_clip, write_sound


def decode(packets, info):
    """Decode packets with libopus; give the samples from time 0 on."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.extradata = info.opus_head()
    decoder.sample_rate, decoder.layout = 48000, "mono" if info.channels == 1 else "stereo"
    parts = []
    for p in packets:
        parts += [f.to_ndarray().reshape(-1)[:: info.channels] for f in decoder.decode(av.Packet(p.data))]
    samples = np.concatenate(parts).astype(float)
    samples /= 32768 if np.abs(samples).max() > 2 else 1
    drop = -packets[0].pts if len(samples) == sum(p.duration for p in packets) else 0
    return samples[drop:]


def onset(samples, level=0.2):
    return np.flatnonzero(np.abs(samples) > level)[0] / 48000


def test_packets_follow_each_other_from_minus_pre_skip(tmp_path):
    reader = read_opus(write_sound(tmp_path / "a.wav", click(44100, 1.0, 0.5), 44100), bitrate_bps=16000)
    packets = list(reader)
    assert packets[0].pts == -reader.info.pre_skip
    assert all(a.pts + a.duration == b.pts for a, b in zip(packets, packets[1:], strict=False))
    assert packets[-1].pts + packets[-1].duration == pytest.approx(48000, abs=960)


@pytest.mark.parametrize("frame_ms", [20, 60])
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_click_stays_where_it_is(tmp_path, rate, frame_ms):
    path = write_sound(tmp_path / "a.wav", click(rate, 1.0, 0.4), rate)
    reader = read_opus(path, bitrate_bps=24000, frame_ms=frame_ms)
    assert onset(decode(list(reader), reader.info)) == pytest.approx(0.4, abs=0.01)


def test_sound_that_starts_later_is_led_in_by_silence(tmp_path):
    path = write_sound(tmp_path / "a.mkv", click(48000, 1.0, 0.1), start=24000)
    # Matroska files start at the sound itself, so the pictures' start is told apart.
    with av.open(str(path)) as source:
        start_s = float(source.streams.audio[0].start_time * source.streams.audio[0].time_base)
    reader = read_opus(path, bitrate_bps=24000, video_start_s=start_s - 0.5)
    assert onset(decode(list(reader), reader.info)) == pytest.approx(0.6, abs=0.01)


def test_sound_before_the_first_picture_is_cut(tmp_path):
    path = write_sound(tmp_path / "a.wav", click(48000, 1.0, 0.7))
    reader = read_opus(path, bitrate_bps=24000, video_start_s=0.25)
    packets = list(reader)
    assert onset(decode(packets, reader.info)) == pytest.approx(0.45, abs=0.01)
    assert packets[0].pts == -reader.info.pre_skip


def test_a_part_starts_at_its_own_zero_and_ends(tmp_path):
    path = write_sound(tmp_path / "a.mkv", click(48000, 6.0, 4.2))
    reader = read_opus(path, bitrate_bps=24000, start_s=4.0, duration_s=0.5)
    packets = list(reader)
    assert onset(decode(packets, reader.info)) == pytest.approx(0.2, abs=0.01)
    assert packets[-1].pts + packets[-1].duration == pytest.approx(24000, abs=1500)


def test_gaps_are_filled_with_silence(tmp_path):
    samples = click(48000, 2.0, 1.5)
    path = write_sound(tmp_path / "a.mkv", samples, gaps=[(20 * 1024, 24 * 1024)])
    reader = read_opus(path, bitrate_bps=24000)
    assert onset(decode(list(reader), reader.info)) == pytest.approx(1.5, abs=0.01)


def test_a_drifting_clock_is_followed(tmp_path):
    path = tmp_path / "a.mkv"
    samples = click(48000, 10.0, 9.0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for at in range(0, len(samples), 960):
            part = (samples[None, at : at + 960] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "s16", "mono")
            frame.sample_rate = 48000
            for packet in stream.encode(frame):
                packet.time_base = Fraction(1, 48000)
                packet.pts = packet.dts = round(at * 1.005)  # half a percent slow
                out.mux(packet)
    reader = read_opus(path, bitrate_bps=24000)
    packets = list(reader)
    assert onset(decode(packets, reader.info)) == pytest.approx(9.0 * 1.005, abs=0.03)
    assert packets[-1].pts / 48000 == pytest.approx(10.05, abs=0.08)


def test_stereo(tmp_path):
    path = write_sound(tmp_path / "a.wav", click(48000, 0.5, 0.2))
    reader = read_opus(path, bitrate_bps=32000, channels=2)
    assert reader.info.channels == 2
    assert onset(decode(list(reader), reader.info)) == pytest.approx(0.2, abs=0.01)


def test_bit_rate_is_about_what_was_asked(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(48000 * 3).astype(np.float32)
    path = write_sound(tmp_path / "a.wav", noise.clip(-1, 1))
    packets = list(read_opus(path, bitrate_bps=16000))
    assert 12000 < 8 * sum(len(p.data) for p in packets) / 3 < 21000


def test_opus_head_bytes():
    head = OpusStreamInfo(channels=2, pre_skip=312).opus_head()
    assert head == b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"


def test_has_audio(tmp_path):
    silent = write_clip(tmp_path / "a.mp4", [quarters()])
    assert not has_audio(silent)
    assert has_audio(write_sound(tmp_path / "a.wav", click(48000, 0.1, 0.05)))
    with pytest.raises(MediaError, match="no sound"):
        read_opus(silent, bitrate_bps=16000)
    with pytest.raises(ConfigError, match="bitrate_bps"):
        read_opus(silent, bitrate_bps=100)


def test_onset_of_a_plain_file(tmp_path):
    """The measuring stick itself."""
    assert onset_s(write_sound(tmp_path / "a.wav", click(48000, 1.0, 0.4))) == pytest.approx(0.4, abs=0.002)
