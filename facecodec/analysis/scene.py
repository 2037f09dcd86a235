"""Scene motion: what the encoder fits to the real motion of hair, shoulders, camera and background.

For every analysed frame the reference picture is bent by the mesh and the prior of the scene points. Dense
optical flow (DIS, Kroeger et al., ECCV 2016) between the source and that picture says what is still missing;
scene points are its least-squares fit in the very spline that the decoder evaluates, and one Gauss-Newton
step on the picture difference follows (:mod:`facecodec.analysis.photometric`). Every second frame is
analysed; offsets between them are interpolated, and all are smoothed along time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch

from facecodec.analysis import photometric
from facecodec.analysis.photometric import ANALYSIS_SIZE, CELLS
from facecodec.errors import ShapeError
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.workers import Workers
from facecodec.motion.scene import SCENE_SCALE, face_distance, scene_prior
from facecodec.types import F32Array, F64Array, U8Array

_STRIDE = 2
_RUN = 4
"""Analysed frames of a job; the number of threads changes nothing."""
_SIGMA = 0.7
"""Standard deviation of the smoothing along time, frames."""
_MEMORY = 3
"""Frames of the run before that smoothing looks back at."""
_LIGHT = 0.6
"""Curvature that counts as nothing when offsets are averaged along time."""
_COVERED, _CLEAR = 0.0, 0.06
"""Distances from the face, in face sizes, at which a place is covered by it and clear of it."""
_FACE_WORTH = 4000.0
"""Squared gray levels, summed over 256 x 256 pixels, that weigh as a squared point of a face amplitude."""
_WEIGHT_LIMIT, _WEIGHT_FLOOR = 16.0, 1e-4


@dataclass(frozen=True, slots=True)
class SceneFit:
    """Fitted scene motion of a run of frames.

    Attributes:
        scene: [T, G, G, 2] offsets in crop units.
        weight: [T, G, G, 2], weight of the squared error of each amplitude in the quantiser's choice,
            where the face's amplitudes weigh one; zero where a point does nothing.
    """

    scene: F64Array
    weight: F64Array


class _Series(NamedTuple):
    """Offsets less prior [T, G, G, 2] in points and their curvature [T, G, G, 2]."""

    offset: F64Array
    curvature: F64Array


class SceneFitter:
    """Fits scene points against one reference picture.

    Args:
        generator: the mesh warp.
        state: its state for the decoded reference picture.
        reference: decoded reference picture, [S, S, 3] uint8.
        mesh: decoded reference mesh, [478, 3].
        grid: points a side, 5, 7 or 9.
        pool: threads that analyse frames side by side.
    """

    def __init__(
        self,
        generator: WarpGenerator,
        state: ReferenceState,
        reference: U8Array,
        mesh: F64Array,
        grid: int,
        pool: Workers,
    ) -> None:
        self._generator, self._state, self._grid = generator, state, grid
        self._mesh = mesh
        self._reference = photometric.luma(reference)
        self._pool = pool
        self._flows: list[cv2.DISOpticalFlow] = []
        self._places = photometric.places(ANALYSIS_SIZE)
        self._cells = photometric.places(CELLS).reshape(-1, 2).astype(np.float64)
        self._before: _Series | None = None

    def fit(self, pictures: list[U8Array], meshes: F64Array) -> SceneFit:
        """Fit a run of frames that follows the run of the call before.

        Args:
            pictures: [S, S, 3] uint8 each, the source crops.
            meshes: [T, 478, 3], the decoded meshes, crop units.

        Returns:
            Offsets, smoothed along time, and weights.

        Raises:
            ShapeError: the numbers of pictures and meshes differ, or there are none.
        """
        count = len(pictures)
        if count == 0 or len(meshes) != count:
            raise ShapeError("meshes", f"[{max(count, 1)}, 478, 3]", tuple(meshes.shape))
        chosen = list(range(count - 1, -1, -_STRIDE))[::-1]
        if self._before is None and chosen[0] != 0:
            chosen.insert(0, 0)
        found = self._analyse([photometric.luma(pictures[t]) for t in chosen], meshes[chosen])
        series = _fill(found, chosen, self._before)
        smooth = _smooth(series, count)
        self._before = _Series(series.offset[-_MEMORY:], series.curvature[-_MEMORY:])
        prior = scene_prior(self._mesh, meshes, self._grid)
        return SceneFit(prior + smooth.offset / 256.0, _weights(smooth.curvature))

    def pays(self, pictures: list[U8Array], meshes: F64Array, coded: F32Array, held: F32Array) -> bool:
        """Whether coded scene points bring the pictures of a group closer than held ones.

        Judged on the last frame, from which the group and the next are predicted.

        Args:
            pictures: [S, S, 3] uint8 each, the source crops.
            meshes: [T, 478, 3], the decoded meshes.
            coded: [T, G, G, 2], scene points as decoded from the fitted residuals.
            held: the same from residuals of zero.
        """
        if np.array_equal(coded, held):
            return True
        last = [pictures[-1]] * 2
        with_, without = self.error(last, np.repeat(meshes[-1:], 2, 0), np.stack([coded[-1], held[-1]]))
        return bool(with_ < without)

    def error(self, pictures: list[U8Array], meshes: F64Array, scene: F32Array | F64Array) -> F64Array:
        """Mean squared error of the bent reference against the source, luma at 128 x 128: [T].

        Args:
            pictures: [S, S, 3] uint8 each.
            meshes: [T, 478, 3].
            scene: [T, G, G, 2] offsets, crop units.
        """
        out = []
        for picture, field in zip(pictures, self._fields(meshes, scene), strict=True):
            bent = photometric.look(self._reference, field)
            difference = photometric.luma(picture).astype(np.float32) - bent
            out.append(float((difference**2).mean()))
        return np.array(out)

    def _fields(self, meshes: F64Array, scene: F32Array | F64Array) -> F32Array:
        """Where the decoder will look: [T, 128, 128, 2] crop units."""
        mesh, points = torch.from_numpy(meshes).float(), torch.from_numpy(scene).float()
        with torch.inference_mode():
            return np.asarray(self._generator.motion_field(self._state, mesh, points, ANALYSIS_SIZE).numpy())

    def _analyse(self, pictures: list[U8Array], meshes: F64Array) -> _Series:
        starts = range(0, len(pictures), _RUN)
        self._flows += [_dense_flow() for _ in range(len(starts) - len(self._flows))]
        ends = [start + _RUN for start in starts]
        parts = zip(self._flows, starts, ends, strict=False)
        runs = self._pool.map([partial(self._part, dis, pictures[i:j], meshes[i:j]) for dis, i, j in parts])
        return _Series(*(np.concatenate(part) for part in zip(*runs, strict=True)))

    @torch.inference_mode()
    def _part(self, dis: cv2.DISOpticalFlow, pictures: list[U8Array], meshes: F64Array) -> _Series:
        """What a run of frames says; each has a dense flow of its own, which is not safe to share."""
        fields = self._fields(meshes, scene_prior(self._mesh, meshes, self._grid))
        mesh = torch.from_numpy(meshes).float()
        bases = self._generator.scene_basis(self._state, mesh, self._grid, CELLS)
        each = zip(pictures, fields, bases, self._clear(meshes), strict=True)
        frames = [self._frame(dis, *frame) for frame in each]
        shape = (len(frames), self._grid, self._grid, 2)
        parts = (np.stack(part).astype(np.float64) for part in zip(*frames, strict=True))
        return _Series(*(part.reshape(shape) for part in parts))

    def _frame(
        self, dis: cv2.DISOpticalFlow, current: U8Array, field: F32Array, basis: torch.Tensor, clear: F32Array
    ) -> tuple[F32Array, F32Array]:
        """Offsets less prior [n, 2] in points, and curvature [n, 2]."""
        bent = photometric.look(self._reference, field)
        flow = dis.calc(current, bent, None)
        flowed = photometric.look(field, self._places + flow / np.float32(ANALYSIS_SIZE))
        wanted = (flowed - field) * np.float32(256.0)
        tensors = photometric.from_flow(current, photometric.look(self._reference, flowed), wanted)
        zero = np.zeros((CELLS * CELLS, 2), np.float32)
        average = cv2.resize(wanted, (CELLS, CELLS), interpolation=cv2.INTER_AREA).reshape(-1, 2)
        offset, _ = photometric.solve(basis, tensors, clear, average, zero)
        moved = (basis @ torch.from_numpy(offset)).numpy()
        field = field + photometric.enlarge(moved.reshape(CELLS, CELLS, 2)) / np.float32(256.0)
        tensors = photometric.from_difference(current, photometric.look(self._reference, field))
        return photometric.solve(basis, tensors, clear, moved, moved)

    def _clear(self, meshes: F64Array) -> F32Array:
        """[T, C * C]: 0 where the face covers the picture, 1 away from it."""
        far = face_distance(meshes[:, :468, :2].astype(np.float64), self._cells)
        return np.clip((far - _COVERED) / (_CLEAR - _COVERED), 0.0, 1.0).astype(np.float32)


def _dense_flow() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _fill(found: _Series, chosen: list[int], before: _Series | None) -> _Series:
    """Every frame's values from those of the chosen frames, after those of the run before."""
    if before is not None:
        found = _Series(*(np.concatenate(pair) for pair in zip(before, found, strict=True)))
        chosen = [*range(-len(before.offset), 0), *chosen]
    place, frames = np.asarray(chosen), np.arange(chosen[0], chosen[-1] + 1)
    high = np.searchsorted(place, frames)
    low = np.maximum(high - 1, 0)
    share = ((frames - place[low]) / np.maximum(place[high] - place[low], 1))[:, None, None, None]
    return _Series(*(values[low] * (1 - share) + values[high] * share for values in found))


def _smooth(series: _Series, count: int) -> _Series:
    """The last ``count`` frames of a series, averaged along time by curvature times a Gaussian."""
    frames = np.arange(len(series.offset))
    bell = np.exp(-0.5 * ((frames[:, None] - frames[None]) / _SIGMA) ** 2)[-count:]
    weight = series.curvature + _LIGHT
    total = np.tensordot(bell, weight, 1)
    offset = np.tensordot(bell, weight * series.offset, 1) / total
    return _Series(offset, np.tensordot(bell / bell.sum(1, keepdims=True), series.curvature, 1))


def _weights(curvature: F64Array) -> F64Array:
    """Curvature per squared point over cells to the quantiser's weights of amplitudes."""
    pixels = (256 / CELLS) ** 2
    weight = curvature * (pixels / (SCENE_SCALE**2 * _FACE_WORTH))
    return np.asarray(np.where(weight < _WEIGHT_FLOOR, 0.0, np.minimum(weight, _WEIGHT_LIMIT)))
