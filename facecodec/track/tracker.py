"""Tracking: the same face from picture to picture.

The detector runs at the start and after a loss only. Between, the square for the landmark network
comes from the landmarks of the picture before.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError
from facecodec.track.detector import Detection, FaceDetector, iou
from facecodec.track.landmarks import LandmarkModel, Roi, check_rgb, roi_from_eyes, roi_from_points
from facecodec.types import F32Array, KeypointSet, Landmarks, U8Array

MIN_SCORE = 0.5
"""Below this face score the face counts as lost."""
_SETTLED = 0.1
"""A square that the new landmarks would move or scale by more than this share is tried again."""
_MAX_REFINE = 3
_TILE_PERIOD = 8
"""While no face is known, tiles are searched in every one of this many pictures."""


class FaceTracker(Protocol):
    """What the encoder needs of a tracker."""

    @property
    def keypoint_set(self) -> KeypointSet:
        """Which points the tracker really sees."""

    def track(self, rgb: U8Array) -> Landmarks | None:
        """The face of the next picture, or None where there is none."""

    def reset(self) -> None:
        """Forget the face: the next picture starts a new stream."""


class MeshTracker:
    """Follows one face with the FaceLandmarker networks.

    The largest face is taken at the start. It is followed until it is lost; then the detected face
    that overlaps its last place is taken, else the largest.

    Args:
        threads: threads of one network run; 0 leaves the number to LiteRT.

    Raises:
        WeightsError: the model file is absent or damaged.
    """

    def __init__(self, threads: int = 0) -> None:
        self._detector = FaceDetector(threads)
        self._landmarks = LandmarkModel(threads)
        self.reset()

    @property
    def keypoint_set(self) -> KeypointSet:
        """The 478 points of the FaceLandmarker layout."""
        return KeypointSet.MESH_478

    def reset(self) -> None:
        """Forget the face: the next picture starts a new stream."""
        self._roi: Roi | None = None
        self._last_box: F32Array | None = None
        self._misses = 0

    def track(self, rgb: U8Array) -> Landmarks | None:
        """Find the face of the next picture.

        Args:
            rgb: [H, W, 3] uint8. The size may change between pictures, which loses the face.

        Returns:
            The landmarks in picture pixels, or None where no face is seen.

        Raises:
            ShapeError: ``rgb`` is not a picture.
        """
        check_rgb(rgb)
        found = self._settle(rgb, self._roi) if self._roi is not None else None
        if found is None:
            found = self._search(rgb)
        if found is None:
            self._roi = None
            self._misses += 1
            return None
        self._misses = 0
        self._roi = roi_from_points(found.points)
        self._last_box = _box(found.points)
        return found

    def _search(self, rgb: U8Array) -> Landmarks | None:
        """Detect, and take the best detection in which the landmark network sees a face too."""
        for detection in self._rank(self._detector.detect(rgb, tiles=self._misses % _TILE_PERIOD == 0)):
            found = self._settle(rgb, roi_from_eyes(detection.keypoints[:2], detection.box), start=True)
            if found is not None:
                return found
        return None

    def _rank(self, detections: list[Detection]) -> list[Detection]:
        """Detections over the last known face first, then by area, the largest first."""
        last = self._last_box

        def key(detection: Detection) -> tuple[float, float]:
            overlap = 0.0 if last is None else iou(last, detection.box)
            return (-overlap if overlap > 0.1 else 0.0, -detection.area)

        return sorted(detections, key=key)

    def _settle(self, rgb: U8Array, roi: Roi, *, start: bool = False) -> Landmarks | None:
        """Run the landmark network until its square agrees with its points."""
        for attempt in range(_MAX_REFINE):
            points, score = self._landmarks.run(rgb, roi)
            if score < MIN_SCORE:
                return None
            roi, before = roi_from_points(points), roi
            settled = _settled(before, roi)
            if settled and not (start and attempt == 0):
                break
        return Landmarks(points, score)


def _settled(before: Roi, after: Roi) -> bool:
    """Whether two squares are nearly the same."""
    shift = max(abs(after.cx - before.cx), abs(after.cy - before.cy)) / before.side
    turn = abs((after.angle - before.angle + np.pi) % (2 * np.pi) - np.pi)
    return bool(shift < _SETTLED and abs(after.side / before.side - 1) < _SETTLED and turn < 2 * _SETTLED)


def _box(points: F32Array) -> F32Array:
    """Box of the points: x, y, width, height."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return np.concatenate([low, high - low])


def make_tracker(
    name: str,
    *,
    threads: int = 0,
    device: str = "cpu",
    mean_mesh: npt.NDArray[np.floating] | None = None,
    basis: npt.NDArray[np.floating] | None = None,
    deviation: npt.NDArray[np.floating] | None = None,
) -> FaceTracker:
    """Make a tracker by name.

    Args:
        name: ``mesh`` (:class:`MeshTracker`) or ``face-alignment``
            (:class:`facecodec.track.alignment.FaceAlignmentTracker`).
        threads: of ``mesh``; 0 leaves the number to LiteRT.
        device: of ``face-alignment``, a torch device, or ``auto`` for CUDA where there is one.
        mean_mesh: [478, 3], for ``face-alignment``.
        basis: [K, 478, 3], for ``face-alignment``.
        deviation: [K] or None, for ``face-alignment``.

    Returns:
        The tracker.

    Raises:
        ConfigError: the name is unknown, or ``face-alignment`` lacks its mesh.
        WeightsError: the model's files are absent or damaged.
    """
    if name == "mesh":
        return MeshTracker(threads)
    if name != "face-alignment":
        raise ConfigError("tracker", name, "mesh, face-alignment")
    if mean_mesh is None or basis is None:
        raise ConfigError("mean_mesh, basis", None, "arrays, for the face-alignment tracker")
    from facecodec.track.alignment import FaceAlignmentTracker

    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return FaceAlignmentTracker(mean_mesh, basis, deviation, device=device)
