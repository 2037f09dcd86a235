"""Random access points of a file: found without an index, and checked with one."""

from __future__ import annotations

from collections.abc import Sequence

from facecodec.bitstream import (
    BackdropUnit,
    IndexEntry,
    MotionUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
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
    backdrops: dict[int, int] = {}
    try:
        while data := source.read(offset, UNIT_HEADER_BYTES_MAX + _PEEK_BYTES):
            frame = parse_unit_head(data, base=offset)
            payload = data[frame.head_bytes :][: frame.payload_bytes]
            if frame.kind == UnitKind.REFERENCE and payload:
                references[payload[0]] = offset
            elif frame.kind == UnitKind.BACKDROP and payload:
                backdrops[payload[0]] = offset
            elif frame.kind == UnitKind.MOTION:
                peek = FieldReader(payload, frame.kind.label, _PEEK_BYTES)
                flags, _, _ = peek.u8(), peek.u8(), peek.u8()
                ref_id, pts = flags & 7, peek.svarint("first_pts")
                rises = last_pts is None or pts > last_pts
                if flags & 8 and ref_id in references and rises:
                    points.add(IndexEntry(pts, offset, references[ref_id], backdrops.get(ref_id, 0)))
                    last_pts = pts
            offset += frame.total_bytes
    except BitstreamError:
        pass
    return points.entries


def find_palettes(source: ByteSource, first: int, end: int) -> list[int]:
    """Byte offsets of the palette units of a reference picture.

    Args:
        source: the file.
        first: byte offset of the reference unit.
        end: where the search ends.

    Returns:
        Those in front of ``end`` and of another picture in the same slot; payloads are passed over.
    """
    found: list[int] = []
    offset, slot = first, -1
    try:
        while offset < end and (data := source.read(offset, UNIT_HEADER_BYTES_MAX + 1)):
            frame = parse_unit_head(data, base=offset)
            ref_id = data[frame.head_bytes] & 7 if frame.payload_bytes else -1
            if frame.kind == UnitKind.REFERENCE and offset == first:
                slot = ref_id
            elif ref_id == slot and frame.kind == UnitKind.REFERENCE:
                break
            elif ref_id == slot and frame.kind == UnitKind.PALETTE:
                found.append(offset)
            offset += frame.total_bytes
    except (BitstreamError, IndexError):
        pass
    return found


def is_sound(entry: IndexEntry, units: Sequence[Unit]) -> bool:
    """Whether the units at an entry's offsets (motion, reference, backdrop if any) belong together."""
    motion, reference = units[:2]
    backdrop = units[2] if len(units) > 2 else None
    return (
        isinstance(motion, MotionUnit)
        and motion.reset
        and motion.first_pts == entry.pts
        and isinstance(reference, ReferenceUnit)
        and reference.ref_id == motion.ref_id
        and (backdrop is None or (isinstance(backdrop, BackdropUnit) and backdrop.ref_id == motion.ref_id))
    )
