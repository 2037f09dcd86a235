"""Bundles: motion, sound and feedback of the same time in one datagram (FORMAT.md, section 15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from facecodec.bitstream import MotionUnit, opus_duration
from facecodec.bitstream.bits import FieldReader, pack_svarint, pack_varint
from facecodec.bitstream.limits import AUDIO_PACKET_BYTES_MAX
from facecodec.errors import BitstreamError, ConfigError, TransportError
from facecodec.transport.datagram import DATAGRAM_MAX, check_size

SEQUENCE_BITS = 12
FEEDBACK_ONLY = 0x80
"""First byte of a datagram that holds feedback alone."""
FEEDBACK_MAX = 64
FRAMES_MAX = 4
"""Frames of a motion unit in a bundle."""
BASE_MAX = 48
"""Bundles from a motion unit back to the one that it follows, at most: as many states a receiver keeps."""
SOUND_MAX = 16
TICK = 120
"""Samples at 48 kHz of a tick of sound: 2.5 ms."""
_SOUND_BITS = 24
_FEEDBACK, _SOUND, _MOTION = 0x40, 0x20, 0x10
_RESET, _VFR = 0x08, 0x10


@dataclass(frozen=True, slots=True)
class MotionPart:
    """A motion unit, and what it needs.

    Attributes:
        unit: the unit, of 1 to 4 frames.
        base: bundles back to the one whose state it follows, 1 to 48; None with ``reset``.
        picture: low three bits of the number of the message that brought its reference picture.
    """

    unit: MotionUnit
    base: int | None
    picture: int


@dataclass(frozen=True, slots=True)
class SoundPart:
    """Opus packets without a gap between them.

    Attributes:
        start: start of the first, samples at 48 kHz from the call's begin: a multiple of 120 below
            120 * 2^24.
        packets: 1 to 16 packets.
    """

    start: int
    packets: tuple[bytes, ...]

    def times(self) -> list[int]:
        """Start of every packet and end of the last, samples at 48 kHz."""
        out = [self.start]
        for packet in self.packets:
            out.append(out[-1] + opus_duration(packet))
        return out


@dataclass(frozen=True, slots=True)
class Bundle:
    """One datagram of the motion channel.

    Attributes:
        sequence: its number, of which 12 bits are sent.
        motion: a motion unit, if any.
        sound: Opus packets, if any.
        feedback: bytes of a :class:`facecodec.transport.feedback.Feedback`, if any.
    """

    sequence: int
    motion: MotionPart | None = None
    sound: SoundPart | None = None
    feedback: bytes = b""

    def pack(self) -> bytes:
        """The datagram.

        Raises:
            ConfigError: a part has a form that a bundle cannot hold.
            TransportError: it would be longer than a datagram.
        """
        flags = _FEEDBACK * bool(self.feedback) | _SOUND * bool(self.sound) | _MOTION * bool(self.motion)
        low = self.sequence & ((1 << SEQUENCE_BITS) - 1)
        out = bytearray([flags | low >> 8, low & 255])
        if self.feedback:
            _check("feedback bytes", len(self.feedback), 1, FEEDBACK_MAX)
            out += bytes([len(self.feedback)]) + self.feedback
        if self.sound:
            out += _pack_sound(self.sound)
        if self.motion:
            out += _pack_motion(self.motion)
        if len(out) > DATAGRAM_MAX:
            raise TransportError(f"a bundle of {len(out)} bytes; allowed: at most {DATAGRAM_MAX}")
        return bytes(out)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a datagram: the inverse of :meth:`pack`; ``sequence`` is its low 12 bits.

        Raises:
            TransportError: the bytes are no bundle.
        """
        check_size(data)
        reader = FieldReader(data, "bundle", DATAGRAM_MAX)
        try:
            head = reader.u16()
            flags = head >> 8
            if flags & 0x80:
                raise TransportError("a bundle begins with a reserved bit")
            feedback = (
                reader.take(_length(reader, "feedback bytes", FEEDBACK_MAX)) if flags & _FEEDBACK else b""
            )
            sound = _parse_sound(reader) if flags & _SOUND else None
            motion = _parse_motion(reader) if flags & _MOTION else None
            reader.end()
        except BitstreamError as err:
            raise TransportError(str(err)) from err
        return cls(head & ((1 << SEQUENCE_BITS) - 1), motion, sound, feedback)


def _pack_sound(sound: SoundPart) -> bytes:
    _check("packets of sound", len(sound.packets), 1, SOUND_MAX)
    ticks, rest = divmod(sound.start, TICK)
    if rest:
        raise ConfigError("start of sound", sound.start, f"a multiple of {TICK}")
    _check("start of sound", ticks, 0, (1 << _SOUND_BITS) - 1)
    out = bytearray([len(sound.packets) - 1]) + ticks.to_bytes(3, "big")
    for packet in sound.packets:
        _check("Opus bytes", len(packet), 1, AUDIO_PACKET_BYTES_MAX)
        out += pack_varint(len(packet))
    return bytes(out) + b"".join(sound.packets)


def _parse_sound(reader: FieldReader) -> SoundPart:
    count = reader.u8() + 1
    if count > SOUND_MAX:
        raise TransportError(f"{count} packets of sound; allowed: at most {SOUND_MAX}")
    start = int.from_bytes(reader.take(3), "big") * TICK
    sizes = [reader.varint("Opus bytes", 1, AUDIO_PACKET_BYTES_MAX) for _ in range(count)]
    packets = tuple(reader.take(size) for size in sizes)
    for packet in packets:
        opus_duration(packet)
    return SoundPart(start, packets)


def _pack_motion(part: MotionPart) -> bytes:
    unit = part.unit
    _check("frames", unit.n_frames, 1, FRAMES_MAX)
    if unit.reset != (part.base is None):
        raise ConfigError("base", part.base, "None with reset, and only then")
    flags = unit.ref_id | _RESET * unit.reset | _VFR * (unit.deltas is not None) | (part.picture & 7) << 5
    out = bytearray([flags, unit.qp | (unit.n_frames - 1) << 6])
    if part.base is not None:
        _check("base", part.base, 1, BASE_MAX)
        out.append(part.base)
    out += pack_svarint(unit.first_pts)
    for delta in unit.deltas or ():
        out += pack_svarint(delta)
    return bytes(out) + unit.levels


def _parse_motion(reader: FieldReader) -> MotionPart:
    flags, second = reader.u8(), reader.u8()
    n_frames, base = (second >> 6) + 1, None
    if not flags & _RESET:
        base = reader.u8()
        if not 1 <= base <= BASE_MAX:
            raise TransportError(f"base is {base}; allowed: 1 to {BASE_MAX}")
    first = reader.svarint("first_pts")
    deltas = tuple(reader.svarint("delta") for _ in range(n_frames - 1)) if flags & _VFR else None
    reset = bool(flags & _RESET)
    unit = MotionUnit(flags & 7, second & 63, n_frames, first, reader.rest(), reset, deltas)
    return MotionPart(unit, base, flags >> 5)


def _length(reader: FieldReader, field: str, limit: int) -> int:
    value = reader.u8()
    if not 1 <= value <= limit:
        raise TransportError(f"{field} is {value}; allowed: 1 to {limit}")
    return value


def _check(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(field, value, f"{low} to {high}")
