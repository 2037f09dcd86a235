"""Reducing takes to a budget of bytes, shared evenly over the clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from facecodec.errors import ConfigError
from facecodec.train.packing import FrameEntry, ReferenceEntry, StillEntry, TakeEntry
from facecodec.train.pictures import PictureData, recode
from facecodec.train.records import Clip

_MESH_BYTES = 478 * 3 * 2
_ROW_BYTES = 48
_SHOWN_BYTES = 6
_TAKE_BYTES = 512
"""Rows of the tables and the take's share of the metadata, rounded up."""
_FILE_BYTES = 8192
_CODED_QUALITY = 95
"""Coded pictures are never coded to a lower WebP quality: what they lack must be what AV1 took away."""


@dataclass(slots=True)
class _Growing:
    """A take of which some runs have been accepted."""

    clip: Clip
    source: TakeEntry
    references: dict[int, ReferenceEntry] = field(default_factory=dict)
    runs: list[list[FrameEntry]] = field(default_factory=list)
    stills: list[StillEntry] = field(default_factory=list)
    next_run: int = 0

    def offer(
        self, quality: int
    ) -> tuple[int, dict[int, ReferenceEntry], list[FrameEntry], list[StillEntry]]:
        """What the next run adds, pictures coded to ``quality`` (0: as they are), and its bytes."""
        run = self.source.runs[self.next_run]
        wanted = {frame.reference for frame in run} - self.references.keys()
        references = {j: _recoded_reference(self.source.references[j], quality) for j in sorted(wanted)}
        frames = [replace(frame, picture=_recoded(frame.picture, quality)) for frame in run]
        before = sum(map(len, self.source.runs[: self.next_run]))
        kept = sum(map(len, self.runs))
        stills = [
            replace(still, coded=_recoded_coded(still.coded, quality), frame=kept + still.frame - before)
            for still in self.source.stills
            if before <= still.frame < before + len(run)
        ]
        cost = 0 if self.runs else _TAKE_BYTES
        cost += sum(_reference_bytes(reference) for reference in references.values())
        scene = 4 * self.source.take.grid**2
        cost += sum(
            len(frame.picture) + _MESH_BYTES + scene + _ROW_BYTES + _SHOWN_BYTES * len(frame.shown)
            for frame in frames
        )
        cost += sum(len(still.coded) + _ROW_BYTES for still in stills)
        return cost, references, frames, stills

    def finished(self) -> TakeEntry:
        """The take with the accepted runs and the reference pictures that they use."""
        order = sorted(self.references)
        rows = {j: row for row, j in enumerate(order)}
        runs = [[replace(frame, reference=rows[frame.reference]) for frame in run] for run in self.runs]
        return TakeEntry(self.source.take, [self.references[j] for j in order], runs, self.stills)


def reduce_takes(
    takes: Sequence[tuple[Clip, TakeEntry]], budget: int, quality: int = 0
) -> list[tuple[Clip, TakeEntry]]:
    """Keep the first runs of every take, as many as fit; the clip that has the fewest bytes is served first.

    Args:
        takes: every take with its clip; the most useful runs of each first.
        budget: bytes of the file; 0 sets no limit.
        quality: WebP quality, 1 to 100, that source crops are coded to (coded pictures to 95 at least); 0
            keeps all pictures as they are.

    Returns:
        Takes that keep at least a run, with the reference pictures that they use.

    Raises:
        ConfigError: not a single run fits.
        MediaError: a picture is damaged.
    """
    if not budget and not quality:
        return list(takes)
    growing = [_Growing(clip, entry) for clip, entry in takes]
    of_clip: dict[Clip, list[_Growing]] = {}
    for take in growing:
        of_clip.setdefault(take.clip, []).append(take)
    spent = dict.fromkeys(of_clip, 0)
    total, waiting = _FILE_BYTES, list(of_clip)
    while waiting:
        clip = min(waiting, key=lambda c: spent[c])
        take = min(of_clip[clip], key=lambda t: (t.next_run >= len(t.source.runs), t.next_run))
        if take.next_run >= len(take.source.runs):
            waiting.remove(clip)
            continue
        cost, references, frames, stills = take.offer(quality)
        if budget and total + cost > budget:
            waiting.remove(clip)
            continue
        take.references.update(references)
        take.runs.append(frames)
        take.stills += stills
        take.next_run += 1
        spent[clip] += cost
        total += cost
    kept = [(take.clip, take.finished()) for take in growing if take.runs]
    if not kept:
        raise ConfigError("budget_mb", budget / (1 << 20), "more: not a single run fits")
    return kept


def _recoded(data: PictureData, quality: int) -> PictureData:
    return recode(data, quality) if quality else data


def _recoded_coded(data: PictureData, quality: int) -> PictureData:
    return recode(data, max(quality, _CODED_QUALITY)) if quality else data


def _recoded_reference(entry: ReferenceEntry, quality: int) -> ReferenceEntry:
    coded = _recoded_coded(entry.coded, quality)
    palette = tuple(replace(e, patch=_recoded_coded(e.patch, quality)) for e in entry.palette)
    return replace(entry, coded=coded, original=_recoded(entry.original, quality), palette=palette)


def _reference_bytes(entry: ReferenceEntry) -> int:
    patches = sum(len(e.patch) + _MESH_BYTES + _ROW_BYTES for e in entry.palette)
    return len(entry.coded) + len(entry.original) + _MESH_BYTES + _ROW_BYTES + patches
