"""What both ends of a stream remember of motion: where a group without reset goes on from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecodec.bitstream.level_contexts import LevelState
from facecodec.types import I32Array


@dataclass(frozen=True, slots=True, eq=False)
class MotionState:
    """The state behind a motion unit; encoder and decoder have the same.

    A call keeps several, so that a group can follow one that the receiver is known to hold. Nothing in it may
    be changed.

    Attributes:
        levels: models, and which channels moved.
        history: [2, C], values of the last two frames.
        qp: quantisation parameter that the values are in.
        pts: time of the last frame, in ticks.
    """

    levels: LevelState
    history: I32Array
    qp: int
    pts: int

    def same_as(self, other: MotionState) -> bool:
        """Whether both are the same state."""
        return ((self.qp, self.pts, self.levels) == (other.qp, other.pts, other.levels)) and np.array_equal(
            self.history, other.history
        )
