"""Numbers as bytes: big-endian fixed widths, LEB128 varints, zigzag signed varints.

A varint holds seven bits a byte, the lowest first, and the highest bit of a byte says that another
follows. Only the shortest form is legal, so a number has one form. A signed number ``n`` is stored as
the varint of ``2n`` where n >= 0, else of ``-2n - 1``.
"""

from __future__ import annotations

from facecodec.bitstream.limits import S64_MAX, S64_MIN, check
from facecodec.errors import LimitError, TruncatedError

VARINT_BYTES_MAX = 10
_U64_MAX = (1 << 64) - 1


def pack_varint(value: int) -> bytes:
    """Pack 0..2**64 - 1 into 1 to 10 bytes."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_varint(
    data: bytes, offset: int = 0, *, max_bytes: int = VARINT_BYTES_MAX, field: str = "varint", unit: str = ""
) -> tuple[int, int]:
    """Read a varint.

    Args:
        data: the bytes to read from.
        offset: where the varint starts.
        max_bytes: longest form that is legal.
        field: its name in errors.
        unit: name of its unit in errors.

    Returns:
        The value, 0..2**64 - 1, and the offset behind it.

    Raises:
        TruncatedError: the data end inside it.
        LimitError: it is longer than ``max_bytes``, not in its shortest form, or above 64 bits.
    """
    value = 0
    for count in range(max_bytes):
        if offset + count >= len(data):
            raise TruncatedError(count + 1, max(len(data) - offset, 0), unit=unit)
        byte = data[offset + count]
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            if count and not byte:
                raise LimitError(f"{field}: spare varint bytes", 1, "0", unit=unit)
            if value > _U64_MAX:
                raise LimitError(field, value, "64 bits", unit=unit)
            return value, offset + count + 1
    raise LimitError(f"{field}: bytes of varint", max_bytes + 1, f"at most {max_bytes}", unit=unit)


def pack_svarint(value: int) -> bytes:
    """Pack a signed number into 1 to 10 bytes. Raises LimitError if it does not fit 64 bits."""
    check("signed number", value, S64_MIN, S64_MAX, "")
    return pack_varint(value << 1 if value >= 0 else (-value << 1) - 1)


def from_zigzag(value: int) -> int:
    """Turn the varint of a signed number into the number."""
    return -((value + 1) >> 1) if value & 1 else value >> 1


class FieldReader:
    """Reads the fields of one payload in order, each against its limits.

    Every method raises TruncatedError where the payload ends too early and LimitError where a value
    is out of range, both naming the unit.

    Args:
        payload: the unit's payload.
        unit: the unit's name, for errors.
        limit: most bytes that such a payload may have.
    """

    __slots__ = ("_data", "_place", "_unit")

    def __init__(self, payload: bytes, unit: str, limit: int) -> None:
        check("payload bytes", len(payload), 0, limit, unit)
        self._data = payload
        self._place = 0
        self._unit = unit

    def _fixed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def u8(self) -> int:
        """Read one byte."""
        return self._fixed(1)

    def u16(self) -> int:
        """Read two bytes, the high one first."""
        return self._fixed(2)

    def varint(self, field: str, low: int = 0, high: int = S64_MAX) -> int:
        """Read an unsigned varint from ``low`` to ``high``."""
        value, self._place = parse_varint(self._data, self._place, field=field, unit=self._unit)
        check(field, value, low, high, self._unit)
        return value

    def svarint(self, field: str, low: int = S64_MIN, high: int = S64_MAX) -> int:
        """Read a signed varint from ``low`` to ``high``."""
        raw, self._place = parse_varint(self._data, self._place, field=field, unit=self._unit)
        value = from_zigzag(raw)
        check(field, value, low, high, self._unit)
        return value

    def take(self, size: int) -> bytes:
        """Read ``size`` bytes."""
        left = len(self._data) - self._place
        if size > left:
            raise TruncatedError(size, left, unit=self._unit)
        start = self._place
        self._place += size
        return bytes(self._data[start : self._place])

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take(len(self._data) - self._place)

    def end(self) -> None:
        """Check that nothing is left."""
        left = len(self._data) - self._place
        if left:
            raise LimitError("bytes behind the last field", left, "0", unit=self._unit)
