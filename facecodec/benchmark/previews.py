"""Decoded pictures side by side: strips of frames as JPEG, a small video as H.264, both as data URI."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

from facecodec.errors import ShapeError
from facecodec.types import U8Array

SOURCE = "source"
"""Name of the curve that stands for the source itself."""

_STRIP_FRAMES = 6
_STRIP_SIDE = 176
_VIDEO_SIDE = 256
_COLUMNS = 4
_SECONDS = 6
"""Of the video, at most; enough to see a mouth move."""
_JPEG_QUALITY = 88
_CRF = 22


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What one codec made of a clip, near the rate that is compared.

    Attributes:
        clip: name of the sequence.
        codec: name of the curve, or :data:`SOURCE`.
        kbps: measured rate; 0 for the source.
        frames: RGB, [T, H, W, 3] uint8; all of a clip have one shape.
        fps: frames a second.
    """

    clip: str
    codec: str
    kbps: float
    frames: U8Array
    fps: float = 25.0

    def __post_init__(self) -> None:
        """Check the shape.

        Raises:
            ShapeError: not RGB frames.
        """
        frames = self.frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
            raise ShapeError("frames of a preview", "[T, H, W, 3] uint8", f"{frames.shape} {frames.dtype}")

    @property
    def caption(self) -> str:
        """Codec and rate."""
        return self.codec if self.codec == SOURCE else f"{self.codec}, {self.kbps:.1f} kbit/s"


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames of one codec in a row.

    Attributes:
        caption: codec and rate.
        uri: JPEG.
    """

    caption: str
    uri: str


@dataclass(frozen=True, slots=True)
class ClipPreview:
    """Everything that is shown of one clip.

    Attributes:
        clip: name of the sequence.
        strips: one for each codec, the same frames.
        video_uri: H.264 in MP4, all codecs in a grid.
        order: captions of the grid, row by row.
        columns: of the grid.
        moments: seconds of the frames in the strips.
    """

    clip: str
    strips: tuple[Strip, ...]
    video_uri: str
    order: tuple[str, ...]
    columns: int
    moments: tuple[float, ...]


def show_previews(previews: Sequence[Preview]) -> tuple[ClipPreview, ...]:
    """Strips and video of every clip, the source first.

    Raises:
        ShapeError: previews of a clip have different shapes.
    """
    out = []
    for clip in dict.fromkeys(p.clip for p in previews):
        own = sorted((p for p in previews if p.clip == clip), key=lambda p: p.codec != SOURCE)
        for preview in own[1:]:
            if preview.frames.shape != own[0].frames.shape:
                what = f"preview of {clip} by {preview.codec}"
                raise ShapeError(what, str(own[0].frames.shape), preview.frames.shape)
        count = len(own[0].frames)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _STRIP_FRAMES) + 2).round().astype(int)[1:-1])
        places = [int(i) for i in chosen] or [0]
        strips = tuple(Strip(p.caption, _strip(p.frames[places])) for p in own)
        video = _video([p.frames for p in own], own[0].fps)
        moments = tuple(i / own[0].fps for i in places)
        columns = min(_COLUMNS, len(own))
        out.append(ClipPreview(clip, strips, video, tuple(p.caption for p in own), columns, moments))
    return tuple(out)


def _scaled(picture: U8Array, side: int) -> U8Array:
    """A picture whose shorter side is at most ``side``."""
    height, width = picture.shape[:2]
    factor = side / min(height, width)
    if factor >= 1:
        return picture
    size = (round(width * factor), round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _strip(frames: U8Array) -> str:
    row = np.concatenate([_scaled(frame, _STRIP_SIDE) for frame in frames], axis=1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(row, cv2.COLOR_RGB2BGR), quality)
    return _uri("image/jpeg", data.tobytes())


def _video(clips: Sequence[U8Array], fps: float) -> str:
    """The clips in a grid, their first seconds."""
    rate = Fraction(fps).limit_denominator(1001)
    count = min(len(clips[0]), math.ceil(_SECONDS * fps))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        first = _grid([clip[0] for clip in clips])
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(_CRF), "preset": "veryfast"})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(_grid([clip[index] for clip in clips]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return _uri("video/mp4", file.getvalue())


def _grid(pictures: Sequence[U8Array]) -> U8Array:
    """Pictures in rows, with even sides; what is left of the last row is white."""
    small = [_scaled(picture, _VIDEO_SIDE) for picture in pictures]
    height, width = small[0].shape[:2]
    columns = min(_COLUMNS, len(small))
    rows = -(-len(small) // columns)
    out = np.full(
        (rows * height + rows * height % 2, columns * width + columns * width % 2, 3), 255, np.uint8
    )
    for index, picture in enumerate(small):
        top, left = index // columns * height, index % columns * width
        out[top : top + height, left : left + width] = picture
    return out


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
