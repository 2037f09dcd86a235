"""FORMAT.md against the code: its example, its tables, its numbers."""

import io
import re
from pathlib import Path

import pytest

import facecodec.bitstream
from facecodec.bitstream import (
    BITSTREAM_VERSION,
    IndexEntry,
    IndexUnit,
    MotionUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    UnitKind,
    View,
    frame_unit,
    limits,
)
from facecodec.container import FcvReader, FcvWriter
from facecodec.entropy import BitModels, RangeDecoder
from facecodec.entropy.models import decode_exp_golomb
from facecodec.transport import DATAGRAM_MAX, bundle, feedback
from facecodec.transport.depacketise import ASSEMBLING_MAX
from facecodec.types import KeypointSet, Packet, PacketKind

TEXT = (Path(facecodec.bitstream.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
MODEL_ID = bytes.fromhex("0011223344556677")
FIELDS = [
    StreamHeader(MODEL_ID, KeypointSet.MESH_478, 1, 256, 256, 256, View.CROP, 1, 25, 1, 0, 7),
    ReferenceUnit(0, 0, 64, -8, 300, StillCodec.AV1, b"\xaa\xbb", b"\xcc\xdd\xee"),
    MotionUnit(0, 24, 48, 0, b"\x58\xa7", reset=True),
    IndexUnit(48, 48, (IndexEntry(0, 53, 34, 0),)),
]


def example() -> bytes:
    block = TEXT.split("<!-- example -->")[1].split("<!-- end of example -->")[0]
    return bytes.fromhex("".join(line.split(";")[0] for line in block.replace("```", "").splitlines()))


def test_the_example_parses_to_the_fields_it_names() -> None:
    data = example()
    assert len(data) == int(re.findall(r"A file of (\d+) bytes", TEXT)[0])
    with FcvReader(io.BytesIO(data)) as reader:
        assert [at.unit for at in reader.units()] == FIELDS
        assert reader.index == FIELDS[-1]


def test_the_fields_write_the_example() -> None:
    out = io.BytesIO()
    header, reference, motion, _ = FIELDS
    assert isinstance(header, StreamHeader)
    with FcvWriter(out) as writer:
        writer.write_header(header)
        writer.write(Packet(PacketKind.REFERENCE, frame_unit(UnitKind.REFERENCE, reference.pack()), 0))
        data = frame_unit(UnitKind.MOTION, motion.pack())
        writer.write(Packet(PacketKind.MOTION, data, 0, 48, is_random_access=True))
    assert out.getvalue() == example()


def test_the_range_coder_example() -> None:
    models, decoder = BitModels(2), RangeDecoder(b"\x58\xa7")
    assert [decoder.decode(models, 0) for _ in range(4)] == [0, 0, 1, 0]
    assert (models.fast[0], models.slow[0], models.ages[0]) == (45875, 45875, 4)
    assert decode_exp_golomb(decoder, models, 0, 2) == 4
    assert decoder.decode_raw(3) == 5
    decoder.finish()


@pytest.mark.parametrize("kind", list(UnitKind))
def test_the_table_of_units(kind: UnitKind) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| {kind.value} | "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1].split()[-1] == kind.label
    assert int(cells[2]) == kind.payload_max
    assert cells[3] == f"CRC-{8 * kind.checksum_bytes}"


def test_check_values_of_the_checksums() -> None:
    from binascii import crc_hqx
    from zlib import crc32

    assert f"{crc32(b'123456789'):X}" in TEXT
    assert f"{crc_hqx(b'123456789', 0xFFFF):X}" in TEXT


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("coded_size", limits.CODED_SIZE_MIN, limits.CODED_SIZE_MAX),
        ("crop_x", limits.CROP_MIN, limits.CROP_MAX),
        ("crop_side", limits.CROP_SIDE_MIN, limits.CROP_SIDE_MAX),
        ("mesh length", 0, limits.MESH_BYTES_MAX),
        ("qp", 0, limits.QP_MAX),
        ("ref_id", 0, limits.REF_ID_MAX),
        ("n_packets", 1, limits.AUDIO_PACKETS_MAX),
        ("lengths", 1, limits.AUDIO_PACKET_BYTES_MAX),
        ("n_entries", 0, limits.INDEX_ENTRIES_MAX),
    ],
)
def test_ranges_of_fields(field: str, low: int, high: int) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith(f"| {field} | ")]
    assert rows
    assert all(f"| {low}..{high}" in row for row in rows)


def test_version_and_group_size() -> None:
    assert f"**Version {BITSTREAM_VERSION}." in TEXT
    assert TEXT.count(f"1..{limits.GROUP_FRAMES_MAX}") >= 1
    assert limits.S64_MAX == 2**63 - 1


@pytest.mark.parametrize(
    ("field", "form", "limit"),
    [
        ("feedback length, feedback", "u8, bytes | {}..{}", (1, bundle.FEEDBACK_MAX)),
        ("base", "u8 | {}..{}", (1, bundle.BASE_MAX)),
        ("n_frames", "bits 6 and 7", ()),
        ("sequence", "bits 0 to {}", (bundle.SEQUENCE_BITS - 1,)),
        ("count", "u8 | {}..{}", (0, bundle.SOUND_MAX - 1)),
        ("count", "u8 | {}..{}", (1, feedback.NACKS_MAX)),
        ("start", "u24 | any | start of the first in 1/{} s", (48000 // bundle.TICK,)),
    ],
)
def test_numbers_of_the_payload_form(field: str, form: str, limit: tuple[int, ...]) -> None:
    section = TEXT.split("## 15. ")[1].split("## 16. ")[0]
    assert f"| {field} | {form.format(*limit)}" in section
    assert f"at most {DATAGRAM_MAX} bytes" in section
    assert f"newest {bundle.BASE_MAX} bundles" in section
    assert f"keeps {ASSEMBLING_MAX} messages" in section
