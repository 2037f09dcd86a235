"""The encoder of stills: reference pictures, and the backdrops beside them."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from facecodec.analysis.references import Candidate
from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.bitstream import BackdropUnit, Base, ReferenceUnit, StillCodec, StreamHeader, View, pack_unit
from facecodec.bitstream.mesh import encode_mesh
from facecodec.config import EncoderConfig
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.refpic.backdrop import BackdropKeeper, code_backdrop, covers
from facecodec.refpic.buffer import Reference
from facecodec.refpic.lifetime import expected_service, quality_for
from facecodec.refpic.predicted import CodedPicture, KeyPicture, encode_key, encode_predicted
from facecodec.track.crop import crop_picture
from facecodec.types import CropTransform, U8Array

_BACKDROP_STRIDE = 16
"""One frame in so many is looked at to see whether a backdrop still looks right."""


class CodedReference(NamedTuple):
    """A coded reference picture.

    Attributes:
        unit: what is sent of it.
        backdrop: what is sent beside it; None where it needs none of its own.
        reference: the picture as the decoder has it.
        size: bytes of both units.
    """

    unit: ReferenceUnit
    backdrop: BackdropUnit | None
    reference: Reference
    size: int


class StillEncoder:
    """Codes reference pictures and backdrops, and reckons what the next will take.

    Args:
        config: what changes the bytes.
        window: the frames that wait.
        reach: frames of the window that may be looked at.
        length_s: seconds of video that will come, where known.
        acknowledged: see :class:`BackdropKeeper`.

    Attributes:
        quality: of reference pictures that serve for a short time, 0 to 100.
        backdrops: the newest backdrop.
        key_bytes: what the last key picture took, without backdrop.
        backdrop_bytes: what the last backdrop took.
    """

    def __init__(
        self,
        config: EncoderConfig,
        window: TrackWindow,
        reach: int,
        *,
        length_s: float | None,
        acknowledged: bool,
    ) -> None:
        self.quality = config.rate.ref_quality
        self.backdrops = BackdropKeeper(shares=not config.intra_period, acknowledged=acknowledged)
        self.key_bytes = self.backdrop_bytes = 0
        self._keys: dict[int, KeyPicture] = {}
        self._window, self._reach = window, reach
        self._length_s = None if config.lookahead == 0 or config.ref_quality is not None else length_s
        careful = config.lookahead > 0 and config.preset != "realtime"
        self._speed: Literal["best", "realtime"] = "best" if careful else "realtime"
        self._sent, self._clock = 0, (0, Fraction(0))

    def code(
        self, candidate: Candidate, header: StreamHeader, slot: int, base: Reference | None = None
    ) -> CodedReference:
        """Code a reference picture, and the backdrop beside it if one is seen that was not sent before.

        Args:
            candidate: the picture.
            header: the stream's.
            slot: of the reference buffer, that it will take.
            base: a picture that the decoder holds, which it may be predicted from.
        """
        crop, pts = candidate.crop, candidate.frame.pts
        self._clock = (header.start_pts, header.time_base)
        coded = self._code_picture(candidate, base)
        levels = mesh_to_levels(crop.to_crop(candidate.points).astype(np.float64))
        place, key = (crop.x, crop.y, crop.side), coded.key
        codec = StillCodec.AV1 if key is None else StillCodec.AV1_PREDICTED
        named = None if key is None else Base.of(key.ref_id, key.still)
        unit = ReferenceUnit(
            slot, pts - header.start_pts, *place, codec, encode_mesh(levels), coded.still, named
        )
        mesh = levels_to_mesh(levels)
        reference = Reference(slot, pts, coded.picture, mesh, crop, coded.still if key is None else b"")
        if key is None:
            source = crop_picture(candidate.frame.pixels, crop)
            self._keys[slot] = KeyPicture(slot, source, self.quality_at(pts), self._speed, coded.still)
        backdrop = self._code_backdrop(candidate, header, slot)
        self._sent += 1
        picture_bytes, size = len(pack_unit(unit)), len(pack_unit(backdrop)) if backdrop else 0
        self.key_bytes = picture_bytes if key is None else self.key_bytes
        self.backdrop_bytes = size or self.backdrop_bytes
        return CodedReference(unit, backdrop, reference, picture_bytes + size)

    def key_of(self, base: Reference | None) -> KeyPicture | None:
        """A picture that the decoder holds, as one to predict from; None where it is none."""
        known = None if base is None else self._keys.get(base.ref_id)
        return known if known is not None and base is not None and known.still == base.key else None

    def _code_picture(self, candidate: Candidate, base: Reference | None) -> CodedPicture:
        """Code a picture as predicted if it is of the same square, or if that is smaller; else alone."""
        key, quality, speed = self.key_of(base), self.quality_at(candidate.frame.pts), self._speed
        tried = candidate.coded if speed == "realtime" else None
        if tried is not None and tried.is_sound and tried.key is key:
            return tried
        pixels = crop_picture(candidate.frame.pixels, candidate.crop)
        predicted = None if key is None else encode_predicted(pixels, quality, key, speed=speed)
        is_square = base is not None and base.crop == candidate.crop
        if predicted is not None and predicted.is_sound and is_square:
            return predicted
        alone = encode_key(pixels, quality, speed=speed)
        if predicted is not None and predicted.is_sound and len(predicted.still) < len(alone.still):
            return predicted
        return alone

    def quality_at(self, pts: int) -> int:
        """Quality of a picture sent at a time, by how long it is likely to serve."""
        if self._length_s is None:
            return self.quality
        seen_s = float((pts - self._clock[0]) * self._clock[1])
        return quality_for(self.quality, expected_service(seen_s, self._length_s - seen_s, self._sent))

    def bytes_of_another(self, item: Tracked, crop: CropTransform) -> int:
        """What another reference picture takes at most: as the last key picture, and a backdrop if needed."""
        shares = self._shares_backdrop(item.frame.pixels, crop)
        return self.key_bytes + (0 if shares else self.backdrop_bytes)

    def _code_backdrop(self, candidate: Candidate, header: StreamHeader, slot: int) -> BackdropUnit | None:
        """The backdrop of a reference picture; None where it is not seen, or shares the newest."""
        crop, pixels = candidate.crop, candidate.frame.pixels
        if header.view != View.FRAME or covers(crop, pixels.shape[1], pixels.shape[0]):
            return None
        if self._shares_backdrop(pixels, crop):
            return None
        coded = code_backdrop(pixels, crop, self.quality_at(candidate.frame.pts))
        self.backdrops.put(coded, slot)
        return BackdropUnit(slot, StillCodec.AV1, coded.picture.shape[1], coded.picture.shape[0], coded.still)

    def _shares_backdrop(self, pixels: U8Array, crop: CropTransform) -> bool:
        """Whether a reference picture can do with the newest backdrop, as far as the window shows."""
        waiting = min(len(self._window), self._reach)  # none, where a call plans between two groups
        items = self._window.frames(self._window.first_cut(waiting)) if waiting else []
        if items and items[0].is_cut:
            return False
        ahead = [item.frame.pixels for item in items[_BACKDROP_STRIDE::_BACKDROP_STRIDE]]
        return self.backdrops.serves(pixels, crop, ahead)
