"""Training of the generator, the restorer left as it is: references and keypoints to frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from facecodec.generator.adaptive import AdaptiveGenerator, References, Synthesis
from facecodec.generator.embed import LABELS
from facecodec.train.collate import TrainingBatch
from facecodec.train.config import Stage, TrainConfig
from facecodec.train.identity import IdentityLoss
from facecodec.train.losses import (
    LossTerms,
    charbonnier,
    flow_cost,
    mask_cost,
    mask_entropy,
    temporal_difference,
)
from facecodec.train.pack import Pack
from facecodec.train.palettes import refitted
from facecodec.train.regions import cut_boxes, cut_windows, region_boxes, region_weights
from facecodec.train.samples import GeneratorSamples, SampleSettings
from facecodec.train.task import Outcome, Task, Verdict, deep_loss
from facecodec.train.validate import ClipJudge

_T = TypeVar("_T")


class Unrolled(nn.Module):
    """Makes the frames of a batch one after the other, each from the output before it.

    Args:
        model: the generator.
    """

    def __init__(self, model: AdaptiveGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TrainingBatch, window: int) -> list[Synthesis]:
        """One synthesis of all windows for each of the T frames.

        Args:
            batch: of B samples, with W windows each or none.
            window: side of the training windows; ignored where the batch has none.
        """
        references = self._restored(batch)
        change = (references.pictures - batch.references.pictures)[:, 0]
        adaptation = self.model.adapt(references)
        count = _windows_each(batch)
        adaptation, references = repeat(adaptation, count), repeat(references, count)
        made: list[Synthesis] = []
        for given in batch.frames:
            if given.patches is not None:
                given = given._replace(patches=refitted(given.patches, change, given.fields[:, 0]))
            frame = repeat(given, count)
            if made and frame.previous is not None:
                frame = frame._replace(previous=_shown(made[-1], frame.previous, batch.windows))
            made.append(self.model.synthesise(adaptation, references, frame, batch.windows, window))
        return made

    @torch.no_grad()
    def _restored(self, batch: TrainingBatch) -> References:
        """The references with the coded ones filtered."""
        flat = batch.references.pictures.flatten(0, 1)
        q_idx = batch.q_idx.flatten()
        coded = q_idx > 0
        if coded.any():
            filtered = self.model.restorer(flat[coded], q_idx[coded]).to(flat.dtype).clamp(0, 1)
            flat = flat.index_copy(0, torch.nonzero(coded).squeeze(1), filtered)
        return batch.references._replace(pictures=flat.reshape(batch.references.pictures.shape))


def _windows_each(batch: TrainingBatch) -> int:
    return 1 if batch.windows is None else len(batch.windows) // len(batch.q_idx)


def repeat(tensors: _T, count: int) -> _T:
    """Repeat the first dimension of the tensors of nested (named) tuples, the whole again and again."""
    if count == 1 or tensors is None or isinstance(tensors, bool):
        return tensors
    if isinstance(tensors, Tensor):
        return torch.cat([tensors] * count)  # type: ignore[return-value]
    each = [repeat(part, count) for part in tensors]  # type: ignore[attr-defined]
    return type(tensors)(*each) if hasattr(tensors, "_fields") else type(tensors)(each)  # type: ignore[call-arg]


def _shown(made: Synthesis, true: Tensor, windows: Tensor | None) -> Tensor:
    """The previous output; around a training window, where nothing was made, the true frame: [B, 3, S, S]."""
    picture = made.picture.detach().clamp(0, 1).to(true.dtype)
    if windows is None:
        return picture
    out, side = true.clone(), picture.shape[-1]
    for sample, (y, x) in enumerate(windows.tolist()):
        out[sample, :, y : y + side, x : x + side] = picture[sample]
    return out


class GeneratorTask(Task):
    """Trains all of an :class:`AdaptiveGenerator` but its restorer.

    Args:
        config: of the run.
        model: the generator.
        packs: training data.
        val: validation data, or None for no validation.

    Raises:
        WeightsError: a deep loss is wanted and its weights are not there.
    """

    prefix = ""
    label_channels = LABELS

    def __init__(
        self, config: TrainConfig, model: AdaptiveGenerator, packs: Sequence[Pack], val: Pack | None
    ) -> None:
        wanted = config.losses
        self.config, self.model, self.packs = config, model, list(packs)
        model.requires_grad_(True)
        model.restorer.requires_grad_(False)
        self.network: nn.Module = Unrolled(model)
        self.deep = deep_loss(config, wanted.lpips, wanted.vgg, wanted.region, wanted.region_lpips)
        self.identity = IdentityLoss() if wanted.identity > 0 else None
        count = config.limits.validation_frames
        self.judge = ClipJudge(val, count, config.sequential) if val is not None and count else None

    def to(self, device: torch.device) -> None:
        """Compute on a device."""
        super().to(device)
        if self.identity is not None:
            self.identity.to(device)

    def heavy(self) -> list[nn.Module]:
        """The networks, without the geometry between them."""
        model = self.model
        return [model.restorer, model.refine, model.hallucinate, model.weight_generator]

    def dataset(self, stage: Stage) -> Dataset[Any]:
        """Samples of the stage."""
        settings = SampleSettings(
            size=stage.size,
            window=0 if stage.window == stage.size else stage.window,
            windows=stage.windows,
            frames=stage.frames,
            references=stage.references,
            batch=stage.batch,
            previous=0.8 if self.config.sequential else 0.0,
            patches=self.config.patches,
            seed=self.config.seed,
        )
        return GeneratorSamples(self.packs, settings)

    def outcome(self, network: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """Make the frames and judge them."""
        given: TrainingBatch = batch
        if not self.config.sequential:
            frames = tuple(frame._replace(previous=None) for frame in given.frames)
            given = given._replace(frames=frames)
        made: list[Synthesis] = network(given, stage.window)
        meshes = torch.stack([frame.mesh for frame in given.frames], 1)
        labels = torch.stack([frame.label for frame in given.frames], 1)
        count = _windows_each(given)
        meshes, labels, targets = (repeat(each, count) for each in (meshes, labels, given.targets))
        weight = region_weights(meshes.flatten(0, 1), stage.size)
        weight = weight.reshape(*meshes.shape[:2], *weight.shape[1:])
        if given.windows is not None:
            targets = cut_windows(targets, given.windows, stage.window)
            weight = cut_windows(weight, given.windows, stage.window)
            labels = cut_windows(labels, given.windows // 2, stage.window // 2)
        joined = Synthesis(*(torch.stack(column, 1).flatten(0, 1) for column in zip(*made, strict=True)))
        terms = self._plain(joined, targets.flatten(0, 1), weight.flatten(0, 1))
        pictures = joined.picture.float().reshape(targets.shape)
        if self.config.losses.temporal > 0 and stage.frames > 1:
            terms = terms._replace(temporal=temporal_difference(pictures, targets, weight[:, 0]))
        if self.deep is not None:
            terms = self._deep_terms(terms, joined.picture, targets, meshes, given.windows, stage)
        if self.identity is not None and given.windows is None:
            identity = self.identity(joined.picture, targets.flatten(0, 1), meshes.flatten(0, 1))
            terms = terms._replace(identity=identity)
        return Outcome(terms, pictures, targets, labels)

    def _plain(self, made: Synthesis, target: Tensor, weight: Tensor) -> LossTerms:
        """Terms that need no network, of N pictures."""
        wanted = self.config.losses
        terms = LossTerms(pixel=charbonnier(made.picture, target, weight))
        if wanted.hallucinated > 0:
            terms = terms._replace(hallucinated=charbonnier(made.hallucinated, target, weight))
        if wanted.warped > 0:
            terms = terms._replace(warped=charbonnier(made.warped, target, weight))
        return terms._replace(
            mask=mask_cost(made.masks),
            entropy=mask_entropy(made.masks),
            flow=flow_cost(made.residual),
        )

    def _deep_terms(
        self,
        terms: LossTerms,
        made: Tensor,
        targets: Tensor,
        meshes: Tensor,
        windows: Tensor | None,
        stage: Stage,
    ) -> LossTerms:
        """The terms with those of LPIPS and VGG16."""
        assert self.deep is not None  # noqa: S101 - asked before
        wanted, deep, target = self.config.losses, self.deep, targets.flatten(0, 1)
        if wanted.lpips > 0:
            terms = terms._replace(lpips=deep.lpips(made, target).mean())
        if wanted.vgg > 0:
            terms = terms._replace(vgg=deep.vgg(made, target))
        if wanted.region > 0 or wanted.region_lpips > 0:
            frames = meshes.shape[1]
            corners = None if windows is None else windows.repeat_interleave(frames, 0)
            boxes = region_boxes(meshes.flatten(0, 1), stage.size, corners, stage.window)
            if len(boxes.sample):
                cut, true = cut_boxes(made, boxes), cut_boxes(target, boxes)
                lpips = deep.lpips(cut, true).mean()
                region = lpips + deep.vgg(cut, true) if wanted.vgg > 0 and wanted.region > 0 else lpips
                terms = terms._replace(region=region, region_lpips=lpips)
        return terms

    def validate(self, model: AdaptiveGenerator, tiles: int) -> Verdict:
        """Scores of frames as the decoder would show them, and of warp-0 for comparison."""
        if self.judge is None:
            return Verdict([], [])
        return self.judge.judge(model, tiles)
