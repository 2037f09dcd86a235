"""Fitting to a video: it is coded as a stream would be, its end kept for judging."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from facecodec.config import EncoderConfig
from facecodec.errors import MediaError
from facecodec.media.reader import VideoReader
from facecodec.train.pack import Pack
from facecodec.train.packing import FrameEntry, TakeEntry, write_pack
from facecodec.train.records import Clip
from facecodec.train.takes import TakeSettings, make_take

_HELD_OUT = 0.3
"""Share of the video, its end, that is never trained on."""
_CHOICE = 0.1
"""Share before that by which the best state is chosen."""
_TAKE_FRAMES = 240
_MAX_TAKES = 6
_FEWEST = (8, 1, 3)
"""Fewest frames to train on, to choose by and to judge by."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A video in three parts, in the order of time.

    Attributes:
        training: what the model learns from.
        choice: by what the best state of the training is chosen.
        held_out: by what the result is judged.
    """

    training: Pack
    choice: Pack
    held_out: Pack


def prepare_video(
    video: Path, folder: Path, seed: int, on_take: Callable[[int, int], None] | None = None
) -> Parts:
    """Code a video with the encoder's usual settings and read it back as a decoder sees it.

    Long videos are sampled: up to six takes of 240 frames, spread evenly.

    Args:
        video: any video that FFmpeg reads.
        folder: where the packed data sets go.
        seed: of everything drawn.
        on_take: called with takes done and takes in all.

    Raises:
        MediaError: the video cannot be read, or has too few good frames.
        NoFaceError: no face in a part of it.
    """
    count, length = _plan(video)
    usual = EncoderConfig()
    settings = TakeSettings(
        qp=(usual.rate.qp, usual.rate.qp),
        ref_quality=(usual.rate.ref_quality, usual.rate.ref_quality),
        frames=length,
        encoded=length,
        stills=0,
        size=usual.size,
        varied=False,
        seed=seed,
    )
    takes = []
    for number in range(count):
        takes.append(make_take(video, video.name, number, max(count - 1, 1), settings).entry)
        if on_take is not None:
            on_take(number + 1, count)
    return _split(video, takes, folder)


def _plan(video: Path) -> tuple[int, int]:
    """Number of takes, and frames of each."""
    with VideoReader(video, threads=1) as reader:
        info = reader.info
    frames = info.frames or round((info.duration_s or 0.0) * info.frame_rate)
    if frames < sum(_FEWEST):
        raise MediaError(video, f"{frames} frames are too few to adapt to: at least {sum(_FEWEST)}")
    count = min(max(round(frames / _TAKE_FRAMES), 1), _MAX_TAKES)
    return count, min(math.ceil(frames / count), _TAKE_FRAMES) if count > 1 else frames


def _split(video: Path, takes: list[TakeEntry], folder: Path) -> Parts:
    """Three packed data sets out of the takes, cut at two moments."""
    times = [frame.pts for take in takes for run in take.runs for frame in run]
    first, span = min(times), max(times) - min(times) + 1
    shares = (0.0, 1 - _HELD_OUT - _CHOICE, 1 - _HELD_OUT, 1.0)
    bounds = pairwise(first + span * share for share in shares)
    packs = []
    for (low, high), name, fewest in zip(bounds, ("training", "choice", "held_out"), _FEWEST, strict=True):
        kept = [(Clip(video.name, video.name), _within(take, low, high)) for take in takes]
        kept = [(clip, take) for clip, take in kept if take.runs]
        frames = sum(len(run) for _, take in kept for run in take.runs)
        if frames < fewest:
            raise MediaError(video, f"too few good frames to adapt to: {frames} of {fewest} for {name}")
        path = folder / f"{name}.safetensors"
        write_pack(path, kept, overwrite=True)
        packs.append(Pack.open(path))
    return Parts(*packs)


def _within(take: TakeEntry, low: float, high: float) -> TakeEntry:
    """The take with the frames of a stretch of time alone."""
    cut: list[list[FrameEntry]] = [[frame for frame in run if low <= frame.pts < high] for run in take.runs]
    return replace(take, runs=[run for run in cut if run], stills=[])
