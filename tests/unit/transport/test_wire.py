"""Bundles, fragments and feedback as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecodec.bitstream import MotionUnit
from facecodec.errors import ConfigError, TransportError
from facecodec.transport import (
    DATAGRAM_MAX,
    SCTP,
    SRTP,
    Bundle,
    Channel,
    Depacketiser,
    Feedback,
    Message,
    MotionPart,
    Packetiser,
    SoundPart,
)
from facecodec.transport.bundle import TICK
from facecodec.transport.feedback import Acknowledged, Missing, Report
from facecodec.transport.packetise import FRAGMENTS_MAX, MESSAGE_MAX, feedback_datagram

OPUS = bytes([0x18]) + bytes(20)
ticks = st.integers(-(1 << 40), 1 << 40)


@st.composite
def motion_parts(draw):
    n = draw(st.integers(1, 4))
    reset = draw(st.booleans())
    deltas = tuple(draw(st.lists(ticks, min_size=n - 1, max_size=n - 1))) if draw(st.booleans()) else None
    unit = MotionUnit(
        draw(st.integers(0, 7)),
        draw(st.integers(0, 51)),
        n,
        draw(ticks),
        draw(st.binary(max_size=200)),
        reset,
        deltas,
    )
    return MotionPart(unit, None if reset else draw(st.integers(1, 48)), draw(st.integers(0, 7)))


sounds = st.builds(
    SoundPart,
    st.integers(0, (1 << 24) - 1).map(lambda t: t * TICK),
    st.lists(st.binary(max_size=60).map(lambda b: b"\x18" + b), min_size=1, max_size=10).map(tuple),
)
bundles = st.builds(
    Bundle,
    st.integers(0, 4095),
    st.none() | motion_parts(),
    st.none() | sounds,
    st.binary(max_size=64),
)
reports = st.builds(
    Report,
    st.integers(0, 4095),
    st.booleans(),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 255).map(lambda h: 4 * h),
)
bytes_ = st.integers(0, 255)
feedbacks = st.builds(
    Feedback,
    st.booleans(),
    st.none() | reports,
    st.none() | st.builds(Acknowledged, bytes_, bytes_),
    st.none() | st.builds(Missing, bytes_, st.lists(bytes_, min_size=1, max_size=32).map(tuple)),
)


@given(bundles)
def test_a_bundle_survives_its_bytes(bundle):
    assert Bundle.parse(bundle.pack()) == bundle


@given(feedbacks)
def test_feedback_survives_its_bytes(feedback):
    data = feedback.pack()
    assert len(data) <= 64
    assert Feedback.parse(data) == feedback


@given(st.binary(max_size=80))
def test_any_bytes_are_feedback_or_an_error(data):
    try:
        feedback = Feedback.parse(data)
    except TransportError:
        return
    assert feedback.pack() == data


@given(st.binary(max_size=300))
def test_any_bytes_are_a_bundle_or_an_error(data):
    try:
        bundle = Bundle.parse(data)
    except TransportError:
        return
    assert bundle.pack() == data


def test_a_bundle_of_known_bytes():
    unit = MotionUnit(3, 24, 2, -1, b"\xaa\xbb", False, None)
    bundle = Bundle(0x123, MotionPart(unit, 5, 6), SoundPart(7 * TICK, (OPUS,)), b"\x00")
    head = "71 23" + "01 00" + "00 000007 15" + OPUS.hex()
    assert bundle.pack() == bytes.fromhex(head + "C3 58 05 01 AABB")


@pytest.mark.parametrize(
    "part",
    [
        MotionPart(MotionUnit(0, 24, 5, 0, b"", True), None, 0),
        MotionPart(MotionUnit(0, 24, 1, 0, b"", True), 1, 0),
        MotionPart(MotionUnit(0, 24, 1, 0, b"", False), None, 0),
        MotionPart(MotionUnit(0, 24, 1, 0, b"", False), 49, 0),
    ],
)
def test_what_a_bundle_cannot_say_is_refused(part):
    with pytest.raises(ConfigError):
        Bundle(0, part).pack()


def test_sound_off_the_grid_is_refused():
    with pytest.raises(ConfigError, match="start of sound"):
        Bundle(0, None, SoundPart(TICK + 1, (OPUS,))).pack()


def test_a_bundle_beyond_a_datagram_is_refused_and_its_number_kept():
    packetiser = Packetiser()
    unit = MotionUnit(0, 24, 1, 0, bytes(DATAGRAM_MAX), True)
    with pytest.raises(TransportError):
        packetiser.bundle(MotionPart(unit, None, 0))
    assert packetiser.sequence == 0


@given(st.binary(min_size=1, max_size=9000), st.integers(64, 1150), st.randoms(use_true_random=False))
def test_messages_survive_drops_repeats_and_any_order(data, size, random):
    packetiser, depacketiser = Packetiser(), Depacketiser()
    wanted, sent = [], []
    for i in range(3):
        unit = data[i:] + bytes([i])
        fragments = packetiser.message_of(unit, size)
        assert all(len(f.data) <= DATAGRAM_MAX for f in fragments)
        wanted.append(unit)
        sent += fragments + [random.choice(fragments)]
    random.shuffle(sent)
    kept = [f for f in sent if random.random() > 0.3]
    got = [depacketiser.take(f.channel, f.data) for f in kept + sent]
    messages = [m for m in got if isinstance(m, Message)]
    assert sorted(m.number for m in messages) == [0, 1, 2]
    assert all(m.data == wanted[m.number] for m in messages)
    assert not depacketiser.assembling


@given(st.lists(bundles, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_bundles_keep_their_numbers_over_drops_repeats_and_any_order(made, random):
    packetiser, depacketiser = Packetiser(), Depacketiser()
    packetiser.sequence = 4090
    depacketiser.sequences.highest = 4089
    sent = [packetiser.bundle(b.motion, b.sound, b.feedback) for b in made]
    order = [i for i in range(len(sent)) if random.random() > 0.2] * 2
    random.shuffle(order)
    got = [depacketiser.take(sent[i].channel, sent[i].data) for i in order]
    found = {b.sequence: b for b in got if isinstance(b, Bundle)}
    assert sorted(found) == sorted({4090 + i for i in order})
    assert sum(b is not None for b in got) == len(found)
    for i in set(order):
        assert found[4090 + i] == Bundle(4090 + i, made[i].motion, made[i].sound, made[i].feedback)


def test_messages_beyond_the_limit_are_refused():
    packetiser = Packetiser()
    fragments = packetiser.message_of(bytes(MESSAGE_MAX), 200)
    assert len(fragments) == FRAGMENTS_MAX
    assert len(fragments[0].data) == DATAGRAM_MAX
    for size in (0, MESSAGE_MAX + 1):
        with pytest.raises(ConfigError):
            packetiser.message_of(bytes(size))


@pytest.mark.parametrize(
    "data", [b"", bytes(1151), b"\x00\x00\x00", b"\x00\x05\x04\x01"], ids=["empty", "long", "bare", "index"]
)
def test_broken_fragments_are_refused(data):
    with pytest.raises(TransportError):
        Depacketiser().take(Channel.RELIABLE, data)


def test_fragments_that_contradict_each_other_are_refused():
    depacketiser = Depacketiser()
    depacketiser.take(Channel.RELIABLE, b"\x00\x00\x04a")
    with pytest.raises(TransportError, match="5 fragments, not 4"):
        depacketiser.take(Channel.RELIABLE, b"\x00\x00\x03a")


def test_assembly_takes_bounded_memory():
    depacketiser = Depacketiser()
    for number in range(3000):
        low = (number * 37) & 255
        for index in range(0, 255, 51):
            depacketiser.take(Channel.RELIABLE, bytes([low, index, 255]) + bytes(1147))
        assert len(depacketiser.assembling) <= 4
    assert len(depacketiser._whole) <= 64


def test_feedback_alone_is_told_from_bundles():
    block = Feedback(pli=True).pack()
    assert Depacketiser().take(Channel.MOTION, feedback_datagram(block).data) == block
    with pytest.raises(TransportError):
        Depacketiser().take(Channel.MOTION, feedback_datagram(bytes(65)).data)


def test_bytes_on_the_wire():
    """20 IP, 8 UDP, 37 DTLS, 12 + 16 SCTP; or 20, 8, 12 RTP, 10 SRTP."""
    assert SCTP.on_wire(0) == 20 + 8 + 37 + 12 + 16 == 93
    assert [SCTP.on_wire(size) for size in (1, 4, 5)] == [97, 97, 101]
    assert SCTP.answer == 20 + 8 + 37 + 12 + 16
    assert SRTP.on_wire(100) == 20 + 8 + 12 + 10 + 100
    assert SCTP.on_wire(DATAGRAM_MAX) <= 1280
