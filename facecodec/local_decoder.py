"""The decoder in the encoder's loop: it follows the stream that is sent, and tells how good its frames are.

Levels, palettes and meshes are those of :class:`facecodec.motion_decoder.MotionDecoder`; pictures are made by
the generator ``warp-0``, which every viewer has, however the stream is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from facecodec.analysis.quality import Departure, Distances, departure, foretell, measure
from facecodec.bitstream import MotionUnit, PaletteUnit, QualityUnit, ReferenceUnit, StreamHeader
from facecodec.bitstream.quality import MEASURE_MS_SSIM, STEPS
from facecodec.config import Preset
from facecodec.generator.palette import RegionPatch
from facecodec.generator.render import StreamRenderer
from facecodec.generator.select import load_generator
from facecodec.generator.topology import load_topology
from facecodec.motion_decoder import DecodedMotion, MotionDecoder
from facecodec.refpic.appearance import face_patch, patch_distance
from facecodec.track.crop import crop_picture
from facecodec.types import F32Array, F64Array, Frame, U8Array

EVERY = 12
"""Frames from one that ``balanced`` measures to the next."""
SUSPICIOUS = 1.4
"""It also measures frames whose foretold distance is this many times that of those measured last,"""
SUSPECTS = 1
"""so many of them a group at most."""
CLEAR = 0.03
"""Distances below this arouse no suspicion."""
_FOLLOW = 0.3
"""Share by which the correction of foretold distances follows a new measurement."""


class Sources(NamedTuple):
    """What a group of T frames was made from.

    Attributes:
        pictures: T crops, [S, S, 3].
        patches: T small pictures of the face, None where it was lost.
        points: [T, 478, 3], the faces, crop units.
    """

    pictures: Sequence[U8Array]
    patches: Sequence[F32Array | None]
    points: F32Array


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """How good a frame is.

    Attributes:
        distances: of the decoded frame from its source.
        measured: the frame was decoded and compared; otherwise its distances are foretold.
        still: distances of the coded reference picture.
        departure: how far the frame has gone from it, as in :class:`Departure`.
    """

    distances: Distances
    measured: bool
    still: Distances
    departure: tuple[float, ...]


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of a reference picture.

    Attributes:
        patch: its face, small.
        still: distances of the coded picture from its source.
        correction: measured less foretold distances of the frames made from it, followed.
        level: greatest foretold distances among the frames measured last.
        frames: frames made from it.
        measured: how many of them were measured.
    """

    patch: F32Array
    still: Distances
    correction: F64Array
    level: F64Array
    frames: int = 0
    measured: int = 0


class LocalDecoder:
    """Follows the units of a stream.

    Args:
        preset: which frames are measured: every one (``best``), some (``balanced``), none (``realtime``).
        device: where pictures are made.
        threads: cores to use; 0 takes what the machine has.
    """

    def __init__(self, preset: Preset, device: torch.device, threads: int = 0) -> None:
        self._preset, self._device, self._threads = preset, device, threads
        self._motion: MotionDecoder | None = None
        self._renderer: StreamRenderer | None = None
        self._topology = load_topology()
        self._known: dict[int, _Known] = {}
        self._rows: list[Distances] = []
        self._measured = 0

    def start(self, header: StreamHeader) -> None:
        """Take the stream header."""
        self._motion = MotionDecoder(header)
        if self._preset != "realtime":
            generator = load_generator("warp-0", self._device)
            self._renderer = StreamRenderer(generator, self._device, self._threads)

    def take_palette(self, unit: PaletteUnit) -> None:
        """Take palette entries."""
        palette = self._running().take_palette(unit)
        if palette is not None and self._renderer is not None:
            patches = [RegionPatch(e.region, e.patch, e.rect, e.shape) for e in palette.entries]
            self._renderer.put_palette(unit.ref_id, patches)

    def take_reference(self, unit: ReferenceUnit, frame: Frame, points: F32Array) -> None:
        """Take a reference picture.

        Args:
            unit: the unit.
            frame: its source.
            points: [478, 3], the face in it, picture pixels.
        """
        reference = self._running().take_reference(unit)
        if self._renderer is not None:
            self._renderer.put(unit.ref_id, reference.picture, reference.mesh, reference.q_idx)
        source = crop_picture(frame.pixels, reference.crop)
        still = measure(source, reference.picture, reference.crop.to_crop(points))
        nothing = np.zeros(3)
        patch = face_patch(frame.pixels, points)
        self._known[unit.ref_id] = _Known(patch, still, nothing, np.array(still))

    def take_motion(self, unit: MotionUnit, sources: Sources | None) -> list[FrameQuality | None]:
        """Take a group.

        Args:
            unit: the unit.
            sources: what it was made from; None where that is not at hand.

        Returns:
            How good each frame is; None where the face was lost, or the source is not at hand.
        """
        motion = self._running().take_motion(unit)
        assert motion is not None  # noqa: S101  the encoder sends what can be decoded
        out: list[FrameQuality | None] = [None] * unit.n_frames
        seen = np.flatnonzero(~np.array(motion.held))
        if sources is None or not len(seen):
            return out
        known = self._known[unit.ref_id]
        gone = self._departure(motion, sources, known, seen)
        rows = foretell(known.still, gone)
        picked = self._choose(known, rows)
        found = self._measure(motion, sources, seen[picked])
        for place, value in zip(picked, found, strict=True):
            known.measured += 1
            share = max(_FOLLOW, 1 / known.measured)
            known.correction += share * (np.array(value) - rows[place] - known.correction)
        known.frames += len(seen)
        fixed = np.clip(rows + known.correction, 0.0, 1.0)
        real = dict(zip(picked.tolist(), found, strict=True))
        for place, index in enumerate(seen):
            value = real.get(place, Distances(*fixed[place].tolist()))
            self._rows.append(value)
            details = tuple(float(channel[place]) for channel in gone)
            out[index] = FrameQuality(value, place in real, known.still, details)
        self._measured += len(real)
        return out

    def summary(self) -> QualityUnit | None:
        """The figures of all frames; None where no face was seen."""
        if not self._rows:
            return None
        rows = np.array(self._rows)
        figures = (*rows.mean(0), np.quantile(rows[:, 0], 0.95))
        whole, eyes, mouth, worst = (round(float(value) * STEPS) for value in figures)
        return QualityUnit(MEASURE_MS_SSIM, len(rows), self._measured, whole, worst, eyes, mouth)

    def _running(self) -> MotionDecoder:
        assert self._motion is not None  # noqa: S101  the header comes first
        return self._motion

    def _departure(
        self, motion: DecodedMotion, sources: Sources, known: _Known, seen: np.ndarray
    ) -> Departure:
        """How far the frames in which a face was seen have gone from their reference picture."""
        decoder = self._running()
        patches = [sources.patches[i] for i in seen]
        looks = patch_distance(known.patch, np.stack([p for p in patches if p is not None]))
        return departure(
            self._topology,
            decoder.buffer.get(motion.ref_id).mesh,
            motion.meshes[seen],
            motion.shapes[seen],
            [(entry.region, entry.shape) for entry in decoder.palettes[motion.ref_id].entries],
            None if motion.scene is None else motion.scene[seen],
            looks,
        )

    def _choose(self, known: _Known, rows: F64Array) -> np.ndarray:
        """Which of the frames, with foretold distances [T, 3], are measured."""
        if self._preset == "realtime":
            return np.zeros(0, np.intp)
        if self._preset == "best":
            return np.arange(len(rows))
        picked = [t for t in range(len(rows)) if (known.frames + t) % EVERY == 0]
        if picked:
            known.level = rows[picked].max(0)
        doubt = (rows / np.maximum(known.level, CLEAR)).max(1)
        doubt[picked] = 0.0
        worst = np.argsort(-doubt, kind="stable")[:SUSPECTS]
        suspects = [int(t) for t in worst if doubt[t] > SUSPICIOUS]
        known.level = np.vstack([known.level, rows[suspects]]).max(0)
        return np.array(sorted({*picked, *suspects}), np.intp)

    def _measure(self, motion: DecodedMotion, sources: Sources, picked: np.ndarray) -> list[Distances]:
        """Make frames and compare them with their sources."""
        if self._renderer is None or not len(picked):
            return []
        scene = None if motion.scene is None else motion.scene[picked]
        weights = self._running().palette_weights(motion)
        shares = None if weights is None else weights[picked]
        pictures = self._renderer.render(motion.ref_id, motion.meshes[picked], scene, (), shares)
        return [
            measure(sources.pictures[i], picture, sources.points[i])
            for i, picture in zip(picked, pictures, strict=True)
        ]
