"""The quality unit: what the encoder knows of the pictures that its stream gives. An extension unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from facecodec.bitstream import limits
from facecodec.bitstream.bits import FieldReader, pack_varint
from facecodec.bitstream.framing import UnitKind

EXTENSION_ID = 1
"""First byte of the payload: tells it from other extension units."""
MEASURE_MS_SSIM = 1
"""Assigned number of the distance of :mod:`facecodec.metrics.multiscale`."""
STEPS = 10000
"""Steps of a distance of 1."""


@dataclass(frozen=True, slots=True)
class QualityUnit:
    """Distances of the decoded pictures from the source, by the generator ``warp-0``.

    Attributes:
        measure: what distance; see :data:`MEASURE_MS_SSIM`.
        frames: frames that the figures are of, 1..2^31 - 1.
        measured: how many of them were measured, at most ``frames``; the others were predicted.
        mean: mean over the frames, of the whole crop, in steps of 1/10000, 0..10000.
        worst: 95th percentile of the same over the frames.
        eyes: mean in the box around both eyes.
        mouth: mean in the box around the mouth.
    """

    measure: int
    frames: int
    measured: int
    mean: int
    worst: int
    eyes: int
    mouth: int

    KIND: ClassVar[UnitKind] = UnitKind.EXTENSION

    def __post_init__(self) -> None:
        limits.check_choice("measure", self.measure, (MEASURE_MS_SSIM,), "quality")
        limits.check("frames", self.frames, 1, limits.QUALITY_FRAMES_MAX, "quality")
        limits.check("measured", self.measured, 0, self.frames, "quality")
        for name in ("mean", "worst", "eyes", "mouth"):
            limits.check(name, getattr(self, name), 0, STEPS, "quality")

    def pack(self) -> bytes:
        """Return the payload."""
        figures = (self.mean, self.worst, self.eyes, self.mouth)
        return (
            bytes([EXTENSION_ID, self.measure])
            + pack_varint(self.frames)
            + pack_varint(self.measured)
            + b"".join(value.to_bytes(2, "big") for value in figures)
        )

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload that starts with :data:`EXTENSION_ID`.

        Raises:
            TruncatedError: the payload ends too soon.
            LimitError: a field is out of range, or bytes are left.
        """
        reader = FieldReader(payload, "quality", cls.KIND.payload_max)
        limits.check("extension_id", reader.u8(), EXTENSION_ID, EXTENSION_ID, "quality")
        measure, frames, measured = reader.u8(), reader.varint("frames"), reader.varint("measured")
        mean, worst, eyes, mouth = (reader.u16() for _ in range(4))
        reader.end()
        return cls(measure, frames, measured, mean, worst, eyes, mouth)
