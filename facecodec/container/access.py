"""Random access points of a file: found without an index, and checked with one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from facecodec.bitstream import (
    BackdropUnit,
    IndexEntry,
    MotionUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
    UnitFrame,
    UnitKind,
    parse_unit_head,
)
from facecodec.bitstream.bits import FieldReader
from facecodec.bitstream.framing import UNIT_HEADER_BYTES_MAX
from facecodec.bitstream.limits import INDEX_ENTRIES_MAX
from facecodec.container.source import ByteSource
from facecodec.errors import BitstreamError

_PEEK_BYTES = 16
"""Enough of a payload for ref_id, flags and time."""


class EntryList:
    """Random access points as they come, evenly thinned so that an index can hold them.

    Attributes:
        entries: those kept, at most 65536.
    """

    def __init__(self) -> None:
        self.entries: list[IndexEntry] = []
        self._seen = 0
        self._stride = 1

    def add(self, entry: IndexEntry) -> None:
        """Keep every ``stride``-th entry, and double the stride when the list is full."""
        if self._seen % self._stride == 0:
            if len(self.entries) == INDEX_ENTRIES_MAX:
                self.entries = self.entries[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self.entries.append(entry)
        self._seen += 1


class BackdropPlaces:
    """Which backdrop goes with each slot of the reference buffer: a new picture takes over the newest.

    Attributes:
        newest: byte offset of the newest backdrop unit, 0 before the first.
    """

    def __init__(self) -> None:
        self.newest = 0
        self._of_slot: dict[int, int] = {}

    def take_reference(self, ref_id: int) -> None:
        """A reference unit comes."""
        self._of_slot[ref_id] = self.newest

    def take_backdrop(self, ref_id: int, offset: int) -> None:
        """A backdrop unit comes, at a byte offset."""
        self._of_slot[ref_id] = self.newest = offset

    def of(self, ref_id: int) -> int:
        """Byte offset of the slot's backdrop unit, 0 for none."""
        return self._of_slot.get(ref_id, 0)


class Beside(NamedTuple):
    """What stands behind a reference unit and in front of a random access point.

    Attributes:
        palettes: byte offsets of the picture's palette units.
        backdrop: byte offset of the newest backdrop unit, of any picture; 0 for none.
    """

    palettes: list[int]
    backdrop: int


def scan_random_access(source: ByteSource, header: StreamHeader, offset: int) -> list[IndexEntry]:
    """Find the random access points by going from unit to unit; payloads are passed over.

    Args:
        source: the file.
        header: its stream header.
        offset: where the first unit behind the header stands.

    Returns:
        What an index would hold, at most 65536 entries. The scan ends without an error at the first byte
        that is no unit.
    """
    points = EntryList()
    last_pts: int | None = None
    references: dict[int, int] = {}
    backdrops = BackdropPlaces()
    try:
        while data := source.read(offset, UNIT_HEADER_BYTES_MAX + _PEEK_BYTES):
            frame = parse_unit_head(data, base=offset)
            payload = data[frame.head_bytes :][: frame.payload_bytes]
            if frame.kind == UnitKind.REFERENCE and payload:
                references[payload[0]] = offset
                backdrops.take_reference(payload[0])
            elif frame.kind == UnitKind.BACKDROP and payload:
                backdrops.take_backdrop(payload[0], offset)
            elif frame.kind == UnitKind.MOTION:
                peek = FieldReader(payload, frame.kind.label, _PEEK_BYTES)
                flags, _, _ = peek.u8(), peek.u8(), peek.u8()
                ref_id, pts = flags & 7, peek.svarint("first_pts")
                rises = last_pts is None or pts > last_pts
                if flags & 8 and ref_id in references and rises:
                    points.add(IndexEntry(pts, offset, references[ref_id], backdrops.of(ref_id)))
                    last_pts = pts
            offset += frame.total_bytes
    except BitstreamError:
        pass
    return points.entries


def find_beside(source: ByteSource, first: int, end: int) -> Beside:
    """Find what goes with a reference picture, and the backdrop that the next one would take over.

    Args:
        source: the file.
        first: byte offset of the reference unit.
        end: where the search ends.

    Returns:
        Units that end in front of ``end``; palettes also in front of another picture in the same slot.
        Payloads are passed over, and the search ends at the first byte that is no unit.
    """
    palettes: list[int] = []
    backdrop, slot = 0, -1
    for offset, frame, ref_id in _heads(source, first, end):
        if frame.kind == UnitKind.BACKDROP:
            backdrop = offset
        elif frame.kind == UnitKind.REFERENCE and offset == first:
            slot = ref_id
        elif frame.kind == UnitKind.REFERENCE and ref_id == slot:
            slot = -1
        elif frame.kind == UnitKind.PALETTE and ref_id == slot:
            palettes.append(offset)
    return Beside(palettes, backdrop)


def find_references(source: ByteSource, first: int, end: int) -> list[tuple[int, int]]:
    """Find the reference units of a part of the file; payloads are passed over.

    Args:
        source: the file.
        first: byte offset of the part's first unit.
        end: where it ends.

    Returns:
        Byte offset and slot of each, up to the first byte that is no unit.
    """
    heads = _heads(source, first, end)
    return [(offset, slot) for offset, frame, slot in heads if frame.kind == UnitKind.REFERENCE]


def _heads(source: ByteSource, offset: int, end: int) -> Iterator[tuple[int, UnitFrame, int]]:
    """Units between two offsets: where they stand, length and type, and the low bits of the first byte."""
    try:
        while offset < end and (data := source.read(offset, UNIT_HEADER_BYTES_MAX + 1)):
            frame = parse_unit_head(data, base=offset)
            if offset + frame.total_bytes > end:
                return
            if frame.payload_bytes:
                yield offset, frame, data[frame.head_bytes] & 7
            offset += frame.total_bytes
    except (BitstreamError, IndexError):
        return


def is_sound(entry: IndexEntry, units: Sequence[Unit]) -> bool:
    """Whether the units at an entry's offsets (motion, reference, backdrop if any) belong together.

    A backdrop behind the reference unit has to be its own, one in front of it may be any picture's.
    """
    motion, reference = units[:2]
    backdrop = units[2] if len(units) > 2 else None
    is_before = entry.backdrop_offset < entry.reference_offset
    return (
        isinstance(motion, MotionUnit)
        and motion.reset
        and motion.first_pts == entry.pts
        and isinstance(reference, ReferenceUnit)
        and reference.ref_id == motion.ref_id
        and (
            backdrop is None
            or (isinstance(backdrop, BackdropUnit) and (is_before or backdrop.ref_id == motion.ref_id))
        )
    )
