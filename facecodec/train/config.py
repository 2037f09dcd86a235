"""Settings of a training run, checked when they are made; ``config_file.py`` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from facecodec.errors import ConfigError
from facecodec.train.losses import LossWeights


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(name, value, allowed)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the schedule.

    Attributes:
        share: share of the whole run; the shares of all stages are scaled to sum to one.
        size: side in pixels of the whole samples, 64, 128, 256 or 512.
        window: side in pixels of the part that is made and judged; ``size`` takes all of it.
        windows: windows of each sample that are made in a step, 1 to 8; they share its other costs.
        frames: consecutive frames of a sample, 1 to 16.
        batch: samples a step and process.
        learning_rate: of the generator.
        references: reference pictures of a sample at most, 1 to 4.
        adversarial: train against the discriminators.
    """

    share: float = 1.0
    size: int = 256
    window: int = 128
    windows: int = 1
    frames: int = 1
    batch: int = 8
    learning_rate: float = 2e-4
    references: int = 1
    adversarial: bool = False

    def __post_init__(self) -> None:
        _require(self.share > 0, "stages.share", self.share, "above 0")
        _require(self.size in (64, 128, 256, 512), "stages.size", self.size, "64, 128, 256 or 512")
        fits = 32 <= self.window <= self.size and self.window % 16 == 0
        _require(fits, "stages.window", self.window, f"a multiple of 16 from 32 to {self.size}")
        many = self.windows == 1 or (1 < self.windows <= 8 and self.window < self.size)
        _require(many, "stages.windows", self.windows, "1 to 8, and 1 where a window is the whole sample")
        _require(1 <= self.frames <= 16, "stages.frames", self.frames, "1 to 16")
        _require(1 <= self.batch <= 4096, "stages.batch", self.batch, "1 to 4096")
        _require(0 < self.learning_rate <= 0.1, "stages.learning_rate", self.learning_rate, "above 0, to 0.1")
        _require(1 <= self.references <= 4, "stages.references", self.references, "1 to 4")


@dataclass(frozen=True, slots=True)
class Critics:
    """The discriminators; stages say when they play, the weights of the losses how much they count.

    Attributes:
        width: channels of the first layer.
        scales: discriminators of single pictures, each at half the size of the one before.
        layers: halving layers of each.
        frames: frames that the temporal discriminator sees at once, 2 to 4; 0 leaves it out.
        learning_rate: as a multiple of the generator's.
    """

    width: int = 32
    scales: int = 2
    layers: int = 3
    frames: int = 0
    learning_rate: float = 2.0

    def __post_init__(self) -> None:
        _require(1 <= self.width <= 256, "critics.width", self.width, "1 to 256")
        _require(1 <= self.scales <= 4, "critics.scales", self.scales, "1 to 4")
        _require(2 <= self.layers <= 5, "critics.layers", self.layers, "2 to 5")
        _require(self.frames in (0, 2, 3, 4), "critics.frames", self.frames, "0, 2, 3 or 4")
        _require(self.learning_rate > 0, "critics.learning_rate", self.learning_rate, "above 0")


@dataclass(frozen=True, slots=True)
class Optimiser:
    """Adam and what goes with it.

    Attributes:
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        warmup_steps: steps in which the learning rate rises from 0.
        decay: ``cosine`` lets the learning rate fall to ``final`` over the run, ``constant`` keeps it.
        final: share of the learning rate that is left at the end of a cosine.
        clip_norm: largest norm of the gradient; 0 does not clip.
        ema_decay: of the moving average of the weights.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    warmup_steps: int = 100
    decay: Literal["constant", "cosine"] = "cosine"
    final: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        _require(0 <= self.beta1 < 1, "optimiser.beta1", self.beta1, "0 to below 1")
        _require(0 <= self.beta2 < 1, "optimiser.beta2", self.beta2, "0 to below 1")
        _require(self.warmup_steps >= 0, "optimiser.warmup_steps", self.warmup_steps, "0 or more")
        _require(self.decay in ("constant", "cosine"), "optimiser.decay", self.decay, "constant, cosine")
        _require(0 <= self.final <= 1, "optimiser.final", self.final, "0 to 1")
        _require(self.clip_norm >= 0, "optimiser.clip_norm", self.clip_norm, "0 or more")
        _require(0 <= self.ema_decay < 1, "optimiser.ema_decay", self.ema_decay, "0 to below 1")


@dataclass(frozen=True, slots=True)
class Limits:
    """When the run ends, and how often it saves, looks and reports.

    Attributes:
        seconds: of training in all, resumed runs included; 0 for no limit.
        steps: in all; 0 for no limit. Where both limits stand, the one reached first ends the run.
        save_every_s: seconds between checkpoints; 0 for one after every step.
        validate_every_s: seconds between validations; 0 for one at the end alone.
        log_every: steps between lines of the log.
        validation_frames: frames of the validation set that are looked at; 0 for no validation.
        tiles: frames that are drawn at each validation.
    """

    seconds: float = 0.0
    steps: int = 0
    save_every_s: float = 300.0
    validate_every_s: float = 1200.0
    log_every: int = 20
    validation_frames: int = 44
    tiles: int = 8

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            _require(value >= 0, f"limits.{item.name}", value, "0 or more")
        _require(self.log_every > 0, "limits.log_every", self.log_every, "1 or more")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that a run depends on but its data.

    Attributes:
        part: ``restore`` trains the restorer of coded reference pictures; ``generator`` trains all the
            rest, with the restorer as it stands.
        profile: of the generator: ``toy``, ``lite`` or ``base``.
        stages: the schedule, in order.
        losses: weights of the terms.
        vgg_levels: levels of VGG16 that are compared, 1 to 5.
        vgg_share: share of each batch whose VGG16 features are compared, above 0, to 1: they cost the most.
        critics: settings of the discriminators.
        optimiser: settings of Adam.
        limits: end of the run, checkpoints, validation.
        sequential: give the generator its previous output.
        patches: lay the palette entries over the warp that a decoder would show, in most samples.
        precision: ``bf16`` runs the networks under autocast; weights and moments stay float32. ``auto`` does
            where the device has instructions for it.
        seed: of the weights and of the order of the samples.
        workers: processes that make samples; 0 makes them between the steps.
        threads: of torch in this process; 0 leaves them as they are.
        compile: run the networks through ``torch.compile``.
        device: ``auto`` takes CUDA where there is one.
    """

    part: Literal["restore", "generator"] = "generator"
    profile: str = "lite"
    stages: tuple[Stage, ...] = (Stage(),)
    losses: LossWeights = field(default_factory=LossWeights)
    vgg_levels: int = 3
    vgg_share: float = 1.0
    critics: Critics = field(default_factory=Critics)
    optimiser: Optimiser = field(default_factory=Optimiser)
    limits: Limits = field(default_factory=Limits)
    sequential: bool = True
    patches: bool = True
    precision: Literal["auto", "bf16", "f32"] = "auto"
    seed: int = 0
    workers: int = 0
    threads: int = 0
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        _require(self.part in ("restore", "generator"), "part", self.part, "restore, generator")
        _require(len(self.stages) > 0, "stages", self.stages, "at least one")
        _require(1 <= self.vgg_levels <= 5, "vgg_levels", self.vgg_levels, "1 to 5")
        _require(0 < self.vgg_share <= 1, "vgg_share", self.vgg_share, "above 0, to 1")
        _require(self.precision in ("auto", "bf16", "f32"), "precision", self.precision, "auto, bf16, f32")
        _require(self.device in ("auto", "cpu", "cuda"), "device", self.device, "auto, cpu, cuda")
        _require(0 <= self.workers <= 256, "workers", self.workers, "0 to 256")
        _require(0 <= self.threads <= 1024, "threads", self.threads, "0 to 1024")

    def stage_at(self, progress: float) -> Stage:
        """The stage in which a run stands.

        Args:
            progress: 0 at the start of the run, 1 at its end.
        """
        total, passed = sum(stage.share for stage in self.stages), 0.0
        for stage in self.stages[:-1]:
            passed += stage.share / total
            if progress < passed:
                return stage
        return self.stages[-1]
