"""Damaged units whose checksums are right, through a call's receiver: what a stranger can send.

Nothing may be raised, nothing but a face in its place shown, and memory stays bounded.
"""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from facecodec.bitstream import MotionUnit, UnitKind, frame_unit, parse_unit, parse_unit_head
from facecodec.call.config import CallConfig
from facecodec.call.receiver import CallReceiver
from facecodec.encoder import Encoder
from facecodec.errors import BitstreamError, ConfigError, TransportError
from facecodec.media.reader import VideoReader
from facecodec.transport import Channel, MotionPart, Packetiser, SoundPart
from facecodec.types import Frame
from tests.fuzz.test_fuzz_transport import mutate

ROUNDS = 3000
MEMORY_BYTES = 64 << 20


@pytest.fixture(scope="module")
def units(samples) -> dict[UnitKind, list[bytes]]:
    """Headers, reference pictures and motion, as a call sends them."""
    encoder = Encoder(CallConfig().encoder, acknowledged=True)
    packets = []
    with VideoReader(samples / "talking_head.mp4") as video:
        for i, frame in enumerate(video.frames(duration_s=0.4)):
            packets += encoder.encode(Frame(frame.pixels, 1000 + 40 * i, Fraction(1, 1000)))
            if i == 0:
                encoder.acknowledge(0)
    packets += encoder.encode_waiting()
    encoder.close()
    found: dict[UnitKind, list[bytes]] = {}
    for packet in packets:
        found.setdefault(parse_unit_head(packet.data).kind, []).append(packet.data)
    return found


def damaged(rng: random.Random, unit: bytes) -> bytes:
    """A unit with another payload, and the checksum that goes with it."""
    head = parse_unit_head(unit)
    payload = unit[head.head_bytes : head.head_bytes + head.payload_bytes]
    return frame_unit(head.kind, mutate(rng, payload)[:4000])


def changed(rng: random.Random, unit: MotionUnit) -> MotionUnit:
    """Motion of other levels, steps, slots and numbers of frames."""
    levels = mutate(rng, unit.levels) or b"\x00"
    if rng.random() < 0.5:
        return replace(unit, levels=levels)
    return replace(unit, levels=levels, qp=rng.randrange(52), ref_id=rng.randrange(8))


def send(
    receiver: CallReceiver, packetiser: Packetiser, rng: random.Random, unit: bytes, now_s: float
) -> None:
    """Send a unit the way a call does, damaged or not; motion follows the bundle before it, or nothing."""
    is_whole = rng.random() < 0.5
    if parse_unit_head(unit).kind is not UnitKind.MOTION:
        for datagram in packetiser.message_of(unit if is_whole else damaged(rng, unit)):
            receiver.receive(Channel.RELIABLE, datagram.data, now_s)
        return
    motion = parse_unit(unit)
    assert isinstance(motion, MotionUnit)
    motion = motion if is_whole else changed(rng, motion)
    base = rng.choice([None, 1, 2, 40])
    at = round(1000 * now_s) if base is None else rng.choice([0, 0, -300, 10**6])
    motion = replace(motion, reset=base is None, first_pts=at)
    part = MotionPart(motion, base, receiver._pictures.get(motion.ref_id, 0) & 7)
    try:
        datagram = packetiser.bundle(part, SoundPart(240, (b"\x18" + bytes(30),)))
    except (BitstreamError, ConfigError, TransportError):
        return  # no bundle holds it
    receiver.receive(Channel.MOTION, datagram.data, now_s)


def test_damaged_units_with_right_checksums_harm_nothing(units):
    rng, receiver, packetiser = random.Random(9), CallReceiver(), Packetiser()
    shown = 0
    tracemalloc.start()
    for i in range(ROUNDS):
        now_s = 1.1 + i * 0.02
        # A picture now and then, and a header more seldom: each may end what could be shown before.
        kind = UnitKind.HEADER if i % 100 == 0 else UnitKind.REFERENCE if i % 20 == 1 else UnitKind.MOTION
        send(receiver, packetiser, rng, rng.choice(units[kind]), now_s)
        receiver.poll(now_s)
        receiver.audio(now_s)
        if i % 5 == 0 and (picture := receiver.frame(now_s)) is not None:
            shown += 1
            assert picture.pixels.shape == (256, 256, 3)
            assert picture.pixels.dtype == np.uint8
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    got = receiver.stats()
    assert got.malformed > 100
    assert got.references > 10
    assert got.frames > 100
    assert shown > 10
    assert peak < MEMORY_BYTES
    assert len(receiver._pictures) <= 8
    assert len(receiver._states) <= 48
