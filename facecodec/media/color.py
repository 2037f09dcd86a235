"""Between the Y'CbCr of video files and RGB: which matrix, which range, which way up.

The rules, in one place:

* A matrix or range that the file states is used as stated.
* Without a stated matrix: BT.601 for JPEG, WebP and VP8 pictures (their specifications say so), else
  BT.601 below 720 lines and BT.709 from 720 lines on.
* Without a stated range: limited (16 to 235), except for ``yuvj`` formats, RGB, palette and gray, which
  are full.
* Gamut and transfer function are left as they are: HDR pictures are not tone mapped.

What this package writes is BT.709, limited range, 4:2:0 (Rec. ITU-R BT.709-6, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from facecodec.errors import ShapeError
from facecodec.types import U8Array

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_TO_YUV = Interpolation.BICUBIC | Interpolation.ACCURATE_RND

_CHROMA_709 = np.array(
    [
        [-0.2126 / 1.8556, -0.7152 / 1.8556, 0.5],
        [0.5, -0.7152 / 1.5748, -0.0722 / 1.5748],
    ],
    dtype=np.float32,
)
"""Rows give Cb and Cr of BT.709 from R, G, B, all in units of 255."""

_MATRIX_OF_CODE = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""MatrixCoefficients of Rec. ITU-T H.273, table 4, to the matrices that swscale knows."""

_ALWAYS_601 = frozenset({"mjpeg", "webp", "vp8", "libvpx"})
_HD_LINES = 720


def matrix_of(frame: av.VideoFrame, codec: str = "") -> Colorspace:
    """Give the matrix of a decoded picture; see the rules at the top of this module.

    Args:
        frame: a decoded picture.
        codec: name of the decoder that made it.
    """
    stated = _MATRIX_OF_CODE.get(int(frame.colorspace))
    if stated is not None:
        return stated
    if codec in _ALWAYS_601 or frame.height < _HD_LINES:
        return Colorspace.ITU601
    return Colorspace.ITU709


def range_of(frame: av.VideoFrame) -> ColorRange:
    """Give the range of a decoded picture; see the rules at the top of this module."""
    name = frame.format.name
    full = frame.format.is_rgb or name.startswith(("yuvj", "pal", "gray", "mono", "ya"))
    if frame.color_range in (ColorRange.MPEG, ColorRange.JPEG):
        return ColorRange(frame.color_range)
    return ColorRange.JPEG if full else ColorRange.MPEG


def to_rgb(
    frame: av.VideoFrame,
    reformatter: VideoReformatter,
    *,
    width: int,
    height: int,
    codec: str = "",
) -> U8Array:
    """Convert a decoded picture of any format to RGB, scaled to a size. Alpha is dropped.

    Args:
        frame: a decoded picture.
        reformatter: keeps swscale's tables from one picture to the next.
        width: width of the result in pixels.
        height: height of the result in pixels.
        codec: name of the decoder that made it.

    Returns:
        [height, width, 3] uint8, full range.
    """
    rgb = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=matrix_of(frame, codec),
        dst_colorspace=Colorspace.ITU709,
        src_color_range=range_of(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT,
        threads=1,
    )
    return np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def check_rgb(rgb: U8Array) -> None:
    """Raise ShapeError unless ``rgb`` is [H, W, 3] uint8 with at least one pixel."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ShapeError("picture", "[H, W, 3] uint8", f"{list(rgb.shape)} {rgb.dtype}")


def pad_to(rgb: U8Array, width: int, height: int) -> U8Array:
    """Repeat the right and bottom edges of [H, W, 3] until it has the given size."""
    down, right = height - rgb.shape[0], width - rgb.shape[1]
    if down == 0 and right == 0:
        return np.ascontiguousarray(rgb)
    return np.pad(rgb, ((0, down), (0, right), (0, 0)), mode="edge")


def to_yuv420p(rgb: U8Array, *, full_range: bool = False) -> av.VideoFrame:
    """Make a tagged BT.709 4:2:0 picture out of RGB.

    A chroma sample is the rounded mean of its four pixels, sited in their middle. (swscale's own
    rounds down: it would cost 0.1 to 0.4 dB and tint the picture by half a level.)

    4:2:0 needs even sizes: an odd width or height is made even by repeating the last column or row,
    which every player shows right (H.264 cannot crop a 4:2:0 picture by a single pixel, and 4:4:4 is
    not decoded by most hardware).

    Args:
        rgb: [H, W, 3] uint8.
        full_range: 0 to 255 in place of 16 to 235.

    Returns:
        A ``yuv420p`` frame, tagged BT.709 with its range.

    Raises:
        ShapeError: not [H, W, 3] uint8.
    """
    check_rgb(rgb)
    height, width = rgb.shape[:2]
    even = pad_to(rgb, width + width % 2, height + height % 2)
    target = ColorRange.JPEG if full_range else ColorRange.MPEG
    planes = (
        av.VideoFrame.from_ndarray(even, format="rgb24")
        .reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=target,
            interpolation=_TO_YUV,
            threads=1,
        )
        .to_ndarray()
    )
    luma_rows = even.shape[0]
    planes[luma_rows:] = _chroma(even, 1.0 if full_range else 224 / 255).reshape(luma_rows // 2, -1)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.colorspace, frame.color_primaries, frame.color_trc = 1, 1, 1
    frame.color_range = int(target)
    return frame


def _chroma(rgb: U8Array, scale: float) -> U8Array:
    """Cb and Cr of [H, W, 3], even sizes, as [2, H / 2, W / 2] uint8 around 128."""
    quad = rgb[0::2, 0::2].astype(np.float32)
    for part in (rgb[0::2, 1::2], rgb[1::2, 0::2], rgb[1::2, 1::2]):
        quad += part
    chroma = (_CHROMA_709 * np.float32(scale / 4)) @ quad.reshape(-1, 3).T
    chroma += np.float32(128.5)
    return np.clip(chroma, 0, 255).astype(np.uint8).reshape(2, *quad.shape[:2])


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a decoded picture becomes an upright one with square pixels.

    Attributes:
        width: width after scaling to square pixels, before turning.
        height: height after scaling to square pixels, before turning.
        transpose: swap rows and columns.
        flip_x: then mirror left and right.
        flip_y: then mirror top and bottom.
        rotation: the turn in degrees clockwise, 0, 90, 180 or 270 (a mirrored picture: of its nearest).
    """

    width: int
    height: int
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        return (self.height, self.width) if self.transpose else (self.width, self.height)

    def apply(self, pixels: U8Array) -> U8Array:
        """Turn [height, width, 3] upright."""
        out = pixels.swapaxes(0, 1) if self.transpose else pixels
        if self.flip_x:
            out = out[:, ::-1]
        if self.flip_y:
            out = out[::-1]
        return np.ascontiguousarray(out)


def geometry_of(frame: av.VideoFrame, sample_aspect_ratio: Fraction | None) -> Geometry:
    """Read the display matrix of a picture and the shape of its pixels.

    Args:
        frame: a decoded picture, with its ``DISPLAYMATRIX`` side data if it has one.
        sample_aspect_ratio: width over height of a pixel; one outside 1/8 to 8 is not believed.

    Returns:
        The nearest of the eight upright or mirrored positions, and the size with square pixels: the
        longer side of a pixel decides, so that no detail is lost.
    """
    width, height = frame.width, frame.height
    sar = sample_aspect_ratio or Fraction(1)
    if Fraction(1, 8) <= sar <= 8:
        width, height = (
            (max(1, round(width * sar)), height) if sar >= 1 else (width, max(1, round(height / sar)))
        )
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    data = b"" if side_data is None else bytes(side_data)
    if len(data) < 36:
        return Geometry(width, height)
    a, b, _, c, d, *_ = (int(v) for v in np.frombuffer(data[:36], dtype=np.int32))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Geometry(width, height, False, a < 0, d < 0, 180 if d < 0 else 0)
    return Geometry(width, height, True, c < 0, b < 0, 90 if b > 0 else 270)
