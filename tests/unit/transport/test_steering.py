"""Jitter buffer, pacing and rate."""

from __future__ import annotations

import random

import pytest

from facecodec.errors import ConfigError
from facecodec.transport import SCTP, Channel, Datagram
from facecodec.transport.jitter import PlayoutClock, TimedBuffer
from facecodec.transport.pacer import Pacer
from facecodec.transport.rate import SETTINGS, PathDelay, RateController, SettingChooser
from facecodec.transport.sequence import Unwrapper


def test_numbers_are_made_whole_over_the_wrap_and_back():
    numbers = Unwrapper(8)
    assert [numbers.take(n & 255) for n in (0, 100, 200, 300, 290, 420, 417)] == [
        0,
        100,
        200,
        300,
        290,
        420,
        417,
    ]


def test_the_delay_covers_all_but_a_few_and_time_never_goes_back():
    clock, rng, shown, late = PlayoutClock(), random.Random(3), [], 0
    arrivals = sorted((i * 0.05 + 0.1 + rng.uniform(0, 0.08), i * 0.05) for i in range(600))
    now, place = 0.0, 0
    while place < len(arrivals):
        now += 0.005
        while place < len(arrivals) and arrivals[place][0] <= now:
            media = arrivals[place][1]
            late += now > 10 and clock.media_time(now) > media + 1e-9
            clock.observe(media, now)
            place += 1
        if place:
            shown.append(clock.media_time(now))
    assert shown == sorted(shown)
    assert late < 0.06 * 400
    assert now - 0.2 < shown[-1] < now - 0.14


def test_the_delay_shrinks_again_when_the_path_gets_better():
    clock = PlayoutClock()
    for i in range(2000):
        jitter = 0.2 if i < 400 and i % 3 == 0 else 0.0
        clock.observe(i * 0.02, i * 0.02 + 0.05 + jitter)
        clock.media_time(i * 0.02 + 0.05 + jitter)
    assert clock.delay_s < 0.02


def test_things_come_out_in_the_order_of_their_times():
    buffer: TimedBuffer[str] = TimedBuffer(3)
    assert [buffer.insert(t, name) for t, name in ((2, "b"), (1, "a"), (2, "again"), (4, "d"))] == [
        True,
        True,
        False,
        True,
    ]
    assert buffer.around(2.5) == ("b", "d")
    assert buffer.around(0) == (None, "a")
    buffer.insert(9, "z")
    assert len(buffer) == 3
    buffer.drop_before(5)
    assert buffer.around(5) == ("d", "z")
    assert buffer.take_until(9) == [(4, "d"), (9, "z")]


def fragments(count: int, size: int) -> list[Datagram]:
    return [Datagram(Channel.RELIABLE, bytes([0, i]) + bytes(size - 2)) for i in range(count)]


def test_fragments_leave_at_the_rate_and_never_two_at_once():
    pacer = Pacer(SCTP)
    size = pacer.fragment_size(16.0, 0.1)
    assert SCTP.on_wire(size) == pytest.approx(16.0 * 125 * 0.1, rel=0.35)
    pacer.push(fragments(20, size))
    times = [tick * 0.005 for tick in range(4000) for _ in pacer.poll(tick * 0.005, 16.0)]
    assert len(times) == 20
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert min(gaps) > 0.1
    assert 19 * SCTP.on_wire(size) / (times[-1] - times[0]) / 125 == pytest.approx(16.0, rel=0.05)


def test_the_fragment_size_keeps_within_its_bounds():
    pacer = Pacer(SCTP)
    assert pacer.fragment_size(1.0, 0.05) == 160
    assert pacer.fragment_size(1e6, 0.05) == 1150


def test_what_is_sent_again_goes_first_and_what_has_come_not_at_all():
    pacer, some = Pacer(SCTP), fragments(3, 200)
    pacer.push(some[:2])
    pacer.push(some[1:], first=True)
    assert pacer.poll(0.0, 1000.0)[0] == some[2]
    pacer.drop(0)
    assert len(pacer) == 0


def drive(rate: RateController, capacity_kbps: float, seconds: float, start: float = 0.0) -> float:
    """Mean target of the last half on a path that carries so much; reports come every 0.2 s."""
    path, backlog, seen = PathDelay(), 0.0, []
    for i in range(round(seconds / 0.2)):
        now = start + i * 0.2
        backlog = max(backlog + (rate.target_kbps - capacity_kbps) * 0.2, 0.0)
        rate.update(now, path.observe(now, backlog / capacity_kbps), min(rate.target_kbps, capacity_kbps))
        seen.append(rate.target_kbps)
    return sum(seen[len(seen) // 2 :]) / (len(seen) - len(seen) // 2)


def test_the_target_finds_what_the_path_carries():
    assert 9.0 < drive(RateController(40.0, 5.0, 40.0, 160.0), 14.0, 60) < 14.5


def test_the_target_rises_to_its_bound_on_a_clear_path():
    rate = RateController(10.0, 8.0, 20.0, 160.0)
    drive(rate, 1000.0, 30)
    assert rate.target_kbps == 20.0
    assert rate.burst_kbps == 160.0


def test_random_loss_alone_does_not_lower_the_target_but_heavy_loss_does():
    for share, low in ((5, False), (2, True)):
        rate = RateController(15.0, 5.0, 15.0, 160.0)
        for i in range(300):
            rate.count(i % share == 0)
            rate.update(i * 0.1, 0.0, 15.0)
        assert (rate.target_kbps < 8.0) == low


def test_jitter_is_no_queue():
    path, rng = PathDelay(), random.Random(1)
    delays = [path.observe(i * 0.2, 0.05 + rng.expovariate(1 / 0.03)) for i in range(200)]
    assert sum(d > 0.1 for d in delays) < 4
    assert path.observe(40.2, 0.5) < 0.1
    path.observe(40.4, 0.5)
    assert path.observe(40.6, 0.5) > 0.3


def test_bounds_out_of_order_are_refused():
    with pytest.raises(ConfigError):
        RateController(10.0, 20.0, 30.0, 100.0)


def test_a_higher_target_never_chooses_a_barer_setting():
    chosen = []
    for target in range(6, 60):
        chooser = SettingChooser(SCTP, 24)
        chooser.index = len(SETTINGS) - 1
        chooser.choose(float(target))
        chosen.append(chooser.index)
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] == len(SETTINGS) - 1
    assert chosen[-1] == 0


def test_fifteen_kbits_buy_twenty_frames_with_sound():
    chooser = SettingChooser(SCTP, 24)
    for _ in range(20):
        chooser.saw_sound(5.5)
        chooser.saw_motion(24, 2, 28)
    setting = chooser.choose(15.0)
    assert setting.fps == 20.0
    assert setting.bundle_s <= 0.12


def test_settings_are_in_the_order_of_their_cost():
    chooser = SettingChooser(SCTP, 24)
    costs = [chooser.cost_kbps(setting) for setting in SETTINGS]
    assert costs == sorted(costs, reverse=True)


def test_a_delay_that_is_far_too_long_is_put_right_at_once():
    """The first thing came seconds late, as while models were loaded; what follows comes in time."""
    clock = PlayoutClock()
    clock.observe(0.0, 5.0)
    for i in range(1, 300):
        clock.observe(5.0 + 0.05 * i, 5.05 + 0.05 * i)
        shown = clock.media_time(5.05 + 0.05 * i)
    assert 5.05 + 0.05 * 299 - shown < 0.2
