"""What a model is fitted to: a video or a stream, and the frames by which the result is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from facecodec.bitstream import MAGIC
from facecodec.errors import MediaError, WeightsError
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.media.atomic import os_reason
from facecodec.metrics.perceptual import find_lpips_weights
from facecodec.train.config import Limits, Optimiser, Stage, TrainConfig
from facecodec.train.finetune_settings import FinetuneProgress, FinetuneSettings, OnFinetune
from facecodec.train.finetune_stream import SelfPairs, bent_trials, read_stills, real_trials
from facecodec.train.finetune_video import prepare_video
from facecodec.train.generator_task import GeneratorTask
from facecodec.train.losses import LossWeights
from facecodec.train.validate import Trial, trials_of
from facecodec.weights.store import Weights

_CHOICE_FRAMES, _HELD_OUT_FRAMES, _BENT_COPIES = 24, 64, 6
_VIDEO_STEPS, _STREAM_STEPS = 300, 60
_VIDEO_RATE, _STREAM_RATE = 1e-4, 5e-5


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a model is fitted to, and by what it is chosen and judged.

    Attributes:
        task: what is trained.
        config: its settings.
        choice: by what the best state is chosen.
        held_out: by what the result is judged.
        described: what was held out, in words.
    """

    task: GeneratorTask
    config: TrainConfig
    choice: list[Trial]
    held_out: list[Trial]
    described: str


def is_stream(path: Path) -> bool:
    """Whether a file begins as a facecodec file does.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as err:
        raise MediaError(path, os_reason(err)) from err


def choose_parameters(model: AdaptiveGenerator, scope: str) -> list[nn.Parameter]:
    """Freeze all but what is fitted, and return that.

    Args:
        model: the generator.
        scope: ``decoder`` or ``heads``, see :class:`FinetuneSettings`.
    """
    model.requires_grad_(False)
    chosen: list[nn.Module] = [model.hallucinate, model.refine.head]
    if scope == "heads":
        chosen = [*model.hallucinate.spades(), model.hallucinate.correction]
    for part in chosen:
        part.requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class _StreamTask(GeneratorTask):
    """Trains on the reference pictures of a stream."""

    def __init__(self, config: TrainConfig, model: AdaptiveGenerator, pairs: SelfPairs) -> None:
        super().__init__(config, model, [], None)
        self._pairs = pairs

    def dataset(self, stage: Stage) -> Dataset[Any]:
        """The pairs, whatever the stage."""
        return self._pairs


def gather(
    source: Path,
    folder: Path,
    model: AdaptiveGenerator,
    base: Weights,
    settings: FinetuneSettings,
    say: OnFinetune,
) -> Material:
    """Make the material out of a video or a stream.

    Args:
        source: the file.
        folder: for packed data sets.
        model: what is fitted; all but what ``settings.scope`` says is frozen.
        base: its weights.
        settings: how it is fitted.
        say: told what is going on.

    Raises:
        MediaError: the file cannot be read, or the video is too short.
        NoFaceError: no face in the video.
        BitstreamError: the stream is damaged.
    """
    if is_stream(source):
        return _from_stream(source, model, base, settings)
    say(FinetuneProgress("preparing", 0, 1, "coding the video"))
    parts = prepare_video(
        source,
        folder,
        settings.seed,
        lambda done, total: say(FinetuneProgress("preparing", done, total, "coding the video")),
    )
    config = _config(base, settings, settings.iterations or _VIDEO_STEPS, _VIDEO_RATE)
    task = GeneratorTask(config, model, [parts.training], None)
    choose_parameters(model, settings.scope or "decoder")
    choice, held_out = trials_of(parts.choice, _CHOICE_FRAMES), trials_of(parts.held_out, _HELD_OUT_FRAMES)
    return Material(task, config, choice, held_out, "the last 30 % of the video")


def _from_stream(
    source: Path, model: AdaptiveGenerator, base: Weights, settings: FinetuneSettings
) -> Material:
    stills = read_stills(source, model)
    learnt, held_out, described = stills, real_trials(stills, stills[-1]), "the last reference picture"
    if held_out:
        learnt = stills[:-1]
    else:
        held_out = bent_trials(stills, _BENT_COPIES, settings.seed + 1)
        described = "bent copies of the reference pictures"
    config = _config(base, settings, settings.iterations or _STREAM_STEPS, _STREAM_RATE)
    pairs = SelfPairs(learnt, settings.size, settings.window, settings.batch, settings.seed)
    task = _StreamTask(config, model, pairs)
    choose_parameters(model, settings.scope or "heads")
    choice = bent_trials(learnt, _BENT_COPIES, settings.seed + 2)
    return Material(task, config, choice, held_out, described)


def _config(base: Weights, settings: FinetuneSettings, steps: int, rate: float) -> TrainConfig:
    """Settings of the training."""
    stage = Stage(
        size=settings.size,
        window=settings.window,
        batch=settings.batch,
        learning_rate=settings.learning_rate or rate,
    )
    losses = LossWeights(pixel=20.0, lpips=5.0, region=1.5)
    try:
        find_lpips_weights("alex")
        find_lpips_weights("vgg")
    except WeightsError:
        losses = LossWeights(pixel=20.0, lpips=0.0, vgg=0.0, region=0.0)
    return TrainConfig(
        profile=base.profile,
        stages=(stage,),
        losses=losses,
        vgg_share=0.25,
        optimiser=Optimiser(warmup_steps=10, ema_decay=0.98),
        limits=Limits(steps=steps, validation_frames=0),
        sequential=base.sequential,
        seed=settings.seed,
        device=settings.device,
    )
