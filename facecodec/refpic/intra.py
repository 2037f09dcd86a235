"""Still pictures: one AV1 key frame, coded by SVT-AV1 and decoded by dav1d.

Coded form (normative; FORMAT.md cites it)
    Exactly two OBUs in the low-overhead format of the AV1 specification (version 1.0.0 with errata 1,
    section 5.2), each with its size field: one sequence header OBU and one frame OBU. No temporal
    delimiter, no padding, no metadata. The sequence header has ``reduced_still_picture_header`` = 1,
    profile 0 and 8 bit 4:2:0 samples.

Size, colour and quality are those of :mod:`facecodec.refpic.av1`.
"""

from __future__ import annotations

from facecodec.errors import BitstreamError
from facecodec.refpic.av1 import (
    Speed,
    check_size,
    check_stated,
    coded_size,
    crf_of_quality,
    decode_frames,
    encode_frames,
)
from facecodec.refpic.obu import FRAME, SEQUENCE_HEADER, UNIT, read_obus, still_size
from facecodec.types import U8Array

_PARAMS = "avif=1"


def encode_still(rgb: U8Array, quality: int, *, speed: Speed = "best") -> bytes:
    """Code a picture as one AV1 key frame.

    The same picture and settings give the same bytes with the same version of SVT-AV1.

    Args:
        rgb: [H, W, 3] uint8, H and W from 1 to 4096.
        quality: 0 to 100.
        speed: ``best`` for the fewest bytes, ``realtime`` for about a sixth of the time and 8 % more bytes.

    Returns:
        The two OBUs described at the top of this module.

    Raises:
        ShapeError: not [H, W, 3] uint8.
        ConfigError: quality, speed or size out of range.
    """
    data = encode_frames([rgb], crf_of_quality(quality), speed, _PARAMS)[0]
    still = b"".join(o.data for o in read_obus(data) if o.kind in (SEQUENCE_HEADER, FRAME))
    _check_still(still, *coded_size(rgb.shape[1], rgb.shape[0]))
    return still


def decode_still(data: bytes, *, width: int, height: int) -> U8Array:
    """Decode what :func:`encode_still` made.

    Args:
        data: the two OBUs, from anywhere: any byte string is safe.
        width: width of the picture, as the stream gives it.
        height: height of the picture, as the stream gives it.

    Returns:
        [height, width, 3] uint8 RGB.

    Raises:
        BitstreamError: the bytes are not a still of this size.
        LimitError: width or height is outside 1 to 4096, or differs from the sequence header's.
        TruncatedError: an OBU is longer than the bytes.
    """
    check_size(width, height)
    _check_still(data, *coded_size(width, height))
    return decode_frames([data], width, height)


def _check_still(data: bytes, coded_width: int, coded_height: int) -> None:
    """Raise unless the bytes are a sequence header of this size and a frame, before a decoder sees them."""
    obus = list(read_obus(data))
    if [o.kind for o in obus] != [SEQUENCE_HEADER, FRAME]:
        kinds = [o.kind for o in obus]
        raise BitstreamError(f"AV1 still holds OBU types {kinds[:8]}, not [1, 6]", unit=UNIT)
    check_stated(still_size(obus[0].payload), (coded_width, coded_height))
