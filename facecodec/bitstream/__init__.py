"""The bitstream: units, their fields and their limits, as FORMAT.md beside this file defines them."""

from facecodec.bitstream.audio import AudioUnit, opus_duration
from facecodec.bitstream.framing import UnitFrame, UnitKind, frame_unit, parse_unit_head, read_unit
from facecodec.bitstream.header import BITSTREAM_VERSION, AudioCodec, StreamHeader, View
from facecodec.bitstream.index import IndexEntry, IndexUnit
from facecodec.bitstream.palette import PaletteUnit, Place
from facecodec.bitstream.quality import QualityUnit
from facecodec.bitstream.state import MotionState
from facecodec.bitstream.syntax import Unit, pack_unit, packet_of, parse_payload, parse_unit
from facecodec.bitstream.units import BackdropUnit, Base, ExtensionUnit, MotionUnit, ReferenceUnit, StillCodec

MAGIC = b"FCV\x1a"
"""First bytes of a file."""

__all__ = [
    "BITSTREAM_VERSION",
    "MAGIC",
    "AudioCodec",
    "AudioUnit",
    "BackdropUnit",
    "Base",
    "ExtensionUnit",
    "IndexEntry",
    "IndexUnit",
    "MotionState",
    "MotionUnit",
    "PaletteUnit",
    "Place",
    "QualityUnit",
    "ReferenceUnit",
    "StillCodec",
    "StreamHeader",
    "Unit",
    "UnitFrame",
    "UnitKind",
    "View",
    "frame_unit",
    "opus_duration",
    "pack_unit",
    "packet_of",
    "parse_payload",
    "parse_unit",
    "parse_unit_head",
    "read_unit",
]
