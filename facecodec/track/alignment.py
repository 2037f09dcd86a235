"""Adapter for the ``face-alignment`` package: s3fd detector and 2DFAN4, 68 points.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017.

What was run: the package fetches its weights from the internet at first use, and this adapter was
written where it could not. It has been run with the package's own code and network modules of the true
shapes filled with random weights, and with stand-ins that return known points. It has NOT been run with
the trained weights, so the quality of its tracks has not been measured.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from facecodec.errors import WeightsError
from facecodec.track.detector import iou
from facecodec.track.landmarks import check_rgb
from facecodec.track.lift import MeshLifter
from facecodec.types import F32Array, KeypointSet, Landmarks, U8Array

WEIGHT_FILES = ("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar")
MIN_SCORE = 0.2
"""Mean peak of the 68 heat maps under which the face counts as lost."""
_MIN_SIDE = 32
"""s3fd needs a few cells; smaller pictures hold no face."""


class FaceAlignmentTracker:
    """Follows one face with the ``face-alignment`` package.

    Both networks see every picture. The largest face is taken at the start, then the one that overlaps
    the last most.

    Args:
        mean_mesh: [478, 3], see :class:`facecodec.track.lift.MeshLifter`.
        basis: [K, 478, 3].
        deviation: [K] or None.
        device: ``cpu``, ``cuda`` or another torch device.

    Raises:
        WeightsError: the package or its weights are not there and cannot be fetched.
    """

    def __init__(
        self,
        mean_mesh: npt.NDArray[np.floating],
        basis: npt.NDArray[np.floating],
        deviation: npt.NDArray[np.floating] | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        self._lifter = MeshLifter(mean_mesh, basis, deviation)
        self._networks = _load_networks(device)
        self.reset()

    @property
    def keypoint_set(self) -> KeypointSet:
        """68 points, lifted onto the mesh."""
        return KeypointSet.DLIB_68

    def reset(self) -> None:
        """Forget the face: the next picture starts a new stream."""
        self._last_box: F32Array | None = None

    def track(self, rgb: U8Array) -> Landmarks | None:
        """Find the face of the next picture.

        Args:
            rgb: [H, W, 3] uint8.

        Returns:
            The 68 points lifted onto the mesh, picture pixels, or None where no face is seen. The score
            is the mean peak of the heat maps, 0 to 1.

        Raises:
            ShapeError: ``rgb`` is not a picture.
        """
        check_rgb(rgb)
        if min(rgb.shape[:2]) < _MIN_SIDE:
            return None
        corners = self._choose(self._networks.face_detector.detect_from_image(rgb.copy()))
        if corners is None:
            return None
        points, scores, _ = self._networks.get_landmarks_from_image(
            rgb, detected_faces=[[float(v) for v in corners]], return_landmark_score=True
        )
        score = min(max(float(np.asarray(scores[0]).mean()), 0.0), 1.0)
        if score < MIN_SCORE:
            return None
        self._last_box = _as_box(corners)
        # The package cuts positions down to whole pixels: half a pixel is what that takes on average.
        seen = np.asarray(points[0], np.float32)[:, :2] + np.float32(0.5)
        return Landmarks(self._lifter.lift(seen), score, KeypointSet.DLIB_68)

    def _choose(self, found: Any) -> F32Array | None:
        """The detection (x0, y0, x1, y1, score) to follow."""
        faces = [np.asarray(face, np.float32) for face in found]
        if not faces:
            return None
        last = self._last_box

        def key(face: F32Array) -> tuple[float, float]:
            box = _as_box(face)
            overlap = 0.0 if last is None else iou(last, box)
            return (overlap if overlap > 0.1 else 0.0, float(box[2] * box[3]))

        return max(faces, key=key)


def _as_box(corners: F32Array) -> F32Array:
    """Corners to x, y, width, height."""
    return np.concatenate([corners[:2], corners[2:4] - corners[:2]])


def _load_networks(device: str) -> Any:
    """The package's FaceAlignment object; every failure to get the weights becomes WeightsError."""
    try:
        import face_alignment
    except ImportError as err:
        raise WeightsError(f"the face-alignment package cannot be imported: {err}") from err
    try:
        return face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device=device,
            flip_input=False,
            face_detector="sfd",
            compile=False,
        )
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as err:
        reason = (str(err).splitlines() or [type(err).__name__])[0]
        home = os.environ.get("TORCH_HOME", "~/.cache/torch")
        raise WeightsError(
            f"face-alignment has no usable weights and could not fetch them ({reason}); put "
            f"{' and '.join(WEIGHT_FILES)} from https://www.adrianbulat.com/downloads/python-fan/ into "
            f"$TORCH_HOME/hub/checkpoints/ (here {home}/hub/checkpoints/), or use the mesh tracker"
        ) from err
