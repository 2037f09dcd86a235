"""Streams decoded with more than they carry: further reference pictures, region patches.

What is added comes from the source: frames that differ most in shape from the reference picture and from
each other, coded as reference pictures are (or not at all), and their meshes as those of references.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from facecodec.api.probe import walk
from facecodec.bitstream.mesh import encode_mesh
from facecodec.container.fcv import FcvReader
from facecodec.errors import ConfigError, MediaError
from facecodec.generator.model import WarpGenerator
from facecodec.generator.patches import region_patches
from facecodec.generator.render import to_pixels, to_planes, to_tensor
from facecodec.generator.select import LoadedGenerator
from facecodec.generator.topology import LEFT_EYE, LEFT_IRIS, OUTER_LIPS, RIGHT_EYE, RIGHT_IRIS
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.motion_decoder import DecodedMotion, MotionDecoder
from facecodec.refpic.buffer import Reference
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.refpic.quantiser import coarseness
from facecodec.types import F32Array, U8Array

REGIONS = (RIGHT_EYE + RIGHT_IRIS, LEFT_EYE + LEFT_IRIS, OUTER_LIPS)
"""Mesh points that say what a patch shows, in the order of ``PatchRegion``."""

ENTRIES = (4, 4, 7)
"""Patches kept of each region."""

PATCH_SIDE_MAX = 256
_CHEEKS = (234, 454)


@dataclass(frozen=True, slots=True)
class Extras:
    """What a stream is decoded with besides what it carries.

    Attributes:
        references: reference pictures for each frame, 1 to 4, the stream's own included.
        patches: use region patches.
        quality: at which the added pictures are coded, 0 to 100; None leaves them as they are.
    """

    references: int = 1
    patches: bool = False
    quality: int | None = None

    @property
    def none(self) -> bool:
        """Nothing is added: the stream is decoded as it is."""
        return self.references == 1 and not self.patches


class Synthesised(NamedTuple):
    """A decoded clip.

    Attributes:
        frames: [T, S, S, 3] uint8.
        extra_bytes: coded size of the added reference pictures and their meshes; patches are not counted,
            since their pictures stand in for a mosaic that is yet to be coded.
        seconds: of the process (of the clock on a GPU) that the pictures took, without what is prepared once
            for a reference picture.
    """

    frames: U8Array
    extra_bytes: int
    seconds: float


class _Span(NamedTuple):
    """A reference picture and the frames made from it: groups with the number of their first frame."""

    reference: Reference
    groups: list[tuple[int, DecodedMotion]]


class _Palette(NamedTuple):
    """Patches of one region: their shapes [N + 1, P * 2], the reference's first, and their pictures."""

    shapes: F32Array
    sources: list[Any]


def shapes(meshes: F32Array, points: Sequence[int] | None = None) -> F32Array:
    """Shape of a face, or of a part of it, without its place, its turn in the plane and its size.

    Args:
        meshes: [N, 478, 2 or 3].
        points: which points; all if None.

    Returns:
        [N, P * 2] in face widths.
    """
    across = meshes[:, _CHEEKS[1], :2] - meshes[:, _CHEEKS[0], :2]
    width = np.maximum(np.linalg.norm(across, axis=-1), 1e-6)[:, None, None]
    along = across / width[:, 0]
    turn = np.stack([along, np.stack([-along[:, 1], along[:, 0]], -1)], -1)
    part = meshes[..., :2] if points is None else meshes[:, list(points), :2]
    flat = ((part - part.mean(1, keepdims=True)) @ turn) / width
    return np.asarray(flat.reshape(len(meshes), -1), np.float32)


def farthest(seed: F32Array, candidates: F32Array, count: int) -> list[int]:
    """Choose by farthest-point sampling.

    Args:
        seed: [D], chosen already.
        candidates: [N, D]; lines with NaN are never chosen.
        count: how many, at most.

    Returns:
        Numbers of candidates, the one farthest from the seed first; none twice.
    """
    away = np.linalg.norm(candidates - seed, axis=1)
    away[~np.isfinite(away)] = 0
    chosen: list[int] = []
    while len(chosen) < count and away.max(initial=0.0) > 0:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.nan_to_num(np.linalg.norm(candidates - candidates[chosen[-1]], axis=1)))
    return chosen


class ExtraDecoder:
    """Decodes streams of one clip with extras.

    Args:
        generator: a learned generator.
        device: where it runs.
        source: the clip in the codec's crop, [T, S, S, 3] uint8.
        track: its landmarks, [T, 478, 3] crop units; NaN where no face is seen.
        extras: what is added.

    Raises:
        ConfigError: the generator takes no extras.
    """

    def __init__(
        self,
        generator: LoadedGenerator,
        device: torch.device,
        source: U8Array,
        track: F32Array,
        extras: Extras,
    ) -> None:
        if not hasattr(generator.model, "model"):
            raise ConfigError("generator", generator.name, "a learned one, with more references or patches")
        self._model: Any = generator.model
        self._device, self._multiple = device, generator.size_multiple
        self._source, self._track, self._extras = source, track, extras
        self._warp = WarpGenerator().to(device)
        self._bytes = 0

    @torch.inference_mode()
    def decode(self, stream: Path) -> Synthesised:
        """Decode a stream.

        Raises:
            BitstreamError: the stream is damaged.
            MediaError: it holds no frame.
        """
        self._bytes, seconds = 0, 0.0
        out: dict[int, U8Array] = {}
        for span in _spans(stream, len(self._source)):
            used = [first + i for first, group in span.groups for i in range(len(group.pts))]
            rows = np.array([row for row in used if row < len(self._source)])
            own = span.reference
            references = [self._prepare(own.picture, own.mesh, own.q_idx)]
            references += self._more(span.reference, rows)
            palettes = self._palettes(span.reference, rows) if self._extras.patches else None
            state = self._model.new_state()
            for first, group in span.groups:
                began = self._now()
                if group.reset:
                    state.reset()
                out[first] = self._show(references, group, palettes, state)
                seconds += self._now() - began
        if not out:
            raise MediaError(stream, "holds no frame")
        frames = np.concatenate([out[first] for first in sorted(out)])[: len(self._source)]
        return Synthesised(frames, self._bytes, seconds)

    def _now(self) -> float:
        return time.process_time() if self._device.type == "cpu" else time.perf_counter()

    def _prepare(self, picture: U8Array, mesh: np.ndarray, q_idx: int) -> Any:
        planes = to_planes(picture, self._multiple, self._device)
        return self._model.prepare(planes, to_tensor(mesh, self._device), q_idx)

    def _coded(self, row: int) -> tuple[Any, int]:
        """A source frame as a reference picture, ready for the generator, and its bytes."""
        picture = self._source[row]
        levels = mesh_to_levels(np.asarray(self._track[row], np.float64))
        mesh = np.asarray(levels_to_mesh(levels), np.float32)
        if self._extras.quality is None:
            return self._prepare(picture, mesh, 0), 0
        still = encode_still(picture, self._extras.quality)
        decoded = decode_still(still, width=picture.shape[1], height=picture.shape[0])
        return self._prepare(decoded, mesh, coarseness(still)), len(still) + len(encode_mesh(levels))

    def _more(self, reference: Reference, rows: np.ndarray) -> list[Any]:
        """The added reference pictures."""
        count = self._extras.references - 1
        seed = shapes(np.asarray(reference.mesh, np.float32)[None])[0]
        out = []
        for number in farthest(seed, shapes(self._track[rows]), count):
            prepared, size = self._coded(int(rows[number]))
            self._bytes += size
            out.append(prepared)
        return out

    def _palettes(self, reference: Reference, rows: np.ndarray) -> list[_Palette]:
        """Patches of each region."""
        kept: dict[int, Any] = {}
        out = []
        for points, count in zip(REGIONS, ENTRIES, strict=True):
            seed = shapes(np.asarray(reference.mesh, np.float32)[None], points)
            there = shapes(self._track[rows], points)
            chosen = farthest(seed[0], there, count)
            for number in chosen:
                if number not in kept:
                    kept[number] = self._coded(int(rows[number]))[0].geometry
            out.append(_Palette(np.concatenate([seed, there[chosen]]), [kept[n] for n in chosen]))
        return out

    def _show(
        self, references: list[Any], group: DecodedMotion, palettes: list[_Palette] | None, state: Any
    ) -> U8Array:
        mesh = to_tensor(group.meshes, self._device)
        scene = None if group.scene is None else to_tensor(group.scene, self._device)
        patches = None if palettes is None else self._patches(references, palettes, group.meshes)
        pictures = self._model.render(references, mesh, scene, state, patches)
        return to_pixels(pictures, self._source.shape[1])

    def _patches(self, references: list[Any], palettes: list[_Palette], meshes: np.ndarray) -> Tensor:
        """For each frame the patches whose shapes are nearest; none where the reference's is nearer."""
        side = min(PATCH_SIDE_MAX, references[0].references.pictures.shape[-1])
        out = []
        for mesh in np.asarray(meshes, np.float32):
            sources = []
            for points, palette in zip(REGIONS, palettes, strict=True):
                away = np.linalg.norm(palette.shapes - shapes(mesh[None], points), axis=1)
                best = int(away.argmin())
                sources.append(palette.sources[best - 1] if best else None)
            out.append(region_patches(self._warp, sources, to_tensor(mesh, self._device)[None], side))
        return torch.cat(out)


def _spans(stream: Path, frames: int) -> list[_Span]:
    """The reference pictures of a file in the order of their use, with their groups."""
    spans: dict[int, _Span] = {}
    at = 0
    with FcvReader(stream) as reader:
        decoder = MotionDecoder(reader.header)
        for item in walk(reader, decoder):
            if isinstance(item, Reference) or at >= frames:
                continue
            reference = decoder.buffer.get(item.ref_id)
            spans.setdefault(id(reference), _Span(reference, [])).groups.append((at, item))
            at += len(item.pts)
    return list(spans.values())
