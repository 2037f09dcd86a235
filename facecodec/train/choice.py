"""Which frames and reference pictures of a packed data set become a training sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facecodec.errors import ConfigError
from facecodec.train.pack import Pack
from facecodec.types import F32Array, U8Array


class ChosenReference(NamedTuple):
    """A reference picture of a sample.

    Attributes:
        picture: [S, S, 3] uint8.
        mesh: [478, 3], crop units.
        q_idx: how coarsely it was coded, ``base_q_idx`` of AV1: 1 to 255; 0 where it was not.
        scene: its scene points against the run's reference picture, [G, G, 2] or a number; None: unknown.
        number: its row among the reference pictures; None for another frame.
    """

    picture: U8Array
    mesh: F32Array
    q_idx: int
    scene: F32Array | float | None
    number: int | None = None


class Choice(NamedTuple):
    """What a sample is made of.

    Attributes:
        pack: where the rows are.
        rows: the frame before the sample's first, then its frames. Without a frame before, the first twice.
        has_previous: the first row really is the frame before.
        references: reference pictures, the one that scene points speak of first.
        scenes: scene points of the rows against the run's reference picture, [T + 1, G, G, 2], or None.
    """

    pack: Pack
    rows: list[int]
    has_previous: bool
    references: list[ChosenReference]
    scenes: F32Array | None

    def scenes_against(self, reference: ChosenReference) -> F32Array | None:
        """Scene points of the rows against one of the reference pictures, or None where it is unknown."""
        if self.scenes is None or reference.scene is None:
            return None
        return np.asarray(self.scenes - reference.scene, np.float32)


class ClipChoice:
    """Draws samples so that nobody who is seen for long crowds out the others.

    A person's share grows with the square root of the frames; within it all places of all runs are alike.

    Args:
        packs: packed data sets.
        frames: frames of a sample.

    Raises:
        ConfigError: no run is long enough.
    """

    def __init__(self, packs: Sequence[Pack], frames: int) -> None:
        self._packs, self._frames = list(packs), frames
        owner, run, places, person = [], [], [], []
        for number, pack in enumerate(self._packs):
            lengths = np.diff(pack.run_offsets)
            usable = np.flatnonzero(lengths >= frames)
            owner += [number] * len(usable)
            run += usable.tolist()
            places += (lengths[usable] - frames + 1).tolist()
            clips = pack.frame_clip[pack.run_offsets[usable]]
            person += [pack.clips[clip].identity for clip in clips]
        if not run:
            raise ConfigError("frames", frames, "at most the length of the longest run of the packs")
        self._owner, self._run, self._places = np.array(owner), np.array(run), np.array(places)
        _, number_of, total = np.unique(person, return_inverse=True, return_counts=True)
        total = np.bincount(number_of, weights=self._places)
        self._ends = np.cumsum(self._places / np.sqrt(total[number_of]))

    def draw(
        self, rng: np.random.Generator, references: int, original: float, other_reference: float
    ) -> Choice:
        """Draw a sample.

        Args:
            rng: where chance comes from.
            references: how many reference pictures.
            original: share of samples that see the first reference picture as it was before coding.
            other_reference: share of samples whose first reference picture is another frame.
        """
        at = int(np.searchsorted(self._ends, rng.random() * self._ends[-1], side="right"))
        at = min(at, len(self._run) - 1)
        pack = self._packs[int(self._owner[at])]
        first = int(pack.run_offsets[self._run[at]])
        start = int(rng.integers(self._places[at]))
        rows = [first + max(start - 1, 0), *range(first + start, first + start + self._frames)]
        main = _main_reference(rng, pack, rows, original, other_reference)
        extra = [_extra_reference(rng, pack, rows) for _ in range(references - 1)]
        scenes = [pack.scene(row) for row in rows]
        known = [scene for scene in scenes if scene is not None]
        stacked = np.stack(known) if len(known) == len(rows) else None
        return Choice(pack, rows, start > 0, [main, *extra], stacked)


def _frame_as_reference(pack: Pack, row: int, run_reference: int) -> ChosenReference:
    frame = pack.frame(row)
    scene = frame.scene if frame.reference == run_reference else None
    return ChosenReference(frame.picture, frame.mesh, 0, scene)


def _main_reference(
    rng: np.random.Generator, pack: Pack, rows: list[int], original: float, other_reference: float
) -> ChosenReference:
    number = int(pack.frame_reference[rows[1]])
    as_it_was, another = rng.random() < original, rng.random() < other_reference
    if another:
        others = np.setdiff1d(np.flatnonzero(pack.frame_reference == number), rows)
        if len(others):
            return _frame_as_reference(pack, int(rng.choice(others)), number)
    record = pack.reference(number)
    if as_it_was:
        return ChosenReference(record.original, record.mesh, 0, 0.0, number)
    return ChosenReference(record.coded, record.mesh, record.q_idx, 0.0, number)


def _extra_reference(rng: np.random.Generator, pack: Pack, rows: list[int]) -> ChosenReference:
    """A further reference picture, its scene points unknown, as they are to a decoder.

    It is another one of the clip's, or some other frame.
    """
    number, clip = int(pack.frame_reference[rows[1]]), int(pack.frame_clip[rows[1]])
    coded = np.setdiff1d(pack.references_of_clip(clip), [number])
    frames = np.setdiff1d(pack.frames_of_clip(clip), rows)
    if len(coded) and (rng.random() < 0.5 or not len(frames)):
        record = pack.reference(int(rng.choice(coded)))
        return ChosenReference(record.coded, record.mesh, record.q_idx, None)
    if len(frames):
        return _frame_as_reference(pack, int(rng.choice(frames)), number)._replace(scene=None)
    record = pack.reference(number)
    return ChosenReference(record.original, record.mesh, 0, 0.0)
