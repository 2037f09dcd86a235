"""Learn the initial probabilities of the level contexts from streams of training clips.

    python -m facecodec.train.contexts STREAMS --out facecodec/bitstream/data/contexts_1.json

The streams are ``.fcv`` files that the codec itself wrote, best at several QPs. Every motion unit is decoded
again with a decoder that counts zeros and ones in each context. With n0 zeros in n bits, and p the share of
zeros in the contexts that resemble it, a context starts at (n0 + 8 p) / (n + 8): a context that was never
seen takes p alone. See :func:`pools` for what resembles what.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track as progress

from facecodec.bitstream import MotionUnit
from facecodec.bitstream.level_contexts import (
    BUSY,
    CLASSES,
    CONTEXTS,
    DEPTHS,
    HOLD,
    MAGNITUDE,
    MOVES,
    NEARS,
    PREFIX,
    SIGN,
    ChannelLayout,
    LevelState,
)
from facecodec.bitstream.levels import decode_group
from facecodec.container import FcvReader
from facecodec.entropy.models import BitModels
from facecodec.entropy.range_coder import RangeDecoder
from facecodec.errors import BitstreamError, MediaError
from facecodec.motion.face import POSE_CHANNELS, load_face_model
from facecodec.types import F64Array

PROBABILITY_MIN, PROBABILITY_MAX = 600, 64936
_POOL_BITS = 8
_MOVES_PERIOD = (HOLD - MOVES) // CLASSES

_log = logging.getLogger(__name__)


class CountingDecoder(RangeDecoder):
    """A range decoder that counts what comes out of each model.

    Args:
        data: the encoder's bytes.
        counts: [CONTEXTS, 2], to which the zeros and ones of each model are added.
    """

    __slots__ = ("_counts",)

    def __init__(self, data: bytes, counts: F64Array) -> None:
        super().__init__(data)
        self._counts = counts

    def decode(self, models: BitModels, index: int) -> int:
        """As in the range decoder."""
        bit = super().decode(models, index)
        self._counts[index, bit] += 1
        return bit


def count_stream(path: Path, counts: F64Array) -> int:
    """Add what a stream codes to ``counts`` [CONTEXTS, 2].

    Args:
        path: an ``.fcv`` file.
        counts: changed in place.

    Returns:
        Motion units read.

    Raises:
        BitstreamError: a motion unit, or the header, is damaged.
    """
    units = 0
    with FcvReader(path) as reader:
        deformations = load_face_model().channels - POSE_CHANNELS
        state = LevelState(ChannelLayout(deformations, reader.header.scene_grid))
        for at in reader.units():
            if isinstance(at.unit, MotionUnit):
                decode_group(state, CountingDecoder(at.unit.levels, counts), at.unit.n_frames, at.unit.reset)
                units += 1
    return units


def pools() -> list[np.ndarray]:
    """Which contexts resemble each other, from near to far.

    Zero flags: first those of a class and depth, then those of a depth and the same residuals beside.
    Signs: those of the same neighbouring sign. Magnitudes: the same place in the prefix. Flags 'moves':
    the same past and neighbours. Last, everything of the same part of the table.

    Returns:
        Arrays [CONTEXTS]: contexts with the same number belong together.
    """
    here = np.arange(CONTEXTS)
    bounds = [0, SIGN, MAGNITUDE, MOVES, HOLD, CONTEXTS]
    near, far, part = here.copy(), here.copy(), np.zeros_like(here)
    for number, (first, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        place = here[first:end] - first
        part[first:end] = number
        if first == 0:
            near[first:end] = place // (NEARS * BUSY)
            far[first:end] = place // BUSY % (DEPTHS * NEARS)
        elif first < HOLD:
            period = {SIGN: 3, MAGNITUDE: PREFIX, MOVES: _MOVES_PERIOD}[first]
            near[first:end] = far[first:end] = first + place % period
    return [near, far, part]


def probabilities(counts: F64Array) -> tuple[int, ...]:
    """Initial probabilities of a 0, of 65536, from counts [CONTEXTS, 2] of zeros and ones."""
    share = np.full(CONTEXTS, 0.5)
    for labels in reversed(pools()):
        zeros = np.bincount(labels, counts[:, 0], minlength=CONTEXTS)[labels]
        total = np.bincount(labels, counts.sum(1), minlength=CONTEXTS)[labels]
        share = (zeros + _POOL_BITS * share) / (total + _POOL_BITS)
    share = (counts[:, 0] + _POOL_BITS * share) / (counts.sum(1) + _POOL_BITS)
    return tuple(np.clip(np.rint(share * 65536), PROBABILITY_MIN, PROBABILITY_MAX).astype(int).tolist())


def write_table(path: Path, table: tuple[int, ...]) -> None:
    """Write the table as ``contexts_1.json``: the same bytes for the same numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"probabilities": list(table)}) + "\n", encoding="ascii")


def main(
    streams: Annotated[Path, typer.Argument(help="folder of .fcv files from training clips")],
    out: Annotated[Path, typer.Option(help="JSON to write")],
) -> None:
    """Learn the table of contexts."""
    paths = sorted(streams.rglob("*.fcv"))
    if not paths:
        raise MediaError(streams, "no .fcv files in this folder")
    counts = np.zeros((CONTEXTS, 2))
    for path in progress(paths, "counting"):
        try:
            units = count_stream(path, counts)
        except BitstreamError as err:
            raise MediaError(path, str(err)) from err
        _log.info("%s: %d motion units", path, units)
    write_table(out, probabilities(counts))


if __name__ == "__main__":
    typer.run(main)
