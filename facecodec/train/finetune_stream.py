"""Fitting to a stream: its reference pictures against each other, and against bent copies of each.

A bent copy shows the face in another attitude and expression, as far as a warp can; the network has it as
reference picture and is to give the true one back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.utils.data import Dataset

from facecodec.api.probe import walk
from facecodec.container.fcv import FcvReader
from facecodec.errors import BitstreamError
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.model import WarpGenerator
from facecodec.generator.render import to_pixels
from facecodec.motion.face import FaceMotion
from facecodec.motion_decoder import MotionDecoder
from facecodec.refpic.buffer import Reference
from facecodec.train.augment import ColourRange, draw_colours, draw_window, resized, to_planes
from facecodec.train.collate import Sample, TrainingBatch, collate
from facecodec.train.geometry import Geometry, View
from facecodec.train.restore_task import restored
from facecodec.train.validate import Shown, Trial, planes
from facecodec.types import CropTransform, F32Array, U8Array

_POSE = np.array([0.02, 0.02, 0.05, 0.08, 0.12, 0.18])
"""Spread of shift (crop units), log size, roll, pitch and yaw (radians) of bent copies."""
_DEFORMATION = 0.5
"""Spread of their deformations, of that over the training clips."""
_REAL_SHARE = 0.5
_COLOURS = ColourRange(gain=0.05, balance=0.02, offset=0.01, gamma=0.05)


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A reference picture of a stream.

    Attributes:
        picture: as decoded, [S, S, 3].
        clean: after the post filter, the same shape.
        mesh: [478, 3] float32, crop units.
        q_idx: how coarsely it was coded, 0 to 255.
        crop: where it was cut out.
    """

    picture: U8Array
    clean: U8Array
    mesh: F32Array
    q_idx: int
    crop: CropTransform


def read_stills(stream: Path, model: AdaptiveGenerator) -> list[Still]:
    """The reference pictures of a facecodec file, in order.

    Args:
        stream: the file.
        model: whose post filter cleans them.

    Raises:
        MediaError: the file cannot be opened.
        BitstreamError: it is no facecodec file, or holds no reference picture that can be read.
    """
    with FcvReader(stream) as reader:
        found = [item for item in walk(reader, MotionDecoder(reader.header)) if isinstance(item, Reference)]
    if not found:
        raise BitstreamError(f"{stream}: no reference picture can be read")
    return [
        Still(r.picture, restored(r.picture, r.q_idx, model), np.asarray(r.mesh, np.float32), r.q_idx, r.crop)
        for r in found
    ]


def bent(picture: Tensor, mesh: F32Array, rng: np.random.Generator) -> tuple[Tensor, F32Array]:
    """A copy of a picture whose face has moved at random.

    Args:
        picture: [3, S, S] in [0, 1].
        mesh: [478, 3], crop units.
        rng: where chance comes from.

    Returns:
        Picture, made at twice the size so that it is not blurred, and its mesh.
    """
    motion = FaceMotion(mesh)
    spread = motion.model.sigma * motion.radius * 256 * _DEFORMATION
    amplitudes = np.concatenate(
        [rng.normal(0, _POSE) * motion.pose_scale(), rng.normal(0, 1, len(spread)) * spread]
    )
    moved = motion.apply(amplitudes[None]).astype(np.float32)
    large = functional.interpolate(picture[None], scale_factor=2, mode="bicubic").clamp(0, 1)[0]
    warper = WarpGenerator().eval()
    with torch.no_grad():
        made = warper(warper.prepare(large, torch.from_numpy(mesh)), torch.from_numpy(moved))
    return functional.avg_pool2d(made, 2)[0], moved[0]


class SelfPairs(Dataset[TrainingBatch]):
    """Batches made from a stream's reference pictures; item n depends on the seed and on n alone.

    Args:
        stills: the reference pictures.
        size: side of the samples in pixels, a multiple of 16.
        window: side of the training windows.
        batch: samples of a batch.
        seed: of everything drawn.
    """

    def __init__(self, stills: list[Still], size: int, window: int, batch: int, seed: int) -> None:
        self._stills, self._size, self._window = stills, size, window
        self._batch, self._seed = batch, seed
        self._geometry = Geometry(size)

    def __getitem__(self, step: int) -> TrainingBatch:
        """Make batch ``step``."""
        samples = [
            self._sample(np.random.default_rng((self._seed, step, slot))) for slot in range(self._batch)
        ]
        return collate(samples, self._window < self._size)

    def _sample(self, rng: np.random.Generator) -> Sample:
        shown = self._stills[int(rng.integers(len(self._stills)))]
        others = [each for each in self._stills if each is not shown and each.crop == shown.crop]
        colours = draw_colours(rng, _COLOURS)
        target = self._planes(shown.clean, colours)
        if others and rng.random() < _REAL_SHARE:
            other = others[int(rng.integers(len(others)))]
            reference, mesh = self._planes(other.clean, colours), other.mesh
        else:
            reference, mesh = bent(target, shown.mesh, rng)
        now, geometry = shown.mesh[None], self._geometry
        fields = geometry.fields(View(mesh, None), now)
        place = geometry.fields(View(mesh, None), mesh[None])
        return Sample(
            pictures=reference[None],
            reference_labels=geometry.labels(mesh[None]),
            reference_meshes=torch.from_numpy(mesh[None]),
            q_idx=torch.zeros(1),
            meshes=torch.from_numpy(now),
            labels=geometry.labels(now),
            fields=fields[:, None],
            previous=reference[None],
            previous_fields=place,
            previous_valid=torch.zeros(1),
            patches=None,
            targets=target[None],
            window=torch.tensor(draw_window(rng, now[0], self._size, self._window)),
        )

    def _planes(self, picture: U8Array, colours: F32Array) -> Tensor:
        return to_planes(resized(picture, self._size), colours)


def bent_trials(stills: list[Still], count: int, seed: int) -> list[Trial]:
    """Trials that ask for true pictures from bent copies of them."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        still = stills[number % len(stills)]
        copy, mesh = bent(planes(still.picture), still.mesh, rng)
        shown = [Shown(still.clean, still.mesh, None)]
        trials.append(Trial(to_pixels(copy[None], len(still.picture))[0], mesh, shown, q_idx=still.q_idx))
    return trials


def real_trials(stills: list[Still], target: Still) -> list[Trial]:
    """Trials that ask for one reference picture from others of the same crop."""
    shown = Shown(target.clean, target.mesh, None)
    return [
        Trial(still.picture, still.mesh, [shown], q_idx=still.q_idx)
        for still in stills
        if still is not target and still.crop == target.crop
    ]
