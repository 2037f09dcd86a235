"""AV1 as this codec uses it for pictures: SVT-AV1 codes, dav1d decodes.

Coded size
    A picture of ``width`` x ``height`` is coded at :func:`coded_size`: each side made even and at
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Literal, cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from facecodec.errors import BitstreamError, ConfigError, FacecodecError, LimitError
from facecodec.media.color import check_rgb, pad_to, to_yuv420p
from facecodec.refpic.obu import DELIMITER, UNIT
from facecodec.types import U8Array

MIN_SIDE = 64
"""Smallest coded side: below it not every version of SVT-AV1 works."""
MAX_SIDE = 4096
"""Largest width or height of a picture."""

Speed = Literal["best", "realtime"]

_PRESETS = {"best": 1, "realtime": 5}
_PARAMS = "lp=1:tune=1:enable-variance-boost=1:variance-boost-strength=1:sharpness=1"
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


def check_size(width: int, height: int) -> None:
    """Raise LimitError unless width and height are those of a picture."""
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= MAX_SIDE:
            raise LimitError(name, value, f"1 to {MAX_SIDE}", unit=UNIT)


def check_stated(stated: tuple[int, int], coded: tuple[int, int]) -> None:
    """Raise LimitError unless a sequence header states the size that a picture is coded at."""
    for name, value, wanted in zip(("coded width", "coded height"), stated, coded, strict=True):
        if value != wanted:
            raise LimitError(name, value, f"exactly {wanted}", unit=UNIT)


def encode_frames(pictures: Sequence[U8Array], crf: int, speed: Speed, parameters: str) -> list[bytes]:
    """Code pictures, the first one as a key frame.

    The same pictures and settings give the same bytes with the same version of SVT-AV1.

    Args:
        pictures: each [H, W, 3] uint8, of one size, H and W from 1 to 4096.
        crf: SVT-AV1's constant rate factor.
        speed: ``best`` for the fewest bytes, ``realtime`` for about a sixth of the time.
        parameters: further ones of SVT-AV1.

    Returns:
        What each of them came to.

    Raises:
        ShapeError: a picture is not [H, W, 3] uint8.
        ConfigError: speed or size out of range.
    """
    preset = _PRESETS.get(speed)
    if preset is None:
        raise ConfigError("speed", speed, ", ".join(_PRESETS))
    for picture in pictures:
        check_rgb(picture)
    height, width = pictures[0].shape[:2]
    if max(width, height) > MAX_SIDE:
        raise ConfigError("picture side", max(width, height), f"at most {MAX_SIDE}")
    coded_width, coded_height = coded_size(width, height)
    encoder = av.CodecContext.create("libsvtav1", "w")
    encoder.width, encoder.height, encoder.pix_fmt = coded_width, coded_height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.color_range = int(ColorRange.JPEG)
    encoder.options = {
        "crf": str(crf), "preset": str(preset), "svtav1-params": f"{_PARAMS}:{parameters}"
    }  # fmt: skip
    packets = []
    try:
        with _svt_is_quiet(), _scheduled_as_before():
            encoder.open()
        for number, picture in enumerate(pictures):
            frame = to_yuv420p(pad_to(picture, coded_width, coded_height), full_range=True)
            frame.pts = number
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    except av.FFmpegError as err:
        raise FacecodecError(f"SVT-AV1 cannot code a {width}x{height} picture: {err}") from err
    if len(packets) != len(pictures):
        raise FacecodecError(f"SVT-AV1 gave {len(packets)} packets for {len(pictures)} pictures")
    return [bytes(packet) for packet in packets]


def decode_frames(coded: Sequence[bytes], width: int, height: int) -> U8Array:
    """Decode frames that follow one another, without their temporal delimiters; the last one counts.

    Args:
        coded: OBUs of each frame, of a size that was checked.
        width: width of the picture.
        height: height of the picture.

    Returns:
        [height, width, 3] uint8 RGB.

    Raises:
        BitstreamError: they cannot be decoded, or show another number of pictures or another size.
    """
    decoder = cast(VideoCodecContext, av.CodecContext.create("libdav1d", "r"))
    decoder.thread_count = 1
    frames = []
    try:
        for data in coded:
            frames += decoder.decode(av.Packet(DELIMITER + data))
        frames += decoder.decode(None)
    except (av.FFmpegError, ValueError) as err:
        raise BitstreamError(f"AV1 still cannot be decoded: {err}", unit=UNIT) from err
    if len(frames) != len(coded):
        raise BitstreamError(f"{len(coded)} AV1 stills gave {len(frames)} pictures", unit=UNIT)
    frame, (coded_width, coded_height) = frames[-1], coded_size(width, height)
    got = (frame.width, frame.height, frame.format.name.replace("yuvj", "yuv"))
    if got != (coded_width, coded_height, "yuv420p"):
        raise BitstreamError(f"AV1 still is {got}, not 8 bit 4:2:0 {coded_width}x{coded_height}", unit=UNIT)
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
