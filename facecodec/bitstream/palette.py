"""The palette unit: eyes and mouths as seen in other frames, beside a reference picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np

from facecodec.bitstream import limits
from facecodec.bitstream.bits import FieldReader, pack_varint
from facecodec.bitstream.framing import UnitKind
from facecodec.bitstream.level_contexts import POSE_CHANNELS, ChannelLayout, LevelState
from facecodec.bitstream.levels import decode_group, encode_levels, name_unit
from facecodec.bitstream.units import PICTURE_CODECS, StillCodec, read_still_codec
from facecodec.entropy.range_coder import RangeDecoder
from facecodec.errors import BitstreamError, LimitError
from facecodec.types import I32Array

REGIONS = 3
"""Regions a palette speaks of: right eye, left eye (the subject's own), mouth."""
GRAIN = 4
"""Pixels that a number of a :class:`Place` stands for."""


class Place(NamedTuple):
    """Rectangle of a region in the reference picture, in units of :data:`GRAIN` pixels.

    Attributes:
        x: left edge, 0..255.
        y: top edge, 0..255.
        width: width, 1..64.
        height: height, 1..64.
    """

    x: int
    y: int
    width: int
    height: int


_CLEAR, _RESERVED = 8, 0xF0


@dataclass(frozen=True, slots=True)
class PaletteUnit:
    """Entries of the palette of a reference picture: further ones, or in place of those before.

    Attributes:
        ref_id: reference picture that they belong to, 0..7.
        qp: quantisation parameter of the shapes, 0..51.
        regions: for each of 1 to 16 shapes the regions shown of it, 1..7: bit r stands for region r.
        places: rectangles, one for each region that any shape shows, in the order of regions.
        still_codec: how ``still`` is coded.
        shapes: range coder bytes of the shapes (see :func:`decode_shapes`), 0..4096 bytes.
        still: coded mosaic, at least 1 byte.
        clear: the entries before this unit go.
    """

    ref_id: int
    qp: int
    regions: tuple[int, ...]
    places: tuple[Place, ...]
    still_codec: StillCodec
    shapes: bytes
    still: bytes
    clear: bool = False

    KIND: ClassVar[UnitKind] = UnitKind.PALETTE

    def __post_init__(self) -> None:
        unit = self.KIND.label
        limits.check("ref_id", self.ref_id, 0, limits.REF_ID_MAX, unit)
        limits.check("qp", self.qp, 0, limits.QP_MAX, unit)
        limits.check("number of shapes", len(self.regions), 1, limits.PALETTE_SHAPES_MAX, unit)
        for mask in self.regions:
            limits.check("regions", mask, 1, (1 << REGIONS) - 1, unit)
        count = _union(self.regions).bit_count()
        limits.check("number of places", len(self.places), count, count, unit)
        for place in self.places:
            for field, value in zip(("x", "y"), place[:2], strict=True):
                limits.check(field, value, 0, 255, unit)
            for field, value in zip(("width", "height"), place[2:], strict=True):
                limits.check(field, value, 1, limits.PALETTE_SIDE_MAX, unit)
        limits.check_choice("still_codec", self.still_codec, PICTURE_CODECS, unit)
        limits.check("shapes bytes", len(self.shapes), 0, limits.PALETTE_SHAPES_BYTES_MAX, unit)
        limits.check("still bytes", len(self.still), 1, limits.PALETTE_PAYLOAD_MAX, unit)

    @property
    def place_of(self) -> dict[int, Place]:
        """Region to its rectangle."""
        used = [r for r in range(REGIONS) if _union(self.regions) >> r & 1]
        return dict(zip(used, self.places, strict=True))

    def pack(self) -> bytes:
        """Return the payload."""
        out = bytearray([self.ref_id | _CLEAR * self.clear, self.qp, len(self.regions), *self.regions])
        for place in self.places:
            out += bytes(place)
        out.append(self.still_codec)
        out += pack_varint(len(self.shapes)) + self.shapes + self.still
        return bytes(out)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`. Raises TruncatedError, LimitError."""
        unit = cls.KIND.label
        reader = FieldReader(payload, unit, cls.KIND.payload_max)
        flags, qp, count = reader.u8(), reader.u8(), reader.u8()
        limits.check("reserved flags", flags & _RESERVED, 0, 0, unit)
        limits.check("number of shapes", count, 1, limits.PALETTE_SHAPES_MAX, unit)
        regions = tuple(reader.take(count))
        for mask in regions:
            limits.check("regions", mask, 1, (1 << REGIONS) - 1, unit)
        places = tuple(Place(*reader.take(4)) for _ in range(_union(regions).bit_count()))
        codec = read_still_codec(reader, cls.KIND)
        shapes = reader.take(reader.varint("shapes bytes", 0, limits.PALETTE_SHAPES_BYTES_MAX))
        return cls(flags & 7, qp, regions, places, codec, shapes, reader.rest(), bool(flags & _CLEAR))


def _union(regions: Sequence[int]) -> int:
    whole = 0
    for mask in regions:
        whole |= mask
    return whole


def encode_shapes(residuals: I32Array, deformations: int) -> bytes:
    """Code the residuals of shapes [n, 6 + K], pose all 0, as a group with ``reset`` and no scene."""
    state = LevelState(ChannelLayout(deformations, 0))
    return encode_levels(state, residuals, [False] * len(residuals), True)


def decode_shapes(data: bytes, count: int, deformations: int) -> I32Array:
    """Read what :func:`encode_shapes` wrote: [count, 6 + K].

    Raises:
        BitstreamError: the bytes are not what an encoder writes, or a pose or a hold flag is not 0.
    """
    state = LevelState(ChannelLayout(deformations, 0))
    try:
        residuals, hold = decode_group(state, RangeDecoder(data), count, True)
        if any(hold) or np.any(residuals[:, :POSE_CHANNELS]):
            raise LimitError("pose or hold flag of a shape", 1, "0")
    except BitstreamError as err:
        raise name_unit(err, UnitKind.PALETTE.label) from None
    return residuals
