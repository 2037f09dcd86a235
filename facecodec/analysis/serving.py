"""What reference pictures would show of frames: the mesh warp at coarse size, compared with the source.

Scene motion is not fitted for a picture that may not be sent: scene points stand at their prior, and dense
optical flow (DIS, Kroeger et al., ECCV 2016), averaged over the cells of their grid, stands for what fitting
would add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch

from facecodec.analysis import photometric
from facecodec.analysis.photometric import ANALYSIS_SIZE, CELLS
from facecodec.analysis.window import Tracked
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.metrics.multiscale import luma_distance
from facecodec.motion.scene import face_distance, scene_prior
from facecodec.refpic.buffer import Reference
from facecodec.refpic.policy import inside
from facecodec.track.crop import crop_picture
from facecodec.types import CropTransform, F32Array, F64Array, U8Array

STRIDE = 8
"""One frame in so many is looked at."""
_CLEAR = 0.06
"""Distance from the face, in face sizes, at which a place is clear of it."""
_SURFACE = 468
_CACHED = 1024
"""Distances that are kept: frames are looked at again from pictures that the decoder holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A frame that is looked at.

    Attributes:
        item: the frame.
        points: [478, 3], its face, picture pixels, smoothed.
        mesh: the same in units of a square.
        luma: [128, 128], the square.
        clear: [128, 128], 0 where the face covers the picture, 1 away from it.
    """

    item: Tracked
    points: F32Array
    mesh: F32Array
    luma: U8Array
    clear: F32Array


class _Known(NamedTuple):
    """A reference picture, what the warp made of it, and its luma, [128, 128]."""

    reference: Reference
    state: ReferenceState
    luma: U8Array


def take_samples(items: Sequence[Tracked], points: F32Array, crop: CropTransform) -> list[Sample]:
    """One frame in :data:`STRIDE` of a run, where it shows a face inside the square.

    Args:
        items: T frames.
        points: [T, 478, 3], their faces, picture pixels, smoothed.
        crop: the square.
    """
    samples = []
    cells = photometric.places(CELLS).reshape(-1, 2).astype(np.float64)
    for i in range(min(STRIDE, len(items)) // 2, len(items), STRIDE):
        mesh = crop.to_crop(points[i])
        if items[i].patch is not None and inside(mesh[None]):
            luma = photometric.luma(crop_picture(items[i].frame.pixels, crop))
            far = face_distance(mesh[None, :_SURFACE, :2].astype(np.float64), cells)
            share = np.clip(far / _CLEAR, 0.0, 1.0).astype(np.float32).reshape(CELLS, CELLS, 1)
            samples.append(Sample(items[i], points[i], mesh, luma, photometric.enlarge(share)))
    return samples


class CoarseViewer:
    """Shows frames from reference pictures at 128 x 128.

    Args:
        warper: the mesh warp.
        grid: scene points a side, 0 for none.
    """

    def __init__(self, warper: WarpGenerator, grid: int) -> None:
        self._warper, self._grid = warper, grid
        self._known: dict[int, _Known] = {}
        self._distances: dict[tuple[int, int, int], float] = {}
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._places = photometric.places(ANALYSIS_SIZE)

    def distances(self, reference: Reference, samples: Sequence[Sample]) -> F64Array:
        """How far frames made from a picture are from their sources, as in ``metrics/multiscale.py``.

        Args:
            reference: the picture.
            samples: T frames of its crop.

        Returns:
            [T], 0 (equal) to 1.
        """
        if len(self._distances) > _CACHED:
            self._distances.clear()
        by_key = {(reference.ref_id, reference.pts, s.item.frame.pts): s for s in samples}
        missing = {key: sample for key, sample in by_key.items() if key not in self._distances}
        if missing:
            found = self._measure(reference, list(missing.values()))
            self._distances.update(zip(missing, found, strict=True))
        return np.array([self._distances[key] for key in by_key])

    def _measure(self, reference: Reference, samples: Sequence[Sample]) -> list[float]:
        known, scene = self._prepared(reference), None
        meshes = np.stack([sample.mesh for sample in samples])
        if self._grid:
            scene = torch.from_numpy(scene_prior(reference.mesh, meshes, self._grid)).float()
        with torch.inference_mode():
            mesh = torch.from_numpy(meshes)
            fields = self._warper.motion_field(known.state, mesh, scene, ANALYSIS_SIZE).numpy()
        return [self._distance(known, s, f) for s, f in zip(samples, fields, strict=True)]

    def _distance(self, known: _Known, sample: Sample, field: F32Array) -> float:
        """Distance of a frame made by a motion field, [128, 128, 2]."""
        shown = photometric.look(known.luma, field)
        if self._grid:
            clear, cells = sample.clear[..., None], (self._grid, self._grid)
            flow = self._flow.calc(sample.luma, shown, None)
            moved = cv2.resize(flow * clear, cells, interpolation=cv2.INTER_AREA)
            share = cv2.resize(clear, cells, interpolation=cv2.INTER_AREA)[..., None]
            size = (ANALYSIS_SIZE, ANALYSIS_SIZE)
            smooth = cv2.resize(moved / (share + 0.05), size, interpolation=cv2.INTER_CUBIC) * clear
            at = self._places + smooth / np.float32(ANALYSIS_SIZE)
            shown = photometric.look(known.luma, photometric.look(field, at))
        return luma_distance(sample.luma, shown)

    def _prepared(self, reference: Reference) -> _Known:
        known = self._known.get(reference.ref_id)
        if known is None or known.reference is not reference:
            planes = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255.0
            with torch.inference_mode():
                state = self._warper.prepare(planes, torch.from_numpy(reference.mesh.astype(np.float32)))
                state = replace(state, picture=planes[:, :1, :1].clone())  # of 8 pictures, not needed again
            known = _Known(reference, state, photometric.luma(reference.picture))
            self._known[reference.ref_id] = known
        return known
