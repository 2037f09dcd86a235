"""What the loop trains: one part of the generator, with its samples, its losses and its judge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.select import pick_device
from facecodec.train.config import Stage, TrainConfig
from facecodec.train.logs import Value
from facecodec.train.losses import LossTerms, PerceptualLoss


class Outcome(NamedTuple):
    """What a step made.

    Attributes:
        terms: losses, without those of the discriminators.
        made: [B, T, 3, h, w], T consecutive frames.
        real: what they should be, likewise.
        labels: label maps, [B, T, L, h / 2, w / 2].
    """

    terms: LossTerms
    made: Tensor
    real: Tensor
    labels: Tensor


class Verdict(NamedTuple):
    """Figures and pictures of a validation.

    Attributes:
        values: figures, in the order of the CSV file.
        rows: pictures [3, h, w] or masks [1, h, w] of some frames.
    """

    values: list[Value]
    rows: list[list[Tensor]]


class Task(ABC):
    """One part of the generator in training.

    Attributes:
        model: the whole generator.
        network: what the steps call; given to DistributedDataParallel.
        prefix: the part of the model whose weights are trained and shipped, as a prefix of their names.
        label_channels: channels of the label maps that the discriminators see.
        deep: deep features that the losses compare, or None.
    """

    model: AdaptiveGenerator
    network: nn.Module
    prefix: str
    label_channels: int
    deep: PerceptualLoss | None

    def to(self, device: torch.device) -> None:
        """Compute on a device."""
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.deep is not None:
            self.deep.to(device)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def heavy(self) -> list[nn.Module]:
        """The networks that ``torch.compile`` may take."""
        return [self.network]

    @abstractmethod
    def dataset(self, stage: Stage) -> Dataset[Any]:
        """Batches of a stage: item n is batch n, tuples of CPU tensors, the same every time."""

    @abstractmethod
    def outcome(self, network: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """Run ``network`` (the task's own, perhaps wrapped) on a batch and judge what it makes."""

    @abstractmethod
    def validate(self, model: AdaptiveGenerator, tiles: int) -> Verdict:
        """Judge a model by what the decoder would show, on fixed frames."""


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of nested (named) tuples to a device, without waiting.

    Integer tensors are places in pictures, which the processor reads: they stay, and so does None.
    """
    if isinstance(batch, Tensor):
        if not batch.is_floating_point():
            return batch
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(each, device) for each in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(each, device) for each in batch)
    return batch


def uses_bf16(config: TrainConfig, device: torch.device | None = None) -> bool:
    """Whether the networks of a run compute in bfloat16.

    Args:
        config: of the run. ``auto`` takes it on GPUs, and on processors that have instructions for it: others
            take three times as long with it as with float32.
        device: where they compute; None for where the config says.
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    if (device or pick_device(config.device)).type == "cuda":
        return True
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16"))


def deep_loss(config: TrainConfig, *weights: float) -> PerceptualLoss | None:
    """The deep features of a run, or None where all of the terms that use them have no weight.

    Raises:
        WeightsError: they are wanted and their weights are not there.
    """
    if not any(weights):
        return None
    dtype = torch.bfloat16 if uses_bf16(config) else torch.float32
    return PerceptualLoss(config.vgg_levels, dtype, config.vgg_share)
