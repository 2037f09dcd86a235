"""Which points a sweep is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from facecodec.benchmark import anchors, own
from facecodec.benchmark.jobs import Job
from facecodec.benchmark.sequences import Clip

_T = TypeVar("_T")


def plan(
    clips: Sequence[Clip], codecs: Sequence[str], points: int | None = None, scales: Sequence[int] = (1, 2, 4)
) -> list[Job]:
    """Jobs of a sweep, clip by clip.

    Args:
        clips: what is coded.
        codecs: curves, of ``own.CURVES`` and :data:`anchors.ANCHORS`.
        points: settings of each curve and scale at most, spread over the sweep with its floor; None for all.
            An anchor's ``floor`` is always added.
        scales: resolutions of the anchors.
    """
    jobs = []
    wanted = tuple(curve for curve in own.CURVES if curve in codecs)
    for clip in clips:
        if wanted:
            labels = _spread(tuple(own.SETTINGS), points)
            jobs += [Job(clip, own.OWN, wanted, 1, label) for label in labels]
        for name in codecs:
            for scale in scales if name in anchors.ANCHORS else ():
                anchor = anchors.ANCHORS[name]
                settings = _spread(anchor.settings(scale), points) + ((anchor.floor,) if anchor.floor else ())
                jobs += [Job(clip, name, (name,), scale, setting) for setting in settings]
    return jobs


def _spread(values: tuple[_T, ...], count: int | None) -> tuple[_T, ...]:
    if count is None or count >= len(values):
        return values
    last = len(values) - 1
    return tuple(values[last - round(i * last / max(count - 1, 1))] for i in reversed(range(count)))
