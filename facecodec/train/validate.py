"""How validation judges pictures: PSNR and LPIPS-alex of the whole, of the eyes and of the mouth."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from facecodec.errors import WeightsError
from facecodec.generator.adaptive import AdaptiveGenerator, Synthesis
from facecodec.generator.model import WarpGenerator
from facecodec.generator.streaming import Stream
from facecodec.metrics.landmark import Box, expression_boxes
from facecodec.metrics.perceptual import Lpips
from facecodec.train.logs import Value
from facecodec.train.pack import FrameRecord, Pack, ReferenceRecord
from facecodec.train.task import Verdict
from facecodec.types import F32Array, U8Array

_RUN = 4
"""Consecutive frames that are judged together."""

_log = logging.getLogger(__name__)


class Scores(NamedTuple):
    """Scores of a picture; LPIPS is NaN where its weights are not installed.

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
    """Scores pictures. Without the weights of LPIPS it gives PSNR alone, and says so once."""

    def __init__(self) -> None:
        self._lpips: Lpips | None = None
        try:
            self._lpips = Lpips("alex")
        except WeightsError as err:
            _log.warning("validation without LPIPS: %s", err)

    def to(self, device: torch.device) -> None:
        """Compute on a device."""
        if self._lpips is not None:
            self._lpips.to(device)

    @torch.no_grad()
    def score(self, source: Tensor, made: Tensor, mesh: F32Array) -> Scores:
        """Score a picture.

        Args:
            source: [3, H, W] in [0, 1].
            made: the same shape; rounded to 8 bit here, as what is shown is.
            mesh: [478, 3] of the source, crop units.
        """
        made = made.float().clamp(0, 1).mul(255).round().div(255)
        error = float((made - source).square().mean())
        psnr = -10 * math.log10(max(error, 1e-10))
        height, width = source.shape[-2:]
        boxes = (Box(0, 0, width, height), *expression_boxes(mesh, width, height))
        return Scores(psnr, *(self._distance(source, made, box) for box in boxes))

    def _distance(self, source: Tensor, made: Tensor, box: Box) -> float:
        if self._lpips is None:
            return math.nan
        cut = (..., slice(box.y0, box.y1), slice(box.x0, box.x1))
        return float(self._lpips(source[cut][None], made[cut][None]))


def mean_scores(prefix: str, scores: Sequence[Scores]) -> list[Value]:
    """Mean of each score, as values ``PREFIX_NAME``; without those that are no number."""
    out = []
    for name, column in zip(Scores._fields, zip(*scores, strict=True), strict=True):
        mean = sum(column) / len(column)
        if math.isfinite(mean):
            out.append(Value(f"{prefix}_{name}", mean))
    return out


def planes(picture: U8Array, device: torch.device) -> Tensor:
    """[H, W, 3] uint8 to [3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(picture).to(device).permute(2, 0, 1).float().div(255)


def spread(total: int, count: int) -> list[int]:
    """At most ``count`` of the numbers 0 to ``total`` - 1, evenly spread, always the same."""
    places = np.linspace(0, total - 1, min(count, total)).round()
    return [int(place) for place in np.unique(places)]


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


class _Clip(NamedTuple):
    reference: ReferenceRecord
    frames: list[FrameRecord]


class ClipJudge:
    """Judges a generator by short runs of frames, made as the decoder makes them.

    Args:
        pack: validation data.
        frames: how many to judge, in runs of up to four.
        sequential: give the generator its previous output.
    """

    def __init__(self, pack: Pack, frames: int, sequential: bool) -> None:
        self._sequential = sequential
        self._judge = Judge()
        self._clips = []
        for run in spread(pack.n_runs, max(1, frames // _RUN)):
            records = [pack.frame(row) for row in list(pack.frames_of_run(run))[:_RUN]]
            self._clips.append(_Clip(pack.reference(records[0].reference), records))
        self._baseline: list[list[Tensor]] = []
        self._base_values: list[Value] = []

    @torch.no_grad()
    def judge(self, model: AdaptiveGenerator, tiles: int) -> Verdict:
        """Scores of the model and of warp-0, and tiles of the last frame of some runs.

        The columns of the tiles: source, reference, warp-0, generated, hallucinated, occlusion mask.
        """
        device = next(model.parameters()).device
        self._judge.to(device)
        if not self._baseline:
            self._baseline = [_warp_0(clip, device) for clip in self._clips]
            self._base_values = self._values("warp0", self._baseline, device)
        watched = _Watched(model)
        stream = Stream(cast(AdaptiveGenerator, watched), sequential=self._sequential)
        chosen = spread(len(self._clips), tiles) if tiles else []
        made, rows = [], []
        for number, clip in enumerate(self._clips):
            made.append(_render(stream, clip, device))
            if number in chosen and watched.last is not None:
                rows.append(
                    [
                        planes(clip.frames[-1].picture, device),
                        planes(clip.reference.coded, device),
                        self._baseline[number][-1],
                        made[-1][-1],
                        watched.last.hallucinated[-1],
                        watched.last.masks[-1, :1],
                    ]
                )
        return Verdict([*self._base_values, *self._values("made", made, device)], rows)

    def _values(self, prefix: str, made: list[list[Tensor]], device: torch.device) -> list[Value]:
        scores, flicker = [], []
        for clip, pictures in zip(self._clips, made, strict=True):
            sources = [planes(frame.picture, device) for frame in clip.frames]
            for frame, source, picture in zip(clip.frames, sources, pictures, strict=True):
                scores.append(self._judge.score(source, picture, frame.mesh))
            for t in range(1, len(sources)):
                change = (pictures[t] - pictures[t - 1]) - (sources[t] - sources[t - 1])
                flicker.append(255 * float(change.abs().mean()))
        values = mean_scores(prefix, scores)
        if flicker:
            values.append(Value(f"{prefix}_temporal", sum(flicker) / len(flicker)))
        return values


def _warp_0(clip: _Clip, device: torch.device) -> list[Tensor]:
    generator = WarpGenerator().to(device)
    mesh = torch.from_numpy(clip.reference.mesh).to(device)
    state = generator.prepare(planes(clip.reference.coded, device), mesh)
    return [generator(state, *_motion(frame, device))[0] for frame in clip.frames]


def _render(stream: Stream, clip: _Clip, device: torch.device) -> list[Tensor]:
    mesh = torch.from_numpy(clip.reference.mesh).to(device)
    reference = stream.prepare(planes(clip.reference.coded, device), mesh)
    state = stream.new_state()
    return [stream.render([reference], *_motion(frame, device), state)[0] for frame in clip.frames]


def _motion(frame: FrameRecord, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Mesh [1, 478, 3] and scene points [1, G, G, 2] of a frame."""
    scene = None if frame.scene is None else torch.from_numpy(frame.scene)[None].to(device)
    return torch.from_numpy(frame.mesh)[None].to(device), scene
