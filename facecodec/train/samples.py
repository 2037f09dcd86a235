"""Training batches from packed data sets. Everything of batch n depends on the seed and on n alone.

So a run that was stopped goes on with the batches it would have seen. Workers of a DataLoader make whole
batches on one thread each; :func:`batches` sets that up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from facecodec.errors import ConfigError
from facecodec.generator.flow import previous_field
from facecodec.generator.warp import warp
from facecodec.train.augment import ColourRange, draw_colours, draw_window, put_out, resized, to_planes
from facecodec.train.choice import Choice, ClipChoice
from facecodec.train.collate import Sample, TrainingBatch, collate
from facecodec.train.geometry import Geometry, View
from facecodec.train.pack import Pack
from facecodec.train.palettes import palette_of, recoloured, thinned
from facecodec.types import F32Array, U8Array

_FURTHER_WINDOWS, _WHOLE_BATCH = 1 << 20, (1 << 20) + 1
"""Set draws apart from those of the samples, whose numbers in the batch are smaller."""


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """What samples look like.

    Attributes:
        size: side of the pictures in pixels, a multiple of 16.
        window: side of the training windows in pixels, a multiple of 16; 0 for none.
        windows: windows of each sample.
        frames: consecutive frames of a sample.
        references: most reference pictures of a sample, 1 to 4; one batch has one number of them.
        single: share of the batches that have one reference picture, whatever ``references`` allows.
        batch: samples of a batch.
        original: share of the samples that see the reference picture as it was before coding.
        other_reference: share of the samples whose reference picture is another frame of the same clip.
        previous: share of the samples whose first frame has a previous one.
        patches: lay palette entries over the warp, those that a decoder would show.
        region_dropout: chance that a region of a sample loses its entries.
        palette_dropout: chance that a sample loses all of them.
        colour: how far colours are changed.
        seed: of everything drawn.

    Raises:
        ConfigError: a field is outside its range.
    """

    size: int = 256
    window: int = 128
    windows: int = 1
    frames: int = 1
    references: int = 1
    single: float = 0.5
    batch: int = 8
    original: float = 0.15
    other_reference: float = 0.2
    previous: float = 0.8
    patches: bool = True
    region_dropout: float = 0.15
    palette_dropout: float = 0.15
    colour: ColourRange = field(default_factory=ColourRange)
    seed: int = 0

    def __post_init__(self) -> None:
        whole = [("size", 32, 2048), ("frames", 1, 64), ("references", 1, 4), ("batch", 1, 65536)]
        whole.append(("windows", 1, 8 if self.window else 1))
        for name, low, high in whole:
            if not low <= getattr(self, name) <= high:
                raise ConfigError(name, getattr(self, name), f"{low} to {high}")
        if self.size % 16 or self.window % 16 or not 0 <= self.window <= self.size:
            raise ConfigError("window", (self.size, self.window), "multiples of 16, the window within")
        shares = ("single", "original", "other_reference", "previous", "region_dropout", "palette_dropout")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, getattr(self, name), "0 to 1")


class GeneratorSamples(Dataset[TrainingBatch]):
    """Batches for training the generator; item n is batch n.

    Args:
        packs: packed data sets.
        settings: what samples look like.

    Raises:
        ConfigError: no run of any pack is as long as ``settings.frames``.
    """

    def __init__(self, packs: Sequence[Pack], settings: SampleSettings) -> None:
        self.settings = settings
        self._choice = ClipChoice(packs, settings.frames)
        self._geometry: Geometry | None = None

    def __getitem__(self, step: int) -> TrainingBatch:
        """Make batch ``step``. Raises MediaError where a picture of the pack is damaged."""
        settings = self.settings
        # Without a third number this would be the generator of sample 0: numpy fills up with zeros.
        rng = np.random.default_rng((settings.seed, step, _WHOLE_BATCH))
        alone = rng.random() < settings.single
        count = 1 if alone else int(rng.integers(1, settings.references + 1))
        if self._geometry is None:
            self._geometry = Geometry(settings.size)
        samples = [
            self._sample(np.random.default_rng((settings.seed, step, slot)), count, self._geometry)
            for slot in range(settings.batch)
        ]
        batch = collate(samples, settings.window > 0)
        return batch if settings.windows == 1 else self._with_more_windows(batch, step)

    def _with_more_windows(self, batch: TrainingBatch, step: int) -> TrainingBatch:
        """The batch with all windows, the first one of every sample first."""
        settings, meshes = self.settings, batch.frames[0].mesh.numpy()
        rng = np.random.default_rng((settings.seed, step, _FURTHER_WINDOWS))
        more = [
            draw_window(rng, mesh, settings.size, settings.window)
            for _ in range(settings.windows - 1)
            for mesh in meshes
        ]
        assert batch.windows is not None  # noqa: S101 - the settings are checked
        return batch._replace(windows=torch.cat([batch.windows, torch.tensor(more, dtype=torch.int64)]))

    def __getstate__(self) -> dict[str, object]:
        """Workers build their own cache."""
        return {**self.__dict__, "_geometry": None}

    def _sample(self, rng: np.random.Generator, count: int, geometry: Geometry) -> Sample:
        settings = self.settings
        chosen = self._choice.draw(rng, count, settings.original, settings.other_reference)
        colours = draw_colours(rng, settings.colour)
        follows = chosen.has_previous and rng.random() < settings.previous
        rows = chosen.rows if follows else chosen.rows[1:]
        meshes = chosen.pack.meshes(rows)
        fields = self._fields(chosen, meshes, geometry)
        pictures = torch.stack([self._planes(ref.picture, colours) for ref in chosen.references])
        shown = torch.stack([self._planes(chosen.pack.frame(row).picture, colours) for row in rows])
        if follows:
            previous = torch.cat([self._before(rng, shown[0], pictures[0], fields[:1, 0]), shown[1:-1]])
        else:
            fields, shown = torch.cat([fields[:1], fields]), torch.cat([pictures[:1], shown])
            previous = shown[:-1]
        valid = torch.ones(settings.frames)
        valid[0] = float(follows)
        now = meshes[-settings.frames :]
        ref_meshes = np.stack([ref.mesh for ref in chosen.references])
        return Sample(
            pictures=pictures,
            reference_labels=geometry.labels(ref_meshes),
            reference_meshes=torch.from_numpy(ref_meshes),
            q_idx=torch.tensor([float(ref.q_idx) for ref in chosen.references]),
            meshes=torch.from_numpy(now),
            labels=geometry.labels(now),
            fields=fields[1:],
            previous=previous,
            previous_fields=previous_field(fields[1:, 0], fields[:-1, 0]),
            previous_valid=valid,
            patches=self._patches(rng, chosen, colours, geometry) if settings.patches else None,
            targets=shown[1:],
            window=torch.tensor(draw_window(rng, now[0], settings.size, settings.window or settings.size)),
        )

    def _fields(self, chosen: Choice, meshes: F32Array, geometry: Geometry) -> Tensor:
        """Motion fields of the last rows into every reference picture, [N, K, S, S, 2]."""
        fields = []
        for reference in chosen.references:
            scenes = chosen.scenes_against(reference)
            view = View(reference.mesh, None if scenes is None else scenes[-len(meshes) :])
            fields.append(geometry.fields(view, meshes))
        return torch.stack(fields, 1)

    def _planes(self, picture: U8Array, colours: F32Array) -> Tensor:
        """A stored picture at the size of the samples, [3, S, S]."""
        return to_planes(resized(picture, self.settings.size), colours)

    def _before(self, rng: np.random.Generator, true: Tensor, reference: Tensor, field: Tensor) -> Tensor:
        """What stands for the output before the first frame, [1, 3, S, S]."""
        return put_out(true, warp(reference[None], field)[0], rng)[None]

    def _patches(
        self, rng: np.random.Generator, chosen: Choice, colours: F32Array, geometry: Geometry
    ) -> Tensor:
        """Palette entries of the frames, laid out as the decoder does, [T, 4, S, S]; zeros where none are.

        They fit the coded reference picture before the post filter. Another one than the encoder's has none.
        """
        first, rows = chosen.references[0], chosen.rows[1:]
        shown = [] if first.number is None else rows
        palette = palette_of(chosen.pack, first.number or 0, shown)
        palette = thinned(palette, rng, self.settings.region_dropout, self.settings.palette_dropout)
        patches = geometry.patches(first.picture, first.mesh, palette, chosen.pack.meshes(rows))
        return recoloured(patches, colours)


def _start_worker(_: int) -> None:
    """Keep a worker on one core: the main process wants the others."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


_B = TypeVar("_B", bound=tuple[object, ...])


def batches(
    samples: Dataset[_B],
    first: int,
    stop: int,
    *,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
    pin: bool = False,
) -> DataLoader[_B]:
    """Batches of the steps ``first`` to ``stop`` - 1, in order.

    Args:
        samples: item n is batch n.
        first: step to begin with: 0, or where a run was stopped.
        stop: step to end before.
        workers: processes that make batches ahead; 0 makes them when they are asked for.
        rank: number of this process among those that train together; each sees batches of its own.
        processes: how many train together.
        pin: put batches where a GPU fetches them fastest.
    """
    return DataLoader(
        samples,
        batch_size=None,
        sampler=range(first * processes + rank, stop * processes, processes),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_start_worker,
        prefetch_factor=2 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
