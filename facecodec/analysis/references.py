"""Which reference picture a group is made from: the one in use, one from the buffer, or a new one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.refpic.appearance import BETTER, DOUBTFUL, PATIENCE, STALE, patch_distance
from facecodec.refpic.buffer import Reference, ReferenceBuffer
from facecodec.refpic.policy import MIN_FRAMES, REUSE_TURN, frame_costs, inside, resized, serves
from facecodec.refpic.predicted import CodedPicture
from facecodec.track.crop import choose_crop, face_box
from facecodec.track.quality import sharpness
from facecodec.types import CropTransform, F32Array, Frame

_CHOICE = 5
"""Frames that may become a picture that is needed,"""
_WORSE = 0.3
"""by whose costs they are worse than the best one at most,"""
_APART = 4
"""and frames between two of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A frame that is to become a reference picture.

    Attributes:
        frame: the picture.
        points: [478, 3], its face in picture pixels, smoothed.
        patch: how the face looks, [48, 48].
        crop: the square to code.
        coded: the square as coded when it was tried (``realtime``), or None.
    """

    frame: Frame
    points: F32Array
    patch: F32Array
    crop: CropTransform
    coded: CodedPicture | None = None


class ReferenceChooser:
    """Decides from the window what the next group is made from.

    Args:
        window: the frames that wait.
        buffer: the reference pictures that the decoder holds.
        reach: frames of the window that may be looked at.
        size: largest coded size.
        intra_period: frames between reference pictures at most, 0 for no bound.
    """

    def __init__(
        self, window: TrackWindow, buffer: ReferenceBuffer, reach: int, size: int, intra_period: int
    ) -> None:
        self._window, self._buffer, self._reach = window, buffer, reach
        self._size, self._intra_period = size, intra_period
        self._patches: dict[int, F32Array] = {}
        self._doubt = 0

    def keep(self, reference: Reference, patch: F32Array) -> None:
        """Remember how the face of a new reference picture looks."""
        self._patches[reference.ref_id] = patch
        self._doubt = 0

    def still_serves(self, active: Reference, frames: int, items: list[Tracked], points: F32Array) -> bool:
        """Whether the next group can be made from the reference picture in use.

        Args:
            active: the reference picture in use.
            frames: frames made from it so far.
            items: the group.
            points: [n, 478, 3], its faces in picture pixels.
        """
        if all(item.landmarks is None for item in items):
            return True
        if items[0].is_cut or (self._intra_period and frames >= self._intra_period):
            return False
        return frames < MIN_FRAMES or (serves(active, points) and not self._is_stale(active, items))

    def from_buffer(self, active: Reference, items: list[Tracked], points: F32Array) -> Reference | None:
        """A picture of the buffer that shows the group well, if there is one."""
        patches = _patches(items)
        for other in self._buffer.all():
            near = float(np.median(patch_distance(self._patches[other.ref_id], patches))) <= DOUBTFUL
            if (
                other is not active
                and other.crop == active.crop
                and near
                and serves(other, points, REUSE_TURN)
            ):
                return other
        return None

    def candidates(self, kept: CropTransform | None, coded_size: int | None) -> list[Candidate]:
        """Frames that may become a reference picture, of the window's up to the next cut: the best one first.

        Args:
            kept: square of the reference picture in use; it is kept while the faces stay inside.
            coded_size: the stream's coded size, once it is fixed.
        """
        ahead = self._window.first_cut(min(len(self._window), self._reach))
        points, valid = self._window.smoothed(ahead)
        items = self._window.frames(ahead)
        known = np.flatnonzero(valid)
        sharp = np.array([sharpness(items[i].frame.pixels, face_box(points[i])) for i in known])
        patches = _patches([items[i] for i in known])
        costs = frame_costs(points[known], sharp, patches)
        best = int(costs.argmin())
        frame = items[known[best]].frame
        crop = kept
        if crop is None or not inside(crop.to_crop(points[known])):
            height, width = frame.pixels.shape[:2]
            crop = choose_crop(points[known], best, width, height, self._size)
            crop = crop if coded_size is None else resized(crop, coded_size)
        picked = [best]
        for i in np.argsort(costs, kind="stable").tolist():
            if len(picked) == _CHOICE or costs[i] > costs[best] + _WORSE:
                break
            if min(abs(known[i] - known[other]) for other in picked) >= _APART:
                picked.append(i)
        return [Candidate(items[known[i]].frame, points[known[i]], patches[i], crop) for i in picked]

    def _is_stale(self, active: Reference, items: list[Tracked]) -> bool:
        """Whether the faces look otherwise than the reference picture, and a frame ahead does better."""
        patches = _patches(items)
        distance = float(np.median(patch_distance(self._patches[active.ref_id], patches)))
        self._doubt = self._doubt + len(items) if distance > DOUBTFUL else 0
        if distance <= STALE and self._doubt < PATIENCE:
            return False
        ahead = self._window.first_cut(min(len(self._window), self._reach))
        others = _patches(self._window.frames(ahead))
        nearest = min(float(np.median(patch_distance(other, patches))) for other in others)
        return nearest < BETTER * distance


def _patches(items: list[Tracked]) -> F32Array:
    """Patches of the frames that hold a face: [T, 48, 48]."""
    return np.stack([item.patch for item in items if item.patch is not None])
