"""The values that pass between stages, as frozen dataclasses.

Conventions, once for the whole package:

* Pictures are RGB, ``[H, W, 3]`` uint8 outside torch; ``[B, 3, H, W]`` float32 in [0, 1] inside it.
* ``(x, y)`` runs right and down; the origin is the outer corner of the top left pixel, so a pixel's
  centre lies at half-integers (``align_corners=False`` in torch).
* *Picture pixels* are pixels of the source picture. *Crop units* have the crop's side as 1.0, so
  they hold at every coded size. ``z`` has the scale of ``x`` and grows away from the camera.
* One *point* is 1/256 of the crop's side: a pixel at the usual coded size.
* Time is an integer ``pts`` with a rational ``time_base``; seconds appear at the edge, named ``_s``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

U8Array = npt.NDArray[np.uint8]
F32Array = npt.NDArray[np.float32]
F64Array = npt.NDArray[np.float64]
I32Array = npt.NDArray[np.int32]


class KeypointSet(IntEnum):
    """Which points a track holds. Values are assigned numbers of FORMAT.md."""

    MESH_478 = 1
    """The FaceLandmarker layout: 468 mesh points and 5 points for each iris."""
    DLIB_68 = 2
    """68 points of the iBUG layout, mapped onto the mesh by its nearest deformation."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture in time.

    Attributes:
        pixels: RGB, [H, W, 3] uint8.
        pts: presentation time in ticks of ``time_base``.
        time_base: seconds a tick lasts.
    """

    pixels: U8Array
    pts: int
    time_base: Fraction

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The tracked face of one picture.

    Attributes:
        points: [478, 3] float32, picture pixels (z in the same scale, growing away from the camera).
        score: the tracker's belief that this is a face, 0 to 1.
        keypoint_set: what the tracker really saw (a 68 point track is lifted onto the 478).
    """

    points: F32Array
    score: float
    keypoint_set: KeypointSet = KeypointSet.MESH_478


@dataclass(frozen=True, slots=True)
class CropTransform:
    """A square of the source picture, coded at ``size`` x ``size``.

    Attributes:
        x: left edge, picture pixels. May lie outside the picture; its border is then repeated.
        y: top edge, picture pixels.
        side: side of the square, picture pixels.
        size: coded size in pixels.
    """

    x: int
    y: int
    side: int
    size: int

    def to_crop(self, points: npt.NDArray[np.floating]) -> F32Array:
        """Map [..., 2 or 3] picture pixels to crop units."""
        out = np.asarray(points, dtype=np.float32) / np.float32(self.side)
        out[..., 0] -= self.x / self.side
        out[..., 1] -= self.y / self.side
        return out

    def to_picture(self, points: npt.NDArray[np.floating]) -> F32Array:
        """Map [..., 2 or 3] crop units to picture pixels: the inverse of :meth:`to_crop`."""
        out = np.asarray(points, dtype=np.float32) * np.float32(self.side)
        out[..., 0] += self.x
        out[..., 1] += self.y
        return out


class PacketKind(Enum):
    """What a packet carries."""

    HEADER = "header"
    REFERENCE = "reference"
    BACKDROP = "backdrop"
    MOTION = "motion"
    AUDIO = "audio"
    PALETTE = "palette"
    EXTENSION = "extension"


@dataclass(frozen=True, slots=True)
class Packet:
    """One unit of the stream, framed and with its checksum: what a file or a network carries.

    Attributes:
        kind: what it carries.
        data: the whole unit.
        pts: time of its first frame, in ticks of the stream's time base.
        duration: ticks it covers (0 for a header or a still).
        is_random_access: decoding can start here, given the stream header.
    """

    kind: PacketKind
    data: bytes
    pts: int
    duration: int = 0
    is_random_access: bool = False


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One Opus packet.

    Attributes:
        data: the packet as libopus made it.
        pts: samples at 48 kHz since the first picture (negative: before it).
        duration: samples at 48 kHz.
    """

    data: bytes
    pts: int
    duration: int
