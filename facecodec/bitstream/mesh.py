"""Levels of a reference mesh to bytes, and back (exact zone)."""

from __future__ import annotations

import numpy as np

from facecodec.entropy.models import BitModels, decode_exp_golomb, encode_exp_golomb
from facecodec.entropy.range_coder import RangeDecoder, RangeEncoder
from facecodec.errors import LimitError
from facecodec.types import I32Array

PLACE_LEVELS = 6
_PLACE_BITS = 16
_PREFIX = 8
_BUCKET = 8


def encode_mesh(levels: I32Array) -> bytes:
    """Code mesh levels: six 16 bit numbers, then adaptive exp-Golomb with a sign bit.

    Raises:
        LimitError: a level is out of range.
    """
    encoder = RangeEncoder()
    half = 1 << (_PLACE_BITS - 1)
    for value in levels[:PLACE_LEVELS].tolist():
        if not -half <= value < half:
            raise LimitError("mesh place", value, f"-{half}..{half - 1}", unit="reference")
        encoder.encode_raw(value + half, _PLACE_BITS)
    shape = levels[PLACE_LEVELS:].tolist()
    models = BitModels(_contexts(len(shape)))
    for k, value in enumerate(shape):
        encode_exp_golomb(encoder, models, (k // _BUCKET) * _PREFIX, _PREFIX, abs(value))
        if value:
            encoder.encode_raw(int(value < 0), 1)
    return encoder.finish()


def decode_mesh(data: bytes, count: int) -> I32Array:
    """Read what :func:`encode_mesh` wrote.

    Args:
        data: the unit's mesh bytes.
        count: levels of the stream's basis.

    Raises:
        BitstreamError: the bytes are not what an encoder writes.
    """
    decoder = RangeDecoder(data)
    half = 1 << (_PLACE_BITS - 1)
    levels = [decoder.decode_raw(_PLACE_BITS) - half for _ in range(PLACE_LEVELS)]
    models = BitModels(_contexts(count - PLACE_LEVELS))
    for k in range(count - PLACE_LEVELS):
        value = decode_exp_golomb(decoder, models, (k // _BUCKET) * _PREFIX, _PREFIX)
        levels.append(-value if value and decoder.decode_raw(1) else value)
    decoder.finish()
    return np.array(levels, np.int32)


def _contexts(shapes: int) -> int:
    return (shapes + _BUCKET - 1) // _BUCKET * _PREFIX
