"""Drives a generator over a stream: reference pictures in slots, frames in order or side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import MissingReferenceError
from facecodec.generator.select import LoadedGenerator
from facecodec.types import F32Array, F64Array, U8Array

_MAX_WORKERS = 8


class _Slot(NamedTuple):
    """What the generator made of a reference picture, and the side of the picture in pixels."""

    prepared: Any
    size: int


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
        self._workers = 1 if self._generator.sequential else threads or min(os.cpu_count() or 1, _MAX_WORKERS)
        self._pool: ThreadPoolExecutor | None = None
        if device.type == "cpu":
            self._pool = _worker_pool(self._workers)
        self._state = self._generator.new_state()
        self._slots: dict[int, _Slot] = {}
        self._slot: int | None = None

    def put(self, slot: int, picture: U8Array, mesh: F64Array) -> None:
        """Take in a reference picture.

        Args:
            slot: its place; what lay there is forgotten.
            picture: [S, S, 3].
            mesh: [478, 3], crop units.
        """
        if slot == self._slot:
            self.reset()
        # By a worker, too: on one thread rounding is the same every time.
        pool = self._pool
        prepared = (
            self._prepare(picture, mesh)
            if pool is None
            else pool.submit(self._prepare, picture, mesh).result()
        )
        self._slots[slot] = _Slot(prepared, len(picture))

    def _prepare(self, picture: U8Array, mesh: F64Array) -> Any:
        with torch.inference_mode():
            fitting = to_planes(picture, self._multiple, self._device)
            return self._generator.prepare(fitting, to_tensor(mesh, self._device))

    def drop(self, slot: int) -> None:
        """Forget the picture of a slot."""
        self._slots.pop(slot, None)
        if slot == self._slot:
            self.reset()

    def reset(self) -> None:
        """Forget the frames made so far: the next one does not follow them."""
        self._state.reset()
        self._slot = None

    def render(
        self, slot: int, meshes: F64Array, scene: F32Array | None, others: Sequence[int] = ()
    ) -> U8Array:
        """Make consecutive frames, which follow those of the call before unless there was a reset between.

        Args:
            slot: their reference picture.
            meshes: [n, 478, 3], crop units.
            scene: [n, G, G, 2], or None.
            others: slots of more reference pictures to look at, three at most.

        Returns:
            [n, S, S, 3].

        Raises:
            MissingReferenceError: there is no picture in a slot.
        """
        places = []
        for wanted in (slot, *others):
            if wanted not in self._slots:
                raise MissingReferenceError(wanted)
            places.append(self._slots[wanted])
        if slot != self._slot:
            self.reset()
        self._slot = slot
        if self._pool is None:
            return self._share(places, meshes, scene)
        share = -(-len(meshes) // self._workers)
        starts = range(0, len(meshes), share)
        parts = [(meshes[i : i + share], None if scene is None else scene[i : i + share]) for i in starts]
        return np.concatenate(list(self._pool.map(lambda part: self._share(places, *part), parts)))

    def _share(self, places: list[_Slot], meshes: F64Array, scene: F32Array | None) -> U8Array:
        offsets = None if scene is None else to_tensor(scene, self._device)
        with torch.inference_mode():
            prepared = [place.prepared for place in places]
            out = self._generator.render(prepared, to_tensor(meshes, self._device), offsets, self._state)
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


def _worker_pool(count: int) -> ThreadPoolExecutor:
    """Threads that each run torch on one core.

    Threads within an operation wait for each other whenever another program wants a core, which makes them
    many times slower; frames side by side do not.
    """
    before = torch.get_num_threads()
    started = threading.Barrier(count)

    def start(_: int) -> None:
        torch.get_num_threads()  # a thread's first question sets it to the process's number
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="facecodec-generate")
    list(pool.map(start, range(count)))
    torch.set_num_threads(before)
    return pool
