"""Stills and motion as units. Every unit checks its fields when it is made: LimitError names the field."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from facecodec.bitstream import limits
from facecodec.bitstream.bits import FieldReader, pack_svarint, pack_varint
from facecodec.bitstream.framing import UnitKind
from facecodec.bitstream.header import StreamHeader
from facecodec.errors import BitstreamError


class StillCodec(IntEnum):
    """How a still is coded. Values are assigned numbers of FORMAT.md."""

    AV1 = 1
    AV1_PREDICTED = 2


PICTURE_CODECS = (StillCodec.AV1,)
"""How backdrops and palettes may be coded."""


@dataclass(frozen=True, slots=True)
class Base:
    """The key picture that a reference picture is predicted from.

    Attributes:
        ref_id: its slot of the reference buffer, 0..7.
        check: CRC-16 of its still: what was lost is not taken for something else.
    """

    ref_id: int
    check: int

    def __post_init__(self) -> None:
        limits.check("base", self.ref_id, 0, limits.REF_ID_MAX, UnitKind.REFERENCE.label)
        limits.check("base_check", self.check, 0, 0xFFFF, UnitKind.REFERENCE.label)

    @classmethod
    def of(cls, ref_id: int, still: bytes) -> Self:
        """Name the key picture of a slot by its bytes."""
        return cls(ref_id, binascii.crc_hqx(still, 0xFFFF))


@dataclass(frozen=True, slots=True)
class ReferenceUnit:
    """A reference picture: the still of a crop, and the face in it.

    Attributes:
        ref_id: slot of the reference buffer that it fills, 0..7.
        pts: time of the picture, in ticks after ``start_pts``.
        crop_x: left edge of the crop in the shown picture, -65536..65535 pixels.
        crop_y: its top edge, in the same range.
        crop_side: its side, 16..65535 pixels.
        still_codec: how ``still`` is coded.
        mesh: coded mesh of the face in the picture, 0..4096 bytes (see ``bitstream/mesh.py``).
        still: coded picture, ``coded_size`` pixels square, at least 1 byte.
        base: key picture that it is predicted from; None unless ``still_codec`` is ``AV1_PREDICTED``.
    """

    ref_id: int
    pts: int
    crop_x: int
    crop_y: int
    crop_side: int
    still_codec: StillCodec
    mesh: bytes
    still: bytes
    base: Base | None = None

    KIND: ClassVar[UnitKind] = UnitKind.REFERENCE

    def __post_init__(self) -> None:
        unit = self.KIND.label
        limits.check("ref_id", self.ref_id, 0, limits.REF_ID_MAX, unit)
        limits.check("pts", self.pts, limits.PTS_MIN, limits.PTS_MAX, unit)
        limits.check("crop_x", self.crop_x, limits.CROP_MIN, limits.CROP_MAX, unit)
        limits.check("crop_y", self.crop_y, limits.CROP_MIN, limits.CROP_MAX, unit)
        limits.check("crop_side", self.crop_side, limits.CROP_SIDE_MIN, limits.CROP_SIDE_MAX, unit)
        limits.check_choice("still_codec", self.still_codec, tuple(StillCodec), unit)
        limits.check("mesh bytes", len(self.mesh), 0, limits.MESH_BYTES_MAX, unit)
        limits.check("still bytes", len(self.still), 1, limits.REFERENCE_PAYLOAD_MAX, unit)
        is_predicted = self.still_codec == StillCodec.AV1_PREDICTED
        limits.check("bases", int(self.base is not None), int(is_predicted), int(is_predicted), unit)

    def pack(self) -> bytes:
        """Return the payload."""
        out = bytearray([self.ref_id])
        for value in (self.pts, self.crop_x, self.crop_y):
            out += pack_svarint(value)
        out += pack_varint(self.crop_side)
        out.append(self.still_codec)
        if self.base is not None:
            out += bytes([self.base.ref_id]) + self.base.check.to_bytes(2, "big")
        out += pack_varint(len(self.mesh)) + self.mesh + self.still
        return bytes(out)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`. Raises TruncatedError, LimitError."""
        reader = FieldReader(payload, cls.KIND.label, cls.KIND.payload_max)
        ref_id = reader.u8()
        pts, crop_x, crop_y = (reader.svarint(field) for field in ("pts", "crop_x", "crop_y"))
        crop_side = reader.varint("crop_side")
        codec = read_still_codec(reader, cls.KIND, tuple(StillCodec))
        base = Base(reader.u8(), reader.u16()) if codec == StillCodec.AV1_PREDICTED else None
        mesh = reader.take(reader.varint("mesh bytes", 0, limits.MESH_BYTES_MAX))
        return cls(ref_id, pts, crop_x, crop_y, crop_side, codec, mesh, reader.rest(), base)


@dataclass(frozen=True, slots=True)
class BackdropUnit:
    """The still of the whole picture around the crop of a reference picture.

    Attributes:
        ref_id: reference picture that it belongs to, 0..7.
        still_codec: how ``still`` is coded.
        width: width, 16..4096 pixels; the decoder scales it to the shown picture.
        height: height, likewise.
        still: coded picture, at least 1 byte.
    """

    ref_id: int
    still_codec: StillCodec
    width: int
    height: int
    still: bytes

    KIND: ClassVar[UnitKind] = UnitKind.BACKDROP

    def __post_init__(self) -> None:
        unit = self.KIND.label
        limits.check("ref_id", self.ref_id, 0, limits.REF_ID_MAX, unit)
        limits.check_choice("still_codec", self.still_codec, PICTURE_CODECS, unit)
        limits.check("width", self.width, limits.BACKDROP_SIZE_MIN, limits.BACKDROP_SIZE_MAX, unit)
        limits.check("height", self.height, limits.BACKDROP_SIZE_MIN, limits.BACKDROP_SIZE_MAX, unit)
        limits.check("still bytes", len(self.still), 1, limits.BACKDROP_PAYLOAD_MAX, unit)

    def pack(self) -> bytes:
        """Return the payload."""
        head = bytes([self.ref_id, self.still_codec])
        return head + self.width.to_bytes(2, "big") + self.height.to_bytes(2, "big") + self.still

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`. Raises TruncatedError, LimitError."""
        reader = FieldReader(payload, cls.KIND.label, cls.KIND.payload_max)
        ref_id = reader.u8()
        codec = read_still_codec(reader, cls.KIND)
        return cls(ref_id, codec, reader.u16(), reader.u16(), reader.rest())


_RESET, _VFR, _RESERVED = 8, 16, 0xE0


@dataclass(frozen=True, slots=True)
class MotionUnit:
    """A group of 1 to 64 frames.

    Attributes:
        ref_id: reference picture that the group moves, 0..7.
        qp: quantisation parameter, 0..51.
        n_frames: frames in the group, 1..64.
        first_pts: with ``reset``, time of the first frame in ticks after ``start_pts``; else ticks
            after (time of the frame before it + ``frame_duration``), 0 in the usual case.
        levels: the range coder's bytes.
        reset: nothing before this unit is needed but the reference picture.
        deltas: for every further frame, ticks since the frame before it minus ``frame_duration``;
            None where all are 0.
    """

    ref_id: int
    qp: int
    n_frames: int
    first_pts: int
    levels: bytes
    reset: bool = False
    deltas: tuple[int, ...] | None = None

    KIND: ClassVar[UnitKind] = UnitKind.MOTION

    def __post_init__(self) -> None:
        unit = self.KIND.label
        limits.check("ref_id", self.ref_id, 0, limits.REF_ID_MAX, unit)
        limits.check("qp", self.qp, 0, limits.QP_MAX, unit)
        limits.check("n_frames", self.n_frames, 1, limits.GROUP_FRAMES_MAX, unit)
        limits.check("first_pts", self.first_pts, limits.PTS_MIN, limits.PTS_MAX, unit)
        limits.check("levels bytes", len(self.levels), 0, limits.MOTION_PAYLOAD_MAX, unit)
        if self.deltas is not None:
            limits.check("number of deltas", len(self.deltas), self.n_frames - 1, self.n_frames - 1, unit)
            for delta in self.deltas:
                limits.check("delta", delta, limits.PTS_MIN, limits.PTS_MAX, unit)

    def pack(self) -> bytes:
        """Return the payload."""
        flags = _RESET * self.reset | _VFR * (self.deltas is not None)
        out = bytearray([self.ref_id | flags, self.qp, self.n_frames])
        out += pack_svarint(self.first_pts)
        for delta in self.deltas or ():
            out += pack_svarint(delta)
        return bytes(out) + self.levels

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`. Raises TruncatedError, LimitError."""
        unit = cls.KIND.label
        reader = FieldReader(payload, unit, cls.KIND.payload_max)
        flags, qp, n_frames = reader.u8(), reader.u8(), reader.u8()
        limits.check("reserved flags", flags & _RESERVED, 0, 0, unit)
        limits.check("n_frames", n_frames, 1, limits.GROUP_FRAMES_MAX, unit)
        first_pts = reader.svarint("first_pts")
        deltas = tuple(reader.svarint("delta") for _ in range(n_frames - 1)) if flags & _VFR else None
        return cls(flags & 7, qp, n_frames, first_pts, reader.rest(), bool(flags & _RESET), deltas)

    @staticmethod
    def code_pts(
        header: StreamHeader, pts: Sequence[int], previous_pts: int | None
    ) -> tuple[int, tuple[int, ...] | None]:
        """Turn the times of a group into ``first_pts`` and ``deltas``.

        Args:
            header: header of the stream.
            pts: times of the frames, in ticks, rising.
            previous_pts: time of the frame before them; None for a group with ``reset``.
        """
        step = header.frame_duration
        origin = header.start_pts if previous_pts is None else previous_pts + step
        deltas = tuple(b - a - step for a, b in zip(pts, pts[1:], strict=False))
        return pts[0] - origin, deltas if any(deltas) else None

    def resolve_pts(self, header: StreamHeader, previous_pts: int | None) -> list[int]:
        """Return the times of the frames, in ticks: the inverse of :meth:`code_pts`.

        Args:
            header: header of the stream.
            previous_pts: time of the last frame of the unit before this; None where there is none.

        Raises:
            BitstreamError: a unit without ``reset`` has no unit before it.
            LimitError: times do not rise, or leave 64 bits.
        """
        unit = self.KIND.label
        step = header.frame_duration
        if self.reset:
            pts = header.start_pts + self.first_pts
        elif previous_pts is None:
            raise BitstreamError("needs the motion unit before it", unit=unit)
        else:
            pts = previous_pts + step + self.first_pts
        low = limits.PTS_MIN if previous_pts is None else previous_pts + 1
        times = []
        for delta in (*(self.deltas or (0,) * (self.n_frames - 1)), None):
            limits.check("pts", pts, low, limits.PTS_MAX, unit)
            times.append(pts)
            low = pts + 1
            pts += step + (delta or 0)
        return times


@dataclass(frozen=True, slots=True)
class ExtensionUnit:
    """Something of a later minor version: a decoder passes over it.

    Attributes:
        payload: its bytes.
    """

    payload: bytes

    KIND: ClassVar[UnitKind] = UnitKind.EXTENSION

    def pack(self) -> bytes:
        """Return the payload."""
        return self.payload

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Keep a payload as it is. Raises LimitError where it is too long."""
        return cls(FieldReader(payload, cls.KIND.label, cls.KIND.payload_max).rest())


def read_still_codec(
    reader: FieldReader, kind: UnitKind, allowed: tuple[StillCodec, ...] = PICTURE_CODECS
) -> StillCodec:
    """Read the byte that says how a still is coded. Raises TruncatedError, LimitError."""
    value = reader.u8()
    limits.check_choice("still_codec", value, allowed, kind.label)
    return StillCodec(value)
