"""Clips as arrays: lossless files, 4:2:0 planes for the anchors, Lanczos resampling."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from facecodec.errors import MediaError, ShapeError
from facecodec.media.atomic import atomic_path
from facecodec.media.color import to_rgb, to_yuv420p
from facecodec.media.reader import VideoReader
from facecodec.types import U8Array


def check_clip(frames: U8Array) -> None:
    """Raise ShapeError unless ``frames`` is [T, H, W, 3] uint8 with T above 0 and H, W even."""
    if frames.ndim != 4 or len(frames) == 0 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ShapeError("clip", "[T, H, W, 3] uint8", f"{frames.shape} {frames.dtype}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ShapeError("clip", "H and W even", frames.shape)


def clip_digest(frames: U8Array, fps: Fraction) -> str:
    """SHA-256 of the pixels, shape and frame rate of a clip, hexadecimal."""
    digest = hashlib.sha256(f"{frames.shape} {fps}".encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def write_lossless(frames: U8Array, fps: Fraction, path: Path) -> None:
    """Write a clip as FFV1 in AVI: the same pixels come back.

    Args:
        frames: RGB, [T, H, W, 3] uint8.
        fps: frames a second.
        path: file to write, replaced if it is there.

    Raises:
        MediaError: it cannot be written.
    """
    with atomic_path(path, overwrite=True) as part:
        try:
            with av.open(f"file:{part}", "w", format="avi") as container:
                stream = container.add_stream("ffv1", rate=fps)
                stream.height, stream.width = frames.shape[1:3]
                stream.pix_fmt = "bgr0"
                for i, pixels in enumerate(frames):
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                    frame.pts, frame.time_base = i, 1 / fps
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        except av.error.FFmpegError as err:
            raise MediaError(path, f"cannot be written: {err}") from err


def read_clip(path: Path) -> U8Array:
    """Read a clip whole.

    Returns:
        RGB, [T, H, W, 3] uint8.

    Raises:
        MediaError: not a video, or damaged.
    """
    with VideoReader(path, threads=1) as reader:
        frames = [frame.pixels for frame in reader.frames()]
        if reader.damage or not frames:
            raise MediaError(path, reader.damage or "holds no frame")
    return np.stack(frames)


def resize(frames: Iterable[U8Array], width: int, height: int) -> Iterator[U8Array]:
    """Resample RGB pictures with Lanczos' window of three lobes, widened where they shrink."""
    for frame in frames:
        if frame.shape[:2] == (height, width):
            yield frame
        else:
            yield np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def scaled_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """Width and height at 1/scale, to the nearest even number."""
    return 2 * round(width / (2 * scale)), 2 * round(height / (2 * scale))


def to_planes(frames: U8Array) -> Iterator[bytes]:
    """Each picture as the planes of BT.709 4:2:0, limited range, 8 bit (FFmpeg's ``yuv420p``).

    Args:
        frames: RGB, [T, H, W, 3] uint8; H and W even.
    """
    for pixels in frames:
        yield to_yuv420p(pixels).to_ndarray().tobytes()


class ToRgb:
    """Decoded 4:2:0 pictures to RGB: BT.709, limited range, whatever the stream says of itself."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> U8Array:
        """Convert a picture of 8 or 10 bit to [H, W, 3] uint8."""
        frame.colorspace, frame.color_range = 1, 1
        return to_rgb(frame, self._reformatter, width=frame.width, height=frame.height)
