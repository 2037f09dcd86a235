"""When things leave, are shown and are heard."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

from facecodec.call.bundling import BundleClock
from facecodec.call.pace import Pace
from facecodec.call.receiver import CallReceiver
from facecodec.call.sender import CallSender
from facecodec.call.sound_buffer import SOUND_RATE, SoundBuffer, with_period_twice, without_period
from facecodec.encoder import Encoder
from facecodec.transport import Bundle, Channel
from tests.call.network import NETWORKS, Conditions
from tests.call.simulate import FAKE_OPUS, OPUS_S, run_call

CHUNK = 960


def test_a_picture_is_old_by_its_bundle_and_the_path_alone(clip):
    call = run_call(clip(8), Conditions(delay_s=0.03))
    assert call.sender.stats().bundle_s == pytest.approx(0.12)
    ages = [at - (frame.pts_s - 1.0) for at, frame in call.shown if at > 3]
    assert np.quantile(ages, 0.9) < 0.12 + 0.03 + 0.03
    heard = [at - (packet.pts / 48000 - 1.0) for at, packet in call.sound if at > 3]
    assert np.quantile(heard, 0.9) < 0.12 + 0.03 + 0.03


@pytest.mark.parametrize("name", ["clear", "delay 150 ms", "jitter", "bursts 10 %"])
def test_the_age_of_what_is_shown_is_known_to_who_shows_it(name, clip):
    """Without a common clock: from the times in bundles, the buffer and the round trip."""
    apart = []

    def look(now, call):
        if now > 4 and call.shown and call.shown[-1][0] == now and call.shown[-1][1].state.value == "live":
            trip_s = call.sender.stats().round_trip_min_s  # both ways are alike here
            age_s = now - (call.shown[-1][1].pts_s - 1.0)
            apart.append(call.receiver.stats().behind_s + trip_s / 2 - age_s)

    run_call(clip(9), NETWORKS[name], meddle=look)
    assert len(apart) > 40
    assert abs(np.mean(apart)) < 0.03


def test_a_bundle_leaves_with_the_sound_that_fills_it():
    clock, left = BundleClock(), []
    for tick in range(1, 201):
        now = tick * 0.01
        full = tick % 6 == 0 and clock.sound_ends(0.06, 0.12, now)
        if full:
            clock.ended_with_sound(0.12, now)
            left.append(now)
        assert not clock.time_ends(now)
        if tick % 5 == 0 and tick > 6:
            assert not clock.frame_ends(now, 0.05, 2, 0.12, now)
            assert clock.frame_ends(now, 0.05, 4, 0.12, now)
    assert np.allclose(np.diff(left), 0.12)
    assert len(left) == 16


def test_sound_that_does_not_come_is_not_waited_for_and_late_sound_fills_no_other_bundle():
    clock, left = BundleClock(), []
    for tick in range(1, 121):
        now = tick * 0.01
        times = [tick] if not 60 <= tick < 72 else []
        times = [60, 66, 72] if tick == 72 else times  # two of them come late
        for due in times:
            if due % 6 == 0 and clock.sound_ends(0.06, 0.12, now):
                clock.ended_with_sound(0.12, now)
                left.append((now, "sound"))
        if clock.time_ends(now):
            clock.ended_without(0.12, now)
            left.append((now, "time"))
    assert [kind for _, kind in left].count("time") == 1
    assert max(np.diff([at for at, _ in left])) < 0.17
    assert len(left) in (9, 10)


def test_without_sound_bundles_leave_with_their_last_picture():
    clock = BundleClock()
    ends = [i for i in range(100) if clock.frame_ends(i * 0.05, 0.05, 1, 0.1, i * 0.05)]
    assert set(np.diff(ends)) == {2}


def test_time_that_coding_takes_is_none_of_the_path(clip):
    sender, receiver = CallSender(), CallReceiver()
    now = 0.0
    for frame in clip(4):
        sender.push_frame(frame, now)
        now += 0.2  # coding is slow, the path is not
        for datagram in sender.poll(now):
            receiver.receive(datagram.channel, datagram.data, now + 0.01)
        for block in receiver.take_feedback():
            sender.receive(block, now + 0.02)
        for datagram in receiver.poll(now + 0.01):
            receiver_block = datagram.data[1:]
            sender.receive(receiver_block, now + 0.02)
        now += 0.04
    sender.close()
    trip = sender.stats().round_trip_s
    assert trip is not None
    assert trip < 0.05
    assert sender.stats().queue_s < 0.05


def test_pictures_are_planned_when_nothing_is_to_be_sent(clip, monkeypatch):
    planned: list[int] = []
    plan = Encoder.plan

    def count(self):
        planned.append(1)
        return plan(self)

    monkeypatch.setattr(Encoder, "plan", count)
    sender = CallSender()
    out = before = 0
    for i, frame in enumerate(clip(3)):
        sender.push_frame(frame, i * 0.04)
        for late in (0.0, 0.01, 0.02, 0.03):
            before = len(planned)
            sent = sender.poll(i * 0.04 + late)
            assert not (sent and len(planned) > before)
            out += len(sent)
    sender.close()
    assert out > 6
    assert len(planned) > 10


def test_silence_that_is_told_of_keeps_the_pace(clip):
    """Pictures leave as often in silence as beside speech."""
    for silent in (False, True):
        sender, receiver, times, parts = CallSender(), CallReceiver(), [], 0
        frames, due = list(clip(6)), 0
        for tick in range(780):
            now = tick * 0.005
            if tick % 8 == 0 and tick // 8 < len(frames):
                sender.push_frame(frames[tick // 8], now)
            if now >= (due + 1) * OPUS_S:
                if silent and due % 6:
                    sender.push_silence(OPUS_S, now)
                else:
                    sender.push_audio(FAKE_OPUS, due * OPUS_S, now)
                due += 1
            for datagram in sender.poll(now):
                receiver.receive(datagram.channel, datagram.data, now)
                if datagram.channel is Channel.MOTION and now > 1.5:
                    bundle = Bundle.parse(datagram.data) if not datagram.data[0] & 0x80 else None
                    parts += bundle is not None and bundle.sound is not None
                    times.append(now)
            for datagram in receiver.poll(now):
                receiver.receive(datagram.channel, datagram.data, now)
            for block in receiver.take_feedback():
                sender.receive(block, now)
        sender.close()
        assert max(np.diff(times)) < 0.13
        assert (parts < 0.5 * len(times)) == silent


def test_a_busy_thread_takes_fewer_pictures_and_an_idle_one_more():
    pace = Pace(20.0, 12.0)
    for i in range(100):
        pace.worked(0.045, i * 0.05)
    assert pace.fps == pytest.approx(12.0)
    taken = sum(pace.lets_through(i / 30) for i in range(300))
    assert taken == pytest.approx(120, abs=3)
    for i in range(100, 600):
        pace.worked(0.01, i * 0.05)
    assert pace.fps == 20.0


def tone(count: int, start: int = 0) -> np.ndarray:
    return np.sin(2 * np.pi * 200 * (start + np.arange(count)) / SOUND_RATE).astype(np.float32)


def test_a_pitch_period_less_or_more_leaves_no_seam():
    sound = tone(4800)
    shorter, longer = without_period(sound), with_period_twice(sound)
    assert 120 <= len(sound) - len(shorter) <= 720
    assert len(longer) - len(sound) == len(sound) - len(shorter)
    step = np.abs(np.diff(sound)).max()
    for changed in (shorter, longer):
        assert np.abs(np.diff(changed)).max() < 1.1 * step


def test_sound_stays_with_its_time_while_the_delay_changes():
    buffer, apart, made = SoundBuffer(), [], 0
    for i in range(800):
        at = 10.0 + i * 0.02
        lag = 1.0 + 0.1 * np.sin(i / 60)  # by up to 8 % a second
        while made / SOUND_RATE < at + 0.02 - lag + 0.06:
            buffer.put(tone(2880, made), made / SOUND_RATE)
            made += 2880
        buffer.lag_s = lag
        heard = buffer.take(CHUNK, at)
        if i > 10:
            apart.append(buffer.heard_at(at) - (at - lag))
            assert np.abs(np.diff(heard)).max() < 0.05
    assert np.quantile(np.abs(apart), 0.95) < 0.03
    assert abs(buffer.moved) < 0.2 * SOUND_RATE


def test_sound_waits_for_its_time_and_what_is_late_is_left_out():
    buffer = SoundBuffer()
    assert not buffer.take(CHUNK, 5.0).any()  # no time is known yet
    buffer.lag_s = 1.0
    buffer.put(np.full(2880, 0.5, np.float32), 4.01)
    first = buffer.take(CHUNK, 5.0)
    assert not first[:480].any()
    assert first[720:].all()
    assert buffer.heard_at(5.01) == pytest.approx(4.01)
    assert buffer.take(CHUNK, 5.02).all()
    assert not buffer.take(CHUNK, 5.3).any()  # all of it is over
    assert buffer.heard_at(5.3) is None
    buffer.put(np.full(9600, 0.5, np.float32), 4.2)
    late = buffer.take(CHUNK, 5.32)
    assert late.any()
    assert buffer.heard_at(5.32) == pytest.approx(4.32)


def test_a_clock_that_runs_apart_is_followed_without_a_gap():
    buffer, made, apart = SoundBuffer(), 0, []
    buffer.lag_s = 1.0
    for i in range(1500):  # 30 s, the sender's clock 0.2 % fast
        at = 10.0 + i * 0.02
        while made * 1.002 / SOUND_RATE < at - 1.0 + 0.1:
            buffer.put(tone(2880, made), round(made * 1.002 / SOUND_RATE * 400) / 400)
            made += 2880
        heard = buffer.take(CHUNK, at)
        if i > 460:
            assert np.abs(np.diff(heard)).max() < 0.05
            apart.append(buffer.heard_at(at) - (at - 1.0))
    assert np.abs(apart).max() < 0.03


def test_sound_that_waits_is_bounded():
    buffer = SoundBuffer()
    for i in range(200):
        buffer.put(np.ones(2880, np.float32), i * 0.06)
    assert buffer.waiting_s == pytest.approx(2.0)


# mallopt is glibc's; elsewhere keep_memory() does nothing, so there is nothing to see.
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept_and_not_faulted_in_again():
    code = """
import resource, sys
import numpy as np
from facecodec.call.threads import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def picture():
    return [np.ones(size, np.uint8) for size in (900_000, 1_500_000, 2_500_000)]
for _ in range(3):
    picture()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    picture()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    usual, kept = (
        int(subprocess.run([sys.executable, "-c", code, mode], capture_output=True, check=True).stdout)
        for mode in ("usual", "keep")
    )
    if usual < 1000:
        pytest.skip("this C library keeps it anyway")
    assert kept < usual / 10


def test_loss_that_goes_on_takes_delay_for_the_frames_between(clip):
    def age(loss: float) -> float:
        call = run_call(clip(9), Conditions(delay_s=0.03, loss=loss))
        return float(np.median([at - (frame.pts_s - 1.0) for at, frame in call.shown if at > 4]))

    clear = age(0.0)
    assert clear < 0.18
    assert clear + 0.04 < age(0.12) < clear + 0.16
