"""What a call steers in encoder and decoder: acknowledged pictures, states to follow, key frames."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.bitstream import MotionUnit, ReferenceUnit, parse_unit
from facecodec.config import EncoderConfig
from facecodec.decoder import Decoder, MotionDecoder
from facecodec.encoder import Encoder
from facecodec.types import Frame, Packet, PacketKind
from tests.codec.clips import BASE

CALL = EncoderConfig(scene_points="off", lookahead=0, preset="realtime", palette="off", view="crop", size=256)


@pytest.fixture
def encoder():
    made = Encoder(CALL, acknowledged=True)
    yield made
    made.close()


def units(packets: list[Packet]) -> list:
    return [parse_unit(packet.data) for packet in packets]


def begin(encoder: Encoder, frame: Frame) -> MotionDecoder:
    """Send the first picture, and acknowledge it."""
    header, reference = units(encoder.encode(frame))
    decoder = MotionDecoder(header)
    decoder.take_reference(reference)
    assert encoder.acknowledge(reference.ref_id)
    return decoder


def test_nothing_moves_before_a_picture_is_acknowledged(encoder, faces):
    first = units(encoder.encode(faces[0]))
    assert [unit.KIND.label for unit in first] == ["header", "reference"]
    assert encoder.encode(faces[1]) == []
    assert not encoder.acknowledge(first[1].ref_id + 1)
    assert encoder.acknowledge(first[1].ref_id)
    assert not encoder.acknowledge(first[1].ref_id)
    (unit,) = units(encoder.encode(faces[2]))
    assert isinstance(unit, MotionUnit)
    assert unit.reset


def test_the_old_picture_is_used_until_the_new_one_is_acknowledged(encoder, faces):
    begin(encoder, faces[0])
    encoder.encode(faces[1])
    encoder.request_keyframe()
    reference, motion = units(encoder.encode(faces[2]))
    assert isinstance(reference, ReferenceUnit)
    assert (motion.ref_id, motion.reset) == (0, False)
    assert reference.ref_id == 1
    (motion,) = units(encoder.encode(faces[3]))
    assert motion.ref_id == 0
    encoder.acknowledge(1)
    (motion,) = units(encoder.encode(faces[4]))
    assert (motion.ref_id, motion.reset) == (1, True)


def test_a_group_can_follow_any_state_that_both_ends_hold(encoder, faces):
    decoder = begin(encoder, faces[0])
    states = []
    for i, frame in enumerate(faces[1:16]):
        back = [1, 3, 2, 5, None][i % 5]
        held = None if back is None or back > len(states) else states[-back]
        if held is None:
            encoder.motion.start()
        else:
            encoder.motion.resume(held[0])
            decoder.resume(held[1])
        encoder.motion.qp = 20 + i
        (unit,) = units(encoder.encode(frame))
        assert unit.reset == (held is None)
        motion = decoder.take_motion(unit)
        assert motion.pts == [frame.pts]
        states.append((encoder.motion.state(), decoder.state()))
        assert states[-1][0].same_as(states[-1][1])
    assert not states[-1][0].same_as(states[-2][0])


def test_groups_may_change_their_length(encoder, faces):
    begin(encoder, faces[0])
    encoder.group = 3
    assert encoder.encode(faces[1]) == encoder.encode(faces[2]) == []
    assert encoder.waiting == 2
    (unit,) = units(encoder.encode(faces[3]))
    assert unit.n_frames == 3
    encoder.group = 4
    assert encoder.encode(faces[4]) == []
    encoder.group = 2
    (unit,) = units(encoder.encode(faces[5]))
    assert (unit.n_frames, encoder.waiting) == (2, 0)


def test_pictures_that_nobody_asked_for_can_be_put_off(encoder, faces, someone_else):
    begin(encoder, faces[0])
    other = [Frame(someone_else, 1000 + 40 * i, BASE) for i in range(3)]
    encoder.may_send_reference = False
    assert {p.kind for f in other[:2] for p in encoder.encode(f)} == {PacketKind.MOTION}
    encoder.may_send_reference = True
    encoder.request_keyframe()
    assert PacketKind.REFERENCE in {p.kind for p in encoder.encode(other[2])}


def test_a_lower_quality_makes_smaller_pictures(encoder, faces):
    first = encoder.encode(faces[0])[1]
    encoder.acknowledge(0)
    encoder.reference_quality = 10
    encoder.request_keyframe()
    second = encoder.encode(faces[1])[0]
    assert second.kind is PacketKind.REFERENCE
    assert len(second.data) < 0.6 * len(first.data)


def test_a_face_that_is_not_seen_waits_for_its_picture(encoder, faces, blank):
    assert encoder.encode(Frame(blank, 0, BASE)) == []
    begin(encoder, Frame(faces[0].pixels, 40, BASE))
    encoder.encode(Frame(faces[1].pixels, 80, BASE))
    encoder.request_keyframe()
    assert {p.kind for p in encoder.encode(Frame(blank, 120, BASE))} == {PacketKind.MOTION}
    kinds = [p.kind for i in range(3) for p in encoder.encode(Frame(faces[2 + i].pixels, 160 + 40 * i, BASE))]
    assert PacketKind.REFERENCE in kinds


def test_motion_from_memory_is_shown_as_it_was(encoder, faces):
    decoder = Decoder()
    for packet in encoder.encode(faces[0]):
        decoder.decode(packet)
    encoder.acknowledge(0)
    (packet,) = encoder.encode(faces[5])
    (frame,) = decoder.decode(packet)
    decoder.motion.forget()
    motion = decoder.motion.take_motion(parse_unit(packet.data))
    (again,) = decoder.show(motion)
    np.testing.assert_array_equal(frame.pixels, again.pixels)
