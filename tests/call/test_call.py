"""Whole calls over bad networks, in one process."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

import facecodec.encoder
from facecodec.bitstream import UnitKind, pack_unit, parse_unit
from facecodec.call.config import CallConfig
from facecodec.call.dispatch import Dispatch
from facecodec.call.receiver import CallReceiver
from facecodec.call.sender import CallSender
from facecodec.config import EncoderConfig, SpeedConfig
from facecodec.encoder import Encoder
from facecodec.errors import BitstreamError, ConfigError, TransportError
from facecodec.metrics.perceptual import Lpips
from facecodec.refpic.intra import encode_still
from facecodec.track.crop import crop_picture
from facecodec.transport import Channel, Overhead, Packetiser
from facecodec.types import Frame
from tests.call.conftest import KnownTracker
from tests.call.network import LAN, NETWORKS, Conditions, Path
from tests.call.simulate import FAKE_OPUS, OPUS_S, run_call
from tests.optional import needs_weights

# A narrow path and an outage have tests of their own.
STEADY = [name for name in NETWORKS if name not in ("10 kbit/s", "outage 2 s")]


@pytest.mark.parametrize("name", STEADY)
def test_what_arrives_can_be_decoded_and_is_what_was_sent(name, clip):
    conditions = NETWORKS[name]
    states = {}

    def gather(now, call):
        for number, bundle in call.sender._dispatch.bundles._sent.items():
            if bundle.state is not None:
                states[number] = bundle.state

    call = run_call(clip(6), conditions, replace(conditions, jitter_s=0.0), meddle=gather)
    got = call.receiver.stats()
    assert got.undecodable == got.malformed == 0
    assert got.frames > 0.6 * call.sender.stats().frames
    kept = call.receiver._states
    assert len(kept) > 15
    assert all(state.same_as(states[number]) for number, state in kept.items())
    states = call.states(2.0, 5.9)
    most = {"all at once": 0.3, "bursts 20 %": 0.4}.get(name, 0.1)  # where half a second is lost at once
    assert states.count("idle") < most * len(states)
    assert call.share("lost") == 0
    times = [frame.pts_s for _, frame in call.shown]
    assert times == sorted(times)


def test_fifteen_kbits_carry_twenty_frames_and_sound(clip):
    call = run_call(clip(12), LAN)
    sent = call.sender.stats()
    assert sent.fps == 20
    assert sent.bundle_s <= 0.12
    assert sent.frames >= 19 * 11
    assert sent.wire.total == call.path.bytes
    assert set(call.states(1.5, 12)) == {"live"}
    # All sound was played, in order, beside the picture of its time.
    assert [packet.pts for _, packet in call.sound] == sorted(packet.pts for _, packet in call.sound)
    assert len(call.sound) > 190
    shown = {round(at, 3): frame.pts_s for at, frame in call.shown}
    apart = [abs(shown[round(at, 3)] - p.pts / 48000) for at, p in call.sound if round(at, 3) in shown]
    assert len(apart) > 10
    assert max(apart) < 0.045


@pytest.mark.parametrize(("packet", "beside"), [(40, 0.0), (40, 0.38), (43, 0.38), (43, 1.8)])
def test_a_minute_takes_less_than_fifteen_kbits_whatever_else_is_on_the_wire(packet, beside, clip):
    """Opus of 5.3 and 5.7 kbit/s; beside bundles go ICE's checks, acknowledgements, and headers of IPv6."""
    out: list[float] = []

    def tell(now, call):
        out.append(call.path.bytes + beside * 125 * now)
        call.sender.saw_wire(round(out[-1]))

    sound = [(i * OPUS_S, FAKE_OPUS[:1] + bytes(packet - 1)) for i in range(1000)]
    config = CallConfig(overhead=Overhead(packet=90, word=4))
    call = run_call(clip(60), LAN, config=config, sound=sound, meddle=tell, after_s=0)
    assert 12 < out[-1] / 125 / 60 < 15.0
    sent = call.sender.stats()
    assert sent.frames >= 19.5 * 60  # whatever is saved, it is not frames
    assert sent.references >= 2
    assert sent.bundle_s <= (0.12 if beside < 1 else 0.18)


def test_a_picture_is_shown_after_an_outage_within_half_a_second(clip):
    call = run_call(clip(9), Conditions(delay_s=0.05, outages=((4.0, 6.0),)), after_s=0)
    assert call.states(4.6, 5.9).count("idle") == len(call.states(4.6, 5.9))
    back = next(at for at, frame in call.shown if at > 6.0 and frame.state.value == "live")
    assert back < 6.5
    assert set(call.states(back + 0.1, 9)) == {"live"}
    assert call.sender.stats().fps >= 15


def test_idle_motion_moves_and_the_connection_counts_as_lost_after_three_seconds(clip):
    poses = []

    def watch(now, call):
        shown = call.receiver._playout.at(call.receiver._clock.media_time(now) or 0.0)
        if shown is not None and now > 4.5:
            poses.append(shown.frame.pose.mesh)

    call = run_call(clip(9), replace(LAN, outages=((4.0, 20.0),)), after_s=0, meddle=watch)
    last = max(at for at, frame in call.shown if frame.state.value == "live")
    lost = next(at for at, frame in call.shown if frame.state.value == "lost")
    assert 2.9 < lost - last < 3.2
    received = [memory.pose.mesh for memory in call.receiver._playout._idle._memory]
    usual = [np.abs(b - a).max() for a, b in zip(received, received[1:], strict=False)]
    way = [np.abs(b - a).max() for a, b in zip(poses[::10], poses[10::10], strict=False)]
    assert np.mean([w > 1e-4 for w in way]) > 0.9
    assert max(way) < 1.5 * max(usual)


def test_a_picture_that_comes_damaged_is_asked_for_again(clip):
    damaged = []

    def damage(datagram):
        data = datagram.data
        is_picture = datagram.channel is Channel.RELIABLE and data[0] == 1
        if is_picture and data[1] == 0 and data[3] & 7 == UnitKind.REFERENCE:
            damaged.append(1)
            return data[:200] + bytes([data[200] ^ 1]) + data[201:]
        return data

    events = {}

    def watch(now, call):
        sent, got = call.sender.stats(), call.receiver.stats()
        for name, happened in (
            ("found", got.malformed > 0),
            ("again", sent.references == 2),
            ("shown", got.references > 0 and got.frames > 0),
        ):
            if happened:
                events.setdefault(name, now)

    call = run_call(clip(5), LAN, damage=damage, meddle=watch)
    assert damaged
    assert call.sender.stats().keyframes_asked > 0
    assert events["again"] - events["found"] < 0.2 + 0.06
    assert events["shown"] - events["again"] < 1.5
    assert set(call.states(3, 4.9)) == {"live"}


@pytest.mark.parametrize(("delay_s", "lost_s"), [(0.01, 3.0), (0.03, 3.04), (0.03, 3.08), (0.1, 3.0)])
def test_a_lost_reference_picture_is_asked_for_and_shown_again(delay_s, lost_s, clip, monkeypatch):
    """Request, new picture, and motion that follows it, each as soon as the path allows."""
    at: dict[str, float] = {}
    clock = [0.0]
    make = CallReceiver.make

    def shows(self, due):
        if "came" in at:
            at.setdefault("shown", clock[0])
        return make(self, due)

    def lose(now, call):
        clock[0] = now
        if now >= lost_s and "lost" not in at:
            call.receiver._pictures.clear()
            at["lost"] = now
        for name, happened in (
            ("asked", call.receiver.stats().plis),
            ("again", call.sender.stats().references == 3),
            ("came", "lost" in at and call.receiver._pictures),
        ):
            if happened:
                at.setdefault(name, now)

    monkeypatch.setattr(CallReceiver, "make", shows)
    call = run_call(clip(6), Conditions(delay_s=delay_s), meddle=lose, show_s=0.01)
    trip_s = 2 * delay_s
    assert at["asked"] - at["lost"] < 0.12 + delay_s + 0.03  # with the next bundle, at once
    assert at["again"] - at["asked"] < delay_s + 0.06
    assert at["came"] - at["asked"] < 0.1 + trip_s
    # Motion follows it only when it is known to have come: that is a second round trip.
    assert at["shown"] - at["asked"] < 0.2 + max(trip_s, 2 * trip_s - 0.1)
    assert call.sender.stats().references == 4  # twice a coarse one, and a better one at once
    assert set(call.states(4.5, 5.9)) == {"live"}


@pytest.mark.parametrize("loss", [0.05, 0.1, 0.2])
def test_under_loss_frames_are_filled_in_between_and_not_made_up(loss, clip):
    call = run_call(clip(12), replace(LAN, loss=loss), seed=4)
    states = call.states(3.0, 11.9)
    share = {name: states.count(name) / len(states) for name in ("live", "interpolated", "idle", "lost")}
    assert 0.3 * loss < share["interpolated"] < 1.3 * loss
    assert share["live"] > 1 - 1.5 * loss
    assert share["idle"] < 0.05 + loss * loss
    assert share["lost"] == 0


def test_idle_motion_goes_over_into_received_motion_without_a_jump(clip, monkeypatch):
    made: list[tuple[float, str, np.ndarray]] = []
    make = CallReceiver.make

    def note(self, due):
        if due.frame.time_s > 2.0:
            made.append((due.frame.time_s - 1.0, due.state.value, due.frame.pose.mesh))
        return make(self, due)

    monkeypatch.setattr(CallReceiver, "make", note)
    run_call(clip(9), Conditions(delay_s=0.05, outages=((4.0, 6.0),)), after_s=0, show_s=0.02)
    steps = [
        (b[0], b[1], np.abs(b[2] - a[2]).max() / max(b[0] - a[0], 0.01)) for a, b in itertools.pairwise(made)
    ]
    back = next(i for i, (at, state, _) in enumerate(steps) if at > 4.5 and state == "live")
    usual = max(speed for at, state, speed in steps if state == "live" and at < 3.9)
    assert steps[back - 1][1] == "idle"
    assert max(speed for _, _, speed in steps[back - 5 : back + 20]) < 1.5 * usual


def test_ten_kbits_carry_sound_and_some_frames(clip):
    call = run_call(clip(30), NETWORKS["10 kbit/s"], LAN)
    heard = [at for at, _ in call.sound if at > 10]
    assert len(heard) > 0.9 * 20 / OPUS_S
    states = call.states(10, 30)
    assert states.count("live") > 0.8 * len(states)
    assert call.sender.stats().frames > 5 * 20
    assert call.receiver.stats().undecodable == 0


@needs_weights(lambda: Lpips("alex"), install="LPIPS")
@pytest.mark.parametrize("seed", [1, 2])
def test_ten_percent_of_loss_cost_little_in_what_is_seen(seed, clip, drawn):
    judge = Lpips("alex")
    frames = clip(9)

    def distance(network: Conditions) -> float:
        call = run_call(frames, network, show_s=0.2, seed=seed)
        assert call.receiver.stats().undecodable == 0
        at = {round(f.time_s, 2): f.pixels for f in frames}
        pairs = [
            (crop_picture(at[round(round((f.pts_s - 1.0) * 20) / 20, 2)], f.crop), f.pixels)
            for when, f in call.shown
            if 2.0 < when < 8.9
        ]
        return float(np.mean([judge.distance(source, seen) for source, seen in pairs]))

    assert distance(replace(LAN, loss=0.1)) < distance(LAN) + 0.02


def on_walls(frames: list[Frame], tracked: KnownTracker, greys: list[int], seconds: float) -> list[Frame]:
    """The frames with a strip at their left that has another grey every few seconds."""
    out = []
    for frame in frames:
        pixels = frame.pixels.copy()
        pixels[:, :150] = greys[int(frame.time_s / seconds)]
        tracked.found[id(pixels)] = tracked.found[id(frame.pixels)]
        out.append(replace(frame, pixels=pixels))
    return out


@pytest.mark.parametrize("name", ["clear", "all at once", "a backdrop lost"])
def test_reference_pictures_share_a_backdrop_that_has_arrived(name, clip, drawn, tracked, monkeypatch):
    """A picture every second, another wall every three: each wall is shown before the next comes."""
    tracker = KnownTracker(dict(tracked.found))
    monkeypatch.setattr(facecodec.encoder, "make_tracker", lambda *args, **options: tracker)
    frames, seen = on_walls(clip(8.9), tracker, [60, 140, 220], 3.0), {}

    def send_picture(now, call):
        if now > 1.0 and abs(now % 1.0 - 0.2) < 0.001:
            call.sender.encoder._selection.is_asked = True  # request_keyframe sends a backdrop too

    def queue(self, data, ref_id=None, backdrop_of=None):
        sent.append("backdrop" if backdrop_of is not None else "picture" if ref_id is not None else "header")
        plainly(self, data, ref_id, backdrop_of)
        if name == "a backdrop lost" and sent.count("backdrop") == 2 and not lost:
            lost.append(self._packetiser.message - 1)

    def lose(datagram):
        return b"-" if datagram.channel is Channel.RELIABLE and datagram.data[0] in lost else datagram.data

    sent: list[str] = []
    lost: list[int] = []
    plainly = Dispatch.queue_message
    monkeypatch.setattr(Dispatch, "queue_message", queue)
    encoder = replace(CallConfig().encoder, view="frame")
    config = CallConfig(encoder=encoder, max_kbps=100.0, start_kbps=100.0, burst_kbps=300.0)
    path = NETWORKS.get(name, LAN)
    call = run_call(frames, path, config=config, meddle=send_picture, damage=lose, show_s=0.9)
    for at, frame in call.shown:
        seen[min(int(at // 3), 2)] = float(frame.pixels[-20:, :20].mean())
    assert seen == pytest.approx({0: 60, 1: 140, 2: 220}, abs=4)
    assert sent.count("picture") >= 7
    assert 4 <= sent.count("backdrop") <= (4 if name == "clear" else 7)  # with the first, coarse picture


def test_a_backdrop_that_arrives_late_is_not_shared(clip, tracked):
    """Whichever order messages arrive in, a picture takes over the backdrop that was sent last."""
    encoder = Encoder(replace(CallConfig().encoder, view="frame"), acknowledged=True)
    header, reference, backdrop = (parse_unit(p.data) for p in encoder.encode(clip(0.1)[0]))
    encoder.close()
    units = [header, reference]
    for slot, grey in enumerate((40, 90, 140)):
        still = encode_still(np.full((360, 640, 3), grey, np.uint8), 20, speed="realtime")
        units.append(replace(backdrop, ref_id=slot, still=still))
    packetiser = Packetiser()
    messages = [packetiser.message_of(pack_unit(unit)) for unit in [*units, replace(reference, ref_id=5)]]
    for order in itertools.permutations([2, 3, 4]):
        receiver = CallReceiver()
        for number in (0, 1, *order, 5):
            for datagram in messages[number]:
                receiver.receive(Channel.RELIABLE, datagram.data, 0.0)
        behind = {slot: float(b.mean()) for slot, b in receiver._decoder._backdrops.items()}
        assert behind == pytest.approx({0: 40, 1: 90, 2: 140, 5: 140}, abs=4)


def test_a_fresh_picture_can_be_asked_for(clip):
    def ask(now, call):
        if abs(now - 2.0) < 0.001:
            call.sender.request_keyframe()

    call = run_call(clip(4), LAN, meddle=ask)
    assert call.sender.stats().references == call.receiver.stats().references == 3
    assert set(call.states(1.5, 4)) == {"live"}


def test_pictures_come_through_heavy_loss(clip):
    call = run_call(clip(6), replace(LAN, loss=0.4), replace(LAN, loss=0.4), seed=5)
    assert call.receiver.stats().references == 2
    assert call.receiver.stats().frames > 10


@pytest.mark.parametrize(("rate_kbps", "soon_s"), [(0.0, 0.8), (10.0, 4.0)])
def test_a_coarse_picture_comes_first_and_a_better_one_where_the_path_carries_it(clip, rate_kbps, soon_s):
    sizes = []

    def look(now, call):
        reference = call.receiver.reference
        if reference is not None and (not sizes or reference.pts != sizes[-1][0]):
            sizes.append((reference.pts, len(reference.key)))

    call = run_call(clip(6), replace(LAN, rate_kbps=rate_kbps), LAN, meddle=look)
    assert call.shown[0][0] < soon_s
    assert len(sizes) == (1 if rate_kbps else 2)
    assert sizes[0][1] < 0.6 * sizes[-1][1] or rate_kbps


def test_a_narrow_path_is_found_and_kept_to(clip):
    narrow = replace(LAN, rate_kbps=12.0)
    call = run_call(clip(20), narrow, LAN)
    sent = call.sender.stats()
    assert sent.wire_kbps < 12.5
    assert sent.fps < 20
    late = [packet for at, packet in call.sound if at > 10]
    assert len(late) > 0.85 * 10 / 0.06
    assert call.states(12).count("live") > 0.5 * len(call.states(12))


def test_the_same_call_twice_is_the_same_call(clip):
    def sent() -> list[bytes]:
        data: list[bytes] = []
        run_call(clip(3), NETWORKS["all at once"], damage=lambda d: data.append(d.data) or d.data)
        return data

    assert sent() == sent()


def test_what_is_damaged_on_the_way_is_dropped(clip):
    rng = random.Random(4)

    def damage(datagram):
        data = bytearray(datagram.data)
        if datagram.channel is Channel.MOTION and rng.random() < 0.3:
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)

    call = run_call(clip(8), LAN, damage=damage)
    got = call.receiver.stats()
    assert got.malformed > 0
    assert got.frames > 50
    for received in call.receiver._playout._idle._memory:
        assert np.isfinite(received.pose.mesh).all()
        assert np.abs(received.pose.mesh).max() < 16


@pytest.mark.parametrize("channel", list(Channel))
def test_noise_never_raises_and_never_shows(channel, clip):
    rng, receiver = random.Random(2), CallReceiver()
    for i in range(3000):
        receiver.receive(channel, rng.randbytes(rng.randint(0, 60)), i * 0.01)
        receiver.poll(i * 0.01)
        receiver.audio(i * 0.01)
    assert receiver.frame(30.0) is None
    assert len(receiver.take_feedback()) <= 32
    assert receiver.stats().malformed > 100


def test_noise_as_feedback_is_refused_or_harmless(clip):
    rng, sender = random.Random(2), CallSender()
    frames = clip(2)
    for i, frame in enumerate(frames):
        sender.push_frame(frame, i * 0.05)
        sender.poll(i * 0.05)
        for _ in range(50):
            try:
                sender.receive(rng.randbytes(rng.randint(1, 20)), i * 0.05)
            except TransportError:
                continue
    sender.close()
    assert sender.stats().references < 10


def test_sound_goes_on_without_a_picture(clip):
    sender, receiver = CallSender(), CallReceiver()
    played = []
    for i in range(400):
        now = i * 0.01
        if i % 6 == 0:
            sender.push_audio(FAKE_OPUS, 5.0 + now, now)
        for datagram in sender.poll(now):
            receiver.receive(datagram.channel, datagram.data, now + 0.02)
        played += receiver.audio(now + 0.02)
    sender.close()
    assert len(played) > 60
    assert np.diff([packet.pts for packet in played]).tolist() == [2880] * (len(played) - 1)
    assert receiver.frame(4.0) is None


def test_memory_stays_bounded(clip):
    call = run_call(clip(40), replace(LAN, loss=0.05))
    sender, receiver = call.sender, call.receiver
    assert len(sender._dispatch.bundles._sent) <= 256
    assert len(sender._dispatch.messages) <= 8
    assert len(receiver._states) <= 48
    assert len(receiver._playout._buffer) <= 64
    assert all(len(values) <= 100 for values in sender.encoder.timings.values())
    assert all(len(values) <= 100 for values in receiver._decoder.timings.values())


def test_lossy_pictures_look_like_those_of_a_clear_path(clip, drawn):
    config = CallConfig()
    clear, lossy = (run_call(clip(4), c, config=config, show_s=0.2) for c in (LAN, replace(LAN, loss=0.1)))
    clear_at = {round(at, 2): frame for at, frame in clear.shown}
    apart = [
        np.abs(clear_at[round(at, 2)].pixels.astype(int) - frame.pixels).mean()
        for at, frame in lossy.shown
        if round(at, 2) in clear_at
    ]
    assert len(apart) > 10
    assert lossy.shown[-1][1].pixels.shape == (256, 256, 3)
    assert np.mean(apart) < 6.0
    assert lossy.receiver.stats().undecodable == 0


def test_bad_input_is_refused(clip):
    with pytest.raises(ConfigError, match="lookahead"):
        CallConfig(encoder=EncoderConfig())
    with pytest.raises(ConfigError, match="start_kbps"):
        CallConfig(start_kbps=20.0)
    sender = CallSender(speed=SpeedConfig(threads=1))
    with pytest.raises(BitstreamError):
        sender.push_audio(b"", 0.0, 0.0)
    with pytest.raises(TransportError):
        sender.push_audio(b"\x18" + bytes(1000), 0.0, 0.0)
    frame = clip(1)[0]
    sender.push_frame(frame, 0.0)
    with pytest.raises(ValueError, match="frame"):
        sender.push_frame(Frame(frame.pixels[:100], 100, frame.time_base), 0.1)
    sender.close()


def test_the_network_does_what_it_says():
    path = Path(Conditions(loss=0.2, burst=5, delay_s=0.1))
    for i in range(20000):
        path.send(i, 100, i * 0.01)
    assert path.lost / path.sent == pytest.approx(0.2, abs=0.03)
    got = path.arrivals(1e6)
    runs = np.split(np.array(got), np.flatnonzero(np.diff(got) > 1) + 1)
    assert (20000 - len(got)) / (len(runs) - 1) == pytest.approx(5, rel=0.15)
    narrow = Path(Conditions(rate_kbps=8.0, delay_s=0.0))
    for i in range(100):
        narrow.send(i, 100, 0.0)
    assert len(narrow.arrivals(1.0)) == 10
    assert len(narrow.arrivals(10.0)) < 3
