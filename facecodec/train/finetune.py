"""Test-time adaptation: a general generator fitted to one person, and kept only where it got better.

The material is either a video of that person (coded as a stream would be; its last 30 % are held out) or the
reference pictures of a stream (the last of several is held out; a single one is judged by bent copies of it).
Only the per-frame network is trained, of streams only its SPADE layers and heads: the weight generator, the
features and the post filter stay as they were learned from many people. Every few steps the averaged
weights are judged by frames that are neither trained on nor held out. The best ones, as halves, as the file
holds them, are judged by the held-out frames beside the general ones.

A run takes minutes, and coding the video, which comes first, would have to be done again, so no state is kept
to resume from. A signal ends the training early instead: the best weights so far are judged and written as at
the end. To go on, fit again with that file as the weights to begin with. The split of the source does not
depend on the weights, so what was held out stays unseen; only the moments of Adam begin anew, and the gain is
counted from that file.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facecodec.errors import ConfigError, MediaError, WeightsError
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.profile import PROFILES
from facecodec.generator.select import pick_device
from facecodec.media.atomic import atomic_path
from facecodec.train.finetune_material import Material, gather
from facecodec.train.finetune_settings import (
    FinetuneProgress,
    FinetuneReport,
    FinetuneSettings,
    OnFinetune,
)
from facecodec.train.processes import StopSignal
from facecodec.train.samples import batches
from facecodec.train.trainer import Trainer
from facecodec.train.validate import Judge, Scores, Trial, render, renderer_of, score_trials
from facecodec.weights.registry import parse_name
from facecodec.weights.store import Weights, fill, load_weights, save_weights

_PSNR_LOSS = 0.05
"""So much PSNR (dB) a gain in LPIPS may cost."""
_LEAST_GAIN, _LEAST_GAIN_DB = 0.003, 0.02
"""A smaller relative gain in LPIPS counts as none; the same in PSNR where there is no LPIPS."""


def finetune(
    source: Path,
    weights: Path,
    out: Path,
    settings: FinetuneSettings | None = None,
    *,
    keep_anyway: bool = False,
    overwrite: bool = False,
    on_progress: OnFinetune | None = None,
) -> FinetuneReport:
    """Fit a model to a person.

    A signal while it trains ends the training with the best state so far (the module says how to go on); a
    second SIGINT, or one while it prepares, ends all with nothing written.

    Args:
        source: a video of the person, or a facecodec file that shows them.
        weights: the model to begin with.
        out: file to write, or a folder that exists, in which the file is named by its hash.
        settings: how it is done.
        keep_anyway: write the file even where it is not better.
        overwrite: replace an existing ``out``.
        on_progress: called now and then.

    Raises:
        ConfigError: a setting is out of range.
        MediaError: a file cannot be read or written, or the video is too short.
        NoFaceError: no face in the video.
        BitstreamError: the stream is damaged.
        WeightsError: the weights are absent or damaged.
    """
    settings = settings or FinetuneSettings()
    _check_out(out, overwrite)
    say = on_progress or _silent
    device = pick_device(settings.device)
    base = load_weights(weights)
    model = _model_of(base).to(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    try:
        with tempfile.TemporaryDirectory(prefix="facecodec-") as folder:
            material = gather(source, Path(folder), model, base, settings, say)
            return _Run(material, model, base, settings, Path(folder), say).run(out, keep_anyway, overwrite)
    finally:
        torch.set_num_threads(threads)


def improves(before: Scores, after: Scores) -> bool:
    """Whether scores are better by more than chance: in LPIPS, or in PSNR where there is no LPIPS."""
    if not math.isfinite(before.lpips):
        return after.psnr >= before.psnr + _LEAST_GAIN_DB
    gain = before.lpips - after.lpips
    return gain > _LEAST_GAIN * before.lpips and after.psnr >= before.psnr - _PSNR_LOSS


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A state of the model: steps behind it, its weights as the file holds them, and its scores."""

    steps: int
    tensors: dict[str, Tensor]
    scores: Scores


class _Run:
    """One call of :func:`finetune`, its material at hand."""

    def __init__(
        self,
        material: Material,
        model: AdaptiveGenerator,
        base: Weights,
        settings: FinetuneSettings,
        folder: Path,
        say: OnFinetune,
    ) -> None:
        self._material, self._base, self._settings = material, base, settings
        self._folder, self._say = folder, say
        self._general = copy.deepcopy(model).eval().requires_grad_(False)
        self._trainer = Trainer(material.config, material.task, folder / "run")
        self._judge = Judge(self._trainer.device)
        self._steps = material.config.limits.steps

    def run(self, out: Path, keep_anyway: bool, overwrite: bool) -> FinetuneReport:
        """Train, judge, and write what is better."""
        with StopSignal() as stop:
            fitted, last = self._train(stop)
            if keep_anyway and fitted.steps == 0:
                fitted = last
            interrupted = stop.requested
            self._say(FinetuneProgress("judging", self._steps, self._steps, "judging by held-out frames"))
            before = self._scores(self._general, self._material.held_out)
            after = self._scores(self._filled(fitted.tensors), self._material.held_out)
        better = fitted.steps > 0 and improves(before, after)
        path = model_id = None
        if better or keep_anyway:
            path, model_id = self._write(fitted, out, overwrite)
        frames = sum(len(trial.frames) for trial in self._material.held_out)
        described = self._material.described
        return FinetuneReport(
            path, model_id, better, before, after, frames, fitted.steps, described, interrupted
        )

    def _train(self, stop: StopSignal) -> tuple[_Fitted, _Fitted]:
        """The best state on the way, the general model with no steps where none was better; and the last."""
        trainer, stage = self._trainer, self._material.config.stages[0]
        start = self._scores(self._general, self._material.choice)
        best = last = _Fitted(0, _halves(self._general.state_dict()), start)
        loader = iter(batches(self._material.task.dataset(stage), 0, self._steps))
        for step in range(1, self._steps + 1):
            figures = trainer.step(next(loader), stage, (step - 1) / self._steps)
            if step % self._settings.judge_every == 0 or step == self._steps or stop.requested:
                last = self._present(step)
                if _rank(last.scores) < _rank(best.scores) and last.scores.psnr >= start.psnr - _PSNR_LOSS:
                    best = last
            text = f"loss {float(figures[0].value):.4f}, gain {_gain(start, best.scores)}"
            self._say(FinetuneProgress("training", step, self._steps, text))
            if stop.requested:
                break
        return best, last

    def _present(self, steps: int) -> _Fitted:
        """The averaged state after some steps."""
        tensors = _halves(self._trainer.ema.network.state_dict())
        return _Fitted(steps, tensors, self._scores(self._filled(tensors), self._material.choice))

    def _scores(self, model: AdaptiveGenerator, trials: Sequence[Trial]) -> Scores:
        """Mean scores of a model, as the decoder shows it."""
        renderer = renderer_of(model, self._base.sequential, self._trainer.device, self._settings.threads)
        return score_trials(self._judge, trials, [render(renderer, trial) for trial in trials])

    def _filled(self, tensors: Mapping[str, Tensor]) -> AdaptiveGenerator:
        model = copy.deepcopy(self._general)
        model.load_state_dict(dict(tensors))
        return model

    def _write(self, fitted: _Fitted, out: Path, overwrite: bool) -> tuple[Path, bytes]:
        """Write the file under its name; its path and id."""
        base = self._base
        made = save_weights(
            self._folder,
            fitted.tensors,
            base.profile,
            sequential=base.sequential,
            label=f"{base.profile}-personal",
            parent=base.parent or base.model_id,
        )
        target = out / made.name if out.is_dir() else out
        with atomic_path(target, overwrite) as part:
            part.write_bytes(made.read_bytes())
        return target, load_weights(target).model_id


def _model_of(weights: Weights) -> AdaptiveGenerator:
    """The network that weights belong to, filled with them."""
    if weights.profile not in PROFILES:
        raise WeightsError(f"{weights.path}: weights of an unknown profile, {weights.profile}")
    model = AdaptiveGenerator(PROFILES[weights.profile])
    fill(model, weights)
    return model.eval()


def _halves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of tensors as a weights file gives them back."""
    return {
        name: tensor.detach().half().float() if tensor.is_floating_point() else tensor.detach().clone()
        for name, tensor in tensors.items()
    }


def _rank(scores: Scores) -> float:
    """Lower is better."""
    return scores.lpips if math.isfinite(scores.lpips) else -scores.psnr


def _gain(before: Scores, after: Scores) -> str:
    if math.isfinite(before.lpips):
        return f"{100 * (1 - after.lpips / max(before.lpips, 1e-9)):.1f} % LPIPS"
    return f"{after.psnr - before.psnr:+.2f} dB"


def _silent(progress: FinetuneProgress) -> None:
    """Say nothing."""


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse at once what could not be written after long work."""
    if out.is_dir():
        return
    if out.suffix != ".safetensors":
        raise ConfigError("out", str(out), "a name that ends in .safetensors, or a folder that exists")
    if parse_name(out) is not None:
        raise ConfigError("out", str(out), "a name without an id at its end, or a folder that exists")
    if not out.parent.is_dir():
        raise MediaError(out, "its folder does not exist")
    if out.exists() and not overwrite:
        raise MediaError(out, "exists already, and overwriting was not asked for")
