"""Random damage to datagrams: the depacketiser gives something or a TransportError."""

from __future__ import annotations

import random

from facecodec.bitstream import MotionUnit
from facecodec.errors import TransportError
from facecodec.transport import Channel, Depacketiser, Feedback, MotionPart, Packetiser, SoundPart
from facecodec.transport.feedback import Acknowledged, Missing, Report
from facecodec.transport.packetise import feedback_datagram

ROUNDS = 20000


def seeds() -> list[tuple[Channel, bytes]]:
    packetiser = Packetiser()
    feedback = Feedback(True, Report(5, True, 3, 4, 8), Acknowledged(1, 1), Missing(2, (1, 2))).pack()
    unit = MotionUnit(1, 24, 3, 7, bytes(30), True, (1, 2))
    sound = SoundPart(240, (b"\x18" + bytes(30), b"\x18" + bytes(31)))
    made = [packetiser.bundle(MotionPart(unit, None, 1), sound, feedback), packetiser.bundle(None, sound)]
    made += [*packetiser.message_of(bytes(2000), 700), feedback_datagram(feedback)]
    return [(datagram.channel, datagram.data) for datagram in made]


def mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(out) + 1)
        match rng.randrange(4):
            case 0 if out:
                out[place % len(out)] ^= 1 << rng.randrange(8)
            case 1:
                out[place:place] = rng.randbytes(rng.randint(1, 8))
            case 2:
                del out[place : place + rng.randint(1, 20)]
            case _:
                out = out[:place] + bytearray(rng.randbytes(rng.randint(0, 3)))
    return bytes(out)


def test_damaged_datagrams_never_crash_the_depacketiser():
    rng, made, depacketiser = random.Random(6), seeds(), Depacketiser()
    refused = taken = 0
    for _ in range(ROUNDS):
        channel, data = rng.choice(made)
        try:
            got = depacketiser.take(channel, mutate(rng, data))
            taken += got is not None
            if isinstance(got, bytes):
                Feedback.parse(got)
        except TransportError:
            refused += 1
        assert len(depacketiser.assembling) <= 4
        assert len(depacketiser._seen) <= 64
    assert refused > ROUNDS / 10
    assert taken > 100
