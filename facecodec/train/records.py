"""What a packed data set holds: its tables (:data:`TENSORS`), and the records that are read out of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from facecodec.types import F32Array, U8Array

FORMAT = "facecodec-pack-3"
MESH_SCALE = 1 << 14
"""Meshes are stored as int16 in 1/16384 of the crop's side."""
POINTS = 478
TENSORS = {
    "pictures.data": "uint8",
    "pictures.offsets": "int64",
    "references.coded": "int32",
    "references.original": "int32",
    "references.take": "int32",
    "references.mesh": "int16",
    "references.pts": "int64",
    "references.q_idx": "int32",
    "entries.picture": "int32",
    "entries.reference": "int32",
    "entries.region": "int32",
    "entries.box": "int32",
    "entries.mesh": "int16",
    "shown.offsets": "int64",
    "shown.entry": "int32",
    "shown.weight": "float16",
    "frames.picture": "int32",
    "frames.take": "int32",
    "frames.reference": "int32",
    "frames.run": "int32",
    "frames.index": "int32",
    "frames.pts": "int64",
    "frames.mesh": "int16",
    "scenes.data": "float16",
    "scenes.offsets": "int64",
    "runs.offsets": "int64",
    "stills.coded": "int32",
    "stills.frame": "int32",
    "stills.quality": "int32",
    "stills.q_idx": "int32",
}
"""Every tensor of the file and its type."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video.

    Attributes:
        name: path of the file inside the folder that was prepared.
        identity: who is seen; clips of one person share it.
    """

    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class Take:
    """One encoding of a part of a clip.

    Attributes:
        clip: row of the clip.
        qp: motion QP.
        ref_quality: quality of its reference pictures, 0 to 100.
        size: side of its pictures in pixels.
        grid: scene points a side; 0 where the stream carries none.
        start_s: seconds of the clip before the part.
        time_base: seconds a tick of ``pts`` lasts.
    """

    clip: int
    qp: int
    ref_quality: int
    size: int
    grid: int
    start_s: float
    time_base: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceRecord:
    """A reference picture.

    Attributes:
        coded: decoded AV1 picture, [S, S, 3] uint8 RGB.
        original: source crop of the same frame, [S, S, 3] uint8 RGB.
        mesh: decoded mesh, [478, 3] float32, crop units.
        quality: quality it was coded at, 0 to 100.
        take: row of its take.
        pts: its time in ticks of the take.
        q_idx: how coarsely it was coded, ``base_q_idx`` of AV1: 0 to 255.
    """

    coded: U8Array
    original: U8Array
    mesh: F32Array
    quality: int
    take: int
    pts: int
    q_idx: int


@dataclass(frozen=True, slots=True, eq=False)
class EntryRecord:
    """An entry of the expression palette of a reference picture.

    Attributes:
        pixels: as decoded, [h, w, 3] uint8: half the difference from the bent reference picture, plus 128.
        region: 0 right eye, 1 left eye, 2 mouth.
        box: left, top, width and height in the reference picture, its pixels.
        mesh: face with this expression in the reference picture's pose, [478, 3] float32, crop units.
        reference: row of the reference picture.
    """

    pixels: U8Array
    region: int
    box: tuple[int, int, int, int]
    mesh: F32Array
    reference: int


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """A frame.

    Attributes:
        picture: source crop, [S, S, 3] uint8 RGB.
        mesh: decoded mesh, [478, 3] float32, crop units.
        scene: decoded scene points, [G, G, 2] float32 offsets in crop units, or None.
        reference: row of the reference picture that it is made from.
        take: row of its take.
        clip: row of its clip.
        run: row of its run.
        index: its number among the frames of the take's encoding.
        pts: its time in ticks of the take.
    """

    picture: U8Array
    mesh: F32Array
    scene: F32Array | None
    reference: int
    take: int
    clip: int
    run: int
    index: int
    pts: int


@dataclass(frozen=True, slots=True, eq=False)
class StillRecord:
    """A frame coded as a reference picture would be.

    Attributes:
        coded: decoded AV1 picture, [S, S, 3] uint8 RGB.
        original: source crop, [S, S, 3] uint8 RGB.
        quality: quality it was coded at, 0 to 100.
        frame: row of the frame.
        q_idx: how coarsely it was coded, ``base_q_idx`` of AV1: 0 to 255.
    """

    coded: U8Array
    original: U8Array
    quality: int
    frame: int
    q_idx: int
