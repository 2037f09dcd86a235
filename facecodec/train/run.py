"""From the options of the command line to a finished run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from facecodec.errors import ConfigError, MediaError
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.profile import PROFILES
from facecodec.train import checkpoint
from facecodec.train.config import TrainConfig
from facecodec.train.config_file import load_config
from facecodec.train.generator_task import GeneratorTask
from facecodec.train.loop import Result, train
from facecodec.train.pack import Pack
from facecodec.train.restore_task import RestoreTask
from facecodec.train.task import Task
from facecodec.train.trainer import Trainer


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of ``facecodec train run``.

    Attributes:
        config: TOML file, or the name of a preset.
        data: packed data sets to train on.
        val: packed data set for validation, or None for no validation.
        out: folder of the run.
        resume: go on where the run in ``out`` stopped.
        init: weights to begin with; they may be those of a part.
        seconds: limit of training time in all, resumed runs included, instead of the settings'.
        steps: limit of steps in all, instead of the settings'.
        workers: processes that make samples, instead of the settings'.
        threads: threads of torch, instead of the settings'.
    """

    config: str
    data: tuple[Path, ...]
    val: Path | None
    out: Path
    resume: bool = False
    init: Path | None = None
    seconds: float | None = None
    steps: int | None = None
    workers: int | None = None
    threads: int | None = None


def settings_of(options: RunOptions) -> TrainConfig:
    """The settings of a run: those of the file with those of the options over them.

    Raises:
        ConfigError: a setting is outside its range, or there is no limit.
        MediaError: the file cannot be read.
    """
    config = load_config(options.config)
    limits = config.limits
    if options.seconds is not None or options.steps is not None:
        limits = replace(limits, seconds=options.seconds or 0.0, steps=options.steps or 0)
    if not limits.seconds and not limits.steps:
        raise ConfigError("limits.seconds", limits.seconds, "above 0 where limits.steps is 0")
    config = replace(config, limits=limits)
    if options.workers is not None:
        config = replace(config, workers=options.workers)
    if options.threads is not None:
        config = replace(config, threads=options.threads)
    return config


def make_model(config: TrainConfig) -> AdaptiveGenerator:
    """A generator with fresh weights from the seed.

    Raises:
        ConfigError: there is no such profile.
    """
    if config.profile not in PROFILES:
        raise ConfigError("profile", config.profile, ", ".join(PROFILES))
    torch.manual_seed(config.seed)
    return AdaptiveGenerator(PROFILES[config.profile])


def make_task(config: TrainConfig, model: AdaptiveGenerator, data: list[Pack], val: Pack | None) -> Task:
    """The task that the settings name."""
    kind = RestoreTask if config.part == "restore" else GeneratorTask
    return kind(config, model, data, val)


def run_training(options: RunOptions) -> Result:
    """Train.

    Returns:
        How it ended.

    Raises:
        ConfigError: a setting is outside its range.
        MediaError: a file cannot be read or written, or ``out`` holds a run and ``resume`` is off.
        WeightsError: weights or the state of the run are damaged or do not fit.
    """
    config = settings_of(options)
    if not options.resume and (options.out / "resume").exists():
        raise MediaError(options.out, "holds a run already: resume it, or give another folder")
    if config.threads:
        torch.set_num_threads(config.threads)
    model = make_model(config)
    parent = ""
    if options.init is not None:
        checkpoint.load_weights(options.init, model)
        parent = checkpoint.file_sha256(options.init)
    data = [Pack.open(path) for path in options.data]
    val = None if options.val is None else Pack.open(options.val)
    trainer = Trainer(config, make_task(config, model, data, val), options.out, options.resume, parent)
    try:
        return train(trainer)
    finally:
        trainer.processes.close()
