"""The expression palette: from frames to units, and from units to pictures."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from facecodec.analysis.palette import allowance
from facecodec.bitstream import MotionUnit, PaletteUnit, ReferenceUnit, pack_unit, parse_unit
from facecodec.bitstream.palette import decode_shapes, encode_shapes
from facecodec.config import EncoderConfig
from facecodec.container import FcvReader, FcvWriter
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError, LimitError
from facecodec.motion.expression import distances, entry_weights
from facecodec.motion.face import FaceMotion, load_face_model
from facecodec.refpic.palette import Palette, PaletteEntry, Rect, build_mosaic, cut_mosaic
from facecodec.types import Frame, Packet, PacketKind
from tests.codec.clips import encode

RATE = EncoderConfig().rate


@pytest.fixture(scope="module")
def stream(faces) -> list[Packet]:
    """40 frames with palettes, up to the last group."""
    packets = encode(faces, EncoderConfig(scene_points="off", lookahead=24))
    return [packet for packet in packets if packet.kind is not PacketKind.EXTENSION]


def palettes(packets: list[Packet]) -> list[PaletteUnit]:
    units = [parse_unit(packet.data) for packet in packets]
    return [unit for unit in units if isinstance(unit, PaletteUnit)]


def run(packets: list[Packet]) -> list[Frame]:
    decoder = Decoder()
    return [frame for packet in packets for frame in decoder.decode(packet)]


def without(packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if packet.kind is not PacketKind.PALETTE]


def test_the_encoder_sends_entries_within_its_allowance(stream):
    units = palettes(stream)
    assert units
    assert all(unit.ref_id == 0 for unit in units)
    spent = sum(len(packet.data) for packet in stream if packet.kind is PacketKind.PALETTE)
    assert 0 < spent <= allowance(1.6, RATE)
    assert allowance(10.0, RATE) == 1000
    assert allowance(10.0, RATE, 3) == 1800
    assert allowance(10.0, EncoderConfig(quality=34).rate) == pytest.approx(500)
    assert allowance(30.0, RATE) == 1500


@pytest.mark.parametrize("config", [EncoderConfig(palette="off"), EncoderConfig(lookahead=0)])
def test_no_entries_where_they_are_not_wanted_or_cannot_be_chosen(faces, config):
    packets = encode(faces[:12], replace(config, scene_points="off"))
    assert palettes(packets) == []


def test_a_lost_palette_costs_nothing_but_its_entries(stream, faces):
    plain = run(encode(faces, EncoderConfig(scene_points="off", lookahead=24, palette="off")))
    decoder = Decoder()
    shown = []
    for packet in stream:
        if packet.kind is PacketKind.PALETTE:
            decoder.lost(packet.kind)
        else:
            shown += decoder.decode(packet)
    assert [frame.pts for frame in shown] == [frame.pts for frame in plain]
    for one, other in zip(shown, plain, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_entries_bring_regions_nearer_to_the_source(stream, faces):
    """What they change lies within eyes and mouth, and is better there."""
    with_entries, plain = run(stream), run(without(stream))
    changed = [np.any(a.pixels != b.pixels, -1) for a, b in zip(with_entries, plain, strict=True)]
    share = np.mean(changed)
    assert 0 < share < 0.1
    better = []
    for one, other, face, mask in zip(with_entries, plain, faces, changed, strict=True):
        if mask.any():
            now, before = (
                np.mean((p.pixels[mask] - face.pixels[mask].astype(float)) ** 2) for p in (one, other)
            )
            better.append(before - now)
    assert np.mean(better) > 0


def test_a_damaged_palette_leaves_the_one_before(stream):
    decoder = Decoder()
    unit = palettes(stream)[0]
    for packet in stream:
        decoder.decode(packet)
        if packet.kind is PacketKind.PALETTE:
            break
    motion = decoder._motion
    assert motion is not None
    before = list(motion.palettes[0].entries)
    assert len(before) == sum(mask.bit_count() for mask in unit.regions)
    for broken in (replace(unit, still=b"no picture"), replace(unit, shapes=b"\xff" * 40)):
        with pytest.raises(BitstreamError):
            decoder.take(broken)
    assert decoder.take(replace(unit, ref_id=5)) == []
    assert motion.palettes[0].entries == before
    decoder.take(unit)
    assert len(motion.palettes[0].entries) == 2 * len(before)
    decoder.take(replace(unit, clear=True))
    assert len(motion.palettes[0].entries) == len(before)


def test_a_new_reference_picture_ends_the_palette(stream):
    decoder = Decoder()
    reference = next(u for u in map(lambda p: parse_unit(p.data), stream) if isinstance(u, ReferenceUnit))
    for packet in stream:
        decoder.decode(packet)
    decoder.take(reference)
    assert decoder._motion is not None
    assert decoder._motion.palettes[0].entries == []
    last = parse_unit(stream[-1].data)
    assert isinstance(last, MotionUnit)


def test_a_reader_that_seeks_gives_the_palette_units_of_the_picture(stream):
    """The last group is made a random access point: its reference picture and palettes come first."""
    out = io.BytesIO()
    *packets, last = stream
    unit = parse_unit(last.data)
    assert isinstance(unit, MotionUnit)
    first = last.pts - parse_unit(stream[0].data).start_pts
    access = replace(unit, reset=True, first_pts=first)
    with FcvWriter(out) as writer:
        for packet in packets:
            writer.write(packet)
        writer.write(Packet(PacketKind.MOTION, pack_unit(access), last.pts, last.duration, True))
    out.seek(0)
    with FcvReader(out) as reader:
        reader.seek(last.pts)
        got = [at.unit for at in reader.units()]
    assert [u for u in got if isinstance(u, PaletteUnit)] == palettes(stream)
    assert isinstance(got[0], ReferenceUnit)
    assert [u for u in got if isinstance(u, MotionUnit)] == [access]


def test_the_oldest_entries_of_a_region_go():
    patch, shape = np.zeros((4, 4, 3), np.uint8), np.zeros((478, 3))
    entries = [PaletteEntry(k % 2, Rect(0, 0, 4, 4), patch, shape) for k in range(7)]
    palette = Palette(2)
    palette.add(entries[:1])
    palette.add(entries[1:])
    assert palette.entries == entries[3:]


def test_mosaics_come_back():
    rng = np.random.default_rng(1)
    sizes = {0: (16, 8), 2: (8, 12)}
    regions = (5, 4, 1, 4)
    patches = {
        (i, r): rng.integers(0, 256, (sizes[r][1], sizes[r][0], 3), np.uint8)
        for i, mask in enumerate(regions)
        for r in sizes
        if mask >> r & 1
    }
    mosaic = build_mosaic(patches, regions, sizes)
    assert mosaic.shape == (36, 24, 3)
    back = cut_mosaic(mosaic, regions, sizes)
    assert back.keys() == patches.keys()
    for key, patch in patches.items():
        np.testing.assert_array_equal(back[key], patch)


def test_shapes_hold_no_pose():
    residuals = np.zeros((2, 46), np.int32)
    residuals[1, 8] = -3
    assert decode_shapes(encode_shapes(residuals, 40), 2, 40).tolist() == residuals.tolist()
    residuals[0, 2] = 1
    with pytest.raises(LimitError, match="palette unit: pose"):
        decode_shapes(encode_shapes(residuals, 40), 2, 40)


def test_weights_sum_to_one_and_do_not_jump():
    """The second nearest has no weight at the moment at which another takes its place."""
    path = np.linspace(-0.5, 1.5, 401)
    weights = entry_weights(np.abs(path[:, None] - np.array([0.0, 0.4, 0.7, 1.0])) + 0.02)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights >= 0).all()
    assert ((weights > 1e-9).sum(1) <= 2).all()
    assert np.abs(np.diff(weights, axis=0)).max() < 0.15
    assert entry_weights(np.array([[0.1, 0.0, 0.1]]))[0, 1] > 0.99


def test_what_an_entry_does_not_hold_counts_more_than_what_it_holds_too_much():
    mean = load_face_model().mean * 0.2 + 0.5
    shut = mean.copy()
    shut[13, 1] = shut[14, 1] = (mean[13, 1] + mean[14, 1]) / 2
    wide = mean.copy()
    wide[14, 1] += 0.05
    assert FaceMotion(mean).radius > 0
    away = distances(wide[None], shut[None], 2)[0, 0]
    back = distances(shut[None], wide[None], 2)[0, 0]
    assert away > back > 0
    assert distances(shut[None], shut[None], 2)[0, 0] == 0


def test_shapes_that_are_the_reference_pictures_own_take_no_bytes(stream):
    nothing = np.zeros((2, 46), np.int32)
    data = encode_shapes(nothing, 40)
    assert data == b""
    np.testing.assert_array_equal(decode_shapes(data, 2, 40), nothing)
    unit = palettes(stream)[0]
    plain = replace(unit, shapes=data)
    assert parse_unit(pack_unit(plain)) == plain
