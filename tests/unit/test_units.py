"""Units: fields to bytes and back, limits, times."""

import dataclasses

import pytest

from facecodec.bitstream import (
    AudioCodec,
    AudioUnit,
    BackdropUnit,
    ExtensionUnit,
    IndexEntry,
    IndexUnit,
    MotionUnit,
    PaletteUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    Unit,
    UnitKind,
    View,
    frame_unit,
    opus_duration,
    pack_unit,
    parse_payload,
    parse_unit,
    parse_unit_head,
    read_unit,
)
from facecodec.bitstream.bits import FieldReader, pack_svarint, pack_varint, parse_varint
from facecodec.bitstream.index import pack_trailer, parse_trailer
from facecodec.bitstream.limits import S64_MAX, S64_MIN
from facecodec.bitstream.palette import Place
from facecodec.errors import (
    BadMagicError,
    BitstreamError,
    ChecksumError,
    LimitError,
    TruncatedError,
    UnsupportedVersionError,
)
from facecodec.types import KeypointSet

HEADER = StreamHeader(
    bytes(8),
    KeypointSet.MESH_478,
    1,
    256,
    640,
    360,
    View.FRAME,
    1,
    90000,
    3600,
    1000,
    7,
    AudioCodec.OPUS,
    1,
    312,
)
REFERENCE = ReferenceUnit(7, 0, -100, 5, 16, StillCodec.AV1, b"", b"s")
BACKDROP = BackdropUnit(0, StillCodec.AV1, 16, 4096, b"s")
MOTION = MotionUnit(1, 0, 2, -3, b"xyz", reset=True, deltas=(5,))
AUDIO = AudioUnit(-1, (b"\x08a", b"\x0b\x02Y"))
PALETTE = PaletteUnit(2, 51, (5,), (Place(0, 1, 2, 3), Place(255, 255, 64, 64)), StillCodec.AV1, b"g", b"s")
INDEX = IndexUnit(9, 9, (IndexEntry(-4, 50, 10, 20), IndexEntry(9, 51, 50, 0)))
UNITS: list[Unit] = [HEADER, REFERENCE, BACKDROP, MOTION, AUDIO, INDEX, PALETTE, ExtensionUnit(b"later")]


def by_kind(unit: Unit) -> str:
    return unit.KIND.label


@pytest.mark.parametrize("unit", UNITS, ids=by_kind)
def test_units_come_back(unit: Unit) -> None:
    data = pack_unit(unit)
    assert parse_unit(data) == unit
    kind, payload, end = read_unit(b"??" + data + b"more", 2)
    assert (kind, payload, end) == (unit.KIND, unit.pack(), len(data) + 2)
    assert parse_unit_head(data).total_bytes == len(data)


@pytest.mark.parametrize("unit", UNITS, ids=by_kind)
def test_every_prefix_is_truncated(unit: Unit) -> None:
    data = pack_unit(unit)
    for size in range(len(data)):
        with pytest.raises(TruncatedError):
            parse_unit(data[:size])


@pytest.mark.parametrize("unit", UNITS, ids=by_kind)
def test_every_flipped_bit_is_found(unit: Unit) -> None:
    data = pack_unit(unit)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            parse_unit(bytes(broken))


@pytest.mark.parametrize("unit", UNITS[:-1], ids=by_kind)
def test_every_short_or_long_payload_ends_in_a_unit_or_a_named_error(unit: Unit) -> None:
    payload = unit.pack()
    for size in range(len(payload)):
        error = None
        try:
            assert parse_payload(unit.KIND, payload[:size], offset=77).pack() == payload[:size]
        except BitstreamError as err:
            error = err
        if error is not None:
            assert (error.unit, error.offset) == (unit.KIND.label, 77)
            assert f"{unit.KIND.label} unit at byte 77" in str(error)


BAD_FIELDS: list[tuple[Unit, str, object]] = [
    (HEADER, "model_id", b"1234567"),
    (HEADER, "keypoint_set", 3),
    (HEADER, "basis_id", 0),
    (HEADER, "basis_id", 2),
    (HEADER, "coded_size", 62),
    (HEADER, "coded_size", 257),
    (HEADER, "coded_size", 1026),
    (HEADER, "width", 15),
    (HEADER, "height", 16385),
    (HEADER, "view", 2),
    (HEADER, "time_base_num", 0),
    (HEADER, "time_base_den", 1 << 31),
    (HEADER, "frame_duration", 0),
    (HEADER, "start_pts", S64_MAX + 1),
    (HEADER, "scene_grid", 6),
    (HEADER, "audio_codec", 2),
    (HEADER, "channels", 3),
    (HEADER, "pre_skip", 65536),
    (HEADER, "version", 4),
    (PALETTE, "ref_id", 8),
    (PALETTE, "qp", 52),
    (PALETTE, "regions", (0,)),
    (PALETTE, "regions", (8,)),
    (PALETTE, "regions", ()),
    (PALETTE, "regions", (5,) * 17),
    (PALETTE, "places", ()),
    (PALETTE, "places", (Place(0, 0, 1, 1), Place(0, 0, 65, 1))),
    (PALETTE, "places", (Place(256, 0, 1, 1), Place(0, 0, 1, 1))),
    (PALETTE, "still_codec", 2),
    (PALETTE, "shapes", bytes(4097)),
    (PALETTE, "still", b""),
    (REFERENCE, "ref_id", 8),
    (REFERENCE, "pts", S64_MIN - 1),
    (REFERENCE, "crop_x", -65537),
    (REFERENCE, "crop_y", 65536),
    (REFERENCE, "crop_side", 15),
    (REFERENCE, "still_codec", 0),
    (REFERENCE, "mesh", bytes(4097)),
    (REFERENCE, "still", b""),
    (BACKDROP, "ref_id", -1),
    (BACKDROP, "still_codec", 2),
    (BACKDROP, "width", 15),
    (BACKDROP, "height", 4097),
    (BACKDROP, "still", b""),
    (MOTION, "ref_id", 8),
    (MOTION, "qp", 52),
    (MOTION, "n_frames", 65),
    (MOTION, "n_frames", 0),
    (MOTION, "deltas", (1, 2)),
    (MOTION, "first_pts", S64_MAX + 1),
    (MOTION, "levels", bytes(65537)),
    (AUDIO, "packets", ()),
    (AUDIO, "packets", (b"\x08",) * 65),
    (AUDIO, "packets", (bytes(1501),)),
    (AUDIO, "packets", (b"\x03\x00",)),
    (INDEX, "n_frames", -1),
    (INDEX, "entries", (IndexEntry(0, 50, 50),)),
    (INDEX, "entries", (IndexEntry(0, 50, 0),)),
    (INDEX, "entries", (IndexEntry(0, 50, 10, 50),)),
    (INDEX, "entries", (IndexEntry(0, 50, 10), IndexEntry(0, 60, 10))),
    (INDEX, "entries", (IndexEntry(0, 50, 10), IndexEntry(1, 50, 10))),
]


@pytest.mark.parametrize(("unit", "field", "value"), BAD_FIELDS)
def test_fields_beyond_their_limits_cannot_be_made(unit: Unit, field: str, value: object) -> None:
    with pytest.raises(LimitError) as caught:
        dataclasses.replace(unit, **{field: value})  # type: ignore[arg-type]
    assert caught.value.unit == unit.KIND.label


def test_a_crop_view_is_as_large_as_the_crop() -> None:
    with pytest.raises(LimitError, match="width is 640"):
        dataclasses.replace(HEADER, view=View.CROP)
    with pytest.raises(LimitError, match="pre_skip"):
        dataclasses.replace(HEADER, audio_codec=AudioCodec.NONE, channels=0)


def test_other_versions_are_refused_before_anything_else() -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        StreamHeader.parse(b"\x04")
    assert (caught.value.found, caught.value.supported) == (4, 3)


def test_a_header_of_version_1_keeps_its_version() -> None:
    payload = b"\x01" + HEADER.pack()[1:]
    header = StreamHeader.parse(payload)
    assert header.version == 1
    assert header.pack() == payload


def test_spare_bytes_and_reserved_bits_are_refused() -> None:
    for unit in (HEADER, AUDIO, INDEX):
        with pytest.raises(LimitError, match="behind the last field"):
            parse_payload(unit.KIND, unit.pack() + b"\0")
    for unit in (MOTION, AUDIO, PALETTE):
        payload = bytearray(unit.pack())
        payload[0] |= 0x40
        with pytest.raises(LimitError, match="reserved flags"):
            parse_payload(unit.KIND, bytes(payload))
    with pytest.raises(LimitError, match="behind the unit"):
        parse_unit(pack_unit(MOTION) + b"\0")


def test_framing_limits() -> None:
    with pytest.raises(LimitError, match="payload bytes is 65537"):
        parse_unit_head(pack_varint(65537 << 3 | UnitKind.MOTION))
    with pytest.raises(LimitError, match="spare varint bytes"):
        parse_unit_head(b"\x83\x00")
    with pytest.raises(LimitError, match="bytes of varint"):
        parse_unit_head(b"\xff\xff\xff\xff\x01")
    with pytest.raises(LimitError, match="payload bytes is 65537"):
        frame_unit(UnitKind.MOTION, bytes(65537))
    with pytest.raises(TruncatedError, match=r"motion unit at byte 103: needs 7 bytes, 5 left"):
        read_unit(b"???" + frame_unit(UnitKind.MOTION, b"abcd")[:5], 3, base=100)
    with pytest.raises(ChecksumError, match=r"motion unit at byte 100: the checksum"):
        read_unit(frame_unit(UnitKind.MOTION, b"abcd")[:-1] + b"\0", base=100)


def test_varints_have_one_form() -> None:
    for value in (0, 1, 127, 128, 300, 2**32, 2**64 - 1):
        assert parse_varint(pack_varint(value)) == (value, len(pack_varint(value)))
    for value in (0, -1, 1, -64, 64, S64_MIN, S64_MAX):
        assert FieldReader(pack_svarint(value), "", 10).svarint("n") == value
    assert pack_svarint(-64) == b"\x7f"
    for bad in (b"\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"):
        with pytest.raises(LimitError):
            parse_varint(bad)
    with pytest.raises(LimitError):
        pack_svarint(S64_MAX + 1)


@pytest.mark.parametrize(
    ("pts", "previous", "first", "deltas"),
    [
        ([1000, 4600, 8200], None, 0, None),
        ([900, 901], None, -100, (-3599,)),
        ([8600, 12200], 5000, 0, None),
        ([8601, 99999], 5000, 1, (99999 - 8601 - 3600,)),
    ],
)
def test_times_come_back(
    pts: list[int], previous: int | None, first: int, deltas: tuple[int, ...] | None
) -> None:
    assert MotionUnit.code_pts(HEADER, pts, previous) == (first, deltas)
    unit = MotionUnit(0, 0, len(pts), first, b"", previous is None, deltas)
    assert unit.resolve_pts(HEADER, previous) == pts


def test_times_must_rise_and_stay_in_64_bits() -> None:
    def unit(first: int, reset: bool = True, delta: int = 0) -> MotionUnit:
        return MotionUnit(0, 0, 2, first, b"", reset, (delta,))

    for bad in (unit(0, delta=-3600), unit(S64_MAX), unit(S64_MAX - 3000), unit(0, delta=S64_MAX)):
        with pytest.raises(LimitError, match="pts"):
            bad.resolve_pts(HEADER, None)
    with pytest.raises(LimitError, match="pts"):
        unit(-3600, reset=False).resolve_pts(HEADER, 5000)
    with pytest.raises(LimitError, match="pts"):
        unit(4000).resolve_pts(HEADER, 5000)
    with pytest.raises(BitstreamError, match="needs the motion unit before it"):
        unit(0, reset=False).resolve_pts(HEADER, None)


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\x00", 480),
        (b"\x18", 2880),
        (b"\x60", 480),
        (b"\x78", 960),
        (b"\x80", 120),
        (b"\xf8", 960),
        (b"\xf9x", 1920),
        (b"\xfaxx", 1920),
        (b"\xfb\x06", 5760),
        (b"\x83\xb0", 5760),
    ],
)
def test_opus_durations_of_rfc_6716(packet: bytes, samples: int) -> None:
    assert opus_duration(packet) == samples


@pytest.mark.parametrize("packet", [b"", b"\x03"])
def test_short_opus_packets(packet: bytes) -> None:
    with pytest.raises(TruncatedError):
        opus_duration(packet)


@pytest.mark.parametrize("packet", [b"\xfb\x00", b"\xfb\x07", b"\x1b\x03"])
def test_opus_packets_without_frames_or_beyond_120_ms(packet: bytes) -> None:
    with pytest.raises(LimitError):
        opus_duration(packet)


def test_audio_times() -> None:
    unit = AudioUnit(100, (b"\xf8", b"\x00"))
    assert unit.resolve_pts(1000) == [1100, 2060, 2540]
    assert dataclasses.replace(unit, absolute=True).resolve_pts(1000) == [100, 1060, 1540]
    with pytest.raises(BitstreamError, match="needs the audio unit before it"):
        unit.resolve_pts(None)
    with pytest.raises(LimitError, match="pts"):
        dataclasses.replace(unit, first_pts=S64_MAX, absolute=True).resolve_pts(None)


def test_index_finds_the_entry_before() -> None:
    assert [INDEX.find(pts) for pts in (-9, -4, 8, 9, 99)] == [INDEX.entries[k] for k in (0, 0, 0, 1, 1)]
    assert IndexUnit(0, 0, ()).find(0) is None


def test_trailer() -> None:
    assert parse_trailer(pack_trailer(123456)) == 123456
    with pytest.raises(TruncatedError):
        parse_trailer(pack_trailer(4)[1:])
    with pytest.raises(BadMagicError):
        parse_trailer(bytes(12))
    with pytest.raises(LimitError):
        parse_trailer(b"\xff" * 8 + b"FCVI")
