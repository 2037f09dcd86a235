"""Training of the restorer: coded reference pictures back to what they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.data import Dataset

from facecodec.errors import ConfigError
from facecodec.generator import render
from facecodec.generator.adaptive import SIZE_MULTIPLE, AdaptiveGenerator
from facecodec.train.augment import ColourRange, draw_colours, to_planes
from facecodec.train.config import Stage, TrainConfig
from facecodec.train.losses import LossTerms, charbonnier
from facecodec.train.pack import Pack
from facecodec.train.task import Outcome, Task, Verdict, deep_loss
from facecodec.train.validate import Judge, mean_scores, named_scores, planes, spread
from facecodec.types import F32Array, U8Array


class RestoreBatch(NamedTuple):
    """Crops for training the post filter.

    Attributes:
        coded: [B, 3, h, h] in [0, 1].
        original: the same places before coding.
        q_idx: [B], how coarsely each was coded, 1 to 255.
    """

    coded: Tensor
    original: Tensor
    q_idx: Tensor


class RestoreSamples(Dataset[RestoreBatch]):
    """Random crops of coded stills and reference pictures, some turned over; item n is batch n.

    Args:
        packs: packed data sets.
        batch: crops of a batch, 1 or more.
        crop: their side in pixels; smaller pictures are left out.
        colour: how far colours are changed.
        seed: of everything drawn.

    Raises:
        ConfigError: a number is out of its range, or the packs hold no coded picture of that size.
    """

    def __init__(
        self,
        packs: Sequence[Pack],
        batch: int = 16,
        crop: int = 128,
        colour: ColourRange | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("batch", batch), ("crop", crop)):
            if value < 1:
                raise ConfigError(name, value, "at least 1")
        self._packs, self._batch, self._crop, self._seed = list(packs), batch, crop, seed
        self._colour = colour or ColourRange(gain=0.1, balance=0.03, offset=0.02, gamma=0.1)
        self._rows = [
            (pack, is_still, row)
            for pack in packs
            for is_still in (True, False)
            for row in _large_enough(pack, is_still, crop)
        ]
        if not self._rows:
            raise ConfigError(
                "packs", [str(pack.path) for pack in packs], f"with coded pictures of {crop} pixels"
            )

    def __getitem__(self, step: int) -> RestoreBatch:
        """Make batch ``step``. Raises MediaError where a picture of the pack is damaged."""
        pairs = [self._pair(np.random.default_rng((self._seed, step, slot))) for slot in range(self._batch)]
        return RestoreBatch(*(torch.stack(side) for side in zip(*pairs, strict=True)))

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        pack, is_still, row = self._rows[int(rng.integers(len(self._rows)))]
        record = pack.still(row) if is_still else pack.reference(row)
        side = len(record.coded)
        crop = self._crop
        y, x = rng.integers(0, side - crop + 1, 2)
        colours = draw_colours(rng, self._colour)
        turn = [axis for axis, turned in ((2, rng.random() < 0.5), (1, rng.random() < 0.25)) if turned]
        coded, original = (
            to_planes(picture[y : y + crop, x : x + crop], colours).flip(turn)
            for picture in (record.coded, record.original)
        )
        return coded, original, torch.tensor(float(record.q_idx))


def _large_enough(pack: Pack, is_still: bool, side: int) -> list[int]:
    """Rows of stills or reference pictures that are at least ``side`` pixels wide."""
    takes = pack.frame_take[pack.column("stills.frame")] if is_still else pack.reference_take
    sizes = np.array([take.size for take in pack.takes])[takes]
    return [int(row) for row in np.flatnonzero(sizes >= side)]


@torch.no_grad()
def restored(picture: U8Array, q_idx: int, model: AdaptiveGenerator) -> U8Array:
    """A decoded reference picture [S, S, 3], coded so coarsely, after the post filter.

    It is filtered at a size that the filter takes, and brought back.
    """
    fitting = render.to_planes(picture, SIZE_MULTIPLE, next(model.parameters()).device)[None]
    coarse = torch.tensor([q_idx], device=fitting.device)
    made = model.restorer(fitting.contiguous(memory_format=torch.channels_last), coarse)
    return np.asarray(render.to_pixels(made.float().clamp(0, 1), len(picture))[0])


class _Pair(NamedTuple):
    coded: U8Array
    original: U8Array
    mesh: F32Array
    q_idx: int


def _fixed_pairs(pack: Pack, count: int) -> list[_Pair]:
    """Coded pictures spread over a pack, always the same: reference pictures, or stills where none are."""
    total = pack.n_references or pack.n_stills
    pairs = []
    for row in spread(total, count):
        if pack.n_references:
            reference = pack.reference(row)
            pairs.append(_Pair(reference.coded, reference.original, reference.mesh, reference.q_idx))
        else:
            still = pack.still(row)
            mesh = pack.meshes([still.frame])[0]
            pairs.append(_Pair(still.coded, still.original, mesh, still.q_idx))
    return pairs


class RestoreTask(Task):
    """Trains ``AdaptiveGenerator.restorer``.

    Args:
        config: of the run.
        model: the generator.
        packs: training data.
        val: validation data, or None for no validation.

    Raises:
        WeightsError: a deep loss is wanted and its weights are not there.
    """

    prefix = "restorer."
    label_channels = 3

    def __init__(
        self, config: TrainConfig, model: AdaptiveGenerator, packs: Sequence[Pack], val: Pack | None
    ) -> None:
        self.config, self.model, self.packs = config, model, list(packs)
        model.requires_grad_(False)
        self.network: nn.Module = model.restorer.requires_grad_(True)
        self.deep = deep_loss(config, config.losses.lpips, config.losses.vgg)
        count = config.limits.validation_frames
        self.shown = _fixed_pairs(val, count) if val is not None and count else []
        self.judge: Judge | None = None

    def dataset(self, stage: Stage) -> Dataset[Any]:
        """Windows of coded pictures."""
        return RestoreSamples(self.packs, stage.batch, stage.window, seed=self.config.seed)

    def outcome(self, network: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """Filter the windows."""
        coded, original, q_idx = batch
        made = network(coded.contiguous(memory_format=torch.channels_last), q_idx).float()
        wanted = self.config.losses
        terms = LossTerms(pixel=charbonnier(made, original))
        if self.deep is not None:
            if wanted.lpips > 0:
                terms = terms._replace(lpips=self.deep.lpips(made, original).mean())
            if wanted.vgg > 0:
                terms = terms._replace(vgg=self.deep.vgg(made, original))
        # The discriminators see what was coded, at half the size, where those of the generator see labels.
        seen = functional.avg_pool2d(coded, 2)
        return Outcome(terms, made[:, None], original[:, None], seen[:, None])

    def validate(self, model: AdaptiveGenerator, tiles: int) -> Verdict:
        """Scores of filtered whole pictures, and of the coded ones for comparison."""
        if not self.shown:
            return Verdict([], [])
        if self.judge is None:
            self.judge = Judge(next(model.parameters()).device)
        before, after, rows = [], [], []
        places = spread(len(self.shown), tiles) if tiles else []
        for number, pair in enumerate(self.shown):
            made = restored(pair.coded, pair.q_idx, model)
            before.append(self.judge.score(pair.original, pair.coded, pair.mesh))
            after.append(self.judge.score(pair.original, made, pair.mesh))
            if number in places:
                source, coded, clean = map(planes, (pair.original, pair.coded, made))
                rows.append([source, coded, clean, ((clean - coded) * 4 + 0.5).clamp(0, 1)])
        values = named_scores("coded", mean_scores(before)) + named_scores("restored", mean_scores(after))
        return Verdict(values, rows)
