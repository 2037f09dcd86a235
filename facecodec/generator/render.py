"""Drives a generator over a stream: reference pictures in slots, frames in order or side by side."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import MissingReferenceError
from facecodec.generator.model import WarpGenerator
from facecodec.generator.palette import PatchSource, RegionPatch, palette_patches, prepare_source
from facecodec.generator.restore import COARSEST
from facecodec.generator.select import LoadedGenerator
from facecodec.generator.workers import workers
from facecodec.types import F32Array, F64Array, U8Array

_KEPT = 3
"""Pictures that the generator's view of is kept, at least: 3 MB each, half a one for every palette entry."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A reference picture and its palette, and what was made of them; None until it is needed (again).

    Attributes:
        picture: [S, S, 3].
        mesh: [478, 3], crop units.
        q_idx: how coarsely it was coded, 0 to 255.
        prepared: of the generator.
        patches: entries of the palette, as they came.
        sources: the same, ready to be shown.
    """

    picture: U8Array
    mesh: F64Array
    q_idx: int
    prepared: Any = None
    patches: list[RegionPatch] = field(default_factory=list)
    sources: list[PatchSource] | None = None

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return len(self.picture)


class StreamRenderer:
    """Makes the crops of one stream.

    What a sequential generator remembers is forgotten at :meth:`reset`, and by itself when frames are asked
    of another slot than before or a new picture lies in it: so nothing of a lost frame is left once the next
    reference picture is in use.

    Args:
        generator: makes the pictures.
        device: where it runs.
        threads: cores to use; 0 takes what the machine has.
    """

    def __init__(self, generator: LoadedGenerator, device: torch.device, threads: int = 0) -> None:
        self._generator, self._device = generator.model, device
        self._multiple = generator.size_multiple
        self._pool = workers(1 if self._generator.sequential else threads) if device.type == "cpu" else None
        self._state = self._generator.new_state()
        self._warp = WarpGenerator().to(device).eval()
        self._slots: dict[int, _Slot] = {}
        self._recent: list[int] = []
        self._slot: int | None = None

    def put(self, slot: int, picture: U8Array, mesh: F64Array, q_idx: int = COARSEST) -> None:
        """Take in a reference picture.

        Args:
            slot: its place; what lay there is forgotten.
            picture: [S, S, 3].
            mesh: [478, 3], crop units.
            q_idx: how coarsely it was coded: ``base_q_idx`` of AV1, 0 to 255.
        """
        if slot == self._slot:
            self.reset()
        self._slots[slot] = _Slot(picture, mesh, q_idx)
        self._ready([slot])

    def _ready(self, slots: Sequence[int]) -> list[_Slot]:
        """Slots with all that is made of them; what was made of pictures used long ago is forgotten."""
        self._recent = [*(s for s in self._recent if s not in slots), *reversed(slots)]
        for old in self._recent[: -max(_KEPT, len(slots))]:
            if old in self._slots:
                self._slots[old].prepared = self._slots[old].sources = None
        places = [self._slots[slot] for slot in slots]
        for place in places:
            if place.prepared is None:
                # By a worker, too: on one thread rounding is the same every time.
                prepare = functools.partial(self._prepare, place)
                place.prepared = prepare() if self._pool is None else self._pool.map([prepare])[0]
        return places

    def _prepare(self, place: _Slot) -> Any:
        with torch.inference_mode():
            points = to_tensor(place.mesh, self._device)
            planes = to_planes(place.picture, self._multiple, self._device)
            return self._generator.prepare(planes, points, place.q_idx)

    def drop(self, slot: int) -> None:
        """Forget the picture of a slot."""
        self._slots.pop(slot, None)
        if slot == self._slot:
            self.reset()

    def put_palette(self, slot: int, patches: Sequence[RegionPatch]) -> None:
        """Take in the palette of a slot's reference picture, in place of the one before."""
        place = self._slots[slot]
        known = zip(place.patches, place.sources or (), strict=False)
        made = {id(patch.pixels): source for patch, source in known}
        place.patches = list(patches)
        place.sources = self._sources(place, made)

    def _sources(self, place: _Slot, made: dict[int, PatchSource]) -> list[PatchSource]:
        """A slot's palette, ready to be shown; ``made`` are sources by the identity of their pixels."""
        with torch.inference_mode():
            return [
                made.get(id(patch.pixels)) or prepare_source(self._warp, patch, place.size)
                for patch in place.patches
            ]

    def reset(self) -> None:
        """Forget the frames made so far: the next one does not follow them."""
        self._state.reset()
        self._slot = None

    def render(
        self,
        slot: int,
        meshes: F64Array,
        scene: F32Array | None,
        others: Sequence[int] = (),
        weights: F64Array | None = None,
    ) -> U8Array:
        """Make consecutive frames, which follow those of the call before unless there was a reset between.

        Args:
            slot: their reference picture.
            meshes: [n, 478, 3], crop units.
            scene: [n, G, G, 2], or None.
            others: slots of more reference pictures to look at, three at most.
            weights: [n, E], how much of each entry of the slot's palette a frame shows; None for no patches.

        Returns:
            [n, S, S, 3].

        Raises:
            MissingReferenceError: there is no picture in a slot.
        """
        for wanted in (slot, *others):
            if wanted not in self._slots:
                raise MissingReferenceError(wanted)
        places = self._ready([slot, *others])
        if weights is not None and places[0].sources is None:
            places[0].sources = self._sources(places[0], {})
        if slot != self._slot:
            self.reset()
        self._slot = slot
        if self._pool is None:
            return self._share(places, meshes, scene, weights)
        share = -(-len(meshes) // self._pool.count)
        cuts = [slice(start, start + share) for start in range(0, len(meshes), share)]
        jobs = [
            functools.partial(
                self._share,
                places,
                meshes[cut],
                None if scene is None else scene[cut],
                None if weights is None else weights[cut],
            )
            for cut in cuts
        ]
        return np.concatenate(self._pool.map(jobs))

    def _share(
        self,
        places: list[_Slot],
        meshes: F64Array,
        scene: F32Array | None,
        weights: F64Array | None,
    ) -> U8Array:
        offsets = None if scene is None else to_tensor(scene, self._device)
        with torch.inference_mode():
            prepared = [place.prepared for place in places]
            mesh, patches = to_tensor(meshes, self._device), None
            if weights is not None and places[0].sources:
                side = self._generator.patch_side(-(-places[0].size // self._multiple) * self._multiple)
                sources, geometry = places[0].sources, self._generator.geometry(places[0].prepared)
                shares = to_tensor(weights, self._device)
                patches = palette_patches(self._warp, geometry, sources, shares, mesh, side)
            out = self._generator.render(prepared, mesh, offsets, self._state, patches)
            return to_pixels(out, places[0].size)


def to_tensor(values: F64Array | F32Array, device: torch.device) -> Tensor:
    """Any array as float32 on a device."""
    return torch.from_numpy(values.astype(np.float32)).to(device)


def to_planes(picture: U8Array, multiple: int, device: torch.device) -> Tensor:
    """A picture [S, S, 3] as generators take it: [3, T, T] in [0, 1], T the next multiple of ``multiple``."""
    planes = torch.from_numpy(picture).to(device).permute(2, 0, 1).float() / 255.0
    return _resized(planes[None], -(-len(picture) // multiple) * multiple)[0]


def to_pixels(pictures: Tensor, size: int) -> U8Array:
    """Pictures [n, 3, T, T] in [0, 1] as a generator gives them at their own size: [n, S, S, 3]."""
    whole = (_resized(pictures, size) * 255.0).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return np.asarray(whole.cpu().numpy())


def _resized(pictures: Tensor, size: int) -> Tensor:
    """Pictures [n, 3, S, S] in [0, 1] at another size."""
    if pictures.shape[-1] == size:
        return pictures
    return functional.interpolate(pictures, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
