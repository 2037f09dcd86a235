"""What a receiver tells: what arrived, what it holds, what it misses (in the manner of RFC 4585 and 8888)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from facecodec.bitstream.bits import FieldReader
from facecodec.errors import BitstreamError, ConfigError, TransportError
from facecodec.transport.bundle import FEEDBACK_MAX, SEQUENCE_BITS

HISTORY = 16
"""Bundles before the newest that a report tells of."""
MESSAGES = 8
NACKS_MAX = 32
_PLI, _REPORT, _MESSAGES, _NACKS = 1, 2, 4, 8
_HELD = 1 << SEQUENCE_BITS
_HOLD_MS = 4
_CLOCK_MS = 1 << 16


@dataclass(frozen=True, slots=True)
class Report:
    """What became of bundles.

    Attributes:
        newest: low 12 bits of the newest bundle's number.
        usable: whether the newest could be used: all in it was understood.
        before: bit i: whether bundle ``newest - 1 - i`` arrived and could be used, 16 bits.
        arrival_ms: when the newest arrived, milliseconds of the receiver's clock, low 16 bits.
        hold_ms: how long ago that was when the report was made, 0 to 1020.
    """

    newest: int
    usable: bool
    before: int
    arrival_ms: int
    hold_ms: int

    def holds(self, back: int) -> bool:
        """Whether the bundle so many before the newest could be used; False beyond the report's reach."""
        return self.usable if back == 0 else bool(back <= HISTORY and self.before >> (back - 1) & 1)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Messages that came whole and were understood.

    Attributes:
        newest: low 8 bits of the newest one's number.
        before: bit i: whether message ``newest - 1 - i`` did too, 8 bits.
    """

    newest: int
    before: int = 0


@dataclass(frozen=True, slots=True)
class Missing:
    """Fragments of a message that have not come.

    Attributes:
        message: low 8 bits of its number.
        fragments: 1 to 32 of their indices.
    """

    message: int
    fragments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One feedback block.

    Attributes:
        pli: picture loss: a new reference picture is needed (RFC 4585, section 6.3.1).
        report: what became of bundles, if any came.
        messages: messages that came whole, if any.
        missing: fragments to be sent again, if any.
    """

    pli: bool = False
    report: Report | None = None
    messages: Acknowledged | None = None
    missing: Missing | None = None

    def pack(self) -> bytes:
        """1 to 44 bytes. Raises ConfigError if a field is out of its range."""
        flags = _PLI * self.pli | _REPORT * bool(self.report) | _MESSAGES * bool(self.messages)
        out = bytearray([flags | _NACKS * bool(self.missing)])
        if self.report:
            newest = self.report.newest & (_HELD - 1) | _HELD * self.report.usable
            out += newest.to_bytes(2, "big") + (self.report.before & 0xFFFF).to_bytes(2, "big")
            out += (self.report.arrival_ms % _CLOCK_MS).to_bytes(2, "big")
            out.append(min(max(self.report.hold_ms, 0) // _HOLD_MS, 255))
        if self.messages:
            out += bytes([self.messages.newest & 255, self.messages.before & 255])
        if self.missing:
            count = len(self.missing.fragments)
            if not 1 <= count <= NACKS_MAX:
                raise ConfigError("missing fragments", count, f"1 to {NACKS_MAX}")
            out += bytes([self.missing.message & 255, count, *self.missing.fragments])
        return bytes(out)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a block: the inverse of :meth:`pack`.

        Raises:
            TransportError: the bytes are no feedback.
        """
        try:
            reader = FieldReader(data, "feedback", FEEDBACK_MAX)
            flags = reader.u8()
            if flags > 15:
                raise TransportError(f"feedback flags {flags}; allowed: 0 to 15")
            report = _read_report(reader) if flags & _REPORT else None
            messages = Acknowledged(reader.u8(), reader.u8()) if flags & _MESSAGES else None
            missing = None
            if flags & _NACKS:
                number, count = reader.u8(), reader.u8()
                if not 1 <= count <= NACKS_MAX:
                    raise TransportError(f"{count} missing fragments; allowed: 1 to {NACKS_MAX}")
                missing = Missing(number, tuple(reader.take(count)))
            reader.end()
        except BitstreamError as err:
            raise TransportError(str(err)) from err
        return cls(bool(flags & _PLI), report, messages, missing)


def _read_report(reader: FieldReader) -> Report:
    newest, before, arrival, hold = reader.u16(), reader.u16(), reader.u16(), reader.u8()
    if newest >= 2 * _HELD:
        raise TransportError("a report's number has reserved bits")
    return Report(newest & (_HELD - 1), bool(newest & _HELD), before, arrival, hold * _HOLD_MS)
