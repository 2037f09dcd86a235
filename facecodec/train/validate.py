"""How generators are judged in training: by short runs of frames, made as the decoder makes them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from facecodec.errors import WeightsError
from facecodec.generator.adaptive import SIZE_MULTIPLE, AdaptiveGenerator, Synthesis
from facecodec.generator.render import StreamRenderer
from facecodec.generator.restore import COARSEST
from facecodec.generator.select import WARP, WARP_NAME, Generator, LoadedGenerator, WarpRenderer
from facecodec.generator.streaming import Stream
from facecodec.metrics.landmark import Box, expression_boxes
from facecodec.metrics.perceptual import Lpips
from facecodec.train.logs import Value
from facecodec.train.pack import Pack
from facecodec.train.palettes import FramePalette, palette_of
from facecodec.train.task import Verdict
from facecodec.types import F32Array, U8Array

_RUN = 4
"""Consecutive frames that are judged together."""

_log = logging.getLogger(__name__)


class Scores(NamedTuple):
    """Scores of a picture, or their means; LPIPS is NaN where its weights are not installed.

    Attributes:
        psnr: dB.
        lpips: LPIPS-alex of the whole picture.
        eyes: LPIPS-alex of the box around the eyes.
        mouth: LPIPS-alex of the box around the mouth.
    """

    psnr: float
    lpips: float
    eyes: float
    mouth: float


class Judge:
    """Scores pictures. Without the weights of LPIPS it gives PSNR alone, and says so once.

    Args:
        device: on which it computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lpips: Lpips | None = None
        try:
            self._lpips = Lpips("alex").to(device)
        except WeightsError as err:
            _log.warning("validation without LPIPS: %s", err)

    @torch.no_grad()
    def score(self, source: U8Array, made: U8Array, mesh: F32Array) -> Scores:
        """Score a picture.

        Args:
            source: [H, W, 3].
            made: the same shape.
            mesh: [478, 3] of the source, crop units.
        """
        one, two = planes(source).to(self._device), planes(made).to(self._device)
        error = float((two - one).square().mean())
        psnr = -10 * math.log10(max(error, 1e-10))
        height, width = source.shape[:2]
        boxes = (Box(0, 0, width, height), *expression_boxes(mesh, width, height))
        return Scores(psnr, *(self._distance(one, two, box) for box in boxes))

    def _distance(self, source: Tensor, made: Tensor, box: Box) -> float:
        if self._lpips is None:
            return math.nan
        cut = (..., slice(box.y0, box.y1), slice(box.x0, box.x1))
        return float(self._lpips(source[cut][None], made[cut][None]))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Mean of each score, those left out that are no number; NaN where none is left."""
    means = []
    for column in zip(*scores, strict=True):
        known = [value for value in column if math.isfinite(value)]
        means.append(sum(known) / len(known) if known else math.nan)
    return Scores(*means) if means else Scores(math.nan, math.nan, math.nan, math.nan)


def named_scores(prefix: str, scores: Scores) -> list[Value]:
    """Scores as values ``PREFIX_NAME``, without those that are no number."""
    pairs = zip(Scores._fields, scores, strict=True)
    return [Value(f"{prefix}_{name}", value) for name, value in pairs if math.isfinite(value)]


def planes(picture: U8Array) -> Tensor:
    """[H, W, 3] uint8 to [3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).float().div(255)


def spread(total: int, count: int) -> list[int]:
    """At most ``count`` of the numbers 0 to ``total`` - 1, evenly spread, always the same."""
    places = np.linspace(0, total - 1, min(count, total)).round()
    return [int(place) for place in np.unique(places)]


class Shown(NamedTuple):
    """A frame: its picture [S, S, 3], its mesh [478, 3], its scene points [G, G, 2] or None, crop units."""

    picture: U8Array
    mesh: F32Array
    scene: F32Array | None


class Trial(NamedTuple):
    """Consecutive frames that are made from one reference picture and its palette.

    Attributes:
        picture: the reference picture as decoded, [S, S, 3].
        mesh: its mesh, [478, 3], crop units.
        frames: what should come out.
        palette: entries, and how much of them the frames show; None for none.
        q_idx: how coarsely the reference picture was coded, 0 to 255.
    """

    picture: U8Array
    mesh: F32Array
    frames: list[Shown]
    palette: FramePalette | None = None
    q_idx: int = COARSEST


def trials_of(pack: Pack, frames: int) -> list[Trial]:
    """Short runs spread evenly over a packed data set, the same every time.

    Args:
        pack: the data set.
        frames: frames in all, about.
    """
    out = []
    for run in spread(pack.n_runs, max(1, frames // _RUN)):
        rows = pack.frames_of_run(run)[:_RUN]
        records = [pack.frame(row) for row in rows]
        reference = pack.reference(records[0].reference)
        shown = [Shown(record.picture, record.mesh, record.scene) for record in records]
        palette = palette_of(pack, records[0].reference, rows)
        out.append(Trial(reference.coded, reference.mesh, shown, palette, reference.q_idx))
    return out


def renderer_of(
    model: AdaptiveGenerator, sequential: bool, device: torch.device, threads: int = 0
) -> StreamRenderer:
    """What the decoder would show a model's streams with; see :class:`StreamRenderer`."""
    stream = Stream(model, sequential=sequential)
    return StreamRenderer(LoadedGenerator("in training", bytes(8), stream, SIZE_MULTIPLE), device, threads)


def render(renderer: StreamRenderer, trial: Trial) -> list[U8Array]:
    """The frames of a trial, [S, S, 3] each; the last one is made in a call of its own."""
    renderer.put(0, trial.picture, trial.mesh.astype(np.float64), trial.q_idx)
    palette = trial.palette
    if palette is not None:
        renderer.put_palette(0, palette.patches)
    last = len(trial.frames) - 1
    made: list[U8Array] = []
    for part in (slice(0, last), slice(last, None)):
        frames = trial.frames[part]
        if not frames:
            continue
        meshes = np.stack([frame.mesh for frame in frames]).astype(np.float64)
        scenes = [frame.scene for frame in frames if frame.scene is not None]
        scene = np.stack(scenes) if len(scenes) == len(frames) else None
        shares = palette.weights[part] if palette is not None and palette.patches else None
        made += list(renderer.render(0, meshes, scene, weights=shares))
    return made


def score_trials(judge: Judge, trials: Sequence[Trial], made: Sequence[Sequence[U8Array]]) -> Scores:
    """Mean scores over all frames of some trials."""
    return mean_scores(
        [
            judge.score(frame.picture, picture, frame.mesh)
            for trial, pictures in zip(trials, made, strict=True)
            for frame, picture in zip(trial.frames, pictures, strict=True)
        ]
    )


class _Watched:
    """A generator that keeps what it made last, for the tiles."""

    def __init__(self, model: AdaptiveGenerator) -> None:
        self.model = model
        self.last: Synthesis | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def synthesise(self, *args: Any, **kwargs: Any) -> Synthesis:
        self.last = self.model.synthesise(*args, **kwargs)
        return self.last


class ClipJudge:
    """Judges a generator by short runs of frames.

    Args:
        pack: validation data.
        frames: how many to judge, in runs of up to four.
        sequential: give the generator its previous output.
    """

    def __init__(self, pack: Pack, frames: int, sequential: bool) -> None:
        self._sequential = sequential
        self._trials = trials_of(pack, frames)
        self._judge: Judge | None = None
        self._baseline: list[list[U8Array]] = []
        self._base_values: list[Value] = []

    def judge(self, model: AdaptiveGenerator, tiles: int) -> Verdict:
        """Scores of the model and of warp-0, and tiles of the last frame of some runs.

        The columns of the tiles: source, reference, warp-0, generated, hallucinated, occlusion mask.
        """
        device = next(model.parameters()).device
        threads = torch.get_num_threads()
        if self._judge is None:
            self._judge = Judge(device)
            warp = LoadedGenerator(WARP_NAME, WARP, cast(Generator, WarpRenderer(device)), 1)
            renderer = StreamRenderer(warp, device, threads)
            self._baseline = [render(renderer, trial) for trial in self._trials]
            self._base_values = self._values("warp0", self._judge, self._baseline)
        watched = _Watched(model)
        renderer = renderer_of(cast(AdaptiveGenerator, watched), self._sequential, device, threads)
        chosen = spread(len(self._trials), tiles) if tiles else []
        made, rows = [], []
        for number, trial in enumerate(self._trials):
            made.append(render(renderer, trial))
            if number in chosen and watched.last is not None:
                shown = (trial.frames[-1].picture, trial.picture, self._baseline[number][-1], made[-1][-1])
                hidden = [watched.last.hallucinated[-1], watched.last.masks[-1, :1]]
                rows.append([*map(planes, shown), *hidden])
        return Verdict([*self._base_values, *self._values("made", self._judge, made)], rows)

    def _values(self, prefix: str, judge: Judge, made: list[list[U8Array]]) -> list[Value]:
        values = named_scores(prefix, score_trials(judge, self._trials, made))
        flicker = []
        for trial, pictures in zip(self._trials, made, strict=True):
            sources = [frame.picture for frame in trial.frames]
            for t in range(1, len(sources)):
                change = np.subtract(pictures[t], pictures[t - 1], dtype=np.float32)
                change -= np.subtract(sources[t], sources[t - 1], dtype=np.float32)
                flicker.append(float(np.abs(change).mean()))
        if flicker:
            values.append(Value(f"{prefix}_temporal", sum(flicker) / len(flicker)))
        return values
