"""Which eyes and mouths are worth sending beside a reference picture, and their patches."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from facecodec.analysis.likeness import RegionShown
from facecodec.analysis.patches import PoseWarper, bounds, coded_patch, without_light
from facecodec.bitstream import PaletteUnit, Place, StillCodec
from facecodec.bitstream.limits import PALETTE_SHAPES_MAX
from facecodec.bitstream.palette import GRAIN, REGIONS, encode_shapes
from facecodec.config import QUALITY_DEFAULT, RatePoint
from facecodec.generator.model import WarpGenerator
from facecodec.generator.workers import Workers
from facecodec.motion.expression import opening_forms, plain_shapes
from facecodec.motion.face import FaceMotion
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, quantise
from facecodec.refpic.buffer import Reference
from facecodec.refpic.intra import encode_still
from facecodec.refpic.palette import build_mosaic
from facecodec.types import F32Array, F64Array, U8Array

QUALITY_DROP = 5
"""How much lower than the reference picture's the quality of patches is."""
STRIDE = 2
"""One frame in so many is looked at."""
LAGRANGE = 1.0
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
        self._warper, self.reference = PoseWarper(warper, reference), reference
        self._motion, self._qp = motion, rate.qp
        self._quality = max(0, rate.ref_quality - QUALITY_DROP)
        self._price = LAGRANGE * rate.price
        mesh = np.asarray(reference.mesh, np.float64)
        self._own = self._warper.shaped(mesh)
        self._rects = [bounds([mask]) for mask in self._own.masks]
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
        miss, masks = self._warper.difference(picture, points, self._own)
        row = []
        for region, rect in enumerate(self._rects):
            texture = without_light(miss, masks[region], rect) * 2
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
        views = [self._warper.shaped(shape) for shape in shapes]
        rects = {
            r: bounds([view.masks[r] for view, mask in zip(views, regions, strict=True) if mask >> r & 1])
            for r in range(REGIONS)
            if any(mask >> r & 1 for mask in regions)
        }
        patches = {}
        for i, frame in enumerate(frames):
            miss, masks = self._warper.difference(scene.pictures[frame], scene.seen[frame], views[i])
            for r, rect in rects.items():
                if regions[i] >> r & 1:
                    patches[i, r] = coded_patch(miss, masks[r], rect)
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


def _trust(amplitudes: F64Array, motion: FaceMotion) -> F64Array:
    """How good frames are as sources, [T]: 1 in the reference picture's attitude, 0 turned away from it."""
    pose = amplitudes[:, :6] / motion.pose_scale()
    turn = np.abs(pose[:, 4:6]).max(1) / TURN
    return np.asarray(np.clip(1.0 - turn**2, 0.0, 1.0))


__all__ = ["PaletteChooser", "Scene", "allowance"]
