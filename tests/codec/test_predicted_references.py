"""Reference pictures predicted from others: both ends agree on them, also behind a loss or a seek."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facecodec.analysis import plan
from facecodec.api import decode_frames, probe
from facecodec.bitstream import (
    MAGIC,
    Base,
    MotionUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    Unit,
    pack_unit,
    parse_unit,
)
from facecodec.config import DecoderConfig, EncoderConfig
from facecodec.container import FcvWriter
from facecodec.encoder import Encoder
from facecodec.errors import BitstreamError
from facecodec.motion_decoder import MotionDecoder
from facecodec.refpic.predicted import KeyPicture, encode_key, encode_predicted
from facecodec.refpic.quantiser import base_q_idx
from facecodec.types import Frame, Packet, PacketKind
from tests.codec.clips import encode

FILE = EncoderConfig(scene_points="off", palette="off", view="crop", lookahead=16, preset="realtime")
CALL = EncoderConfig(
    scene_points="off", palette="off", view="crop", lookahead=0, preset="realtime", picture_bps=200_000
)


@pytest.fixture
def cheap(monkeypatch):
    """Reference pictures cost next to nothing."""
    monkeypatch.setattr(plan, "PRICE", 1e-6)


def references(packets: list[Packet]) -> list[ReferenceUnit]:
    units = [parse_unit(packet.data) for packet in packets]
    return [unit for unit in units if isinstance(unit, ReferenceUnit)]


def decoded(packets: list[Packet]) -> tuple[MotionDecoder, int]:
    """What a decoder holds in the end, and the groups that it could decode."""
    decoder, groups = None, 0
    for unit in (parse_unit(packet.data) for packet in packets):
        if isinstance(unit, StreamHeader):
            decoder = MotionDecoder(unit)
        elif isinstance(unit, ReferenceUnit) and decoder is not None:
            decoder.take_reference(unit)
        elif isinstance(unit, MotionUnit) and decoder is not None:
            groups += decoder.take_motion(unit) is not None
    assert decoder is not None
    return decoder, groups


@pytest.mark.parametrize("config", [FILE, CALL], ids=["file", "call"])
def test_further_pictures_of_a_square_are_predicted_and_both_ends_hold_the_same(faces, cheap, config):
    encoder = Encoder(config)
    packets = [packet for frame in faces for packet in encoder.encode(frame)] + encoder.flush()
    sent = references(packets)
    assert len(sent) >= 2
    assert [unit.base is None for unit in sent] == [True] + [False] * (len(sent) - 1)
    assert all(len(unit.still) < len(sent[0].still) for unit in sent[1:])
    decoder, groups = decoded(packets)
    assert groups == sum(packet.kind is PacketKind.MOTION for packet in packets)
    assert {reference.q_idx for reference in decoder.buffer.all()} == {base_q_idx(sent[0].still)}
    held = encoder._references._buffer.all()
    assert len(held) == len(sent)
    for reference in held:
        got = decoder.buffer.get(reference.ref_id)
        np.testing.assert_array_equal(got.picture, reference.picture)
        assert got.key == reference.key


def test_a_picture_that_was_asked_for_stands_alone(faces):
    encoder = Encoder(CALL)
    packets = [packet for frame in faces[:6] for packet in encoder.encode(frame)]
    encoder.request_keyframe()
    packets += [packet for frame in faces[6:9] for packet in encoder.encode(frame)]
    encoder.close()
    assert [unit.base for unit in references(packets)] == [None, None]


def test_with_an_intra_period_every_picture_stands_alone(faces):
    packets = encode(faces[:24], replace(FILE, intra_period=8))
    assert [unit.base for unit in references(packets)] == [None] * 3


@pytest.fixture(scope="module")
def pictures(faces):
    """Header, a key picture, one predicted from it, another key picture, one predicted from that; a group."""
    packets = encode(faces[:1], FILE)
    header, reference, motion = (parse_unit(packet.data) for packet in packets[:3])
    assert isinstance(header, StreamHeader)
    assert isinstance(reference, ReferenceUnit)
    assert isinstance(motion, MotionUnit)
    size, rng = header.coded_size, np.random.default_rng(1)
    seen = np.resize(faces[0].pixels, (size, size, 3))
    units: list[ReferenceUnit] = []
    for slot in (0, 0):
        source = np.roll(seen, int(rng.integers(40, 90)), 1)
        coded = encode_key(source, 40, speed="realtime")
        key = KeyPicture(slot, source, 40, "realtime", coded.still)
        after = encode_predicted(255 - source // 2, 40, key, speed="realtime")
        base = Base.of(slot, coded.still)
        predicted = replace(
            reference,
            ref_id=1 + len(units) // 2,
            still_codec=StillCodec.AV1_PREDICTED,
            still=after.still,
            base=base,
        )
        units += [replace(reference, ref_id=slot, still=coded.still), predicted]
    return header, units, motion


def test_without_its_key_picture_one_is_missing_and_others_are_not(pictures):
    header, (key, predicted, other, _), motion = pictures
    for before in ([], [other]):
        decoder = MotionDecoder(header)
        for unit in before:
            decoder.take_reference(unit)
        with pytest.raises(BitstreamError, match="key picture 0, which it is predicted from, is not there"):
            decoder.take_reference(predicted)
        assert predicted.ref_id not in decoder.buffer
        assert decoder.take_motion(replace(motion, ref_id=predicted.ref_id)) is None
        decoder.take_reference(key)
        decoder.take_reference(predicted)
        assert decoder.take_motion(replace(motion, ref_id=predicted.ref_id)) is not None


def test_a_predicted_picture_is_no_key_picture(pictures):
    header, (key, predicted, _, _), _ = pictures
    decoder = MotionDecoder(header)
    for unit in (key, predicted):
        decoder.take_reference(unit)
    again = replace(predicted, base=Base.of(predicted.ref_id, predicted.still))
    with pytest.raises(BitstreamError, match="is not there"):
        decoder.take_reference(again)
    decoder.take_reference(replace(predicted, ref_id=key.ref_id))
    assert decoder.buffer.get(key.ref_id).key == b""


def test_a_file_does_not_take_a_picture_without_its_key_picture(pictures):
    header, (_, predicted, _, _), _ = pictures
    writer = FcvWriter(io.BytesIO())
    writer.write_header(header)
    with pytest.raises(BitstreamError, match="key picture 0 was not written"):
        writer.write(Packet(PacketKind.REFERENCE, pack_unit(predicted), 0))


def write(path: Path, header: StreamHeader, units: list[Unit], indexed: bool) -> Path:
    packets = [
        Packet(PacketKind(unit.KIND.label), pack_unit(unit), 0, is_random_access=isinstance(unit, MotionUnit))
        for unit in units
    ]
    if not indexed:
        path.write_bytes(MAGIC + pack_unit(header) + b"".join(packet.data for packet in packets))
        return path
    with path.open("wb") as file, FcvWriter(file) as writer:
        writer.write_header(header)
        for packet in packets:
            writer.write(packet)
    return path


def shown(path: Path, start_s: float = 0.0) -> list[Frame]:
    return list(decode_frames(path, DecoderConfig(generator="warp-0", view="crop"), start_s=start_s))


@pytest.mark.parametrize("indexed", [True, False], ids=["index", "scan"])
def test_seeking_shows_the_pictures_of_the_whole_file(pictures, tmp_path, indexed):
    header, (key, predicted, other, last), motion = pictures
    named = [key, 0, 1, predicted, 1, 0, other, 0, 1, last, 2, 1, 0]
    units: list[Unit] = []
    for item in named:
        time = 1000 * sum(isinstance(unit, MotionUnit) for unit in units)
        units.append(replace(motion, ref_id=item, first_pts=time) if isinstance(item, int) else item)
    units = [u for u in units if not (isinstance(u, MotionUnit) and u.ref_id == 1 and u is units[2])]
    path = write(tmp_path / "a.fcv", header, units, indexed)
    whole = shown(path)
    assert len(whole) == sum(isinstance(unit, MotionUnit) for unit in units)
    info = probe(path)
    assert (info.references, info.predicted_references) == (4, 2)
    assert len({frame.pixels.tobytes() for frame in whole}) == 4
    for number in range(1, len(whole)):
        part = shown(path, float(whole[number].time_s))
        assert [frame.pts for frame in part] == [frame.pts for frame in whole[number:]]
        for one, same in zip(part, whole[number:], strict=True):
            np.testing.assert_array_equal(one.pixels, same.pixels)


def test_a_damaged_key_picture_costs_what_is_predicted_from_it(pictures, tmp_path):
    header, (key, predicted, other, last), motion = pictures
    units: list[Unit] = [key, motion, predicted, replace(motion, ref_id=1, first_pts=1000)]
    units += [other, replace(motion, first_pts=2000), last, replace(motion, ref_id=2, first_pts=3000)]
    path = write(tmp_path / "a.fcv", header, units, indexed=True)
    whole, data = shown(path), bytearray(path.read_bytes())
    data[data.index(key.still) + 50] ^= 1
    path.write_bytes(data)
    got: list[Frame] = []
    with pytest.raises(BitstreamError, match="the checksum does not match"):
        got.extend(decode_frames(path, DecoderConfig(generator="warp-0", view="crop")))
    assert [frame.pts for frame in got] == [frame.pts for frame in whole[2:]]
    np.testing.assert_array_equal(got[-1].pixels, whole[-1].pixels)
