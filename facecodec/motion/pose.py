"""One face as it is shown, and faces between two."""

from __future__ import annotations

from dataclasses import dataclass

from facecodec.types import F32Array, F64Array


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """What a picture is made from, beside its reference picture.

    Attributes:
        mesh: [478, 3] crop units.
        shape: [478, 3], the face in the reference picture's pose.
        scene: [G, G, 2] offsets in crop units, or None.
    """

    mesh: F64Array
    shape: F64Array
    scene: F32Array | None


def blend(a: Pose, b: Pose, share: float) -> Pose:
    """The pose between two of the same reference picture: ``a`` at 0, ``b`` at 1."""
    if share <= 0.0:
        return a
    if share >= 1.0:
        return b
    scene = None
    if a.scene is not None and b.scene is not None:
        scene = (1 - share) * a.scene + share * b.scene
    return Pose((1 - share) * a.mesh + share * b.mesh, (1 - share) * a.shape + share * b.shape, scene)
