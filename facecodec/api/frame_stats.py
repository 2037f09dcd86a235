"""One line for every coded frame: the stats file, and its sums.

A line holds ``pts``, ``time_s``, ``type``, ``ref_id``, ``bits`` (sum of ``face_bits`` and ``scene_bits``),
``qp``, ``rms_px`` and ``held``; and how far the frame is from its source, 0 (equal) to 1, over the crop
(``distance``) and in the boxes around eyes and mouth (``distance_eyes``, ``distance_mouth``): by decoding and
comparing it where ``measured`` is true, else foretold. What is not known of a frame without a face is null.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import IO

from facecodec.local_decoder import FrameQuality
from facecodec.monitor import FrameStats


class Tally:
    """Sums the figures of coded frames, and writes them to the stats file.

    Args:
        time_base: seconds of a tick.
        qp: quantisation parameter of motion.
        lines: the stats file, if there is one.

    Attributes:
        face: bits of face motion.
        scene: bits of scene motion.
        squares: sum of the squares of the frames' ``rms_px``.
        frames: frames so far.
        held: frames in which the face was lost.
        tracked: the others.
    """

    def __init__(self, time_base: Fraction, qp: int, lines: IO[str] | None) -> None:
        self._base, self._qp, self._lines = time_base, qp, lines
        self.face = self.scene = self.squares = 0.0
        self.frames = self.held = self.tracked = 0

    def add(self, stats: FrameStats) -> None:
        """Take in a frame."""
        self.frames += 1
        self.face += stats.face_bits
        self.scene += stats.scene_bits
        self.held += stats.held
        if not stats.held:
            self.tracked += 1
            self.squares += stats.rms_px**2
        if self._lines is not None:
            row = {
                "pts": stats.pts,
                "time_s": round(float(stats.pts * self._base), 6),
                "type": "motion",
                "ref_id": stats.ref_id,
                "bits": round(stats.face_bits + stats.scene_bits, 2),
                "face_bits": round(stats.face_bits, 2),
                "scene_bits": round(stats.scene_bits, 2),
                "qp": self._qp,
                "rms_px": None if stats.held else round(stats.rms_px, 4),
                "held": stats.held,
                **_quality_fields(stats.quality),
            }
            self._lines.write(json.dumps(row) + "\n")


def _quality_fields(quality: FrameQuality | None) -> dict[str, object]:
    """How good a frame is, for the stats file."""
    whole, eyes, mouth = quality.distances if quality is not None else (None, None, None)
    figures = {"distance": whole, "distance_eyes": eyes, "distance_mouth": mouth}
    return {
        **{name: None if value is None else round(value, 5) for name, value in figures.items()},
        "measured": quality is not None and quality.measured,
    }
