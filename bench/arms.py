"""The arms of the ablation: what each leaves out of the generator or of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from facecodec.generator.adapt import Adaptation
from facecodec.generator.adaptive import AdaptiveGenerator, FrameInputs, References, Synthesis
from facecodec.generator.hallucinate import HYPOTHESES
from facecodec.generator.profile import Profile
from facecodec.train.config import TrainConfig

_NEVER = -30.0
"""Logit of a hypothesis that is not used."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of the ablation table.

    Attributes:
        name: of its folder.
        title: of its line.
        sequential: the generator sees its previous output.
        generated_kernels: the SPADE kernels come from the reference picture; else from learning alone.
        warp: reference pictures and previous output are bent into place; else nothing is moved, and there
            are no region patches.
        hallucination: the network paints; else it only chooses among what is there.
        temporal_critic: a discriminator of runs of frames takes part in training.
    """

    name: str
    title: str
    sequential: bool = True
    generated_kernels: bool = True
    warp: bool = True
    hallucination: bool = True
    temporal_critic: bool = True

    @property
    def switchable(self) -> bool:
        """Whether it can be had from trained weights without training."""
        return self.temporal_critic

    def config(self, base: TrainConfig) -> TrainConfig:
        """Settings of its training."""
        config = replace(base, sequential=base.sequential and self.sequential)
        if not self.temporal_critic:
            losses = replace(config.losses, temporal_adversarial=0.0)
            config = replace(config, losses=losses, critics=replace(config.critics, frames=0))
        return config


ARMS = (
    Arm("full", "all of it"),
    Arm("frames", "frame by frame", sequential=False),
    Arm("fixed", "fixed SPADE kernels", generated_kernels=False),
    Arm("no-warp", "no warp", warp=False),
    Arm("no-hallucination", "no hallucination", hallucination=False),
    Arm("no-temporal-critic", "no temporal discriminator", temporal_critic=False),
)


def _nothing(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """In place of the refinement of the motion field: no motion."""
    return torch.zeros_like(output)


def _choose_only(module: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """In place of the painted hypothesis: no correction, and no weight."""
    correction, logits = output
    never = torch.full_like(logits[:, -1:], _NEVER)
    return torch.zeros_like(correction), torch.cat([logits[:, : HYPOTHESES - 1], never], 1)


class ArmGenerator(AdaptiveGenerator):
    """An :class:`AdaptiveGenerator` with parts switched off; its weights have the same names.

    Args:
        profile: widths.
        arm: what is switched off.
    """

    def __init__(self, profile: Profile, arm: Arm) -> None:
        super().__init__(profile)
        self.arm = arm
        if not arm.warp:
            self.refine.register_forward_hook(_nothing)
        if not arm.hallucination:
            self.hallucinate.register_forward_hook(_choose_only)

    def adapt(self, references: References) -> Adaptation:
        """As the whole generator, the kernels' generated part perhaps left out."""
        adaptation = super().adapt(references)
        if self.arm.generated_kernels:
            return adaptation
        return adaptation._replace(kernels=tuple(torch.zeros_like(k) for k in adaptation.kernels))

    def synthesise(
        self,
        adaptation: Adaptation,
        references: References,
        frame: FrameInputs,
        windows: Tensor | None = None,
        window_size: int = 128,
    ) -> Synthesis:
        """As the whole generator, motion perhaps left out."""
        if not self.arm.warp:
            frame = _unmoved(frame)
        return super().synthesise(adaptation, references, frame, windows, window_size)


def _unmoved(frame: FrameInputs) -> FrameInputs:
    """Inputs in which every pixel looks at its own place."""
    step = (torch.arange(frame.fields.shape[-2], device=frame.fields.device) + 0.5) / frame.fields.shape[-2]
    places = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)
    previous = None if frame.previous_field is None else places.expand_as(frame.previous_field)
    return frame._replace(fields=places.expand_as(frame.fields), previous_field=previous, patches=None)
