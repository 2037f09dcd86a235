"""Steps of a training run: losses, gradients, discriminators, and what is saved and resumed from."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from facecodec.errors import FacecodecError, WeightsError
from facecodec.train import checkpoint
from facecodec.train.config import Optimiser, Stage, TrainConfig
from facecodec.train.config_file import dump_config
from facecodec.train.discriminator import (
    CriticsNet,
    Judgement,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
)
from facecodec.train.ema import Ema
from facecodec.train.losses import LossTerms
from facecodec.train.processes import Processes
from facecodec.train.task import Outcome, Task, to_device, uses_bf16

_TRIES = 20
"""Steps in a row whose gradient may be no number; they are left out."""

_log = logging.getLogger(__name__)


class DivergedError(FacecodecError):
    """The loss is no number any more."""


class Figure(NamedTuple):
    """A named number of a step; a tensor is read when it is logged, so that a GPU need not be waited for."""

    name: str
    value: float | Tensor


Figures = list[Figure]


def learning_rate(stage: Stage, optimiser: Optimiser, step: int, progress: float) -> float:
    """Learning rate of a step.

    Args:
        stage: of the schedule.
        optimiser: settings.
        step: number of the step, from 0.
        progress: 0 at the start of the run, 1 at its end.
    """
    rate = stage.learning_rate
    if optimiser.decay == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        rate *= optimiser.final + (1 - optimiser.final) * fall
    return rate * min(1.0, (step + 1) / max(1, optimiser.warmup_steps))


class Trainer:
    """Takes the steps of a run, one by one; saves and resumes its state. ``loop.py`` says when.

    Args:
        config: of the run.
        task: what is trained, on the CPU.
        out: folder of the run; made where it is missing.
        resume: go on from ``out``/resume, where there is something.
        parent: SHA-256 of the weights the run begins with, or nothing.

    Raises:
        WeightsError: the state in ``out`` cannot be resumed from.
    """

    def __init__(
        self, config: TrainConfig, task: Task, out: Path, resume: bool = False, parent: str = ""
    ) -> None:
        self.config, self.task, self.out = config, task, out
        self.processes = Processes(config.device)
        self.device = self.processes.device
        task.to(self.device)
        self._bf16 = uses_bf16(config, self.device)
        self.parameters = task.parameters()
        self.ema = Ema(task.model, config.optimiser.ema_decay)
        self.optimiser = self._adam(self.parameters, 1.0)
        self.critics: CriticsNet | None = None
        if any(stage.adversarial for stage in config.stages):
            torch.manual_seed(config.seed + 1)
            self.critics = CriticsNet(config, task.label_channels)
            self.critics.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.critic_optimiser = self._adam(list(self.critics.parameters()), config.critics.learning_rate)
        self.state = checkpoint.RunState(
            kind=f"{config.part} {config.profile}", config=dump_config(config), parent=parent
        )
        if resume:
            self._load()
        if config.compile:
            for part in task.heavy():
                part.compile()
        self.network = self._wrap(task.network)
        self.judges = self._wrap(self.critics) if self.critics is not None else None
        self._refused = 0

    def _adam(self, parameters: list[nn.Parameter], scale: float) -> torch.optim.Adam:
        settings = self.config.optimiser
        groups = [{"params": parameters, "scale": scale}]
        return torch.optim.Adam(groups, lr=1e-4, betas=(settings.beta1, settings.beta2), fused=True)

    def _wrap(self, network: nn.Module) -> nn.Module:
        if self.processes.world == 1:
            return network
        return DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=True)

    def _load(self) -> None:
        found = checkpoint.load_state(self.out)
        if found is None:
            return
        state, tensors = found
        if state.kind not in ("", self.state.kind):
            raise WeightsError(f"{self.out}: trains {state.kind}, not {self.state.kind}")
        checkpoint.load_named("model", self.task.model, tensors, self.task.prefix)
        checkpoint.load_named("ema", self.ema.network, tensors, self.task.prefix)
        checkpoint.load_moments(self.optimiser, "adam", tensors)
        self.ema.updates = state.ema_updates
        if self.critics is not None and any(name.startswith("critics/") for name in tensors):
            checkpoint.load_named("critics", self.critics, tensors)
            checkpoint.load_moments(self.critic_optimiser, "critics_adam", tensors)
        self.state = replace(state, kind=self.state.kind, config=self.state.config)

    def step(self, batch: Any, stage: Stage, done: float) -> Figures:
        """One step on a batch.

        Args:
            batch: of the task.
            stage: of the schedule.
            done: 0 at the start of the run, 1 at its end.

        Returns:
            The terms of the loss and other figures to log.

        Raises:
            DivergedError: the gradient has been no number for many steps.
        """
        rate = learning_rate(stage, self.config.optimiser, self.state.step, done)
        with self._autocast():
            outcome = self.task.outcome(self.network, to_device(batch, self.device), stage)
        terms, figures = outcome.terms, [Figure("learning_rate", rate)]
        if stage.adversarial:
            figures.append(Figure("critics", self._train_critics(outcome, rate)))
            terms = self._play(outcome)
        loss = terms.total(self.config.losses)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self._update(self.optimiser, self.parameters, rate)
        self._refused = 0 if math.isfinite(norm) else self._refused + 1
        if self._refused > _TRIES:
            raise DivergedError(
                f"step {self.state.step}: the gradient is {norm}, {self._refused} times in a row"
            )
        self.ema.update(self.task.model)
        drawn = self.state.samples + stage.batch * self.processes.world
        self.state = replace(self.state, step=self.state.step + 1, samples=drawn)
        named = zip(terms._fields, terms, strict=True)
        figures += [Figure(name, value.detach()) for name, value in named if value is not None]
        return [Figure("loss", loss.detach()), *figures, Figure("gradient", norm)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)

    def _update(self, optimiser: torch.optim.Adam, parameters: list[nn.Parameter], rate: float) -> float:
        """Clip and step; the norm of the gradient before clipping."""
        limit = self.config.optimiser.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        if math.isfinite(norm):
            optimiser.step()
        else:
            _log.warning("step %d: the gradient is %s; left out", self.state.step, norm)
        return norm

    def _train_critics(self, outcome: Outcome, rate: float) -> Tensor:
        """One step of the discriminators; their loss."""
        assert self.critics is not None  # noqa: S101 - stages say so
        assert self.judges is not None  # noqa: S101
        self.critics.requires_grad_(True)
        # One call for both: DistributedDataParallel wants one forward for each backward.
        clips = torch.cat([outcome.real, outcome.made.detach().to(outcome.real.dtype)])
        with self._autocast():
            judged = self.judges(clips, torch.cat([outcome.labels, outcome.labels]))
        loss = torch.stack(
            [
                discriminator_hinge([_half(j, 0) for j in level], [_half(j, 1) for j in level])
                for level in judged
                if level
            ]
        ).sum()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._update(self.critic_optimiser, list(self.critics.parameters()), rate)
        return loss.detach()

    def _play(self, outcome: Outcome) -> LossTerms:
        """The terms with those of the discriminators."""
        assert self.critics is not None  # noqa: S101
        self.critics.requires_grad_(False)
        with self._autocast():
            pictures, runs = self.critics(outcome.made, outcome.labels)
            with torch.no_grad():
                real_pictures, real_runs = self.critics(outcome.real, outcome.labels)
        return outcome.terms._replace(
            adversarial=generator_hinge(pictures),
            temporal_adversarial=generator_hinge(runs) if runs else None,
            matching=feature_matching(real_pictures + real_runs, pictures + runs),
        )

    def save(self) -> None:
        """Write the state and the averaged weights.

        All processes call it at the same step: it rounds their moments. The first one writes.
        """
        tensors = checkpoint.named("model", self.task.model, self.task.prefix)
        tensors |= checkpoint.named("ema", self.ema.network, self.task.prefix)
        tensors |= checkpoint.moments(self.optimiser, "adam")
        if self.critics is not None:
            tensors |= checkpoint.named("critics", self.critics)
            tensors |= checkpoint.moments(self.critic_optimiser, "critics_adam")
        if self.processes.rank:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        state = replace(self.state, ema_updates=self.ema.updates)
        checkpoint.save_state(self.out, state, tensors)
        info = checkpoint.WeightsInfo(
            profile=self.config.profile,
            part=self.config.part,
            steps=state.step,
            seconds=round(state.seconds, 1),
            samples=state.samples,
            parent=state.parent,
            config=state.config,
        )
        names = [n for n in self.ema.network.state_dict() if n.startswith(self.task.prefix)]
        checkpoint.save_weights(self.out / checkpoint.WEIGHTS_NAME, self.ema.network, info, names)


def _half(judgement: Judgement, which: int) -> Judgement:
    """The first or second half of a batch of judgements."""
    features = [each.chunk(2)[which] for each in judgement.features]
    return Judgement(judgement.score.chunk(2)[which], features)
