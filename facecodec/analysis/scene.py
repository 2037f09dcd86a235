"""Scene motion: what the encoder fits to the real motion of hair, shoulders, camera and background.

For every analysed frame the reference picture is first bent by the mesh and the scene points known so far;
dense optical flow (DIS, Kroeger et al., ECCV 2016) between the source and that picture says what is still
missing. Scene points are the weighted least-squares fit of the total displacement in the hat functions of their
grid. Weights say where the picture has structure to be displaced, and where the face does not cover the point.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.motion.scene import face_distance, scene_prior
from facecodec.types import F32Array, F64Array, U8Array

_FLOW_SIZE = 128
_SAMPLES = 32
_GRADIENT_FLOOR = 2.0
_GRADIENT_FULL = 12.0
_PULL = 0.6
"""Weight of the starting value in the fit, in samples."""
_COVERED, _CLEAR = 0.02, 0.12
"""Distances from the face, in face sizes, at which a place is covered by it and clear of it."""


@dataclass(frozen=True, slots=True)
class SceneFit:
    """Fitted scene motion of a run of frames.

    Attributes:
        scene: [T, G, G, 2] offsets in crop units.
        weight: [T, G, G, 2], how much each offset matters, 0 to 1.
    """

    scene: F64Array
    weight: F64Array


class SceneFitter:
    """Fits scene points against one reference picture.

    Args:
        generator: the mesh warp.
        state: its state for the decoded reference picture.
        reference: decoded reference picture, [S, S, 3] uint8.
        mesh: decoded reference mesh, [478, 3].
        grid: points a side.
    """

    def __init__(
        self, generator: WarpGenerator, state: ReferenceState, reference: U8Array, mesh: F64Array, grid: int
    ) -> None:
        self._generator, self._state, self._grid = generator, state, grid
        self._mesh = mesh
        self._reference = _luma(reference)
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow.setUseSpatialPropagation(True)
        step = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        self._hats = _hats(step, grid)

    def fit(self, pictures: list[U8Array], meshes: F64Array) -> SceneFit:
        """Fit consecutive analysed frames.

        Args:
            pictures: [S, S, 3] uint8 each, the source crops.
            meshes: [T, 478, 3], the decoded meshes.

        Returns:
            Offsets and weights.
        """
        prior = scene_prior(self._mesh, meshes, self._grid)
        open_ = self._clear(meshes)
        scenes, weights = [], []
        for t, picture in enumerate(pictures):
            scene, weight = self._fit_frame(_luma(picture), meshes[t], prior[t], open_[t])
            scenes.append(scene)
            weights.append(weight)
        return SceneFit(np.stack(scenes), np.stack(weights))

    def displacement(self, meshes: F64Array, scene: F64Array) -> F32Array:
        """Displacement fields [T, s, s, 2] in crop units that the decoder will use."""
        with torch.inference_mode():
            field = self._generator.motion_field(
                self._state,
                torch.from_numpy(meshes.astype(np.float32)),
                torch.from_numpy(scene.astype(np.float32)),
                _FLOW_SIZE,
            )
        return np.asarray(field.numpy() - _places(_FLOW_SIZE), np.float32)

    def error(self, pictures: list[U8Array], meshes: F64Array, scene: F64Array) -> F64Array:
        """Mean squared error of the bent reference against the source, luma at analysis size: [T]."""
        out = []
        for picture, shift in zip(pictures, self.displacement(meshes, scene), strict=True):
            difference = _luma(picture).astype(np.float32) - self._bend(shift)
            out.append(float((difference**2).mean()))
        return np.array(out)

    def pays(self, pictures: list[U8Array], meshes: F64Array, coded: F64Array, held: F64Array) -> bool:
        """Whether coded scene points show the sampled frames better than held ones."""
        pick = sorted({0, len(pictures) // 2, len(pictures) - 1})
        some = [pictures[i] for i in pick]
        return bool(self.error(some, meshes[pick], coded[pick]).sum() < self.error(some, meshes[pick], held[pick]).sum())

    def _bend(self, shift: F32Array) -> U8Array:
        look = (shift + _places(_FLOW_SIZE)) * _FLOW_SIZE - 0.5
        return np.asarray(
            cv2.remap(self._reference, look, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        )

    def _clear(self, meshes: F64Array) -> F64Array:
        """[T, s, s]: 0 where the face covers the picture, 1 away from it."""
        step = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        x, y = np.meshgrid(step, step)
        far = face_distance(meshes[:, :468, :2].astype(np.float64), np.stack([x.ravel(), y.ravel()], -1))
        share = np.clip((far - _COVERED) / (_CLEAR - _COVERED), 0.0, 1.0).reshape(-1, _SAMPLES, _SAMPLES)
        return np.asarray(share)

    def _fit_frame(
        self, current: U8Array, mesh: F64Array, start: F64Array, clear: F64Array
    ) -> tuple[F64Array, F64Array]:
        shift = self.displacement(mesh[None], start[None])[0]
        bent = self._bend(shift)
        flow = self._flow.calc(current, bent, None)
        here = _places(_FLOW_SIZE) * _FLOW_SIZE - 0.5 + flow
        total = (
            cv2.remap(shift, here.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            + flow / _FLOW_SIZE
        )
        residue = cv2.remap(bent, here.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        agree = 1.0 / (1.0 + (cv2.absdiff(current, residue).astype(np.float32) / 12.0) ** 2)
        shrink = _FLOW_SIZE // _SAMPLES
        total = _average(total, shrink)
        structure = _structure(current, shrink) * _average(agree, shrink)[..., None] * clear[..., None]
        return self._solve(total, structure, start, mesh)

    def _solve(self, total: F32Array, weight: F32Array, start: F64Array, mesh: F64Array) -> tuple[F64Array, F64Array]:
        grid = self._grid
        fixed, hats = self._basis(mesh)
        total = total - fixed
        scene, kept = np.zeros((grid, grid, 2)), np.zeros((grid, grid, 2))
        for axis in (0, 1):
            w, target = weight[..., axis].ravel(), total[..., axis].ravel().astype(np.float64)
            begin = start[..., axis].ravel()
            pull = np.full(grid * grid, _PULL)
            for _ in range(2):
                normal = hats.T @ (hats * w[:, None])
                solution = np.linalg.solve(
                    normal + np.diag(pull), hats.T @ (w * target) + pull * begin
                )
                miss = np.abs(target - hats @ solution) * 256.0
                w = weight[..., axis].ravel() / (1.0 + (miss / 2.0) ** 2)
            scene[..., axis] = solution.reshape(grid, grid)
            support = np.diag(normal) / np.maximum((hats**2).sum(0), 1.0)
            kept[..., axis] = np.clip(support * 2.0, 0.0, 1.0).reshape(grid, grid)
        return scene, kept


    def _basis(self, mesh: F64Array):
        from facecodec.generator import flow, raster
        g = self._generator
        with torch.inference_mode():
            m = torch.from_numpy(mesh.astype(np.float32))[None]
            at = m[:, g.controls, :2]
            motion = self._state.mesh[g.controls, :2] - at
            facing = raster.vertex_facing(m, g.triangles, 468)[:, g.controls]
            trust = flow.smooth_step(facing, -0.1, 0.2) * self._state.trust[g.controls]
            n = self._grid ** 2
            places = flow.grid_points(self._grid, m)[None]
            heard = g.scene_trust(m, self._grid).reshape(1, -1)
            values = torch.zeros(1, at.shape[1] + n, 2 + n)
            values[:, : at.shape[1], :2] = motion
            values[0, at.shape[1]:, 2:] = torch.eye(n)
            c = torch.cat([at, places], 1)
            w = flow.fit_spline(c, values, flow.stiffness(torch.cat([trust, heard], 1)))
            step = (torch.arange(_SAMPLES) + 0.5) / _SAMPLES
            y, x = torch.meshgrid(step, step, indexing="ij")
            out = flow.evaluate_spline(c, w, torch.stack([x, y], -1).reshape(-1, 2))[0].numpy().astype(np.float64)
        return out[:, :2].reshape(_SAMPLES, _SAMPLES, 2).astype(np.float32), out[:, 2:]


def _luma(rgb: U8Array) -> U8Array:
    small = cv2.resize(rgb, (_FLOW_SIZE, _FLOW_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def _places(size: int) -> F32Array:
    step = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(step, step)
    return np.stack([x, y], -1)


def _average(values: F32Array, factor: int) -> F32Array:
    height, width = values.shape[:2]
    return np.asarray(cv2.resize(values, (width // factor, height // factor), interpolation=cv2.INTER_AREA))


def _structure(gray: U8Array, shrink: int) -> F32Array:
    """[s, s, 2]: how much the picture changes along x and y, 0 to 1."""
    gx = cv2.Sobel(gray, cv2.CV_32F, 1, 0, scale=0.25)
    gy = cv2.Sobel(gray, cv2.CV_32F, 0, 1, scale=0.25)
    strength = np.sqrt(_average(np.stack([gx**2, gy**2], -1), shrink))
    return np.asarray(np.clip((strength - _GRADIENT_FLOOR) / (_GRADIENT_FULL - _GRADIENT_FLOOR), 0.002, 1.0))


def _hats(step: F64Array, grid: int) -> F64Array:
    """[s * s, G * G]: bilinear hat functions of the grid at sample places."""
    nodes = np.linspace(0.0, 1.0, grid)
    line = np.maximum(0.0, 1.0 - np.abs(step[:, None] - nodes[None]) * (grid - 1))
    return np.asarray(np.einsum("ai,bj->abij", line, line).reshape(len(step) ** 2, grid * grid))
