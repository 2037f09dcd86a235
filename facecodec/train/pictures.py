"""Pictures as packed data sets hold them: JPEG and WebP files, in memory or still in another pack."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facecodec.errors import ConfigError, MediaError
from facecodec.train.pack import Pack
from facecodec.types import U8Array


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture that lies in another pack and is copied when it is written.

    Attributes:
        pack: that pack.
        picture: its row there.
    """

    pack: Pack
    picture: int

    def __len__(self) -> int:
        offsets = self.pack.column("pictures.offsets")
        return int(offsets[self.picture + 1] - offsets[self.picture])

    def read(self) -> bytes:
        """The picture's bytes."""
        return self.pack.picture_bytes(self.picture)


PictureData = bytes | Stored


def jpeg(rgb: U8Array, quality: int = 95) -> bytes:
    """A picture [H, W, 3] uint8 as JPEG, 4:4:4, quality 0 to 100."""
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    return _coded(".jpg", rgb, (cv2.IMWRITE_JPEG_QUALITY, quality, *sampling))


def webp(rgb: U8Array, quality: int | None = None) -> bytes:
    """A picture [H, W, 3] uint8 as WebP, quality 1 to 100; without loss for None."""
    return _coded(".webp", rgb, (cv2.IMWRITE_WEBP_QUALITY, 101 if quality is None else quality))


def _coded(kind: str, rgb: U8Array, options: tuple[int, ...]) -> bytes:
    done, data = cv2.imencode(kind, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ConfigError("picture", rgb.shape, f"what OpenCV writes as {kind}")
    return bytes(data.tobytes())


def recode(data: PictureData, quality: int) -> bytes:
    """The same picture as WebP of a quality, 1 to 100; as it is where that would be larger.

    Raises:
        MediaError: the picture is damaged.
    """
    raw = data if isinstance(data, bytes) else data.read()
    picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        where = "picture" if isinstance(data, bytes) else data.pack.path
        raise MediaError(where, "a stored picture is damaged")
    _, small = cv2.imencode(".webp", picture, (cv2.IMWRITE_WEBP_QUALITY, quality))
    return min(raw, bytes(small.tobytes()), key=len)
