"""Still pictures: one AV1 key frame, coded by SVT-AV1 and decoded by dav1d.

Coded form (normative; FORMAT.md cites it)
    Exactly two OBUs in the low-overhead format of the AV1 specification (version 1.0.0 with errata 1,
    section 5.2), each with its size field: one sequence header OBU and one frame OBU. No temporal
    delimiter, no padding, no metadata. The sequence header has ``reduced_still_picture_header`` = 1,
    profile 0 and 8 bit 4:2:0 samples.

Coded size
    The picture of ``width`` x ``height`` is coded at :func:`coded_size`: each side made even and at
    least 64, by repeating the last column to the right and the last row downwards. A decoder crops to the
    top left ``width`` x ``height``. A sequence header that states any other size is an error.

Colour
    BT.709 matrix (Rec. ITU-R BT.709-6: Kr = 0.2126, Kb = 0.0722), full range (0 to 255, chroma
    centred on 128), 4:2:0, each chroma sample sited in the middle of its four luma samples. Colour fields in
    the sequence header are not looked at. Full range 8 bit was chosen by measurement: on eight faces at
    256x256 limited range and 10 bit came out within 2 % of it in BD-rate on PSNR, with worse SSIM.

Quality
    0 to 100 maps to SVT-AV1's CRF by ``round(63 - 0.55 * quality)``: 0 is CRF 63, 60 is CRF 30, 100 is
    CRF 8. The map belongs to the encoder; the decoder does not need it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from facecodec.errors import BitstreamError, ConfigError, FacecodecError, LimitError, TruncatedError
from facecodec.media.color import check_rgb, pad_to, to_yuv420p
from facecodec.types import U8Array

MIN_SIDE = 64
"""Smallest coded side: below it not every version of SVT-AV1 works."""
MAX_SIDE = 4096
"""Largest width or height of a still."""

_UNIT = "reference"
_OBU_SEQUENCE_HEADER, _OBU_TEMPORAL_DELIMITER, _OBU_FRAME = 1, 2, 6
_DELIMITER = b"\x12\x00"
_PRESETS = {"best": 1, "realtime": 5}
_PARAMS = "avif=1:lp=1:tune=1:enable-variance-boost=1:variance-boost-strength=1:sharpness=1"
_UPSAMPLE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_environment_lock = threading.Lock()


def coded_size(width: int, height: int) -> tuple[int, int]:
    """Give the (width, height) at which a picture of that size is coded."""
    return max(MIN_SIDE, width + width % 2), max(MIN_SIDE, height + height % 2)


def crf_of_quality(quality: int) -> int:
    """Map quality 0 to 100 to CRF 63 to 8.

    Raises:
        ConfigError: quality is out of range.
    """
    if not 0 <= quality <= 100:
        raise ConfigError("quality", quality, "an integer from 0 to 100")
    return round(63 - 0.55 * quality)


def encode_still(rgb: U8Array, quality: int, *, speed: Literal["best", "realtime"] = "best") -> bytes:
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
    check_rgb(rgb)
    crf = crf_of_quality(quality)
    preset = _PRESETS.get(speed)
    if preset is None:
        raise ConfigError("speed", speed, ", ".join(_PRESETS))
    height, width = rgb.shape[:2]
    if max(width, height) > MAX_SIDE:
        raise ConfigError("picture side", max(width, height), f"at most {MAX_SIDE}")
    coded_width, coded_height = coded_size(width, height)
    frame = to_yuv420p(pad_to(rgb, coded_width, coded_height), full_range=True)
    frame.pts = 0
    encoder = av.CodecContext.create("libsvtav1", "w")
    encoder.width, encoder.height, encoder.pix_fmt = coded_width, coded_height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.color_range = int(ColorRange.JPEG)
    encoder.options = {"crf": str(crf), "preset": str(preset), "svtav1-params": _PARAMS}
    try:
        with _svt_is_quiet(), _scheduled_as_before():
            encoder.open()
        packets = [*encoder.encode(frame), *encoder.encode(None)]
    except av.FFmpegError as err:
        raise FacecodecError(f"SVT-AV1 cannot code a {width}x{height} picture: {err}") from err
    data = b"".join(bytes(p) for p in packets)
    kept = [o for o in _read_obus(data) if o.kind in (_OBU_SEQUENCE_HEADER, _OBU_FRAME)]
    still = b"".join(o.data for o in kept)
    _check_still(still, coded_width, coded_height)
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
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= MAX_SIDE:
            raise LimitError(name, value, f"1 to {MAX_SIDE}", unit=_UNIT)
    coded_width, coded_height = coded_size(width, height)
    _check_still(data, coded_width, coded_height)
    decoder = cast(VideoCodecContext, av.CodecContext.create("libdav1d", "r"))
    decoder.thread_count = 1
    try:
        frames = [*decoder.decode(av.Packet(_DELIMITER + data)), *decoder.decode(None)]
    except (av.FFmpegError, ValueError) as err:
        raise BitstreamError(f"AV1 still cannot be decoded: {err}", unit=_UNIT) from err
    if len(frames) != 1:
        raise BitstreamError(f"AV1 still gave {len(frames)} pictures", unit=_UNIT)
    frame = frames[0]
    got = (frame.width, frame.height, frame.format.name.replace("yuvj", "yuv"))
    if got != (coded_width, coded_height, "yuv420p"):
        raise BitstreamError(f"AV1 still is {got}, not 8 bit 4:2:0 {coded_width}x{coded_height}", unit=_UNIT)
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_UPSAMPLE,
        threads=1,
    )
    return np.ascontiguousarray(rgb.to_ndarray()[:height, :width], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class _Obu:
    """One open bitstream unit: its type, all its bytes, and its payload."""

    kind: int
    data: bytes
    payload: bytes


def _read_obus(data: bytes) -> Iterator[_Obu]:
    """Split bytes into OBUs (AV1 specification, sections 5.3.1 and 5.3.2)."""
    at = 0
    while at < len(data):
        header = data[at]
        if header & 0b1000_0101 or not header & 0b10:
            raise BitstreamError(f"byte {header:#04x} is no OBU header with a size", unit=_UNIT, offset=at)
        size, body = _leb128(data, at + 1)
        if body + size > len(data):
            raise TruncatedError(size, len(data) - body, unit=_UNIT)
        yield _Obu(header >> 3 & 15, data[at : body + size], data[body : body + size])
        at = body + size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Read leb128() of the AV1 specification, section 4.10.5; give the value and where it ends."""
    value = 0
    for i in range(8):
        if at + i >= len(data):
            raise TruncatedError(1, 0, unit=_UNIT)
        value |= (data[at + i] & 0x7F) << 7 * i
        if not data[at + i] & 0x80:
            return value, at + i + 1
    raise BitstreamError("OBU size takes more than 8 bytes", unit=_UNIT)


def _check_still(data: bytes, coded_width: int, coded_height: int) -> None:
    """Raise unless the bytes are a sequence header of this size and a frame, before a decoder sees them."""
    obus = list(_read_obus(data))
    if [o.kind for o in obus] != [_OBU_SEQUENCE_HEADER, _OBU_FRAME]:
        kinds = [o.kind for o in obus]
        raise BitstreamError(f"AV1 still holds OBU types {kinds[:8]}, not [1, 6]", unit=_UNIT)
    width, height = _size_in(obus[0].payload)
    if width != coded_width:
        raise LimitError("coded width", width, f"exactly {coded_width}", unit=_UNIT)
    if height != coded_height:
        raise LimitError("coded height", height, f"exactly {coded_height}", unit=_UNIT)


def _size_in(sequence_header: bytes) -> tuple[int, int]:
    """Read the size out of a reduced still picture sequence header (AV1 specification, section 5.5.1).

    The bits are: seq_profile 3, still_picture 1, reduced_still_picture_header 1, seq_level_idx 5,
    frame_width_bits_minus_1 4, frame_height_bits_minus_1 4, and the two sizes less 1 in that many bits.
    """
    bits = int.from_bytes(sequence_header[:8].ljust(8, b"\0"), "big")
    if len(sequence_header) < 4 or bits >> 59 != 0b000_1_1:
        raise BitstreamError("sequence header is not that of a profile 0 still picture", unit=_UNIT)
    width_bits, height_bits = (bits >> 50 & 15) + 1, (bits >> 46 & 15) + 1
    if 18 + width_bits + height_bits > 8 * len(sequence_header):
        raise TruncatedError(18 + width_bits + height_bits, 8 * len(sequence_header), unit=_UNIT)
    width = (bits >> 46 - width_bits & (1 << width_bits) - 1) + 1
    height = (bits >> 46 - width_bits - height_bits & (1 << height_bits) - 1) + 1
    return width, height


@contextmanager
def _svt_is_quiet() -> Iterator[None]:
    """Keep SVT-AV1 from writing to stderr; it takes its log level from the environment alone."""
    with _environment_lock:
        before = os.environ.get("SVT_LOG")
        if before is None:
            os.environ["SVT_LOG"] = "-1"
        try:
            yield
        finally:
            if before is None:
                os.environ.pop("SVT_LOG", None)


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """Give the calling thread its scheduling back: SVT-AV1 makes it SCHED_FIFO 99 where it may, as for root.

    So scheduled, a program keeps everything else from the core, the rest of its life.
    """
    if not hasattr(os, "sched_getscheduler"):  # outside Linux
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)
