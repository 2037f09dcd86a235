"""Training of the restorer: coded reference pictures back to what they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.data import Dataset

from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.train.config import Stage, TrainConfig
from facecodec.train.losses import LossTerms, PerceptualLoss, charbonnier
from facecodec.train.pack import Pack
from facecodec.train.samples import RestoreSamples
from facecodec.train.task import Outcome, Task, Verdict
from facecodec.train.validate import Judge, mean_scores, planes, spread
from facecodec.types import F32Array, U8Array


class _Pair(NamedTuple):
    coded: U8Array
    original: U8Array
    mesh: F32Array


def _fixed_pairs(pack: Pack, count: int) -> list[_Pair]:
    """Coded pictures spread over a pack, always the same: reference pictures, or stills where none are."""
    total = pack.n_references or pack.n_stills
    pairs = []
    for row in spread(total, count):
        if pack.n_references:
            reference = pack.reference(row)
            pairs.append(_Pair(reference.coded, reference.original, reference.mesh))
        else:
            still = pack.still(row)
            pairs.append(_Pair(still.coded, still.original, pack.meshes([still.frame])[0]))
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
        wanted = config.losses
        self.deep = None
        if wanted.lpips > 0 or wanted.vgg > 0:
            dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
            self.deep = PerceptualLoss(config.vgg_levels, dtype)
        count = config.limits.validation_frames
        self.shown = _fixed_pairs(val, count) if val is not None and count else []
        self.judge = Judge() if self.shown else None

    def dataset(self, stage: Stage) -> Dataset[Any]:
        """Windows of coded pictures."""
        return RestoreSamples(self.packs, stage.batch, stage.window, seed=self.config.seed)

    def outcome(self, network: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """Filter the windows."""
        coded, original = batch
        made = network(coded.contiguous(memory_format=torch.channels_last)).float()
        wanted = self.config.losses
        terms = LossTerms(pixel=charbonnier(made, original))
        if self.deep is not None:
            self.deep.to(made.device)
            if wanted.lpips > 0:
                terms = terms._replace(lpips=self.deep.lpips(made, original).mean())
            if wanted.vgg > 0:
                count = math.ceil(len(made) * self.config.vgg_share)
                terms = terms._replace(vgg=self.deep.vgg(made[:count], original[:count]))
        # The discriminators see what was coded, at half the size, where those of the generator see labels.
        seen = functional.avg_pool2d(coded, 2)
        return Outcome(terms, made[:, None], original[:, None], seen[:, None])

    def validate(self, model: AdaptiveGenerator, tiles: int) -> Verdict:
        """Scores of filtered whole pictures, and of the coded ones for comparison."""
        if self.judge is None:
            return Verdict([], [])
        device = next(model.parameters()).device
        self.judge.to(device)
        before, after, rows = [], [], []
        places = spread(len(self.shown), tiles) if tiles else []
        for number, pair in enumerate(self.shown):
            coded, source = (planes(picture, device) for picture in (pair.coded, pair.original))
            made = model.restorer(coded[None].contiguous(memory_format=torch.channels_last))[0].clamp(0, 1)
            before.append(self.judge.score(source, coded, pair.mesh))
            after.append(self.judge.score(source, made, pair.mesh))
            if number in places:
                rows.append([source, coded, made, ((made - coded) * 4 + 0.5).clamp(0, 1)])
        return Verdict([*mean_scores("coded", before), *mean_scores("restored", after)], rows)
