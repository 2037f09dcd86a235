"""Levels of a reference mesh to bytes, and back (exact zone).

A mesh stands alone: its models start afresh in every reference unit. What the levels mean is in
``motion/shape.py``.
"""

from __future__ import annotations

import numpy as np

from facecodec.bitstream.levels import name_unit
from facecodec.entropy.models import BitModels, decode_exp_golomb, encode_exp_golomb
from facecodec.entropy.range_coder import RangeDecoder, RangeEncoder
from facecodec.errors import BitstreamError, LimitError, ShapeError
from facecodec.types import I32Array

PLACE_LEVELS = 6
SHAPE_LIMIT = 1 << 14
"""Levels of shape are within +-SHAPE_LIMIT."""
_PLACE_BITS = 16
_PREFIX = 8
_BUCKET = 8


def encode_mesh(levels: I32Array) -> bytes:
    """Code mesh levels: six numbers of 16 bits, then adaptive exp-Golomb with a sign bit.

    Args:
        levels: [6 + S] int32, place within 16 bits and shape within +-16384.

    Raises:
        LimitError: a level is out of range.
        ShapeError: there are fewer than six levels.
    """
    if levels.ndim != 1 or len(levels) < PLACE_LEVELS:
        raise ShapeError("mesh levels", f"[{PLACE_LEVELS} + S]", list(levels.shape))
    encoder = RangeEncoder()
    half = 1 << (_PLACE_BITS - 1)
    for value in levels[:PLACE_LEVELS].tolist():
        if not -half <= value < half:
            raise LimitError("mesh place", value, f"-{half}..{half - 1}", unit="reference")
        encoder.encode_raw(value + half, _PLACE_BITS)
    shape = levels[PLACE_LEVELS:].tolist()
    models = BitModels(_contexts(len(shape)))
    for k, value in enumerate(shape):
        if abs(value) > SHAPE_LIMIT:
            raise LimitError("mesh shape", value, f"+-{SHAPE_LIMIT}", unit="reference")
        encode_exp_golomb(encoder, models, (k // _BUCKET) * _PREFIX, _PREFIX, abs(value))
        if value:
            encoder.encode_raw(int(value < 0), 1)
    return encoder.finish()


def decode_mesh(data: bytes, count: int) -> I32Array:
    """Read what :func:`encode_mesh` wrote.

    Args:
        data: the unit's mesh bytes.
        count: levels of the stream's basis, 6 + S.

    Returns:
        [count] int32.

    Raises:
        BitstreamError: the bytes are not what an encoder writes.
    """
    decoder = RangeDecoder(data)
    try:
        levels = _decode_levels(decoder, count)
        decoder.finish()
    except BitstreamError as err:
        raise name_unit(err, "reference") from None
    return np.array(levels, np.int32)


def _decode_levels(decoder: RangeDecoder, count: int) -> list[int]:
    half = 1 << (_PLACE_BITS - 1)
    levels = [decoder.decode_raw(_PLACE_BITS) - half for _ in range(PLACE_LEVELS)]
    models = BitModels(_contexts(count - PLACE_LEVELS))
    for k in range(count - PLACE_LEVELS):
        value = decode_exp_golomb(decoder, models, (k // _BUCKET) * _PREFIX, _PREFIX)
        if value > SHAPE_LIMIT:
            raise LimitError("mesh shape", value, f"+-{SHAPE_LIMIT}")
        levels.append(-value if value and decoder.decode_raw(1) else value)
    return levels


def _contexts(shapes: int) -> int:
    """How many models the shape levels take: one prefix table for every eight of them, at least one."""
    return max((shapes + _BUCKET - 1) // _BUCKET, 1) * _PREFIX
