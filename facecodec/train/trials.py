"""Frames that a model is judged by, made on the decoder's own way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from facecodec.generator.adaptive import SIZE_MULTIPLE, AdaptiveGenerator
from facecodec.generator.render import StreamRenderer
from facecodec.generator.select import LoadedGenerator
from facecodec.generator.streaming import Stream
from facecodec.train.pack import Pack
from facecodec.train.validate import Judge, Scores, planes, spread
from facecodec.types import F32Array, U8Array

_RUN = 4
"""Consecutive frames that are judged together."""


class Shown(NamedTuple):
    """A frame: its picture [S, S, 3], its mesh [478, 3], its scene points [G, G, 2] or None, crop units."""

    picture: U8Array
    mesh: F32Array
    scene: F32Array | None


class Trial(NamedTuple):
    """Consecutive frames that are made from one reference picture.

    Attributes:
        picture: the reference picture as decoded, [S, S, 3].
        mesh: its mesh, [478, 3], crop units.
        frames: what should come out.
    """

    picture: U8Array
    mesh: F32Array
    frames: list[Shown]


def trials_of(pack: Pack, frames: int) -> list[Trial]:
    """Short runs spread evenly over a packed data set, the same every time.

    Args:
        pack: the data set.
        frames: frames in all, about.
    """
    out = []
    for run in spread(pack.n_runs, max(1, frames // _RUN)):
        records = [pack.frame(row) for row in list(pack.frames_of_run(run))[:_RUN]]
        reference = pack.reference(records[0].reference)
        shown = [Shown(record.picture, record.mesh, record.scene) for record in records]
        out.append(Trial(reference.coded, reference.mesh, shown))
    return out


class TrialJudge:
    """Scores models by trials: PSNR and, where its weights are installed, LPIPS-alex.

    Args:
        sequential: give the generator its previous output.
        device: where everything runs.
        threads: cores to use; 0 takes what the machine has.
    """

    def __init__(self, sequential: bool, device: torch.device, threads: int = 0) -> None:
        self._sequential, self._device, self._threads = sequential, device, threads
        self._judge = Judge()
        self._judge.to(device)

    def score(self, model: AdaptiveGenerator, trials: Sequence[Trial]) -> Scores:
        """Mean scores over all frames; NaN where nothing could be scored."""
        stream = Stream(model, sequential=self._sequential)
        loaded = LoadedGenerator("in training", bytes(8), stream, SIZE_MULTIPLE)
        renderer = StreamRenderer(loaded, self._device, self._threads)
        scores = []
        for trial in trials:
            renderer.put(0, trial.picture, trial.mesh.astype(np.float64))
            meshes = np.stack([frame.mesh for frame in trial.frames]).astype(np.float64)
            scenes = [frame.scene for frame in trial.frames if frame.scene is not None]
            scene = np.stack(scenes) if len(scenes) == len(meshes) else None
            for made, frame in zip(renderer.render(0, meshes, scene), trial.frames, strict=True):
                source, shown = planes(frame.picture, self._device), planes(made, self._device)
                scores.append(self._judge.score(source, shown, frame.mesh))
        columns = zip(*scores, strict=True)
        return Scores(*(_mean(column) for column in columns))


def _mean(values: Sequence[float]) -> float:
    """Mean of the numbers among the values; NaN where there is none."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
