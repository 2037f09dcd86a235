"""Which eyes and mouths are worth sending beside a reference picture, and their patches."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch

from facecodec.analysis.likeness import RegionShown
from facecodec.bitstream import PaletteUnit, Place, StillCodec
from facecodec.bitstream.limits import PALETTE_SHAPES_MAX, PALETTE_SIDE_MAX
from facecodec.bitstream.palette import GRAIN, REGIONS, encode_shapes
from facecodec.config import QUALITY_DEFAULT, RatePoint
from facecodec.generator.model import WarpGenerator
from facecodec.generator.patches import patch_masks
from facecodec.generator.warp import warp
from facecodec.generator.workers import Workers
from facecodec.motion.expression import opening_forms, plain_shapes
from facecodec.motion.face import FaceMotion
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, quantise
from facecodec.refpic.buffer import Reference
from facecodec.refpic.intra import encode_still
from facecodec.refpic.palette import Rect, build_mosaic
from facecodec.types import F32Array, F64Array, U8Array

ALIGN = 8
"""Patches are made of blocks of so many pixels."""
QUALITY_DROP = 5
"""How much lower than the reference picture's the quality of patches is."""
STRIDE = 2
"""One frame in so many is looked at."""
LAGRANGE = 0.5
"""Squared error, summed over pixels and frames of a window, that a byte saves at the default quality."""
PIXELS_PER_BYTE = 52.0
QUALITY_PER_OCTAVE = 26.0
"""Steps in the quality of stills that double their bytes."""
SHAPE_BYTES = 14.0
UNIT_BYTES = 40.0
"""What entries are reckoned to cost."""
TURN = 0.35
"""Turn of the head from the reference picture, radians, at which a frame is worth nothing as a source."""
_ADVANCE, _RATE_EARLY, _RATE_LATE, _EARLY_S = 200.0, 80.0, 25.0, 10.0
"""Bytes that may be spent at once, and a second, first and later: 0.8 kbit/s over 10 s, 0.4 over 30."""
_PER_PICTURE = 400.0
"""Bytes more for each further reference picture: its palette begins empty."""


def allowance(seconds: float, rate: RatePoint, pictures: int = 1) -> float:
    """Bytes of palettes that a stream may have spent by a time, with so many reference pictures used."""
    usual = _PER_PICTURE * (pictures - 1)
    usual += _ADVANCE + _RATE_EARLY * min(seconds, _EARLY_S) + _RATE_LATE * max(seconds - _EARLY_S, 0.0)
    return usual * _growth(rate)


def _growth(rate: RatePoint) -> float:
    """Bytes of patches over those at the default quality."""
    return float(2.0 ** ((rate.ref_quality - QUALITY_DEFAULT) / QUALITY_PER_OCTAVE))


@dataclass(slots=True, eq=False)
class Scene:
    """Frames of a window that entries may be taken from, and that they shall serve.

    Attributes:
        pictures: crops, [S, S, 3] uint8 each.
        points: [T, 478, 3], their faces in crop units, smoothed: what motion is made of.
        seen: [T, 478, 3], the same as the tracker saw them.
    """

    pictures: list[U8Array]
    points: F32Array
    seen: F32Array


class _View(NamedTuple):
    """The reference picture bent to a shape.

    Attributes:
        mesh: the shape, [1, 478, 3].
        picture: [3, S, S].
        masks: of the regions, [3, S, S].
        triangles: of each pixel that a mask holds, [1, S, S]; -1 for the others.
        rows, columns: where those pixels lie.
    """

    mesh: torch.Tensor
    picture: torch.Tensor
    masks: F32Array
    triangles: torch.Tensor
    rows: slice
    columns: slice


class PaletteChooser:
    """Chooses entries for one reference picture.

    Args:
        warper: makes the motion fields.
        reference: the picture.
        motion: its motion.
        rate: quality of shapes and of patches, and what a byte has to gain.
        pool: threads that look at frames side by side.

    Attributes:
        reference: the picture.
        seen_pts: time of the last frame that has been looked at; None for none.
    """

    def __init__(
        self,
        warper: WarpGenerator,
        reference: Reference,
        motion: FaceMotion,
        rate: RatePoint,
        pool: Workers,
    ) -> None:
        self._pool = pool
        self._warper, self.reference, self._motion, self._qp = warper, reference, motion, rate.qp
        self._quality = max(0, rate.ref_quality - QUALITY_DROP)
        self._price = LAGRANGE * rate.price
        planes = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255
        self._state = warper.prepare(planes, torch.from_numpy(np.asarray(reference.mesh, np.float32)))
        mesh = np.asarray(reference.mesh, np.float64)
        self._own = self._view(mesh)
        self._rects = [_rect([mask]) for mask in self._own.masks]
        self._cost = [rect.width * rect.height / PIXELS_PER_BYTE * _growth(rate) for rect in self._rects]
        self._shown = [
            RegionShown(r, mesh, rect.width // 2 * (rect.height // 2) * 3)
            for r, rect in enumerate(self._rects)
        ]
        self.seen_pts: int | None = None

    def update(self, scene: Scene, budget: float) -> PaletteUnit | None:
        """Choose entries from a window; None where none pays.

        Args:
            scene: the window.
            budget: bytes that may be spent.
        """
        scene = Scene(scene.pictures[::STRIDE], scene.points[::STRIDE], scene.seen[::STRIDE])
        amplitudes = self._motion.fit(scene.seen)
        shapes = plain_shapes(self._motion, amplitudes)
        wanted = plain_shapes(self._motion, self._motion.fit(scene.points))
        textures = self._textures(scene)
        before = copy.deepcopy(self._shown)
        picks = self._pick(wanted, shapes, textures, _trust(amplitudes, self._motion), budget)
        self._shown = before
        while picks:
            unit, coded = self._code(scene, amplitudes, picks)
            size, reckoned = len(unit.still) + len(unit.shapes) + UNIT_BYTES / 2, self._bytes(picks)
            if size <= budget:
                for frame, shape, mask in zip(picks, coded, unit.regions, strict=True):
                    for region in range(REGIONS):
                        if mask >> region & 1:
                            self._shown[region].add(shape, textures[region][frame])
                return unit
            picks.popitem()
            while picks and self._bytes(picks) * size > budget * reckoned:
                picks.popitem()
        return None

    def _bytes(self, picks: dict[int, int]) -> float:
        """What a unit with these entries is reckoned to take."""
        patches = [cost for mask in picks.values() for r, cost in enumerate(self._cost) if mask >> r & 1]
        return UNIT_BYTES + SHAPE_BYTES * len(picks) + sum(patches)

    def _textures(self, scene: Scene) -> list[F32Array]:
        """What each region shows in the frames less what the reference picture shows, without shape."""
        frames = zip(scene.pictures, scene.seen, strict=True)
        rows = self._pool.map([partial(self._texture, picture, points) for picture, points in frames])
        return [np.stack(row) for row in zip(*rows, strict=True)]

    def _texture(self, picture: U8Array, points: F32Array) -> list[F32Array]:
        miss, masks = self._bend(picture, points, self._own)
        row = []
        for region, rect in enumerate(self._rects):
            texture = _without_light(miss, masks[region], rect) * 2
            small = cv2.resize(texture, (rect.width // 2, rect.height // 2), interpolation=cv2.INTER_AREA)
            row.append(np.asarray(small, np.float32).ravel())
        return row

    def _pick(
        self, wanted: F64Array, shapes: F64Array, textures: list[F32Array], trust: F64Array, budget: float
    ) -> dict[int, int]:
        """Frames that become entries, and their regions: greedily, by squared error saved for a byte."""
        picks: dict[int, int] = {}
        left = budget - UNIT_BYTES
        cost = np.array(self._cost)
        while len(picks) < PALETTE_SHAPES_MAX:
            gains = [self._shown[r].gains(wanted, shapes, textures[r]) for r in range(REGIONS)]
            profit = np.stack(gains, 1) * trust[:, None] - self._price * cost
            for frame, mask in picks.items():
                profit[frame, [r for r in range(REGIONS) if mask >> r & 1]] = -1.0
            chosen = profit > 0
            shape_cost = np.array([0.0 if t in picks else SHAPE_BYTES for t in range(len(shapes))])
            price = shape_cost + (chosen * cost).sum(1)
            total = np.maximum(profit, 0).sum(1) - self._price * shape_cost
            total[price > left] = -1.0
            best = int(total.argmax())
            if total[best] <= 0:
                break
            mask = sum(1 << r for r in range(REGIONS) if chosen[best, r])
            picks[best] = picks.get(best, 0) | mask
            left -= float(price[best])
            for r in range(REGIONS):
                if mask >> r & 1:
                    self._shown[r].add(shapes[best], textures[r][best])
        return picks

    def _code(
        self, scene: Scene, amplitudes: F64Array, picks: dict[int, int]
    ) -> tuple[PaletteUnit, F64Array]:
        """A unit with these entries, and their shapes as the decoder has them."""
        frames, regions = list(picks), list(picks.values())
        still = amplitudes[frames].copy()
        still[:, : still.shape[1] - len(self._motion.model.basis)] = 0
        nothing = np.zeros((2, still.shape[1]), np.int32)
        residuals = quantise(still, self._qp, nothing, True, forms=opening_forms())
        shapes = self._motion.apply(dequantise(reconstruct(residuals, nothing, True), self._qp))
        views = [self._view(shape) for shape in shapes]
        rects = {
            r: _rect([view.masks[r] for view, mask in zip(views, regions, strict=True) if mask >> r & 1])
            for r in range(REGIONS)
            if any(mask >> r & 1 for mask in regions)
        }
        patches = {}
        for i, frame in enumerate(frames):
            miss, masks = self._bend(scene.pictures[frame], scene.seen[frame], views[i])
            for r, rect in rects.items():
                if regions[i] >> r & 1:
                    patches[i, r] = _cut(miss, masks[r], rect)
        sizes = {r: (rect.width, rect.height) for r, rect in rects.items()}
        data = encode_still(build_mosaic(patches, regions, sizes), self._quality)
        places = tuple(Place(*(value // GRAIN for value in rect)) for rect in rects.values())
        unit = PaletteUnit(
            self.reference.ref_id,
            self._qp,
            tuple(regions),
            places,
            StillCodec.AV1,
            encode_shapes(residuals, len(self._motion.model.basis)),
            data,
        )
        return unit, shapes

    @torch.inference_mode()
    def _view(self, shape: F64Array) -> _View:
        """The reference picture bent to a shape [478, 3]."""
        size = self.reference.picture.shape[0]
        mesh = torch.from_numpy(shape.astype(np.float32))[None]
        masks = patch_masks(self._warper, mesh, size)[0]
        triangles = torch.where(masks.amax(0) > 0, self._warper.winners(mesh, size), -1)
        field = self._warper.face_field(self._state, mesh, size, triangles)
        bent = warp(self._state.picture, field)[0].clamp(0, 1)
        rows, columns = (_span((triangles[0] >= 0).any(axis).numpy()) for axis in (1, 0))
        return _View(mesh, bent, masks.numpy(), triangles, rows, columns)

    @torch.inference_mode()
    def _bend(self, picture: U8Array, points: F32Array, view: _View) -> tuple[F32Array, F32Array]:
        """How a frame in the reference picture's pose differs from it, [S, S, 3], and the masks [3, S, S].

        The difference is 0 away from the regions.
        """
        planes = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        state = self._warper.prepare(planes, torch.from_numpy(np.asarray(points, np.float32)))
        field = self._warper.face_field(state, view.mesh, len(picture), view.triangles)
        rows, columns = view.rows, view.columns
        bent = warp(state.picture, field[:, rows, columns])[0].clamp(0, 1)
        miss = torch.zeros_like(view.picture)
        miss[:, rows, columns] = bent - view.picture[:, rows, columns]
        return miss.permute(1, 2, 0).numpy(), view.masks


def _rect(masks: Sequence[F32Array]) -> Rect:
    """Where a region lies in pictures with all these masks [S, S], in whole blocks."""
    shown = np.max(masks, 0) > 0.02
    spans = []
    for axis in (0, 1):
        there = _span(shown.any(axis))
        low, high = (there.start, there.stop) if there.stop else (0, ALIGN)
        length = min(-(-(high - low) // ALIGN) * ALIGN, GRAIN * PALETTE_SIDE_MAX)
        start = (low + high - length) // 2 // GRAIN * GRAIN
        if start + length < high:
            start += GRAIN
        spans.append((min(max(start, 0), 255 * GRAIN), length))
    (x, width), (y, height) = spans
    return Rect(x, y, width, height)


def _span(held: np.ndarray) -> slice:
    """From the first to the last place of [N] that is held; empty if none is."""
    there = np.flatnonzero(held)
    return slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)


def _trust(amplitudes: F64Array, motion: FaceMotion) -> F64Array:
    """How good frames are as sources, [T]: 1 in the reference picture's attitude, 0 turned away from it."""
    pose = amplitudes[:, :6] / motion.pose_scale()
    turn = np.abs(pose[:, 4:6]).max(1) / TURN
    return np.asarray(np.clip(1.0 - turn**2, 0.0, 1.0))


def _cut(miss: F32Array, mask: F32Array, rect: Rect) -> U8Array:
    """A patch: half the difference plus 128."""
    return np.asarray(np.rint(np.clip(_without_light(miss, mask, rect) * 127.5 + 128, 0, 255)), np.uint8)


def _without_light(miss: F32Array, mask: F32Array, rect: Rect) -> F32Array:
    """A difference [S, S, 3] in a rectangle, less the plane that is nearest to its rim; faded out."""
    height, width = miss.shape[:2]
    ys = np.clip(np.arange(rect.y, rect.y + rect.height), 0, height - 1)
    xs = np.clip(np.arange(rect.x, rect.x + rect.width), 0, width - 1)
    patch, share = miss[np.ix_(ys, xs)], mask[np.ix_(ys, xs)]
    y, x = np.mgrid[: rect.height, : rect.width]
    axes = np.stack([np.ones_like(x), x / rect.width - 0.5, y / rect.height - 0.5], -1).reshape(-1, 3)
    rim = (share * (1 - share)).reshape(-1, 1)
    normal = (axes * rim).T @ axes + np.diag([1e-3, 1.0, 1.0]) * max(float(rim.sum()), 1e-3) * 0.02
    plane = np.linalg.solve(normal, (axes * rim).T @ patch.reshape(-1, 3))
    patch = (patch - (axes @ plane).reshape(patch.shape)) * np.clip(share / 0.25, 0, 1)[..., None]
    return np.asarray(patch, np.float32)


__all__ = ["PaletteChooser", "Scene", "allowance"]
