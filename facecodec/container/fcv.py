"""Reading a file unit by unit, with seeking. :class:`FcvWriter` is the other direction.

Memory is bounded by the largest unit, whatever the file says: a unit's length is checked against the
limit of its type before its bytes are read, and they are read in blocks.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from facecodec.bitstream import (
    MAGIC,
    IndexEntry,
    IndexUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
    UnitFrame,
    UnitKind,
    limits,
    parse_payload,
    parse_unit_head,
    read_unit,
)
from facecodec.bitstream.framing import UNIT_HEADER_BYTES_MAX, at_offset
from facecodec.bitstream.index import TRAILER_BYTES, find_entry, parse_trailer
from facecodec.container.access import find_beside, find_references, is_sound, scan_random_access
from facecodec.container.source import ByteSource
from facecodec.container.writer import FcvWriter
from facecodec.errors import BadMagicError, BitstreamError, ChecksumError, LimitError, TruncatedError

__all__ = ["DamagedUnit", "FcvReader", "FcvWriter", "UnitAt"]

_log = logging.getLogger(__name__)

_motion_offset = attrgetter("motion_offset")


@dataclass(frozen=True, slots=True)
class DamagedUnit:
    """Stands for a unit whose checksum or fields are wrong.

    Attributes:
        error: what is wrong with it.
    """

    error: BitstreamError


class UnitAt(NamedTuple):
    """A unit and where it stands.

    Attributes:
        kind: its type.
        unit: its fields.
        offset: byte offset in the file.
        size: bytes, with length and checksum.
        is_spare: from before the place sought, and not needed there, but further on.
    """

    kind: UnitKind
    unit: Unit | DamagedUnit
    offset: int
    size: int
    is_spare: bool = False


class FcvReader:
    """Reads a file.

    Args:
        source: a path, or a file object opened for bytes, at its start. One that cannot seek, such as a
            pipe, can be read from end to end but has no index.

    Raises:
        BadMagicError: the file is not one of facecodec's.
        BitstreamError: its stream header is damaged, or of another version.
        MediaError: the path cannot be opened.
    """

    def __init__(self, source: str | Path | BinaryIO) -> None:
        self._source = ByteSource(source)
        try:
            magic = self._source.read(0, len(MAGIC))
            if not magic or not MAGIC.startswith(magic):
                raise BadMagicError("the file does not start with the magic of an .fcv file")
            if len(magic) < len(MAGIC):
                raise TruncatedError(len(MAGIC), len(magic))
            first = self._read_at(len(MAGIC))
            if first is None:
                raise TruncatedError(1, 0, unit="header", offset=len(MAGIC))
            if not isinstance(first.unit, StreamHeader):
                raise LimitError("type of the first unit", first.kind, "0", offset=first.offset)
        except BaseException:
            self._source.close()
            raise
        self.header: StreamHeader = first.unit
        self._header_unit = first
        self._start = len(MAGIC)
        self._ahead: tuple[int, ...] = ()
        self._spare: frozenset[int] = frozenset()
        self._index: IndexUnit | None = None
        self._index_read = False
        self._scanned: list[IndexEntry] | None = None
        self._references: list[tuple[int, int]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if this reader opened it."""
        self._source.close()

    @property
    def index(self) -> IndexUnit | None:
        """The file's index; None where there is none, it is damaged, or the file cannot seek."""
        if not self._index_read:
            self._index_read = True
            self._index = self._load_index()
        return self._index

    def units(self, *, resilient: bool = False) -> Iterator[UnitAt]:
        """Go through the units from the start of the file, or from where :meth:`seek` put the reader.

        From the start, the stream header comes first.

        Args:
            resilient: give a :class:`DamagedUnit` for a unit whose checksum or fields are wrong and go
                on behind it, instead of raising.

        Raises:
            TruncatedError: the file ends inside a unit; all whole units have been given.
            BitstreamError: a unit is damaged (without ``resilient``), or the next one cannot be found.
        """
        for offset in self._ahead:
            is_spare = offset in self._spare
            at = self._read_at(offset, resilient=resilient or is_spare)
            if at is not None and not (is_spare and isinstance(at.unit, DamagedUnit)):
                yield at._replace(is_spare=is_spare)
        place = self._start
        if place == self._header_unit.offset:
            yield self._header_unit
            place += self._header_unit.size
        while (at := self._read_at(place, resilient=resilient)) is not None:
            if at.kind == UnitKind.HEADER:
                raise LimitError("stream headers", 2, "1", unit="header", offset=place)
            yield at
            place += at.size
            if at.kind == UnitKind.INDEX:
                self._check_trailer(at.offset, place)
                return

    def seek(self, pts: int) -> None:
        """Make :meth:`units` start where ``pts`` can be decoded.

        It then gives the reference, backdrop and palette units from before that place that are needed
        there, or further on as far as the index says, in the order of the file; and goes on from the
        random access point at or before ``pts``, or from the first one. Units that are needed further on
        alone (``is_spare``) are left out where they are damaged. A file without a usable
        index is scanned once. Without any random access point it starts at the first unit.

        Args:
            pts: time in ticks of the stream's time base.

        Raises:
            BitstreamError: the file cannot seek.
        """
        if not self._source.seekable:
            raise BitstreamError("the file cannot seek")
        relative = pts - self.header.start_pts
        entries: Sequence[IndexEntry] = self.index.entries if self.index else ()
        entry = find_entry(entries, relative)
        if entry is not None and not self._is_sound(entry):
            _log.warning("the index is wrong at byte %d; scanning the file", entry.motion_offset)
            self._index = entry = None
        if entry is None:
            if self._scanned is None:
                first = self._header_unit.offset + self._header_unit.size
                self._scanned = scan_random_access(self._source, self.header, first)
            entries = self._scanned
            entry = find_entry(entries, relative)
        if entry is None:
            self._start, self._ahead, self._spare = len(MAGIC), (), frozenset()
            return
        self._start = entry.motion_offset
        beside = find_beside(self._source, entry.reference_offset, self._start)
        base = self._base_of(entry.reference_offset)
        wanted = {entry.reference_offset, base, entry.backdrop_offset, *beside.palettes} - {0}
        later = entries[bisect_left(entries, entry.motion_offset, key=_motion_offset) :]
        spare = {beside.backdrop, *self._named_again(later)} - {0}
        self._ahead, self._spare = tuple(sorted(wanted | spare)), frozenset(spare - wanted)

    def _named_again(self, later: Sequence[IndexEntry]) -> set[int]:
        """Offsets of the stills from before the place sought that entries behind it need.

        Left out are those that are not where the entry says, and a backdrop that is damaged.
        """
        found, seen = set[int](), set[int]()
        for entry in later:
            if entry.reference_offset in seen:
                continue
            if entry.reference_offset >= self._start:
                seen.add(entry.reference_offset)
                found.add(self._base_of(entry.reference_offset))
                continue
            for known in (entry, entry._replace(backdrop_offset=0)):
                if self._is_sound(known):
                    seen.add(known.reference_offset)
                    found.update(known[2:])
                    found.add(self._base_of(known.reference_offset))
                    found.update(find_beside(self._source, known.reference_offset, self._start).palettes)
                    break
        return {offset for offset in found if offset < self._start}

    def _base_of(self, offset: int) -> int:
        """Byte offset of the picture that the one at ``offset`` is predicted from; 0 for none."""
        try:
            at = self._read_at(offset)
        except BitstreamError:
            return 0
        if at is None or not isinstance(at.unit, ReferenceUnit) or at.unit.base is None:
            return 0
        if self._references is None:
            first = self._header_unit.offset + self._header_unit.size
            self._references = find_references(self._source, first, self._source.size() or 0)
        wanted = at.unit.base.ref_id
        return max(
            (place for place, slot in self._references if slot == wanted and place < offset), default=0
        )

    def _head_at(self, offset: int) -> UnitFrame | None:
        """Length and type of the unit at ``offset``; None at the end of the file."""
        head = self._source.read(offset, UNIT_HEADER_BYTES_MAX)
        return parse_unit_head(head, base=offset) if head else None

    def _read_at(self, offset: int, *, resilient: bool = False) -> UnitAt | None:
        """Read and check the unit at ``offset``; None at the end of the file."""
        frame = self._head_at(offset)
        if frame is None:
            return None
        size = frame.total_bytes
        data = self._source.read(offset, size)
        if len(data) < size:
            raise TruncatedError(size, len(data), unit=frame.kind.label, offset=offset)
        try:
            kind, payload, _ = read_unit(data, base=offset)
            unit: Unit | DamagedUnit = parse_payload(kind, payload, offset=offset)
        except BitstreamError as err:
            if not resilient:
                raise
            unit = DamagedUnit(err)
        return UnitAt(frame.kind, unit, offset, size)

    def _check_trailer(self, index_offset: int, place: int) -> None:
        tail = self._source.read(place, TRAILER_BYTES + 1)
        if len(tail) > TRAILER_BYTES:
            raise LimitError("bytes behind the trailer", 1, "0", unit="trailer", offset=place)
        try:
            limits.check("index_offset", parse_trailer(tail), index_offset, index_offset, "trailer")
        except BitstreamError as err:
            raise at_offset(err, place) from None

    def _load_index(self) -> IndexUnit | None:
        size = self._source.size()
        if size is None or size < len(MAGIC) + TRAILER_BYTES:
            return None
        try:
            offset = parse_trailer(self._source.read(size - TRAILER_BYTES, TRAILER_BYTES))
            frame = self._head_at(offset) if offset < size else None
            if frame is None or frame.kind != UnitKind.INDEX:
                return None
            if offset + frame.total_bytes + TRAILER_BYTES != size:
                return None
            at = self._read_at(offset)
        except (BadMagicError, TruncatedError, ChecksumError, LimitError) as err:
            _log.debug("no usable index: %s", err)
            return None
        return at.unit if at is not None and isinstance(at.unit, IndexUnit) else None

    def _is_sound(self, entry: IndexEntry) -> bool:
        """Whether an entry's offsets hold units of the right types, undamaged, that belong together."""
        try:
            units = [self._read_at(offset) for offset in entry[1:] if offset]
        except BitstreamError:
            return False
        found = [at.unit for at in units if at is not None and not isinstance(at.unit, DamagedUnit)]
        return len(found) == len(units) and is_sound(entry, found)
