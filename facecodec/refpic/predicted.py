"""Reference pictures that others are predicted from, and those that are: two frames of an AV1 sequence.

Coded form (normative; FORMAT.md cites it)
    A *key picture* is one sequence header OBU, not one of a reduced still, and one frame OBU, a key frame.
    A *predicted picture* is one frame OBU, decoded behind a key picture as the next frame of its sequence.
    Only key pictures are predicted from, so what is lost with one picture is never passed on twice.

SVT-AV1 cannot be given the state of a decoder. Both pictures are therefore coded together each time: with low
delay and steps fixed beforehand the bytes of the first are those that were sent, which is checked.

Measured on 11 heads at 256x256 and quality 60, two frames that differ much (the 90th percentile of squared
difference): at the LPIPS-alex of a still a predicted picture takes 0.58 of its bytes (0.27 to 0.97).
"""

from __future__ import annotations

from typing import NamedTuple

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
from facecodec.refpic.intra import decode_still
from facecodec.refpic.obu import FRAME, SEQUENCE_HEADER, UNIT, key_size, read_obus
from facecodec.types import U8Array

_SEQUENCE = (
    "pred-struct=1:keyint=-1:lookahead=0:scd=0:enable-tf=0"
    ":use-fixed-qindex-offsets=1:key-frame-qindex-offset={0}:qindex-offsets=[{1},{1},{1},{1},{1},{1}]"
)
_STEPS_PER_CRF = 4
"""AV1's base_q_idx rises by so many with CRF."""
_ROOM = 10
"""The sequence has a CRF so much above the key picture's, which an offset brings back: SVT-AV1 then takes
it for one that others depend on. LPIPS-alex at equal bytes .0249 instead of .0255; of a still .0247."""
_CRF_MAX = 61
_FINER = 16
"""So much lower is that of a predicted picture: what it skips keeps the error of the key picture."""
_OFFSETS = -64, 63


class KeyPicture(NamedTuple):
    """A key picture as its encoder knows it.

    Attributes:
        ref_id: its slot of the reference buffer.
        source: what was coded, [S, S, 3] uint8.
        quality: 0 to 100.
        speed: what it was coded with.
        still: its bytes.
    """

    ref_id: int
    source: U8Array
    quality: int
    speed: Speed
    still: bytes


class CodedPicture(NamedTuple):
    """A coded reference picture.

    Attributes:
        still: its bytes.
        picture: as the decoder has it, [S, S, 3] uint8.
        key: what it is predicted from; None for a key picture.
        is_sound: its bytes can be sent, and are not just like those that would be.
    """

    still: bytes
    picture: U8Array
    key: KeyPicture | None = None
    is_sound: bool = True


def encode_key(rgb: U8Array, quality: int, *, speed: Speed = "best") -> CodedPicture:
    """Code a picture as a key picture.

    Args:
        rgb: [S, S, 3] uint8.
        quality: 0 to 100.
        speed: as of :func:`facecodec.refpic.intra.encode_still`.

    Raises:
        ShapeError: not [H, W, 3] uint8.
        ConfigError: quality, speed or size out of range.
    """
    still = _pick(_encode_sequence([rgb], quality, 0, speed)[0], key=True)
    return CodedPicture(still, decode_picture(still, width=rgb.shape[1], height=rgb.shape[0]))


def encode_predicted(rgb: U8Array, quality: int, key: KeyPicture, *, speed: Speed) -> CodedPicture:
    """Code a picture as one predicted from a key picture.

    Args:
        rgb: [S, S, 3] uint8, of the key picture's size.
        quality: 0 to 100.
        key: what it is predicted from.
        speed: the key picture's, or another one to see about what it would come to.

    Returns:
        The picture; not sound where SVT-AV1 does not give the key picture's bytes again.

    Raises:
        ShapeError: not [H, W, 3] uint8.
        ConfigError: quality or speed out of range.
    """
    coarser = _STEPS_PER_CRF * (crf_of_quality(quality) - crf_of_quality(key.quality)) - _FINER
    packets = _encode_sequence([key.source, rgb], key.quality, coarser, speed)
    first, second = _pick(packets[0], key=True), _pick(packets[1], key=False)
    picture = decode_predicted(second, first, width=rgb.shape[1], height=rgb.shape[0])
    return CodedPicture(second, picture, key, first == key.still)


def decode_picture(data: bytes, *, width: int, height: int) -> U8Array:
    """Decode a reference picture that stands alone: a key picture, or the still of an older stream.

    Args:
        data: from anywhere: any byte string is safe.
        width: width of the picture, as the stream gives it.
        height: height of the picture, as the stream gives it.

    Returns:
        [height, width, 3] uint8 RGB.

    Raises:
        BitstreamError: the bytes are not a picture of this size.
        LimitError: width or height is outside 1 to 4096, or differs from the sequence header's.
        TruncatedError: an OBU is longer than the bytes.
    """
    if not is_key(data):
        return decode_still(data, width=width, height=height)
    check_size(width, height)
    _check_key(data, coded_size(width, height))
    return decode_frames([data], width, height)


def decode_predicted(data: bytes, key: bytes, *, width: int, height: int) -> U8Array:
    """Decode what :func:`encode_predicted` made; as :func:`decode_picture`.

    Args:
        data: the frame OBU, from anywhere: any byte string is safe.
        key: the bytes of the key picture, which has been decoded.
        width: width of both.
        height: height of both.
    """
    check_size(width, height)
    _check_key(key, coded_size(width, height))
    kinds = [obu.kind for obu in read_obus(data)]
    if kinds != [FRAME]:
        raise BitstreamError(f"predicted AV1 picture holds OBU types {kinds[:8]}, not [6]", unit=UNIT)
    return decode_frames([key, data], width, height)


def is_key(data: bytes) -> bool:
    """Whether the bytes of a reference picture may be those of a key picture, and not of a reduced still."""
    first = next(read_obus(data), None)
    return first is not None and first.kind == SEQUENCE_HEADER and first.payload[:1] < b"\x08"


def _encode_sequence(pictures: list[U8Array], quality: int, coarser: int, speed: Speed) -> list[bytes]:
    """Code a key picture of a quality, and others whose base_q_idx is so much above its own."""
    crf = crf_of_quality(quality)
    room = max(0, min(_ROOM, _CRF_MAX - crf))
    key = -_STEPS_PER_CRF * room
    low, high = _OFFSETS
    other = min(max(key + coarser, low), high)
    return encode_frames(pictures, crf + room, speed, _SEQUENCE.format(key, other))


def _check_key(data: bytes, coded: tuple[int, int]) -> None:
    """Raise unless the bytes are a sequence header of this size and a frame, before a decoder sees them."""
    obus = list(read_obus(data))
    kinds = [obu.kind for obu in obus]
    if kinds != [SEQUENCE_HEADER, FRAME]:
        raise BitstreamError(f"AV1 key picture holds OBU types {kinds[:8]}, not [1, 6]", unit=UNIT)
    check_stated(key_size(obus[0].payload), coded)


def _pick(packet: bytes, *, key: bool) -> bytes:
    """What is sent of a packet of SVT-AV1."""
    wanted = (SEQUENCE_HEADER, FRAME) if key else (FRAME,)
    return b"".join(obu.data for obu in read_obus(packet) if obu.kind in wanted)
