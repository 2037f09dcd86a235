"""How a unit stands in a file or a packet: a varint of length and type, the payload, a checksum.

::

    varint (payload length << 3) | type      1 to 4 bytes
    payload
    checksum over both, big-endian           CRC-16 for motion and audio, else CRC-32
"""

from __future__ import annotations

import binascii
import zlib
from enum import IntEnum
from typing import NamedTuple

from facecodec.bitstream import limits
from facecodec.bitstream.bits import pack_varint, parse_varint
from facecodec.errors import BitstreamError, ChecksumError, TruncatedError

UNIT_HEADER_BYTES_MAX = 4


class UnitKind(IntEnum):
    """Type of a unit. Values are assigned numbers of FORMAT.md."""

    HEADER = 0
    REFERENCE = 1
    BACKDROP = 2
    MOTION = 3
    AUDIO = 4
    INDEX = 5
    EXTENSION = 6
    PALETTE = 7

    @property
    def label(self) -> str:
        """The name that errors use, such as ``motion``."""
        return self.name.lower()

    @property
    def payload_max(self) -> int:
        """Most bytes that a payload of this type may have."""
        return _PAYLOAD_MAX[self]

    @property
    def checksum_bytes(self) -> int:
        """2 for CRC-16, 4 for CRC-32."""
        return 2 if self in (UnitKind.MOTION, UnitKind.AUDIO) else 4


_PAYLOAD_MAX = {
    UnitKind.HEADER: limits.HEADER_PAYLOAD_MAX,
    UnitKind.REFERENCE: limits.REFERENCE_PAYLOAD_MAX,
    UnitKind.BACKDROP: limits.BACKDROP_PAYLOAD_MAX,
    UnitKind.MOTION: limits.MOTION_PAYLOAD_MAX,
    UnitKind.AUDIO: limits.AUDIO_PAYLOAD_MAX,
    UnitKind.INDEX: limits.INDEX_PAYLOAD_MAX,
    UnitKind.EXTENSION: limits.EXTENSION_PAYLOAD_MAX,
    UnitKind.PALETTE: limits.PALETTE_PAYLOAD_MAX,
}


class UnitFrame(NamedTuple):
    """What the first bytes of a unit say.

    Attributes:
        kind: type of the unit.
        head_bytes: bytes of the varint.
        payload_bytes: bytes of the payload.
    """

    kind: UnitKind
    head_bytes: int
    payload_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole unit."""
        return self.head_bytes + self.payload_bytes + self.kind.checksum_bytes


def _checksum(kind: UnitKind, data: bytes) -> bytes:
    """CRC-32 (ISO 3309), or CRC-16 with polynomial 0x1021 and initial value 0xFFFF, of head and payload."""
    if kind.checksum_bytes == 2:
        return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")
    return zlib.crc32(data).to_bytes(4, "big")


def frame_unit(kind: UnitKind, payload: bytes) -> bytes:
    """Frame a payload.

    Raises:
        LimitError: the payload is longer than its type allows.
    """
    limits.check("payload bytes", len(payload), 0, kind.payload_max, kind.label)
    body = pack_varint(len(payload) << 3 | kind) + payload
    return body + _checksum(kind, body)


def parse_unit_head(buffer: bytes, offset: int = 0, *, base: int = 0) -> UnitFrame:
    """Read the varint that starts a unit.

    Args:
        buffer: bytes to read from.
        offset: where the unit starts in ``buffer``.
        base: file offset of ``buffer[0]``, for errors.

    Raises:
        TruncatedError: the buffer ends inside the varint.
        LimitError: the length is above its type's limit, or the varint not minimal.
    """
    try:
        word, end = parse_varint(buffer, offset, max_bytes=UNIT_HEADER_BYTES_MAX, field="unit length")
        kind = UnitKind(word & 7)
        limits.check("payload bytes", word >> 3, 0, kind.payload_max, kind.label)
    except BitstreamError as err:
        raise at_offset(err, base + offset) from None
    return UnitFrame(kind, end - offset, word >> 3)


def read_unit(buffer: bytes, offset: int = 0, *, base: int = 0) -> tuple[UnitKind, bytes, int]:
    """Read one unit and check its checksum: the inverse of :func:`frame_unit`.

    Args:
        buffer: bytes to read from.
        offset: where the unit starts in ``buffer``.
        base: file offset of ``buffer[0]``, for errors.

    Returns:
        The type, the payload, and the offset in ``buffer`` behind the unit.

    Raises:
        TruncatedError: the buffer ends inside the unit.
        ChecksumError: the checksum does not match.
        LimitError: as :func:`parse_unit_head`.
    """
    frame = parse_unit_head(buffer, offset, base=base)
    where = base + offset
    end = offset + frame.total_bytes
    if end > len(buffer):
        raise TruncatedError(frame.total_bytes, len(buffer) - offset, unit=frame.kind.label, offset=where)
    body_end = end - frame.kind.checksum_bytes
    if _checksum(frame.kind, bytes(buffer[offset:body_end])) != bytes(buffer[body_end:end]):
        raise ChecksumError("the checksum does not match", unit=frame.kind.label, offset=where)
    return frame.kind, bytes(buffer[offset + frame.head_bytes : body_end]), end


def at_offset(err: BitstreamError, offset: int) -> BitstreamError:
    """Give an error the byte offset of its unit, unless it has one, and return it."""
    if err.offset is None:
        err.offset = offset
        where = f"{err.unit} unit" if err.unit else "stream"
        err.args = (f"{where} at byte {offset}: {err.message}",)
    return err
