"""Units of any type: from bytes to fields and back."""

from __future__ import annotations

from facecodec.bitstream.audio import AudioUnit
from facecodec.bitstream.framing import UnitKind, at_offset, frame_unit, read_unit
from facecodec.bitstream.header import StreamHeader
from facecodec.bitstream.index import IndexUnit
from facecodec.bitstream.palette import PaletteUnit
from facecodec.bitstream.quality import EXTENSION_ID, QualityUnit
from facecodec.bitstream.units import BackdropUnit, ExtensionUnit, MotionUnit, ReferenceUnit
from facecodec.errors import BitstreamError, LimitError
from facecodec.types import Packet, PacketKind

Unit = (
    StreamHeader
    | ReferenceUnit
    | BackdropUnit
    | MotionUnit
    | AudioUnit
    | IndexUnit
    | ExtensionUnit
    | PaletteUnit
    | QualityUnit
)

_CLASSES: dict[UnitKind, type[Unit]] = {
    UnitKind.HEADER: StreamHeader,
    UnitKind.REFERENCE: ReferenceUnit,
    UnitKind.BACKDROP: BackdropUnit,
    UnitKind.MOTION: MotionUnit,
    UnitKind.AUDIO: AudioUnit,
    UnitKind.INDEX: IndexUnit,
    UnitKind.EXTENSION: ExtensionUnit,
    UnitKind.PALETTE: PaletteUnit,
}


def pack_unit(unit: Unit) -> bytes:
    """Return a unit's framed bytes, as a file or a packet carries them.

    Raises:
        LimitError: the payload is longer than its type allows.
    """
    return frame_unit(unit.KIND, unit.pack())


def packet_of(unit: Unit, pts: int, duration: int = 0, is_random_access: bool = False) -> Packet:
    """A unit as a packet; fields as those of :class:`~facecodec.types.Packet`.

    Raises:
        LimitError: as :func:`pack_unit`.
    """
    return Packet(PacketKind(unit.KIND.label), pack_unit(unit), pts, duration, is_random_access)


def parse_payload(kind: UnitKind, payload: bytes, *, offset: int | None = None) -> Unit:
    """Read the payload of a unit.

    Args:
        kind: type of the unit.
        payload: its payload.
        offset: byte offset of the unit, for errors.

    Raises:
        BitstreamError: as the unit's ``parse``.
    """
    try:
        return _class_of(kind, payload).parse(payload)
    except BitstreamError as err:
        if offset is None:
            raise
        raise at_offset(err, offset) from None


def _class_of(kind: UnitKind, payload: bytes) -> type[Unit]:
    """What a payload is read as: extension units have types of their own, and unknown ones stay bytes."""
    if kind == UnitKind.EXTENSION and payload[:1] == bytes([EXTENSION_ID]):
        return QualityUnit
    return _CLASSES[kind]


def parse_unit(data: bytes) -> Unit:
    """Read one unit that fills ``data``, as a transport delivers it: the inverse of :func:`pack_unit`.

    Raises:
        BitstreamError: the bytes are no unit, or more than one.
    """
    kind, payload, end = read_unit(data)
    if end != len(data):
        raise LimitError("bytes behind the unit", len(data) - end, "0", unit=kind.label)
    return parse_payload(kind, payload)
