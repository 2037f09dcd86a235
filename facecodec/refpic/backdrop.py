"""The backdrop: a still of the whole picture, shared by reference pictures as long as it looks right.

The crop is pasted over it, so what lies well inside the crop is never seen; the encoder fills it smoothly
from its border, which costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facecodec.composite.paste import FEATHER_DEFAULT, feather_ramps, place
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.types import CropTransform, U8Array

MAX_SIDE = 640
_INSET = 0.16
"""Share of the crop's side that is kept on each edge: the feather, and room to solve a seam in."""
_FILL_SIDE = 96
_SEEN = FEATHER_DEFAULT + 0.01
"""Share of the crop's side, on each edge, that the backdrop may shine through."""
_ERROR_RATIO = 2.0
_ERROR_MORE = 64.0
"""A backdrop looks wrong where what is seen of it has a mean squared error (RGB of 0 to 255) above
``_ERROR_RATIO`` times what a new one would have, plus this: 8 levels."""
_ERROR_MORE_AHEAD = 16.0
"""The same where several pictures are looked at; with 64, strands of hair were left beside the crop."""
_QUALITY_DROP = 30
"""The quality of a backdrop is so far below that of reference pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class CodedBackdrop:
    """A backdrop as the decoder has it.

    Attributes:
        still: its bytes.
        picture: the decoded still, [h, w, 3] uint8.
        crop: the square that is filled in it.
        error: mean squared error of what is seen of it, against its source.
    """

    still: bytes
    picture: U8Array
    crop: CropTransform
    error: float

    def serves(self, picture: U8Array, crop: CropTransform, ahead: Sequence[U8Array] = ()) -> bool:
        """Whether it can stand around a square: it looks about as right as a new one would, no fill is seen.

        What moves beside the face is nowhere for long: a new backdrop would soon have it wrong as well.

        Args:
            picture: [H, W, 3] uint8, of the size of the source: what a new backdrop would show.
            crop: the square that will be pasted over it.
            ahead: pictures that it would stand in, of the same size.
        """
        height, width = picture.shape[:2]
        filled, hidden = _part(self.crop, width, height, _INSET), _part(crop, width, height, _SEEN)
        if not (hidden[0] <= filled[0] and hidden[1] <= filled[1]):
            return False
        if not (hidden[2] >= filled[2] and hidden[3] >= filled[3]):
            return False
        fresh = cv2.resize(picture, backdrop_size(width, height), interpolation=cv2.INTER_AREA)
        shown = (picture, *ahead)
        now = np.mean([_seen_error(p, self.picture, crop) for p in shown])
        then = self.error + np.mean([_seen_error(p, np.asarray(fresh, np.uint8), crop) for p in shown])
        return bool(now <= _ERROR_RATIO * then + (_ERROR_MORE_AHEAD if ahead else _ERROR_MORE))


def code_backdrop(picture: U8Array, crop: CropTransform, quality: int) -> CodedBackdrop:
    """Code the backdrop of a picture.

    Args:
        picture: [H, W, 3] uint8.
        crop: the square that will be pasted over it.
        quality: of reference pictures, 0 to 100.
    """
    still = encode_still(make_backdrop(picture, crop), max(0, quality - _QUALITY_DROP), speed="realtime")
    width, height = backdrop_size(picture.shape[1], picture.shape[0])
    coded = decode_still(still, width=width, height=height)
    return CodedBackdrop(still, coded, crop, _seen_error(picture, coded, crop))


class BackdropKeeper:
    """The newest backdrop of a stream, which reference pictures share.

    Args:
        shares: False where every picture has its own: decoding can start, or recover from loss, at each.
        acknowledged: a backdrop is shared from :meth:`acknowledge` on, not at once: before, it may be lost,
            or come behind the picture that would share it.
    """

    def __init__(self, *, shares: bool, acknowledged: bool) -> None:
        self._shares, self._acknowledged = shares, acknowledged
        self._newest: CodedBackdrop | None = None
        self._awaited: int | None = None

    def serves(self, picture: U8Array, crop: CropTransform, ahead: Sequence[U8Array] = ()) -> bool:
        """Whether a reference picture needs no backdrop of its own; as :meth:`CodedBackdrop.serves`."""
        if self._newest is None or self._awaited is not None or not self._shares:
            return False
        return self._newest.serves(picture, crop, ahead)

    def put(self, backdrop: CodedBackdrop, slot: int) -> None:
        """Note that a backdrop is sent, beside the reference picture of a slot."""
        self._newest, self._awaited = backdrop, slot if self._acknowledged else None

    def acknowledge(self, slot: int) -> None:
        """The decoder holds the backdrop that was sent for a slot."""
        if self._awaited == slot:
            self._awaited = None

    def forget(self) -> None:
        """The decoder may have lost what it held."""
        self._newest = self._awaited = None


def backdrop_size(width: int, height: int) -> tuple[int, int]:
    """Coded width and height of the backdrop of a picture: at most 640 on the longer side."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return max(16, round(width * scale)), max(16, round(height * scale))


def covers(crop: CropTransform, width: int, height: int) -> bool:
    """Whether the crop hides the whole picture, so that no backdrop is seen."""
    return crop.x <= 0 and crop.y <= 0 and crop.x + crop.side >= width and crop.y + crop.side >= height


def make_backdrop(picture: U8Array, crop: CropTransform) -> U8Array:
    """Prepare the backdrop of a picture.

    Args:
        picture: [H, W, 3] uint8.
        crop: the square that will be pasted over it.

    Returns:
        [h, w, 3] uint8 of :func:`backdrop_size`.
    """
    height, width = picture.shape[:2]
    size = backdrop_size(width, height)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    x0, y0, x1, y1 = _part(crop, width, height, _INSET)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return np.asarray(small, np.uint8)
    hole = np.zeros(small.shape[:2], np.uint8)
    hole[y0:y1, x0:x1] = 255
    return np.asarray(np.where(hole[..., None] > 0, _filled(small, hole), small), np.uint8)


def _part(crop: CropTransform, width: int, height: int, inset: float) -> tuple[int, int, int, int]:
    """The part of a crop that lies so many sides inside its edges, in pixels of the backdrop.

    Edges on the picture's border or beyond have no inset.

    Returns:
        x0, y0, x1, y1.
    """
    size, room = backdrop_size(width, height), crop.side * inset
    sx, sy = size[0] / width, size[1] / height
    x0, x1 = (round((crop.x + room) * sx), round((crop.x + crop.side - room) * sx))
    y0, y1 = (round((crop.y + room) * sy), round((crop.y + crop.side - room) * sy))
    x0 = 0 if crop.x <= 0 else max(x0, 0)
    y0 = 0 if crop.y <= 0 else max(y0, 0)
    x1 = size[0] if crop.x + crop.side >= width else min(x1, size[0])
    y1 = size[1] if crop.y + crop.side >= height else min(y1, size[1])
    return x0, y0, x1, y1


def _seen_error(picture: U8Array, coded: U8Array, crop: CropTransform) -> float:
    """Mean squared error of a backdrop against a picture, where and as far as it is seen around the crop."""
    height, width = picture.shape[:2]
    size, visible = backdrop_size(width, height), place(crop, width, height)
    share = np.ones((height, width), np.float32)
    share[visible.rows, visible.columns] -= np.outer(*feather_ramps(width, height, crop)).astype(np.float32)
    weight = np.square(cv2.resize(share, size, interpolation=cv2.INTER_AREA))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    error = np.square(small.astype(np.float32) - coded).mean(axis=2)
    total = float(weight.sum())
    return float((weight * error).sum()) / total if total else 0.0


def _filled(small: U8Array, hole: U8Array) -> U8Array:
    if hole.all():
        return np.full_like(small, 128)
    scale = min(1.0, _FILL_SIDE / max(small.shape[:2]))
    tiny_size = (max(8, round(small.shape[1] * scale)), max(8, round(small.shape[0] * scale)))
    tiny_hole = (cv2.resize(hole, tiny_size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    if tiny_hole.all():
        return np.full_like(small, 128)
    tiny = cv2.inpaint(
        cv2.resize(small, tiny_size, interpolation=cv2.INTER_AREA), tiny_hole, 3, cv2.INPAINT_NS
    )
    tiny = np.where(tiny_hole[..., None] > 0, cv2.GaussianBlur(tiny, (0, 0), 3), tiny)
    return np.asarray(cv2.resize(tiny, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_LINEAR))
