"""Settings of fitting a model to a person, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from facecodec.errors import ConfigError
from facecodec.train.validate import Scores


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How a model is fitted.

    Attributes:
        iterations: steps; None takes 300 for a video and 60 for a stream.
        learning_rate: None takes 1e-4 for a video and 5e-5 for a stream.
        scope: ``decoder`` trains the per-frame network, ``heads`` its SPADE layers and last layers alone;
            None takes ``decoder`` for a video and ``heads`` for a stream.
        batch: samples a step.
        size: side of the samples in pixels, 64, 128, 256 or 512.
        window: side of the training windows.
        judge_every: steps between looks at how good the model is.
        device: ``auto`` takes CUDA where there is one.
        threads: cores to use; 0 takes what the machine has.
        seed: of everything drawn.
    """

    iterations: int | None = None
    learning_rate: float | None = None
    scope: Literal["decoder", "heads"] | None = None
    batch: int = 4
    size: int = 256
    window: int = 128
    judge_every: int = 25
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations is not None and not 1 <= self.iterations <= 1_000_000:
            raise ConfigError("iterations", self.iterations, "1 to 1000000")
        if self.scope not in (None, "decoder", "heads"):
            raise ConfigError("scope", self.scope, "decoder, heads")
        if self.judge_every < 1:
            raise ConfigError("judge_every", self.judge_every, "1 or more")
        if self.threads < 0:
            raise ConfigError("threads", self.threads, "0 or more")


class FinetuneProgress(NamedTuple):
    """How far a run has come.

    Attributes:
        stage: ``preparing``, ``training`` or ``judging``.
        done: takes made, or steps done.
        total: in all.
        text: what is worth showing.
    """

    stage: str
    done: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """What came of a run.

    Attributes:
        path: the file that was written; None: nothing was.
        model_id: its id, 8 bytes, as a stream names it.
        better: the fitted model is better than the general one on the held-out frames.
        before: scores of the general model on the held-out frames.
        after: scores of the fitted model.
        frames: held-out frames judged.
        steps: training steps behind the fitted model; 0: none was better than the general one.
        held_out: what was held out, in words.
        interrupted: a signal ended the training early.
    """

    path: Path | None
    model_id: bytes | None
    better: bool
    before: Scores
    after: Scores
    frames: int
    steps: int
    held_out: str
    interrupted: bool


OnFinetune = Callable[[FinetuneProgress], None]
