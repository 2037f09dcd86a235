"""Frames of a stream made again with scene points of another kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from clips import Clip, F32Array, F64Array, U8Array

from facecodec import Encoder, EncoderConfig, SpeedConfig, api
from facecodec.analysis import photometric
from facecodec.analysis.scene import SceneFitter
from facecodec.bitstream import MotionUnit, PaletteUnit, ReferenceUnit, StreamHeader
from facecodec.container import FcvWriter
from facecodec.container.fcv import FcvReader
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.palette import RegionPatch
from facecodec.generator.render import StreamRenderer
from facecodec.generator.select import load_generator
from facecodec.generator.workers import workers
from facecodec.media.reader import VideoReader
from facecodec.motion.face import load_face_model
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise
from facecodec.motion.scene import amplitudes_to_scene, face_distance, scene_prior
from facecodec.motion_decoder import DecodedMotion, MotionDecoder
from facecodec.motion_encoder import MotionEncoder
from facecodec.refpic.buffer import Reference
from facecodec.track.crop import crop_picture

_CPU = torch.device("cpu")
_FEATHER = 0.06
"""Distance from the face, in face sizes, over which the dense field takes over."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind of scene points.

    Attributes:
        name: of its line.
        grid: points a side; 0 for none.
        coded: with the encoder's steps and choices; otherwise as fitted.
        dense: a dense flow field outside the face comes on top.
    """

    name: str
    grid: int
    coded: bool = True
    dense: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A decoded group of T frames, and what it was made from.

    Attributes:
        reference: its reference picture.
        original: the source of that picture, [S, S, 3].
        patches: palette entries in use.
        weights: [T, E], how much of each entry the frames show; None without entries.
        motion: as decoded.
        qp: its QP.
        sources: T crops, [S, S, 3].
    """

    reference: Reference
    original: U8Array
    patches: list[RegionPatch]
    weights: F64Array | None
    motion: DecodedMotion
    qp: int
    sources: list[U8Array]


def code_clip(clip: Clip, frames: int, ref_quality: int, stream: Path) -> None:
    """Code a clip, the crop alone, without sound; beside the quality of stills at default settings."""
    config = EncoderConfig(view="crop", audio_bps=0, ref_quality=ref_quality)
    encoder = Encoder(config, SpeedConfig(device="cpu", threads=1))
    with VideoReader(clip.path) as reader, stream.open("wb") as file, FcvWriter(file) as writer:
        for frame in islice(reader.frames(), frames or None):
            for packet in encoder.encode(frame):
                writer.write(packet)
        for packet in encoder.flush():
            writer.write(packet)


def read_groups(clip: Clip, stream: Path) -> tuple[StreamHeader, list[Group]]:
    """Header and groups of a stream."""
    crops = api.source_crops(clip.path, stream)
    originals: dict[int, U8Array] = {}
    groups = []
    with FcvReader(stream) as reader:
        decoder = MotionDecoder(reader.header)
        for at in reader.units():
            unit = at.unit
            if isinstance(unit, ReferenceUnit):
                reference = decoder.take_reference(unit)
                originals[unit.ref_id] = _original(clip, reference)
            elif isinstance(unit, PaletteUnit):
                decoder.take_palette(unit)
            elif isinstance(unit, MotionUnit):
                motion = decoder.take_motion(unit)
                assert motion is not None  # noqa: S101  the file is whole
                entries = decoder.palettes[unit.ref_id].entries
                patches = [RegionPatch(e.region, e.patch, e.rect, e.shape) for e in entries]
                sources = [frame.pixels for frame in islice(crops, unit.n_frames)]
                reference, original = decoder.buffer.get(unit.ref_id), originals[unit.ref_id]
                weights = decoder.palette_weights(motion)
                groups.append(Group(reference, original, patches, weights, motion, unit.qp, sources))
    return reader.header, groups


def _original(clip: Clip, reference: Reference) -> U8Array:
    with VideoReader(clip.path) as video:
        frame = next(frame for frame in video.frames() if frame.pts == reference.pts)
    return crop_picture(frame.pixels, reference.crop)


def uncoded(groups: list[Group]) -> list[Group]:
    """The same groups with the sources of their reference pictures in place of the decoded ones."""
    made: dict[int, Reference] = {}
    for group in groups:
        key = id(group.reference)
        made.setdefault(key, replace(group.reference, picture=group.original))
    return [replace(group, reference=made[id(group.reference)]) for group in groups]


class Remaker:
    """Makes the frames of a stream with scene points of a setting.

    Args:
        setting: the kind of scene points.
        header: of the stream.
        qp: of the stream.

    Attributes:
        bits: of scene motion so far.
    """

    def __init__(self, setting: Setting, header: StreamHeader, qp: int) -> None:
        deformations = load_face_model().basis.shape[0]
        self._setting, self._header, self._qp = setting, header, qp
        self._warp = WarpGenerator()
        self._renderer = StreamRenderer(load_generator("warp-0", _CPU), _CPU, 1)
        self._encoder = MotionEncoder(deformations, setting.grid, qp)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._history = np.zeros((2, 2 * setting.grid**2), np.int32)
        self._reference: Reference | None = None
        self._state: ReferenceState | None = None
        self._fitter: SceneFitter | None = None
        self.bits = 0.0

    def make(self, group: Group, wanted: list[int]) -> list[U8Array]:
        """The frames of a group that are wanted, [S, S, 3] each; every group has to come, in order."""
        self._take(group.reference, group.patches)
        scene = self._scene(group) if self._setting.grid else None
        if not wanted:
            return []
        motion, weights = group.motion, group.weights
        picked = None if scene is None else scene[wanted]
        shares = None if weights is None else weights[wanted]
        frames = list(self._renderer.render(motion.ref_id, motion.meshes[wanted], picked, (), shares))
        if self._setting.dense and scene is not None:
            rows = zip(frames, wanted, strict=True)
            frames = [self._flowed(frame, group, t, scene[t]) for frame, t in rows]
        return frames

    def _take(self, reference: Reference, patches: list[RegionPatch]) -> None:
        if reference is not self._reference:
            self._reference = reference
            self._renderer.put(reference.ref_id, reference.picture, reference.mesh, reference.q_idx)
            planes = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255
            self._state = self._warp.prepare(planes, torch.from_numpy(reference.mesh).float())
            if self._setting.grid:
                self._fitter = SceneFitter(
                    self._warp, self._state, reference.picture, reference.mesh, self._setting.grid, workers(1)
                )
        self._renderer.put_palette(reference.ref_id, patches)

    def _scene(self, group: Group) -> F32Array:
        """Scene points of a group, [T, G, G, 2]."""
        assert self._fitter is not None  # noqa: S101  set with the reference picture
        motion, fitter = group.motion, self._fitter
        if not self._setting.coded:
            return np.asarray(fitter.fit(group.sources, motion.meshes).scene, np.float32)
        if motion.reset:
            self._encoder.start()
            self._history[:] = 0
        valid = ~np.array(motion.held)
        inputs = fitter, group.reference, group.sources, motion.meshes, valid, motion.reset
        residuals = self._encoder.code_scene(*inputs)
        face = motion.residuals[:, : self._encoder.layout.face]
        both = np.concatenate([face, residuals], axis=1)
        coded = self._encoder.pack(self._header, motion.ref_id, motion.pts, both, motion.held)
        self.bits += coded.scene_bits
        values = reconstruct(residuals, self._history, motion.reset)
        self._history = np.concatenate([self._history, values])[-2:]
        prior = scene_prior(group.reference.mesh, motion.meshes, self._setting.grid)
        return amplitudes_to_scene(dequantise(values, self._qp), prior)

    def _flowed(self, frame: U8Array, group: Group, t: int, scene: F32Array) -> U8Array:
        """A frame whose surroundings follow dense flow from what the scene points give."""
        assert self._state is not None  # noqa: S101  set with the reference picture
        size, source, picture = len(frame), group.sources[t], group.reference.picture
        mesh = torch.from_numpy(group.motion.meshes[t : t + 1]).float()
        points = torch.from_numpy(scene[None])
        with torch.inference_mode():
            field = self._warp.motion_field(self._state, mesh, points, size)[0].numpy()
        places = photometric.places(size)
        gray = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (source, _look(picture, field))]
        field = _look(field, places + self._flow.calc(*gray, None) / np.float32(size))
        mesh_points = group.motion.meshes[t : t + 1, :468, :2].astype(np.float64)
        far = face_distance(mesh_points, places.reshape(-1, 2).astype(np.float64))
        share = np.clip(far.reshape(size, size, 1) / _FEATHER, 0, 1)
        return np.rint(share * _look(picture, field) + (1 - share) * frame).astype(np.uint8)


def _look(values: np.ndarray, field: F32Array) -> np.ndarray:
    """Read a picture or field [S, S, ...] at [S, S, 2] places in crop units, its border repeated."""
    at = field * np.float32(len(values)) - np.float32(0.5)
    return np.asarray(cv2.remap(values, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
