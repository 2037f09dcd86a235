"""Files: what is written is read, sought, and survives damage with a name for it."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from facecodec.bitstream import (
    AudioUnit,
    BackdropUnit,
    ExtensionUnit,
    IndexUnit,
    MotionUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    Unit,
    UnitKind,
    View,
    frame_unit,
    pack_unit,
)
from facecodec.bitstream.index import IndexEntry, pack_trailer
from facecodec.container import DamagedUnit, FcvReader, FcvWriter
from facecodec.container import access as access_module
from facecodec.errors import (
    BadMagicError,
    BitstreamError,
    ChecksumError,
    LimitError,
    MediaError,
    TruncatedError,
    UnsupportedVersionError,
)
from facecodec.types import KeypointSet, Packet, PacketKind

HEADER = StreamHeader(bytes(8), KeypointSet.MESH_478, 1, 256, 640, 360, View.FRAME, 1, 25, 1, start_pts=1000)
GROUP = 4


def reference(ref_id: int) -> ReferenceUnit:
    return ReferenceUnit(ref_id, 0, 0, 0, 256, StillCodec.AV1, b"mesh", b"still" * (100 + ref_id))


def backdrop(ref_id: int, number: int = 0) -> BackdropUnit:
    return BackdropUnit(ref_id, StillCodec.AV1, 640, 360, b"backdrop" * (50 + number))


def group(number: int, ref_id: int, reset: bool) -> MotionUnit:
    return MotionUnit(ref_id, 24, GROUP, GROUP * number if reset else 0, bytes([number] * 9), reset)


def packet(unit: Unit, access: bool = False) -> Packet:
    return Packet(PacketKind(unit.KIND.label), pack_unit(unit), 0, is_random_access=access)


def script() -> list[Unit]:
    """Six groups; 0, 2 and 4 can be decoded alone; both reference pictures share a backdrop."""
    units: list[Unit] = [reference(0), backdrop(0), group(0, 0, True), group(1, 0, False)]
    units += [AudioUnit(0, (b"\xf8",) * 8), reference(1), group(2, 1, True), group(3, 1, False)]
    return [*units, group(4, 0, True), AudioUnit(0, (b"\xf8",)), group(5, 0, False)]


def write_file(units: list[Unit]) -> bytes:
    out = io.BytesIO()
    with FcvWriter(out) as writer:
        writer.write_header(HEADER)
        for unit in units:
            writer.write(packet(unit, isinstance(unit, MotionUnit) and unit.reset))
        assert writer.total_bytes == out.tell()
    assert writer.total_bytes == out.tell()
    assert sum(writer.bytes_by_kind.values()) + writer.overhead_bytes == out.tell()
    return out.getvalue()


FILE = write_file(script())


class Pipe(io.RawIOBase):
    """Gives its bytes a few at a time and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, 7))


def read_all(data: bytes, *, resilient: bool = False) -> list[object]:
    with FcvReader(io.BytesIO(data)) as reader:
        return [at.unit for at in reader.units(resilient=resilient)]


def bare(data: bytes) -> bytes:
    """The file without index and trailer."""
    return data[: struct.unpack(">Q", data[-12:-4])[0]]


def offsets(data: bytes) -> dict[str, int]:
    """Where units stand, by kind and number among their kind."""
    found: dict[str, int] = {}
    with FcvReader(io.BytesIO(data)) as reader:
        for at in reader.units():
            count = sum(name.startswith(at.kind.label) for name in found)
            found[f"{at.kind.label}{count}"] = at.offset
    return found


def test_units_come_back_in_order_and_cover_the_file() -> None:
    with FcvReader(io.BytesIO(FILE)) as reader:
        assert reader.header == HEADER
        ats = list(reader.units())
        assert [at.unit for at in ats[1:-1]] == script()
    assert ats[0].unit == HEADER
    assert isinstance(ats[-1].unit, IndexUnit)
    assert ats[0].offset == 4
    for before, after in zip(ats, ats[1:], strict=False):
        assert before.offset + before.size == after.offset
    assert ats[-1].offset + ats[-1].size + 12 == len(FILE)


def test_paths_and_pipes(tmp_path: Path) -> None:
    path = tmp_path / "a.fcv"
    path.write_bytes(FILE)
    with FcvReader(path) as reader:
        assert reader.index is not None
        from_path = list(reader.units())
        assert list(reader.units()) == from_path
    with FcvReader(Pipe(FILE)) as reader:  # type: ignore[arg-type]
        assert reader.index is None
        assert list(reader.units()) == from_path
        with pytest.raises(BitstreamError, match="cannot seek"):
            reader.seek(0)
    with pytest.raises(MediaError, match="absent"):
        FcvReader(tmp_path / "absent.fcv")


def test_the_file_may_stand_behind_other_bytes() -> None:
    file = io.BytesIO(b"before" + FILE)
    file.seek(6)
    with FcvReader(file) as reader:
        reader.seek(1009)
        assert [at.unit for at in reader.units()][2] == reference(1)


def test_index_tells_frames_and_places() -> None:
    where = offsets(FILE)
    with FcvReader(io.BytesIO(FILE)) as reader:
        index = reader.index
    assert index is not None
    assert (index.n_frames, index.duration) == (24, 24)
    assert index.entries == (
        IndexEntry(0, where["motion0"], where["reference0"], where["backdrop0"]),
        IndexEntry(8, where["motion2"], where["reference1"], where["backdrop0"]),
        IndexEntry(16, where["motion4"], where["reference0"], where["backdrop0"]),
    )


SEEKS = [(-5, 0), (1000, 0), (1007, 0), (1008, 1), (1015, 1), (1016, 2), (99999, 2)]
AHEAD = [[reference(0), backdrop(0)], [reference(0), backdrop(0), reference(1)], [reference(0), backdrop(0)]]
BEHIND = [2, 6, 8]


def check_seeks(data: bytes) -> None:
    with FcvReader(io.BytesIO(data)) as reader:
        for pts, entry in SEEKS:
            reader.seek(pts)
            units = [at.unit for at in reader.units() if at.kind != UnitKind.INDEX]
            assert units == AHEAD[entry] + script()[BEHIND[entry] :]


def test_seeking() -> None:
    check_seeks(FILE)


def test_seeking_without_index() -> None:
    check_seeks(bare(FILE))


def shared_script() -> list[Unit]:
    """Backdrops that are shared, replaced, and taken over by pictures that come long after them."""
    units: list[Unit] = [reference(0), backdrop(0), group(0, 0, True)]
    units += [reference(1), group(1, 1, True)]
    units += [reference(2), backdrop(2, 1), group(2, 2, True)]
    units += [backdrop(1, 2), group(3, 1, True), group(4, 2, True)]
    units += [reference(3), group(5, 3, True), group(6, 0, True)]
    return [*units, backdrop(3, 3), group(7, 3, True), reference(0), group(8, 0, True), group(9, 1, True)]


SHARED = write_file(shared_script())


def shown(units: list[Unit]) -> list[tuple[int, Unit | None]]:
    """First time, and backdrop behind it, of each group of a decoder that is given these units."""
    out: list[tuple[int, Unit | None]] = []
    slots: dict[int, Unit | None] = {}
    newest: Unit | None = None
    for unit in units:
        if isinstance(unit, ReferenceUnit):
            slots[unit.ref_id] = newest
        elif isinstance(unit, BackdropUnit):
            slots[unit.ref_id] = newest = unit
        elif isinstance(unit, MotionUnit) and unit.ref_id in slots:
            out.append((unit.first_pts, slots[unit.ref_id]))
    return out


@pytest.mark.parametrize("data", [SHARED, bare(SHARED)], ids=["index", "scan"])
def test_seeking_anywhere_shows_the_backdrops_of_the_whole_file(data: bytes) -> None:
    whole = shown(shared_script())
    assert len({id(behind) for _, behind in whole}) == 4
    with FcvReader(io.BytesIO(data)) as reader:
        for number in range(len(whole)):
            reader.seek(1000 + GROUP * number)
            ats = list(reader.units())
            assert shown([at.unit for at in ats if not isinstance(at.unit, DamagedUnit)]) == whole[number:]
            ahead = [at.offset for at in ats]
            assert ahead == sorted(ahead)


def test_the_index_names_the_backdrop_that_is_seen_however_old() -> None:
    where = offsets(SHARED)
    index = FcvReader(io.BytesIO(SHARED)).index
    assert index is not None
    numbers = [0, 0, 1, 2, 1, 2, 0, 3, 3, 2]
    assert [e.backdrop_offset for e in index.entries] == [where[f"backdrop{n}"] for n in numbers]
    assert index.entries[5].backdrop_offset < index.entries[5].reference_offset


def test_units_that_are_needed_later_alone_are_marked_and_may_be_damaged() -> None:
    where = offsets(SHARED)
    broken = bytearray(SHARED)
    broken[where["backdrop1"] + 9] ^= 1
    for data, kept in ((SHARED, True), (bytes(broken), False)):
        with FcvReader(io.BytesIO(data)) as reader:
            reader.seek(1000 + GROUP * 3)
            ahead = [at for at in reader.units(resilient=True) if at.offset < where["motion3"]]
            spare = {at.offset for at in ahead if at.is_spare}
            assert spare == {where[n] for n in ("reference0", "backdrop0", "reference2")} | (
                {where["backdrop1"]} if kept else set()
            )
            assert {at.offset for at in ahead} - spare == {where["reference1"], where["backdrop2"]}


@pytest.mark.parametrize("target", ["backdrop0", "backdrop1", "backdrop2", "backdrop3", "header", "still"])
def test_an_index_that_names_another_backdrop_shows_one_of_the_file_or_is_not_used(target: str) -> None:
    body = bare(SHARED)
    where = offsets(SHARED)
    where |= {"header": where["header0"] + 1, "still": where["motion8"] - 9}
    entry = IndexEntry(32, where["motion8"], where["reference4"], where[target])
    data = body + pack_unit(IndexUnit(40, 40, (entry,))) + pack_trailer(len(body))
    with FcvReader(io.BytesIO(data)) as reader:
        reader.seek(1032)
        behind = shown([at.unit for at in reader.units() if not isinstance(at.unit, DamagedUnit)])
    wanted = where[target] if target.startswith("backdrop") else where["backdrop3"]
    with FcvReader(io.BytesIO(SHARED)) as reader:
        assert behind[0] == (32, next(at.unit for at in reader.units() if at.offset == wanted))


def test_a_backdrop_of_another_picture_has_to_stand_in_front_of_the_picture() -> None:
    where, body = offsets(SHARED), bare(SHARED)
    entry = IndexEntry(16, where["motion4"], where["reference2"], where["backdrop2"])
    data = body + pack_unit(IndexUnit(40, 40, (entry,))) + pack_trailer(len(body))
    with FcvReader(io.BytesIO(data)) as reader:
        assert reader.index is not None
        reader.seek(1016)
        assert shown([at.unit for at in reader.units()])[0] == (16, backdrop(2, 1))
        assert reader.index is None


def test_the_newest_backdrop_is_given_though_the_index_does_not_name_it() -> None:
    where, body = offsets(SHARED), bare(SHARED)
    entries = [(16, "motion4", "reference2", "backdrop1"), (32, "motion8", "reference4", "backdrop3")]
    index = IndexUnit(40, 40, tuple(IndexEntry(pts, *(where[n] for n in names)) for pts, *names in entries))
    with FcvReader(io.BytesIO(body + pack_unit(index) + pack_trailer(len(body)))) as reader:
        reader.seek(1016)
        behind = shown([at.unit for at in reader.units()])
        assert reader.index is not None
    assert behind[:2] == [(16, backdrop(2, 1)), (20, backdrop(1, 2))]


def test_seeking_in_a_cut_file_gives_what_is_there() -> None:
    cut = FILE[: offsets(FILE)["motion3"] + 3]
    with FcvReader(io.BytesIO(cut)) as reader:
        reader.seek(99999)
        units = reader.units()
        assert [next(units).unit for _ in range(3)] == [backdrop(0), reference(1), group(2, 1, True)]
        with pytest.raises(TruncatedError, match=f"motion unit at byte {len(cut) - 3}"):
            next(units)


def with_index(entries: tuple[IndexEntry, ...]) -> bytes:
    body = bare(FILE)
    return body + pack_unit(IndexUnit(24, 24, entries)) + pack_trailer(len(body))


@pytest.mark.parametrize("column", [1, 2, 3])
@pytest.mark.parametrize("target", ["header0", "reference0", "reference1", "motion1", "audio0", "nowhere"])
def test_an_index_that_lies_is_not_used(column: int, target: str) -> None:
    where = offsets(FILE) | {"nowhere": offsets(FILE)["motion2"] - 1}
    good = [0, where["motion4"], where["reference0"], where["backdrop0"]]
    lies = good.copy()
    lies[column] = where[target]
    if lies == good:
        return
    lies[0] = 16
    lies[1] = max(lies[1], *(offset + 1 for offset in lies[2:]))
    check_seeks(with_index((IndexEntry(*lies),))) if column != 1 else check_lost(IndexEntry(*lies))


def check_lost(entry: IndexEntry) -> None:
    with FcvReader(io.BytesIO(with_index((entry,)))) as reader:
        reader.seek(1016)
        assert [at.unit for at in reader.units()][2] == group(4, 0, True)


def test_a_damaged_index_is_no_index() -> None:
    for broken in (FILE[:-1] + b"J", FILE[:-20] + b"\xff" + FILE[-19:], FILE[:-12] + b"\xff" * 8 + b"FCVI"):
        with FcvReader(io.BytesIO(broken)) as reader:
            assert reader.index is None
            reader.seek(1016)
            assert next(reader.units()).unit == reference(0)


def test_without_random_access_seeking_goes_to_the_start() -> None:
    data = write_file([reference(0)])
    with FcvReader(io.BytesIO(data)) as reader:
        reader.seek(5000)
        assert [at.unit for at in reader.units()][:2] == [HEADER, reference(0)]


def test_every_cut_gives_all_whole_units_then_says_so() -> None:
    with FcvReader(io.BytesIO(FILE)) as reader:
        ends = [at.offset + at.size for at in reader.units()]
    for size in range(ends[0], len(FILE)):
        units = FcvReader(io.BytesIO(FILE[:size])).units()
        whole = sum(end <= size for end in ends)
        assert [next(units).offset + 0 for _ in range(whole)] == [4, *ends[:-1]][:whole]
        if size in ends[:-1]:
            assert next(units, None) is None
        else:
            with pytest.raises(TruncatedError):
                next(units)
    for size in range(ends[0]):
        with pytest.raises((TruncatedError, BadMagicError)):
            FcvReader(io.BytesIO(FILE[:size]))


def test_a_damaged_unit_is_named_and_can_be_passed_over() -> None:
    where = offsets(FILE)
    broken = bytearray(FILE)
    broken[where["motion1"] + 5] ^= 1
    with pytest.raises(ChecksumError, match=f"motion unit at byte {where['motion1']}"):
        read_all(bytes(broken))
    units = read_all(bytes(broken), resilient=True)
    damaged = units[4]
    assert isinstance(damaged, DamagedUnit)
    assert isinstance(damaged.error, ChecksumError)
    assert units[1:4] + units[5:-1] == script()[:3] + script()[4:]


def test_resilience_ends_where_the_length_is_wrong() -> None:
    broken = bytearray(FILE)
    broken[offsets(FILE)["motion1"]] ^= 8
    with pytest.raises(BitstreamError):
        read_all(bytes(broken), resilient=True)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadMagicError),
        (b"RIFF1234", BadMagicError),
        (b"FCV", TruncatedError),
        (b"FCV\x1a", TruncatedError),
        (b"FCV\x1a" + pack_unit(reference(0)), LimitError),
        (b"FCV\x1a" + frame_unit(UnitKind.HEADER, b"\x04"), UnsupportedVersionError),
    ],
)
def test_wrong_beginnings(data: bytes, error: type[BitstreamError]) -> None:
    with pytest.raises(error):
        FcvReader(io.BytesIO(data))


def test_wrong_endings() -> None:
    with pytest.raises(LimitError, match="behind the trailer"):
        read_all(FILE + b"\0")
    with pytest.raises(BadMagicError, match="trailer"):
        read_all(FILE[:-1] + b"J")
    with pytest.raises(LimitError, match="index_offset"):
        read_all(FILE[:-5] + b"\x00" + FILE[-4:])
    with pytest.raises(LimitError, match="stream headers"):
        read_all(bare(FILE) + pack_unit(HEADER))


def test_extensions_pass_through_the_reader() -> None:
    assert read_all(bare(FILE) + pack_unit(ExtensionUnit(b"new")))[-1] == ExtensionUnit(b"new")


class Counting(io.BytesIO):
    """Notes the largest read."""

    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        self.largest = max(self.largest, size)
        return super().read(size)


def test_files_are_read_in_blocks() -> None:
    large = ReferenceUnit(0, 0, 0, 0, 64, StillCodec.AV1, b"", bytes(900_000))
    file = Counting(write_file([*script(), large]))
    with FcvReader(file) as reader:
        assert len(list(reader.units())) == len(script()) + 3
    assert file.largest <= 1 << 16


WriterCall = Callable[[FcvWriter], None]


MISLABELLED = Packet(PacketKind.AUDIO, pack_unit(reference(0)), 0)
BROKEN = Packet(PacketKind.AUDIO, b"\x07", 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.write(packet(reference(0))), "starts with one stream header"),
        (lambda w: (w.write_header(HEADER), w.write_header(HEADER)), "starts with one stream header"),
        (lambda w: (w.write_header(HEADER), w.write(packet(group(0, 0, True)))), "picture 0 was not"),
        (lambda w: (w.write_header(HEADER), w.write(MISLABELLED)), "the packet says audio"),
        (lambda w: (w.write_header(HEADER), w.write(BROKEN)), "needs"),
        (lambda w: w.close(), "no stream header"),
    ],
)
def test_the_writer_refuses_what_could_not_be_read(call: WriterCall, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        call(FcvWriter(io.BytesIO()))


def open_writer(out: BinaryIO) -> FcvWriter:
    writer = FcvWriter(out)
    writer.write_header(HEADER)
    writer.write(packet(reference(0)))
    return writer


def test_the_writer_refuses_false_times_and_access() -> None:
    writer = open_writer(io.BytesIO())
    writer.write(packet(group(5, 0, True), True))
    with pytest.raises(LimitError, match="pts"):
        writer.write(packet(group(0, 0, True), True))
    with pytest.raises(BitstreamError, match="without reset"):
        writer.write(packet(group(6, 0, False), True))
    writer.close()
    writer.close()
    with pytest.raises(BitstreamError, match="cannot be written here"):
        writer.write(packet(reference(0)))


def test_a_long_index_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "INDEX_ENTRIES_MAX", 8)
    out = io.BytesIO()
    writer = open_writer(out)
    for number in range(100):
        writer.write(packet(group(number, 0, True), True))
    writer.close()
    for data in (out.getvalue(), bare(out.getvalue())):
        with FcvReader(io.BytesIO(data)) as reader:
            reader.seek(1000 + 4 * 50)
            first = [at.unit for at in reader.units()][1]
            assert isinstance(first, MotionUnit)
            assert 200 - 4 * 25 < first.first_pts <= 200
    index = FcvReader(io.BytesIO(out.getvalue())).index
    assert index is not None
    assert 4 <= len(index.entries) <= 8
    assert index.n_frames == 400
