"""The training loop: the schedule, and when to save, to validate, to report and to end.

A run is a folder: ``config.toml``, ``weights.safetensors`` (averaged, fp16), ``resume/``, ``log.csv``,
``validation.csv``, ``tiles/`` and, where TensorBoard is installed, ``events/``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from facecodec.train.config import Stage
from facecodec.train.logs import Board, CsvLog, Progress, Value, mean_values, sheet, write_png
from facecodec.train.processes import Plan, StopSignal
from facecodec.train.samples import batches
from facecodec.train.trainer import Trainer

_NEVER = 1 << 40
"""A number of steps that no run reaches."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        step: steps done in all.
        seconds: of training in all.
        interrupted: a signal ended it before its limit.
    """

    step: int
    seconds: float
    interrupted: bool


def train(trainer: Trainer) -> Result:
    """Train until a limit or a signal; save before returning.

    Raises:
        DivergedError: the gradient is no number any more; the checkpoint before stays.
    """
    first = trainer.processes.rank == 0
    if first:
        trainer.out.mkdir(parents=True, exist_ok=True)
        (trainer.out / "config.toml").write_text(trainer.state.config, encoding="utf-8")
    with StopSignal() as stop, Progress(quiet=not first) as progress:
        loop = _Loop(trainer, stop, progress)
        try:
            interrupted = loop.run()
        finally:
            loop.close()
    return Result(trainer.state.step, trainer.state.seconds, interrupted)


class _Loop:
    """One call of :func:`train`: time, logs, and when to do what."""

    def __init__(self, trainer: Trainer, stop: StopSignal, progress: Progress) -> None:
        self.trainer, self.stop, self.progress = trainer, stop, progress
        self.first = trainer.processes.rank == 0
        self.before = trainer.state.seconds
        self.start = self.saved = self.validated = time.monotonic()
        self.recent: list[list[Value]] = []
        self.board: Board | None = None
        if self.first:
            self.board = Board(trainer.out / "events", trainer.state.step)
            self.steps = CsvLog(trainer.out / "log.csv")
            self.validations = CsvLog(trainer.out / "validation.csv")
            self.steps.keep_until(trainer.state.step)
            self.validations.keep_until(trainer.state.step)

    def close(self) -> None:
        """Write what is left."""
        if self.board is not None:
            self.board.close()

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def _plan(self) -> Plan:
        """What comes next; the same in all processes."""
        limits, state = self.trainer.config.limits, self.trainer.state
        shares = [
            self._seconds() / limits.seconds if limits.seconds else 0.0,
            state.step / limits.steps if limits.steps else 0.0,
        ]
        save = state.step > 0 and time.monotonic() - self.saved >= limits.save_every_s
        return self.trainer.processes.agree(Plan(max(shares), self.stop.requested, save))

    def run(self) -> bool:
        """Train; whether a signal ended it."""
        trainer, limits = self.trainer, self.trainer.config.limits
        stage: Stage | None = None
        loader: Iterator[Any] | None = None
        if trainer.state.step == 0:
            self._validate()
        while (plan := self._plan()).done < 1 and not plan.stop:
            if plan.save:
                trainer.save()
                self.saved = time.monotonic()
            wanted = trainer.config.stage_at(plan.done)
            if loader is None or stage is None or wanted != stage:
                if stage is not None and self.recent:
                    self._report(stage, plan.done)  # means and speeds are of one stage
                stage, loader = wanted, self._loader(wanted)
            self._step(loader, stage, plan.done)
            if trainer.state.step % limits.log_every == 0:
                self._report(stage, plan.done)
            due = limits.validate_every_s > 0 and time.monotonic() - self.validated >= limits.validate_every_s
            if due:
                self._validate()
        if stage is not None:
            if self.recent:
                self._report(stage, plan.done)
            trainer.save()
        if not plan.stop:
            self._validate()
        trainer.processes.barrier()
        return plan.stop

    def _step(self, loader: Iterator[Any], stage: Stage, done: float) -> None:
        began = time.monotonic()
        batch = next(loader)
        waited = time.monotonic() - began
        figures = self.trainer.step(batch, stage, done)
        took = time.monotonic() - began
        self.trainer.state = replace(self.trainer.state, seconds=self._seconds())
        if self.first:
            values = [Value(name, float(value)) for name, value in figures]
            self.recent.append([*values, Value("wait_s", waited), Value("step_s", took)])

    def _loader(self, stage: Stage) -> Iterator[Any]:
        trainer = self.trainer
        self.progress.line(
            f"stage: {stage.windows} window(s) of {stage.window} of {stage.size} px, "
            f"{stage.frames} frame(s), batch {stage.batch}, up to {stage.references} reference(s)"
            f"{', adversarial' if stage.adversarial else ''}"
        )
        loader = batches(
            trainer.task.dataset(stage),
            trainer.state.step,
            _NEVER,
            workers=trainer.config.workers,
            rank=trainer.processes.rank,
            processes=trainer.processes.world,
            pin=trainer.device.type == "cuda",
        )
        with self.stop.shield():
            return iter(loader)

    def _report(self, stage: Stage, done: float) -> None:
        """Log the means of the steps since the last report."""
        if not self.first:
            return
        state = self.trainer.state
        means = mean_values(self.recent)
        self.recent = []
        by_name = {each.name: each.value for each in means}
        made = stage.batch * stage.windows * stage.frames * self.trainer.processes.world
        speed = made / max(1e-9, by_name["step_s"])
        means.append(Value("frames_a_second", speed))
        head = [Value("step", state.step), Value("seconds", state.seconds), Value("samples", state.samples)]
        self.steps.write([*head, *means])
        if self.board is not None:
            self.board.write(state.step, "train", means)
        percent = 100 * min(1.0, done)
        text = f"step {state.step}, {percent:.1f} %, loss {by_name['loss']:.4f}, {speed:.1f} frames/s"
        self.progress.advance(done, text)
        if not self.progress.shows_bar:
            hidden = ("loss", "wait_s", "step_s", "learning_rate", "frames_a_second")
            rest = ", ".join(f"{name} {value:.4f}" for name, value in by_name.items() if name not in hidden)
            self.progress.line(f"{text}, {rest}")

    def _validate(self) -> None:
        trainer, limits = self.trainer, self.trainer.config.limits
        self.validated = time.monotonic()
        if not self.first or not limits.validation_frames:
            return
        began, step = time.monotonic(), trainer.state.step
        with torch.no_grad():
            verdict = trainer.task.validate(trainer.ema.network, limits.tiles)
        if not verdict.values:
            return
        head = [Value("step", step), Value("seconds", self._seconds())]
        self.validations.write([*head, *verdict.values])
        if self.board is not None:
            self.board.write(step, "validation", verdict.values)
        if verdict.rows:
            write_png(trainer.out / "tiles" / f"{step:08d}.png", sheet(verdict.rows))
        shown = ", ".join(f"{name} {value:.4f}" for name, value in verdict.values)
        self.progress.line(f"validation at step {step} ({time.monotonic() - began:.0f} s): {shown}")
