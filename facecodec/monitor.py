"""What the encoder tells of its frames: what they cost, and how good they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from facecodec.bitstream import MotionUnit, PaletteUnit, QualityUnit, ReferenceUnit, StreamHeader
from facecodec.local_decoder import FrameQuality, LocalDecoder, Sources
from facecodec.types import F32Array, F64Array, Frame


@dataclass(frozen=True, slots=True)
class FrameStats:
    """What one coded frame cost, and how near it came.

    Attributes:
        pts: time in ticks.
        ref_id: reference picture it is made from.
        face_bits: bits of face motion (an even share of its group).
        scene_bits: bits of scene motion (likewise).
        rms_px: RMS distance of the 478 decoded points from the smoothed track, in points.
        held: the face was lost in this frame.
        quality: how good the frame is; None where the face was lost.
    """

    pts: int
    ref_id: int
    face_bits: float
    scene_bits: float
    rms_px: float
    held: bool
    quality: FrameQuality | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GroupCost:
    """What a group of T frames cost.

    Attributes:
        times: of its frames, in ticks.
        held: frames in which the face was lost.
        rms_px: [T], see :class:`FrameStats`.
        face_bits: bits of face motion.
        scene_bits: bits of scene motion.
    """

    times: list[int]
    held: list[bool]
    rms_px: F64Array
    face_bits: float
    scene_bits: float


class QualityMonitor:
    """Hands units on to the local decoder, and figures of frames to who wants them.

    Args:
        decoder: follows the stream.
        on_frame: called with the figures of every frame, in order.
        timings: seconds of each group are added to its list ``quality``.
    """

    def __init__(
        self,
        decoder: LocalDecoder,
        on_frame: Callable[[FrameStats], None] | None,
        timings: dict[str, list[float]],
    ) -> None:
        self._decoder, self._on_frame = decoder, on_frame
        self._timings = timings.setdefault("quality", [])

    def start(self, header: StreamHeader) -> None:
        """Take the stream header."""
        self._decoder.start(header)

    def take_reference(self, unit: ReferenceUnit, frame: Frame, points: F32Array) -> None:
        """Take a reference picture; as :meth:`LocalDecoder.take_reference`."""
        self._decoder.take_reference(unit, frame, points)

    def take_palette(self, unit: PaletteUnit) -> None:
        """Take palette entries."""
        self._decoder.take_palette(unit)

    def take_motion(self, unit: MotionUnit, cost: GroupCost, sources: Sources | None) -> None:
        """Take a group, and tell its figures."""
        begin = time.perf_counter()
        found = self._decoder.take_motion(unit, sources)
        self._timings.append(time.perf_counter() - begin)
        if self._on_frame is None:
            return
        face, scene = cost.face_bits / unit.n_frames, cost.scene_bits / unit.n_frames
        for pts, error, held, quality in zip(cost.times, cost.rms_px, cost.held, found, strict=True):
            self._on_frame(FrameStats(pts, unit.ref_id, face, scene, float(error), held, quality))

    def finish(self) -> QualityUnit | None:
        """The figures of all frames; None where no face was seen."""
        return self._decoder.summary()


class NoMonitor(QualityMonitor):
    """Looks at nothing: for a call, whose groups do not follow each other in one chain."""

    def __init__(self) -> None:
        pass

    def start(self, header: StreamHeader) -> None:
        """Pass over the stream header."""

    def take_reference(self, unit: ReferenceUnit, frame: Frame, points: F32Array) -> None:
        """Pass over a reference picture."""

    def take_palette(self, unit: PaletteUnit) -> None:
        """Pass over palette entries."""

    def take_motion(self, unit: MotionUnit, cost: GroupCost, sources: Sources | None) -> None:
        """Pass over a group."""

    def finish(self) -> QualityUnit | None:
        """No figures."""
        return None
