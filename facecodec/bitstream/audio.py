"""Sound as units: Opus packets (RFC 6716), whose durations follow from their first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from facecodec.bitstream import limits
from facecodec.bitstream.bits import FieldReader, pack_svarint, pack_varint
from facecodec.bitstream.framing import UnitKind
from facecodec.errors import BitstreamError, LimitError, TruncatedError

_UNIT = UnitKind.AUDIO.label
_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)
_ABSOLUTE = 1


def opus_duration(packet: bytes) -> int:
    """Return the samples at 48 kHz that an Opus packet lasts (RFC 6716, section 3.1).

    Args:
        packet: the packet, with its TOC byte.

    Returns:
        120..5760, that is 2.5 to 120 ms.

    Raises:
        TruncatedError: the packet ends before its frame count.
        LimitError: it holds no frame, or more than 120 ms.
    """
    if not packet:
        raise TruncatedError(1, 0, unit=_UNIT)
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = _SILK[config & 3]
    elif config < 16:
        frame = _HYBRID[config & 1]
    else:
        frame = _CELT[config & 3]
    if code == 3:
        if len(packet) < 2:
            raise TruncatedError(2, 1, unit=_UNIT)
        count = packet[1] & 63
        if not count:
            raise LimitError("frames of an Opus packet", 0, "at least 1", unit=_UNIT)
    else:
        count = 1 if code == 0 else 2
    limits.check("samples of an Opus packet", frame * count, 1, limits.OPUS_PACKET_SAMPLES_MAX, _UNIT)
    return frame * count


@dataclass(frozen=True, slots=True)
class AudioUnit:
    """1 to 64 Opus packets that follow each other without a gap.

    Attributes:
        first_pts: samples at 48 kHz, since the first picture's time if ``absolute``, else since the
            end of the audio unit before this.
        packets: the packets, 1..1500 bytes each.
        absolute: the unit says its time by itself; decoding of sound can start here.
    """

    first_pts: int
    packets: tuple[bytes, ...]
    absolute: bool = False

    KIND: ClassVar[UnitKind] = UnitKind.AUDIO

    def __post_init__(self) -> None:
        limits.check("first_pts", self.first_pts, limits.PTS_MIN, limits.PTS_MAX, _UNIT)
        limits.check("n_packets", len(self.packets), 1, limits.AUDIO_PACKETS_MAX, _UNIT)
        for packet in self.packets:
            limits.check("packet bytes", len(packet), 1, limits.AUDIO_PACKET_BYTES_MAX, _UNIT)
            opus_duration(packet)

    def pack(self) -> bytes:
        """Return the payload."""
        out = bytearray([_ABSOLUTE * self.absolute])
        out += pack_svarint(self.first_pts)
        out.append(len(self.packets))
        for packet in self.packets:
            out += pack_varint(len(packet))
        return bytes(out) + b"".join(self.packets)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`. Raises TruncatedError, LimitError."""
        reader = FieldReader(payload, _UNIT, cls.KIND.payload_max)
        flags = reader.u8()
        limits.check("reserved flags", flags & ~_ABSOLUTE, 0, 0, _UNIT)
        first_pts = reader.svarint("first_pts")
        count = reader.u8()
        limits.check("n_packets", count, 1, limits.AUDIO_PACKETS_MAX, _UNIT)
        sizes = [reader.varint("packet bytes", 1, limits.AUDIO_PACKET_BYTES_MAX) for _ in range(count)]
        packets = tuple(reader.take(size) for size in sizes)
        reader.end()
        return cls(first_pts, packets, bool(flags & _ABSOLUTE))

    def resolve_pts(self, previous_end: int | None) -> list[int]:
        """Return the start of every packet and the end of the last, in samples at 48 kHz.

        Args:
            previous_end: end of the audio unit before this; None where there is none.

        Raises:
            BitstreamError: a unit that is not absolute has no unit before it.
            LimitError: a time leaves 64 bits.
        """
        if self.absolute:
            pts = self.first_pts
        elif previous_end is None:
            raise BitstreamError("needs the audio unit before it", unit=_UNIT)
        else:
            pts = previous_end + self.first_pts
        times = [pts]
        for packet in self.packets:
            times.append(times[-1] + opus_duration(packet))
        limits.check("pts", times[0], limits.PTS_MIN, limits.PTS_MAX, _UNIT)
        limits.check("pts", times[-1], limits.PTS_MIN, limits.PTS_MAX, _UNIT)
        return times
