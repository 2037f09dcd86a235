"""Open bitstream units of AV1, as far as pictures need them (AV1 specification 1.0.0 with errata 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from facecodec.errors import BitstreamError, TruncatedError

UNIT = "reference"
"""What errors name."""
SEQUENCE_HEADER, FRAME = 1, 6
"""Types of the OBUs that stills are made of."""
DELIMITER = b"\x12\x00"
"""A temporal delimiter OBU: decoders want one before every frame, and it is not sent."""


@dataclass(frozen=True, slots=True)
class Obu:
    """One open bitstream unit.

    Attributes:
        kind: its type.
        data: all its bytes.
        payload: those behind header and size.
    """

    kind: int
    data: bytes
    payload: bytes


def read_obus(data: bytes) -> Iterator[Obu]:
    """Split bytes into OBUs (sections 5.3.1 and 5.3.2). Raises BitstreamError, TruncatedError."""
    at = 0
    while at < len(data):
        header = data[at]
        if header & 0b1000_0101 or not header & 0b10:
            raise BitstreamError(f"byte {header:#04x} is no OBU header with a size", unit=UNIT, offset=at)
        size, body = _leb128(data, at + 1)
        if body + size > len(data):
            raise TruncatedError(size, len(data) - body, unit=UNIT)
        yield Obu(header >> 3 & 15, data[at : body + size], data[body : body + size])
        at = body + size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Read leb128() of section 4.10.5; give the value and where it ends."""
    value = 0
    for i in range(8):
        if at + i >= len(data):
            raise TruncatedError(1, 0, unit=UNIT)
        value |= (data[at + i] & 0x7F) << 7 * i
        if not data[at + i] & 0x80:
            return value, at + i + 1
    raise BitstreamError("OBU size takes more than 8 bytes", unit=UNIT)


class Bits:
    """Bits of a payload, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number. Raises TruncatedError."""
        if count > self._left:
            raise TruncatedError(count, self._left, unit=UNIT)
        self._left -= count
        return self._value >> self._left & (1 << count) - 1


def still_size(sequence_header: bytes) -> tuple[int, int]:
    """Read the size out of a reduced still picture sequence header (section 5.5.1).

    Raises:
        BitstreamError: it is another sequence header.
        TruncatedError: it ends before the size.
    """
    bits = Bits(sequence_header)
    if bits.take(5) != 0b000_1_1:  # seq_profile, still_picture, reduced_still_picture_header
        raise BitstreamError("sequence header is not that of a profile 0 still picture", unit=UNIT)
    bits.take(5)  # seq_level_idx
    return _size(bits)


def key_size(sequence_header: bytes) -> tuple[int, int]:
    """Read the size out of the sequence header of a picture that others are predicted from (section 5.5.1).

    Raises:
        BitstreamError: it is another sequence header, or one with timing or more than one operating point.
        TruncatedError: it ends before the size.
    """
    bits = Bits(sequence_header)
    # seq_profile, still_picture, reduced_still_picture_header, timing_info_present_flag,
    # initial_display_delay_present_flag, operating_points_cnt_minus_1, operating_point_idc
    if bits.take(24):
        raise BitstreamError("sequence header is not a plain one of profile 0", unit=UNIT)
    if bits.take(5) > 7:  # seq_level_idx
        bits.take(1)  # seq_tier
    return _size(bits)


def _size(bits: Bits) -> tuple[int, int]:
    """Read frame_width_bits_minus_1, frame_height_bits_minus_1, and the sizes less 1 in that many bits."""
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1
