"""The decoder: what it shows, and what it does when something is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facecodec.bitstream import (
    BackdropUnit,
    MotionUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    pack_unit,
    parse_unit,
)
from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError, ChecksumError, WeightsMismatchError
from facecodec.refpic.intra import encode_still
from facecodec.types import Frame, Packet, PacketKind
from tests.codec.clips import encode


def run(packets: list[Packet], config: DecoderConfig | None = None) -> list[Frame]:
    decoder = Decoder(config)
    return [frame for packet in packets for frame in decoder.decode(packet)]


def of_kind(packets: list[Packet], kind: PacketKind) -> list[Packet]:
    return [packet for packet in packets if packet.kind is kind]


@pytest.fixture(scope="module")
def whole(packets):
    return run(packets)


def test_the_pictures_look_like_the_source(whole, faces):
    faces = faces[:20]
    assert [frame.pts for frame in whole] == [frame.pts for frame in faces]
    errors = [np.mean((a.pixels.astype(float) - b.pixels) ** 2) for a, b in zip(whole, faces, strict=True)]
    assert 10 * np.log10(255**2 / np.mean(errors)) > 24


@pytest.mark.parametrize("speed", [SpeedConfig(threads=3, batch=5), SpeedConfig(threads=1, batch=1)])
def test_threads_and_batches_change_nothing_but_rounding(packets, whole, speed):
    out = run(packets, DecoderConfig(speed=speed))
    for one, other in zip(out, whole, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


def test_the_crop_is_what_stands_in_the_picture(packets, whole):
    decoder = Decoder(DecoderConfig(view="crop"))
    crops = [frame for packet in packets for frame in decoder.decode(packet)]
    assert decoder.size == (256, 256)
    reference = next(u for u in map(lambda p: parse_unit(p.data), packets) if isinstance(u, ReferenceUnit))
    x, y, side = reference.crop_x, reference.crop_y, reference.crop_side
    inner = slice(side // 4, side * 3 // 4)
    pasted = whole[5].pixels[y : y + side, x : x + side][inner, inner].mean((0, 1))
    share = slice(64, 192)
    np.testing.assert_allclose(crops[5].pixels[share, share].mean((0, 1)), pasted, atol=2.0)


def test_poisson_equals_feather_far_from_the_crop(packets, whole):
    out = run(packets[:4], DecoderConfig(composite="poisson"))
    reference = parse_unit(packets[1].data)
    assert isinstance(reference, ReferenceUnit)
    outside = np.ones((360, 640), bool)
    x, y, side = reference.crop_x, reference.crop_y, reference.crop_side
    outside[max(0, y - 18) : y + side + 18, max(0, x - 18) : x + side + 18] = False
    assert outside.any()
    for one, other in zip(out, whole, strict=False):
        np.testing.assert_array_equal(one.pixels[outside], other.pixels[outside])
        assert np.abs(one.pixels.astype(int) - other.pixels).mean() < 6


def test_a_lost_group_is_waited_out_until_the_next_reset(faces):
    packets = encode(faces[:36], EncoderConfig(scene_points="off", intra_period=24))
    decoder = Decoder()
    shown, asked = [], []
    groups = 0
    for packet in packets:
        groups += packet.kind is PacketKind.MOTION
        if packet.kind is PacketKind.MOTION and groups == 1:
            decoder.lost()
            continue
        shown += [frame.pts for frame in decoder.decode(packet)]
        asked.append(decoder.needs_keyframe)
    assert asked[-1] is False
    assert True in asked
    assert shown == [40 * i for i in range(24, 36)]


def test_without_its_reference_picture_a_group_is_not_shown(packets):
    decoder = Decoder()
    left = [packet for packet in packets if packet.kind is not PacketKind.REFERENCE]
    assert [frame for packet in left for frame in decoder.decode(packet)] == []
    assert decoder.needs_keyframe


def test_nothing_is_made_from_an_old_picture_in_a_lost_one_s_place(packets):
    """After eight pictures the slots go round: a lost picture must not leave its predecessor in its place."""
    decoder = Decoder()
    reference, motion = parse_unit(packets[1].data), parse_unit(packets[3].data)
    assert isinstance(reference, ReferenceUnit)
    assert isinstance(motion, MotionUnit)
    decoder.decode(packets[0])
    for slot in range(8):
        decoder.take(replace(reference, ref_id=slot))
    decoder.lost(PacketKind.REFERENCE)
    assert decoder.take(motion) == []
    assert decoder.needs_keyframe
    assert len(decoder.take(replace(motion, ref_id=1))) == 16
    with pytest.raises(BitstreamError):
        decoder.take(replace(reference, ref_id=1, still=b"no picture"))
    assert decoder.take(replace(motion, ref_id=1)) == []


def test_a_lost_backdrop_leaves_the_face_on_grey(packets, whole):
    out = run([p for p in packets[:4] if p.kind is not PacketKind.BACKDROP])
    assert len(out) == 16
    reference = parse_unit(packets[1].data)
    assert isinstance(reference, ReferenceUnit)
    y, x = reference.crop_y + reference.crop_side // 2, reference.crop_x + reference.crop_side // 2
    middle = (slice(y - 40, y + 40), slice(x - 40, x + 40))
    np.testing.assert_array_equal(out[0].pixels[middle], whole[0].pixels[middle])


def plain_backdrop(ref_id: int, grey: int) -> BackdropUnit:
    still = encode_still(np.full((360, 640, 3), grey, np.uint8), 50, speed="realtime")
    return BackdropUnit(ref_id, StillCodec.AV1, 640, 360, still)


class Behind:
    """A decoder of plain backdrops, and the grey that it shows behind the face."""

    def __init__(self, packets: list[Packet]) -> None:
        reference, motion = parse_unit(packets[1].data), parse_unit(packets[3].data)
        assert isinstance(reference, ReferenceUnit)
        assert isinstance(motion, MotionUnit)
        self.reference, self.motion = reference, motion
        self.decoder = Decoder()
        self.decoder.decode(packets[0])

    def send(self, ref_id: int, grey: int | None = None) -> None:
        """A reference picture, and a backdrop beside it."""
        self.decoder.take(replace(self.reference, ref_id=ref_id))
        if grey is not None:
            self.decoder.take(plain_backdrop(ref_id, grey))

    def shown(self, *slots: int) -> list[int]:
        """The grey behind pictures made from slots, to the nearest ten."""
        out = []
        for ref_id in slots:
            unit = replace(self.motion, ref_id=ref_id)
            frame = self.decoder.take(unit, show_to=self.decoder.header.start_pts + 1)[0]
            out.append(round(float(frame.pixels[-4:, :4].mean()), -1))
        return out


def test_a_reference_picture_takes_over_the_newest_backdrop(packets):
    behind = Behind(packets)
    behind.send(0)
    assert behind.shown(0) == [130]  # mid-grey: none has come
    behind.send(1, 40)
    assert behind.shown(0, 1) == [130, 40]
    behind.send(2)
    behind.send(0, 90)
    assert behind.shown(0, 1, 2) == [90, 40, 40]
    behind.send(1)
    behind.send(3)
    assert behind.shown(0, 1, 2, 3) == [90, 90, 40, 90]
    behind.decoder.take(plain_backdrop(3, 200))
    assert behind.shown(0, 1, 2, 3) == [90, 90, 40, 200]
    behind.send(4)
    assert behind.shown(4) == [200]


def test_a_damaged_backdrop_changes_nothing(packets):
    behind = Behind(packets)
    behind.send(0, 40)
    with pytest.raises(BitstreamError):
        behind.decoder.take(replace(plain_backdrop(0, 90), still=b"no picture"))
    behind.send(1)
    assert behind.shown(0, 1) == [40, 40]


def test_a_backdrop_that_comes_late_is_not_the_newest(packets):
    behind = Behind(packets)
    behind.send(0)
    behind.send(1)
    behind.decoder.take(plain_backdrop(1, 90), number=7)
    behind.decoder.take(plain_backdrop(0, 40), number=5)
    behind.send(2)
    assert behind.shown(0, 1, 2) == [40, 90, 90]
    behind.decoder.take(plain_backdrop(2, 200), number=8)
    behind.send(3)
    assert behind.shown(3) == [200]


def test_a_new_stream_has_no_backdrop(packets):
    behind = Behind(packets)
    behind.send(0, 40)
    behind.decoder.decode(packets[0])
    behind.send(0)
    assert behind.shown(0) == [130]


def test_a_reset_group_of_one_frame_leaves_no_trace_of_what_was_before(faces):
    """Values before a reset are nothing to the groups behind it: one that joins there shows the same."""
    packets = encode(faces[:14], EncoderConfig(scene_points="off", lookahead=0, intra_period=6))
    motion = [i for i, p in enumerate(packets) if p.kind is PacketKind.MOTION]
    starts = [i for i in motion if packets[i].is_random_access]
    assert len(starts) == 3
    joined = Decoder()
    joined.decode(packets[0])
    late = [frame for packet in packets[starts[1] - 2 :] for frame in joined.decode(packet)]
    for one, other in zip(late, run(packets)[6:], strict=True):
        assert one.pts == other.pts
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_before_the_header_nothing_can_be_decoded(packets):
    decoder = Decoder()
    with pytest.raises(BitstreamError, match="header"):
        _ = decoder.size
    for packet in packets[1:4]:
        with pytest.raises(BitstreamError, match="header"):
            decoder.decode(packet)
    with pytest.raises(BitstreamError, match="header"):
        decoder.lost()


def test_a_damaged_packet_is_refused_and_the_next_picture_waited_for(packets):
    decoder = Decoder()
    motion = of_kind(packets, PacketKind.MOTION)
    for packet in packets[:3]:
        decoder.decode(packet)
    data = bytearray(motion[0].data)
    data[len(data) // 2] ^= 4
    with pytest.raises(ChecksumError):
        decoder.decode(replace(motion[0], data=bytes(data)))
    assert decoder.decode(motion[1]) == []
    assert decoder.needs_keyframe


def test_damage_that_a_checksum_does_not_see_stops_at_the_next_reset(packets):
    """Bytes changed before the checksum was made: a BitstreamError or frames, nothing else."""
    rng = np.random.default_rng(2)
    for _ in range(12):
        decoder = Decoder(DecoderConfig(view="crop"))
        for packet in packets[:3]:
            decoder.decode(packet)
        unit = parse_unit(packets[3].data)
        assert isinstance(unit, MotionUnit)
        levels = bytearray(unit.levels)
        for _ in range(3):
            levels[rng.integers(len(levels))] = rng.integers(256)
        bad = replace(packets[3], data=pack_unit(replace(unit, levels=bytes(levels))))
        try:
            decoder.decode(bad)
        except BitstreamError:
            assert decoder.decode(packets[4]) == []
        assert len(decoder.decode(packets[3])) == 16


def test_a_stream_for_a_model_that_is_not_here_is_refused(packets):
    header = parse_unit(packets[0].data)
    assert isinstance(header, StreamHeader)
    other = replace(header, model_id=b"other-9".ljust(len(header.model_id), b"\0"))
    with pytest.raises(WeightsMismatchError):
        Decoder().decode(replace(packets[0], data=pack_unit(other)))


def test_only_a_stretch_is_made(packets, whole):
    decoder = Decoder()
    for packet in packets[:3]:
        decoder.decode(packet)
    frames = decoder.take(parse_unit(packets[3].data), show_from=121, show_to=240)
    assert [frame.pts for frame in frames] == [160, 200]
    assert decoder.position == 600
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, whole[frame.pts // 40].pixels)
    decoder.take(parse_unit(packets[4].data), show_from=10**9)
    assert decoder.position == 19 * 40
