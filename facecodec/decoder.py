"""The decoder: packets in, frames out.

The stages are the encoder's backwards: unit, levels, motion, generator, compositing. A decoder never fails
on a packet that cannot be shown because something before it is missing: it drops it, and ``needs_keyframe``
says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch

from facecodec.bitstream import (
    BackdropUnit,
    MotionUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
    View,
    parse_unit,
)
from facecodec.bitstream.levels import ChannelLayout, LevelState, decode_levels
from facecodec.bitstream.mesh import decode_mesh
from facecodec.composite import Paster, PoissonPaster
from facecodec.config import DecoderConfig
from facecodec.errors import BitstreamError, ConfigError, MissingReferenceError, WeightsMismatchError
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.motion.face import FaceMotion, load_face_model
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, rescale
from facecodec.motion.scene import amplitudes_to_scene, scene_prior
from facecodec.motion.shape import levels_to_mesh, load_shape_model
from facecodec.refpic.buffer import SLOTS, Reference, ReferenceBuffer
from facecodec.refpic.intra import decode_still
from facecodec.types import CropTransform, F32Array, F64Array, Frame, Packet, PacketKind, U8Array

MODELS = (WarpGenerator.model_id,)
"""Models whose streams this decoder shows."""


_MAX_WORKERS = 8


class _Paster(Protocol):
    def paste(self, crop_rgb: U8Array) -> U8Array: ...


@dataclass(frozen=True, slots=True, eq=False)
class DecodedMotion:
    """The motion of a group, before any picture is made.

    Attributes:
        pts: time of each frame in ticks.
        ref_id: the group's reference picture.
        meshes: [n, 478, 3] crop units.
        scene: [n, G, G, 2] offsets in crop units, or None.
        held: frames in which the encoder saw no face.
        residuals: [n, C], the levels as coded.
        reset: the group is decodable from its reference picture alone.
    """

    pts: list[int]
    ref_id: int
    meshes: F64Array
    scene: F32Array | None
    held: list[bool]
    residuals: np.ndarray
    reset: bool


class MotionDecoder:
    """The part of the decoder that makes no pictures: what seeking and ``info`` need.

    Args:
        header: the stream header.

    Raises:
        WeightsMismatchError: the stream was made for a model that is not here.
    """

    def __init__(self, header: StreamHeader) -> None:
        if header.model_id not in MODELS:
            raise WeightsMismatchError(header.model_id.hex(), tuple(m.hex() for m in MODELS))
        self.header = header
        self.buffer = ReferenceBuffer()
        self.layout = ChannelLayout(load_face_model().basis.shape[0], header.scene_grid)
        self.levels = LevelState(self.layout)
        self._motions: dict[int, FaceMotion] = {}
        self._history = np.zeros((2, self.layout.count), np.int32)
        self._last_pts: int | None = None
        self._last_qp = 0
        self._last_slot = -1

    def forget(self) -> None:
        """Drop the state of prediction: the next group shown is one with ``reset``."""
        self._last_pts = None

    def lose_reference(self) -> None:
        """Say that a reference unit was lost: the slot behind the last one filled holds an old picture."""
        self._last_slot = (self._last_slot + 1) % SLOTS
        self.buffer.drop(self._last_slot)

    def take_reference(self, unit: ReferenceUnit) -> Reference:
        """Decode a reference picture into its slot. Raises BitstreamError; the slot is then empty."""
        self._last_slot = unit.ref_id
        self.buffer.drop(unit.ref_id)
        size = self.header.coded_size
        levels = decode_mesh(unit.mesh, load_shape_model().levels)
        picture = decode_still(unit.still, width=size, height=size)
        crop = CropTransform(unit.crop_x, unit.crop_y, unit.crop_side, size)
        pts = unit.pts + self.header.start_pts
        reference = Reference(unit.ref_id, pts, picture, levels_to_mesh(levels), crop)
        self.buffer.put(reference)
        self._motions[unit.ref_id] = FaceMotion(reference.mesh)
        return reference

    def take_motion(self, unit: MotionUnit) -> DecodedMotion | None:
        """Decode a group; None where it depends on something that is not there.

        Raises:
            BitstreamError: the unit's bytes are damaged.
        """
        if not unit.reset and self._last_pts is None:
            return None
        try:
            reference = self.buffer.get(unit.ref_id)
        except MissingReferenceError:
            self.forget()
            return None
        try:
            pts = unit.resolve_pts(self.header, None if unit.reset else self._last_pts)
            residuals, held = decode_levels(self.levels, unit.levels, unit.n_frames, unit.reset)
        except BitstreamError:
            self.forget()
            raise
        history = np.zeros_like(self._history)
        if not unit.reset:
            history = rescale(self._history, self._last_qp, unit.qp)
        values = reconstruct(residuals, history, unit.reset)
        self._history = np.concatenate([history, values])[-2:]
        self._last_pts, self._last_qp = pts[-1], unit.qp
        face = self.layout.face
        amplitudes = dequantise(values, unit.qp)
        meshes = self._motions[unit.ref_id].apply(amplitudes[:, :face])
        scene = None
        if self.layout.scene_grid:
            prior = scene_prior(reference.mesh, meshes, self.layout.scene_grid)
            scene = amplitudes_to_scene(amplitudes[:, face:], prior)
        return DecodedMotion(pts, unit.ref_id, meshes, scene, held, residuals, unit.reset)


class Decoder:
    """Decodes one stream.

    Args:
        config: what changes the pictures.

    Attributes:
        header: the stream header, once it has come.
        needs_keyframe: motion came that cannot be shown; a reference picture and a reset group are needed.
        timings: seconds of each call of each stage (entropy, still, generator, composite), a group at a time.
        held_frames: frames shown so far in which the encoder saw no face.
        position: time of the last frame decoded, shown or not; None before the first.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """

    def __init__(self, config: DecoderConfig | None = None) -> None:
        self.config = config or DecoderConfig()
        self.header: StreamHeader | None = None
        self.needs_keyframe = False
        self.timings: dict[str, list[float]] = {}
        self.held_frames = 0
        self.position: int | None = None
        self._device = _device(self.config.speed.device)
        self._generator = WarpGenerator().to(self._device)
        self._workers = self.config.speed.threads or min(os.cpu_count() or 1, _MAX_WORKERS)
        self._pool = _worker_pool(self._workers) if self._device.type == "cpu" else None
        self._motion: MotionDecoder | None = None
        self._states: dict[int, ReferenceState] = {}
        self._backdrops: dict[int, U8Array] = {}
        self._pasters: dict[int, _Paster] = {}
        self._pasting: int | None = None

    @property
    def generator(self) -> str:
        """Name of the generator in use."""
        return self._generator.model_id.rstrip(b"\0").decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames.

        Raises:
            BitstreamError: the stream header has not come yet.
        """
        if self.header is None:
            raise BitstreamError("no stream header yet", unit="header")
        if self.config.view == "crop":
            return self.header.coded_size, self.header.coded_size
        return self.header.width, self.header.height

    def decode(self, packet: Packet) -> list[Frame]:
        """Take a packet and return the frames that it makes.

        Raises:
            BitstreamError: the packet is damaged.
            WeightsMismatchError: the stream was made for a model that is not here.
        """
        return self.take(parse_unit(packet.data))

    def flush(self) -> list[Frame]:
        """Return what is left: nothing, since every group is shown when it comes."""
        return []

    def take(self, unit: Unit, *, show_from: int | None = None, show_to: int | None = None) -> list[Frame]:
        """Take a parsed unit; as :meth:`decode`.

        Args:
            unit: any unit; those that carry no picture are passed over.
            show_from: frames before this time are decoded but not made.
            show_to: frames at or behind this time likewise.
        """
        if isinstance(unit, StreamHeader):
            self.header, self._motion = unit, MotionDecoder(unit)
        elif isinstance(unit, ReferenceUnit):
            with self._timed("still"):
                self._take_reference(unit)
        elif isinstance(unit, BackdropUnit):
            with self._timed("still"):
                self._take_backdrop(unit)
        elif isinstance(unit, MotionUnit):
            with self._timed("entropy"):
                motion = self._running().take_motion(unit)
            self.needs_keyframe = motion is None
            if motion is not None:
                self.position = motion.pts[-1]
                low = motion.pts[0] if show_from is None else show_from
                high = motion.pts[-1] + 1 if show_to is None else show_to
                return self._show(motion, [i for i, pts in enumerate(motion.pts) if low <= pts < high])
        return []

    def lost(self, kind: PacketKind | None = None) -> None:
        """Say that a packet did not arrive: motion waits for the next reset group.

        Args:
            kind: what it carried, where that is known. The place of a lost reference picture in the buffer
                is emptied, so that nothing is made from the older picture there.
        """
        self._running().forget()
        if kind is PacketKind.REFERENCE:
            self._running().lose_reference()

    def _running(self) -> MotionDecoder:
        if self._motion is None:
            raise BitstreamError("no stream header yet", unit="header")
        return self._motion

    def _take_reference(self, unit: ReferenceUnit) -> None:
        reference = self._running().take_reference(unit)
        picture = torch.from_numpy(reference.picture).to(self._device).permute(2, 0, 1).float() / 255.0
        mesh = torch.from_numpy(reference.mesh.astype(np.float32)).to(self._device)
        with torch.inference_mode():
            self._states[unit.ref_id] = self._generator.prepare(picture, mesh)
        self._pasters.pop(unit.ref_id, None)

    def _take_backdrop(self, unit: BackdropUnit) -> None:
        header = self._running().header
        still = decode_still(unit.still, width=unit.width, height=unit.height)
        if (unit.width, unit.height) != (header.width, header.height):
            still = cv2.resize(still, (header.width, header.height), interpolation=cv2.INTER_CUBIC)
        self._backdrops[unit.ref_id] = np.asarray(still, np.uint8)
        self._pasters.pop(unit.ref_id, None)

    def _show(self, motion: DecodedMotion, wanted: list[int]) -> list[Frame]:
        header = self._running().header
        self.held_frames += sum(motion.held[i] for i in wanted)
        frames = []
        for start in range(0, len(wanted), self.config.speed.batch):
            picked = wanted[start : start + self.config.speed.batch]
            with self._timed("generator"):
                pictures = self._generate(motion, picked)
            with self._timed("composite"):
                for i, picture in zip(picked, pictures, strict=True):
                    shown = self._composite(motion.ref_id, picture)
                    frames.append(Frame(shown, motion.pts[i], header.time_base))
        return frames

    def _generate(self, motion: DecodedMotion, picked: list[int]) -> U8Array:
        """Crops of some frames of a group, [n, S, S, 3] uint8; on a CPU every worker makes a share."""
        if self._pool is None:
            return self._generate_batch(motion, picked)
        share = -(-len(picked) // self._workers)
        parts = [picked[i : i + share] for i in range(0, len(picked), share)]
        return np.concatenate(list(self._pool.map(lambda part: self._generate_batch(motion, part), parts)))

    def _generate_batch(self, motion: DecodedMotion, picked: list[int]) -> U8Array:
        mesh = torch.from_numpy(motion.meshes[picked].astype(np.float32)).to(self._device)
        scene = None
        if motion.scene is not None:
            scene = torch.from_numpy(motion.scene[picked]).to(self._device)
        with torch.inference_mode():
            out = self._generator(self._states[motion.ref_id], mesh, scene)
            out = out.mul_(255.0).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return np.asarray(out.cpu().numpy())

    def _composite(self, ref_id: int, picture: U8Array) -> U8Array:
        header = self._running().header
        if self.config.view == "crop" or header.view == View.CROP:
            return picture
        if ref_id not in self._pasters:
            self._pasters[ref_id] = self._make_paster(ref_id)
        if self._pasting != ref_id:
            self._pasting = ref_id
            paster = self._pasters[ref_id]
            if isinstance(paster, PoissonPaster):
                paster.reset()
        return self._pasters[ref_id].paste(picture)

    def _make_paster(self, ref_id: int) -> _Paster:
        header = self._running().header
        crop = self._running().buffer.get(ref_id).crop
        backdrop = self._backdrops.get(ref_id)
        if backdrop is None:
            backdrop = np.full((header.height, header.width, 3), 128, np.uint8)
        kind = PoissonPaster if self.config.composite == "poisson" else Paster
        return kind(header.width, header.height, crop, backdrop)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings.setdefault(stage, []).append(time.perf_counter() - start)


def _worker_pool(count: int) -> ThreadPoolExecutor:
    """Threads that each run torch on one core.

    The generator is many small operations: frames side by side use the cores better than threads within an
    operation, which wait for each other whenever another program wants a core.
    """
    before = torch.get_num_threads()
    started = threading.Barrier(count)

    def start(_: int) -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="facecodec-generate")
    list(pool.map(start, range(count)))
    torch.set_num_threads(before)
    return pool


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "cpu or auto: this machine has no CUDA device")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
