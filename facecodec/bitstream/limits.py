"""Limits of every field, as in FORMAT.md. Readers and writers both hold to them."""

from __future__ import annotations

from facecodec.errors import LimitError

S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
PTS_MIN, PTS_MAX = S64_MIN, S64_MAX

HEADER_PAYLOAD_MAX = 256
REFERENCE_PAYLOAD_MAX = 1 << 20
BACKDROP_PAYLOAD_MAX = 4 << 20
MOTION_PAYLOAD_MAX = 64 << 10
AUDIO_PAYLOAD_MAX = 64 << 10
INDEX_PAYLOAD_MAX = 16 << 20
EXTENSION_PAYLOAD_MAX = 1 << 20
PALETTE_PAYLOAD_MAX = 64 << 10

MODEL_ID_BYTES = 8
CODED_SIZE_MIN, CODED_SIZE_MAX = 64, 1024
PICTURE_SIZE_MIN, PICTURE_SIZE_MAX = 16, 16384
BACKDROP_SIZE_MIN, BACKDROP_SIZE_MAX = 16, 4096
TIME_BASE_MAX = (1 << 31) - 1
FRAME_DURATION_MAX = (1 << 31) - 1
SCENE_GRIDS = (0, 5, 7, 9)
BASIS_IDS = (1,)

REF_ID_MAX = 7
CROP_MIN, CROP_MAX = -65536, 65535
CROP_SIDE_MIN, CROP_SIDE_MAX = 16, 65535
MESH_BYTES_MAX = 4096

GROUP_FRAMES_MAX = 64
QP_MAX = 51

PALETTE_SHAPES_MAX = 16
PALETTE_SIDE_MAX = 64
PALETTE_SHAPES_BYTES_MAX = 4096
PALETTE_ENTRIES_MAX = 16

QUALITY_FRAMES_MAX = (1 << 31) - 1

AUDIO_PACKETS_MAX = 64
AUDIO_PACKET_BYTES_MAX = 1500
OPUS_PACKET_SAMPLES_MAX = 5760

INDEX_ENTRIES_MAX = 65536
FILE_OFFSET_MAX = S64_MAX


def check(field: str, value: int, low: int, high: int, unit: str) -> None:
    """Raise LimitError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise LimitError(field, value, f"{low}..{high}", unit=unit)


def check_choice(field: str, value: int, allowed: tuple[int, ...], unit: str) -> None:
    """Raise LimitError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise LimitError(field, value, "one of " + ", ".join(str(int(a)) for a in allowed), unit=unit)
