"""The encoder of motion: points and pictures of a group in, one motion unit out.

The counterpart of :mod:`facecodec.motion_decoder`: whatever that reconstructs is known here too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facecodec.analysis.scene import SceneFitter
from facecodec.bitstream import MotionState, MotionUnit, StreamHeader
from facecodec.bitstream.levels import ChannelLayout, LevelState, count_levels, encode_levels
from facecodec.motion.expression import MESH_WEIGHT, opening_forms
from facecodec.motion.face import FaceMotion
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, quantise, rescale
from facecodec.motion.scene import amplitudes_to_scene, scene_prior, scene_to_amplitudes
from facecodec.refpic.buffer import Reference
from facecodec.types import F32Array, F64Array, I32Array, U8Array

RANDOM_ACCESS_S = 10.0
"""Seconds between random access points at most."""


class CodedFaces(NamedTuple):
    """Face motion of a group of T frames.

    Attributes:
        residuals: [T, C], what is coded.
        meshes: [T, 478, 3], the faces as the decoder will have them, crop units.
        rms_px: [T], RMS distance of their points from those that were asked for, in points.
    """

    residuals: I32Array
    meshes: F64Array
    rms_px: F64Array


class CodedGroup(NamedTuple):
    """A motion unit, and what it cost.

    Attributes:
        unit: the unit.
        face_bits: bits of face motion.
        scene_bits: bits of scene motion.
    """

    unit: MotionUnit
    face_bits: float
    scene_bits: float


class MotionEncoder:
    """Fits, quantises and codes motion against the reference picture in use.

    Args:
        deformations: channels of the face's deformation.
        scene_grid: scene points a side, 0 for none.
        qp: quantisation parameter.

    Attributes:
        layout: the stream's channels.
        qp: quantisation parameter of the groups to come; it may be changed between groups.
    """

    def __init__(self, deformations: int, scene_grid: int, qp: int) -> None:
        self.layout = ChannelLayout(deformations, scene_grid)
        self.qp = qp
        self._levels = LevelState(self.layout)
        self._history = np.zeros((2, self.layout.count), np.int32)
        self._history_qp = qp
        self._last_pts: int | None = None
        self._access_pts: int | None = None

    def start(self) -> None:
        """Begin anew: the next group is a random access point."""
        self._access_pts = None

    def state(self) -> MotionState | None:
        """The state behind the last group; None where the next one is a random access point."""
        if self._access_pts is None or self._last_pts is None:
            return None
        return MotionState(self._levels.copy(), self._history, self._history_qp, self._last_pts)

    def resume(self, state: MotionState) -> None:
        """Let the next group follow this state, whatever was coded since."""
        self._levels = state.levels.copy()
        self._history, self._history_qp = state.history, state.qp
        self._last_pts = self._access_pts = state.pts

    def resets(self, header: StreamHeader, pts: int) -> bool:
        """Whether the group at this time is a random access point."""
        if self._access_pts is None:
            return True
        return float((pts - self._access_pts) * header.time_base) >= RANDOM_ACCESS_S

    def code_faces(self, motion: FaceMotion, points: F32Array, valid: np.ndarray, reset: bool) -> CodedFaces:
        """Fit and quantise the face motion of a group.

        Args:
            motion: that of the reference picture.
            points: [T, 478, 3], crop units.
            valid: [T], where the face was seen; elsewhere errors do not count.
            reset: the group is a random access point.
        """
        history = self._known(reset)[:, : self.layout.face]
        amplitudes = motion.fit(points)
        weights = MESH_WEIGHT * np.repeat(valid[:, None], self.layout.face, axis=1)
        residuals = quantise(amplitudes, self.qp, history, reset, weights=weights, forms=opening_forms())
        meshes = motion.apply(dequantise(reconstruct(residuals, history, reset), self.qp))
        miss = (meshes[..., :2] - points[..., :2]) * 256.0
        return CodedFaces(residuals, meshes, np.sqrt((miss**2).sum(-1).mean(-1)))

    def code_scene(
        self,
        fitter: SceneFitter,
        reference: Reference,
        pictures: list[U8Array],
        meshes: F64Array,
        valid: np.ndarray,
        reset: bool,
    ) -> I32Array:
        """Fit and quantise the scene motion of a group: residuals, [T, channels].

        Args:
            fitter: that of the reference picture.
            reference: the picture.
            pictures: T crops.
            meshes: [T, 478, 3], the faces as decoded.
            valid: [T], where the face was seen.
            reset: the group is a random access point.
        """
        qp, grid, history = self.qp, self.layout.scene_grid, self._known(reset)[:, self.layout.face :]
        prior = scene_prior(reference.mesh, meshes, grid)
        fit = fitter.fit(pictures, meshes)
        amplitudes = scene_to_amplitudes(fit.scene, prior)
        weights = fit.weight.reshape(len(meshes), -1) * valid.astype(np.float64)[:, None]
        residuals = quantise(amplitudes, qp, history, reset, weights=weights)
        still = np.zeros_like(residuals)
        coded, held = (
            amplitudes_to_scene(dequantise(reconstruct(r, history, reset), qp), prior)
            for r in (residuals, still)
        )
        return residuals if fitter.pays(pictures, meshes, coded, held) else still

    def pack(
        self, header: StreamHeader, ref_id: int, times: list[int], residuals: I32Array, held: list[bool]
    ) -> CodedGroup:
        """Entropy code a group and move the state on.

        Args:
            header: the stream's.
            ref_id: slot of the reference picture.
            times: of its frames, in ticks.
            residuals: [T, C].
            held: [T], where the face was lost.
        """
        reset = self.resets(header, times[0])
        face, scene = count_levels(self._levels.copy(), residuals, held, reset)
        data = encode_levels(self._levels, residuals, held, reset)
        history = self._known(reset)
        self._history = np.concatenate([history, reconstruct(residuals, history, reset)])[-2:]
        self._history_qp = self.qp
        first, deltas = MotionUnit.code_pts(header, times, None if reset else self._last_pts)
        if reset:
            self._access_pts = times[0]
        self._last_pts = times[-1]
        unit = MotionUnit(ref_id, self.qp, len(times), first, data, reset, deltas)
        return CodedGroup(unit, face / 256, scene / 256)

    def _known(self, reset: bool) -> I32Array:
        """Values that the next group is predicted from."""
        if reset:
            return np.zeros_like(self._history)
        return rescale(self._history, self._history_qp, self.qp)
