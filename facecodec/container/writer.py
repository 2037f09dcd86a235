"""Writing a file: units as they come, then the index and the trailer."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, Self

from facecodec.bitstream import (
    MAGIC,
    BackdropUnit,
    IndexEntry,
    IndexUnit,
    MotionUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
    pack_unit,
    parse_unit,
)
from facecodec.bitstream.index import pack_trailer
from facecodec.container.access import BackdropPlaces, EntryList
from facecodec.errors import BitstreamError
from facecodec.types import Packet, PacketKind

_KIND_OF_UNIT = {kind.value: kind for kind in PacketKind}


class FcvWriter:
    """Writes packets into a file and keeps its index.

    Every packet is parsed before it is written, so what is written can be read. The file object is
    only appended to, so it may be a pipe; closing it is the caller's business.

    Args:
        fileobj: where to write, opened for bytes, at its start.

    Attributes:
        bytes_by_kind: bytes written so far for each kind of packet, checksums included.
        overhead_bytes: bytes of magic, index and trailer so far.
    """

    def __init__(self, fileobj: BinaryIO) -> None:
        self._file = fileobj
        self._offset = 0
        self._header: StreamHeader | None = None
        self._references: dict[int, int] = {}
        self._backdrops = BackdropPlaces()
        self._points = EntryList()
        self._n_frames = 0
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._closed = False
        self.bytes_by_kind: dict[PacketKind, int] = dict.fromkeys(PacketKind, 0)
        self.overhead_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    @property
    def total_bytes(self) -> int:
        """Bytes written so far."""
        return self._offset

    def write_header(self, header: StreamHeader) -> None:
        """Write the stream header: the first call, and made once."""
        self._write_unit(header, pack_unit(header), False)

    def write(self, packet: Packet) -> None:
        """Append a packet.

        Raises:
            BitstreamError: the packet is no unit of a stream, its kind is not what it holds, the header
                does not come first and alone, a motion unit's reference was not written, or times fall.
        """
        unit = parse_unit(packet.data)
        if unit.KIND.label != packet.kind.value:
            raise BitstreamError(f"the packet says {packet.kind.value}", unit=unit.KIND.label)
        self._write_unit(unit, packet.data, packet.is_random_access)

    def close(self) -> None:
        """Write the index and the trailer. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        header = self._header
        if header is None:
            raise BitstreamError("the file has no stream header", unit="header")
        duration = 0
        if self._first_pts is not None and self._last_pts is not None:
            duration = self._last_pts + header.frame_duration - self._first_pts
        index = IndexUnit(self._n_frames, duration, tuple(self._points.entries))
        tail = pack_unit(index) + pack_trailer(self._offset)
        self.overhead_bytes += len(tail)
        self._append(tail)

    def _write_unit(self, unit: Unit, data: bytes, is_random_access: bool) -> None:
        label = unit.KIND.label
        if label not in _KIND_OF_UNIT or self._closed:
            raise BitstreamError("cannot be written here", unit=label)
        if isinstance(unit, StreamHeader) != (self._header is None):
            raise BitstreamError("a file starts with one stream header", unit=label)
        if isinstance(unit, StreamHeader):
            self._header = unit
            self.overhead_bytes += len(MAGIC)
            self._append(MAGIC)
        elif isinstance(unit, ReferenceUnit):
            if unit.base is not None and unit.base.ref_id not in self._references:
                raise BitstreamError(f"key picture {unit.base.ref_id} was not written", unit=label)
            self._references[unit.ref_id] = self._offset
            self._backdrops.take_reference(unit.ref_id)
        elif isinstance(unit, BackdropUnit):
            self._backdrops.take_backdrop(unit.ref_id, self._offset)
        elif isinstance(unit, MotionUnit):
            self._note_motion(unit, is_random_access)
        self.bytes_by_kind[_KIND_OF_UNIT[label]] += len(data)
        self._append(data)

    def _note_motion(self, unit: MotionUnit, is_random_access: bool) -> None:
        header = self._header
        assert header is not None  # noqa: S101  checked by _write_unit
        if unit.ref_id not in self._references:
            raise BitstreamError(f"reference picture {unit.ref_id} was not written", unit="motion")
        if is_random_access and not unit.reset:
            raise BitstreamError("a random access point without reset", unit="motion")
        pts = unit.resolve_pts(header, self._last_pts)
        if is_random_access:
            self._points.add(
                IndexEntry(
                    pts[0] - header.start_pts,
                    self._offset,
                    self._references[unit.ref_id],
                    self._backdrops.of(unit.ref_id),
                )
            )
        if self._first_pts is None:
            self._first_pts = pts[0]
        self._last_pts = pts[-1]
        self._n_frames += unit.n_frames

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._offset += len(data)
