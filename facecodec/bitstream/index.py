"""The index of a file, and the trailer that says where it lies."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from facecodec.bitstream import limits
from facecodec.bitstream.bits import FieldReader, pack_svarint, pack_varint
from facecodec.bitstream.framing import UnitKind
from facecodec.errors import BadMagicError, TruncatedError

TRAILER_MAGIC = b"FCVI"
TRAILER_BYTES = 12

_UNIT = UnitKind.INDEX.label


class IndexEntry(NamedTuple):
    """One random access point.

    Attributes:
        pts: time of its first frame, in ticks after ``start_pts``.
        motion_offset: byte offset of its motion unit in the file.
        reference_offset: byte offset of the reference unit that it needs.
        backdrop_offset: byte offset of the backdrop unit that goes with it, 0 for none.
    """

    pts: int
    motion_offset: int
    reference_offset: int
    backdrop_offset: int = 0


@dataclass(frozen=True, slots=True)
class IndexUnit:
    """What a file holds and where decoding can start.

    Attributes:
        n_frames: frames of the file.
        duration: ticks from the first frame to the end of the last.
        entries: random access points, with rising times and offsets; at most 65536.
    """

    n_frames: int
    duration: int
    entries: tuple[IndexEntry, ...]

    KIND: ClassVar[UnitKind] = UnitKind.INDEX

    def __post_init__(self) -> None:
        limits.check("n_frames", self.n_frames, 0, limits.S64_MAX, _UNIT)
        limits.check("duration", self.duration, 0, limits.S64_MAX, _UNIT)
        limits.check("n_entries", len(self.entries), 0, limits.INDEX_ENTRIES_MAX, _UNIT)
        low, after = limits.PTS_MIN, 1
        for entry in self.entries:
            limits.check("entry pts", entry.pts, low, limits.PTS_MAX, _UNIT)
            limits.check("motion_offset", entry.motion_offset, after, limits.FILE_OFFSET_MAX, _UNIT)
            limits.check("reference_offset", entry.reference_offset, 1, entry.motion_offset - 1, _UNIT)
            limits.check("backdrop_offset", entry.backdrop_offset, 0, entry.motion_offset - 1, _UNIT)
            low, after = entry.pts + 1, entry.motion_offset + 1

    def find(self, pts: int) -> IndexEntry | None:
        """As :func:`find_entry`, in the entries of this index."""
        return find_entry(self.entries, pts)

    def pack(self) -> bytes:
        """Return the payload: every entry as the difference to the one before it."""
        out = bytearray(pack_varint(self.n_frames))
        out += pack_varint(self.duration)
        out += pack_varint(len(self.entries))
        before = IndexEntry(0, 0, 0, 0)
        for entry in self.entries:
            for now, old in zip(entry, before, strict=True):
                out += pack_svarint(now - old)
            before = entry
        return bytes(out)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`. Raises TruncatedError, LimitError."""
        reader = FieldReader(payload, _UNIT, cls.KIND.payload_max)
        n_frames, duration = reader.varint("n_frames"), reader.varint("duration")
        count = reader.varint("n_entries", 0, limits.INDEX_ENTRIES_MAX)
        entries = []
        before = IndexEntry(0, 0, 0, 0)
        for _ in range(count):
            before = IndexEntry(*(old + reader.svarint(field) for field, old in before._asdict().items()))
            entries.append(before)
        reader.end()
        return cls(n_frames, duration, tuple(entries))


def find_entry(entries: Sequence[IndexEntry], pts: int) -> IndexEntry | None:
    """Return the last entry at or before ``pts`` (ticks after ``start_pts``), else the first, else None."""
    if not entries:
        return None
    return entries[max(bisect_right(entries, pts, key=lambda entry: entry.pts) - 1, 0)]


def pack_trailer(index_offset: int) -> bytes:
    """Return the last 12 bytes of a file."""
    limits.check("index_offset", index_offset, 4, limits.FILE_OFFSET_MAX, _UNIT)
    return index_offset.to_bytes(8, "big") + TRAILER_MAGIC


def parse_trailer(data: bytes) -> int:
    """Return the byte offset of the index unit: the inverse of :func:`pack_trailer`.

    Raises:
        TruncatedError: fewer than 12 bytes.
        BadMagicError: they are no trailer.
        LimitError: the offset is out of range.
    """
    if len(data) < TRAILER_BYTES:
        raise TruncatedError(TRAILER_BYTES, len(data), unit="trailer")
    if data[8:TRAILER_BYTES] != TRAILER_MAGIC:
        raise BadMagicError("no trailer", unit="trailer")
    offset = int.from_bytes(data[:8], "big")
    limits.check("index_offset", offset, 4, limits.FILE_OFFSET_MAX, "trailer")
    return offset
