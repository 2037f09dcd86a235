"""The encoder: frames in, packets out.

The shape is that of a codec context in PyAV: :meth:`Encoder.encode` takes a frame and returns the packets
that are ready, :meth:`Encoder.flush` returns the rest. :meth:`Encoder._advance` lists the stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch

from facecodec.analysis.palette import PaletteChooser, Scene, allowance
from facecodec.analysis.references import Candidate, ReferenceChooser
from facecodec.analysis.scene import SceneFitter
from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.bitstream import (
    AudioCodec,
    BackdropUnit,
    MotionUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    Unit,
    View,
    pack_unit,
)
from facecodec.bitstream.levels import ChannelLayout, LevelState, count_levels, encode_levels
from facecodec.bitstream.mesh import encode_mesh
from facecodec.config import EncoderConfig, SpeedConfig
from facecodec.errors import ConfigError, NoFaceError, ShapeError
from facecodec.generator.model import WarpGenerator
from facecodec.media.audio import OpusStreamInfo
from facecodec.motion.face import FaceMotion, load_face_model
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, quantise
from facecodec.motion.scene import amplitudes_to_scene, scene_grid, scene_prior, scene_to_amplitudes
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.refpic.backdrop import make_backdrop
from facecodec.refpic.buffer import Reference, ReferenceBuffer
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.track.crop import crop_picture
from facecodec.track.tracker import make_tracker
from facecodec.types import CropTransform, F32Array, F64Array, Frame, I32Array, Packet, PacketKind, U8Array

GROUP = 16
"""Frames of a motion unit with look-ahead."""
RANDOM_ACCESS_S = 10.0
"""Seconds between random access points at most."""
BACKDROP_QUALITY_DROP = 30
_LOOKAHEAD_BYTES = 256 << 20
"""Pictures waiting in the window take no more memory than this, whatever their size."""


@dataclass(frozen=True, slots=True)
class FrameStats:
    """What one coded frame cost, and how near its motion came.

    Attributes:
        pts: time in ticks.
        ref_id: reference picture it is made from.
        face_bits: bits of face motion (an even share of its group).
        scene_bits: bits of scene motion (likewise).
        rms_px: RMS distance of the 478 decoded points from the smoothed track, in points.
        held: the face was lost in this frame.
    """

    pts: int
    ref_id: int
    face_bits: float
    scene_bits: float
    rms_px: float
    held: bool


@dataclass(slots=True, eq=False)
class _Active:
    """The reference picture in use, with what is computed once for it."""

    reference: Reference
    motion: FaceMotion
    fitter: SceneFitter | None
    palette: PaletteChooser | None
    frames: int = 0


class Encoder:
    """Codes frames of one video.

    Args:
        config: what changes the bytes.
        speed: what changes speed alone.
        frame_rate: usual frames a second, where known; else read off the first frames' times.
        audio: describes the Opus track that will be written beside the packets, if any.
        on_frame: called with the figures of every coded frame, in order.

    Attributes:
        timings: seconds of each call of each stage (track, motion, scene, code, still).
        header: the stream header, once it is known.
    """

    def __init__(
        self,
        config: EncoderConfig | None = None,
        speed: SpeedConfig | None = None,
        *,
        frame_rate: Fraction | None = None,
        audio: OpusStreamInfo | None = None,
        on_frame: Callable[[FrameStats], None] | None = None,
    ) -> None:
        self.config = config or EncoderConfig()
        self.timings: dict[str, list[float]] = {}
        self.header: StreamHeader | None = None
        self._audio, self._on_frame, self._frame_rate = audio, on_frame, frame_rate
        self._group = GROUP if self.config.lookahead else 1
        model = load_face_model()
        tracker = make_tracker(
            self.config.tracker,
            threads=1,
            device=(speed or SpeedConfig()).device,
            mean_mesh=model.mean,
            basis=model.basis,
            deviation=model.sigma,
        )
        self._keypoint_set = tracker.keypoint_set
        self._window = TrackWindow(tracker, self.config.lookahead == 0, self.timings)
        self._generator = WarpGenerator()
        grid = scene_grid(self.config.qp) if self.config.scene_points == "auto" else 0
        self._layout = ChannelLayout(model.basis.shape[0], grid)
        self._levels = LevelState(self._layout)
        self._history = np.zeros((2, self._layout.count), np.int32)
        self._buffer = ReferenceBuffer()
        reach = self._group + self.config.lookahead
        self._chooser = ReferenceChooser(
            self._window, self._buffer, reach, self.config.size, self.config.intra_period
        )
        self._active: _Active | None = None
        self._palettes: dict[int, PaletteChooser] = {}
        self._palette_bytes = 0
        self._blind: list[int] = []
        self._shape: tuple[int, ...] | None = None
        self._last_pts: int | None = None
        self._pushed_pts: int | None = None
        self._access_pts: int | None = None
        self._last_points: F32Array | None = None

    def encode(self, frame: Frame) -> list[Packet]:
        """Take a frame and return the packets that are ready, which may be none.

        Raises:
            ShapeError: the picture is not [H, W, 3] uint8, too small, or of another size than those before.
            ConfigError: its time does not come after that of the frame before.
        """
        shape = frame.pixels.shape
        if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 16 or frame.pixels.dtype != np.uint8:
            got = f"{list(shape)} {frame.pixels.dtype}"
            raise ShapeError("frame", "[H, W, 3] uint8, at least 16x16", got)
        if self._shape not in (None, shape):
            raise ShapeError("frame", str(list(self._shape or ())), list(shape))
        if self._pushed_pts is not None and frame.pts <= self._pushed_pts:
            raise ConfigError("pts", frame.pts, f"more than {self._pushed_pts}, that of the frame before")
        self._shape, self._pushed_pts = shape, frame.pts
        self._window.push(frame)
        room = self._group + min(self.config.lookahead, max(8, _LOOKAHEAD_BYTES // frame.pixels.nbytes))
        return self._advance(self._group) if len(self._window) >= room else []

    def flush(self) -> list[Packet]:
        """Code what is left and return the last packets.

        Raises:
            NoFaceError: no frame held a face.
        """
        packets = []
        while len(self._window):
            packets += self._advance(self._group)
        self._window.close()
        if self._active is None:
            raise NoFaceError("input", "no face was found in any frame")
        return packets

    def close(self) -> None:
        """Stop the tracking thread; for an encoder that is given up before :meth:`flush`."""
        self._window.close()

    def _advance(self, count: int) -> list[Packet]:
        """Code the next group, up to a cut."""
        count = self._window.first_cut(min(count, len(self._window), self._until_intra()))
        items = self._window.frames(count)
        points, valid = self._window.smoothed(count)
        packets: list[Packet] = []
        if not valid.any():
            if self._last_points is None:
                self._blind += [item.frame.pts for item in items]
                self._window.drop(count)
                return []
            points = np.repeat(self._last_points[None], count, axis=0)
        packets += self._choose_reference(items, points)
        packets += self._code_blind()
        packets += self._code_palette(count)
        packets.append(self._code_group(items, points, valid))
        self._last_points = points[-1]
        self._window.drop(count)
        return packets

    def _until_intra(self) -> int:
        """Frames before the intra period asks for another reference picture."""
        period, done = self.config.intra_period, self._active.frames if self._active else 0
        return (period - done if done < period else period) if period else GROUP

    def _choose_reference(self, items: list[Tracked], points: F32Array) -> list[Packet]:
        """Keep the reference picture, take one from the buffer, or send another."""
        active = self._active
        kept = None
        if active is not None:
            if self._chooser.still_serves(active.reference, active.frames, items, points):
                return []
            other = self._chooser.from_buffer(active.reference, items, points)
            if other is not None:
                self._activate(other)
                return []
            kept = active.reference.crop
        candidate = self._chooser.choose(kept, self.header.coded_size if self.header else None)
        packets = [] if self.header is not None else [self._start_stream(items, candidate.crop)]
        with self._timed("still"):
            reference, units = self._code_reference(candidate)
        self._activate(reference)
        return packets + [_packet(unit, reference.pts) for unit in units]

    def _start_stream(self, items: list[Tracked], crop: CropTransform) -> Packet:
        height, width = self._shape[:2] if self._shape else (0, 0)
        whole = _covers(crop, width, height) and crop.size == width == height
        frame_view = self.config.view == "frame" and not whole
        base = items[0].frame.time_base
        first = self._blind[0] if self._blind else items[0].frame.pts
        self.header = StreamHeader(
            model_id=self.config.model_id or WarpGenerator.model_id,
            keypoint_set=self._keypoint_set,
            basis_id=1,
            coded_size=crop.size,
            width=width if frame_view else crop.size,
            height=height if frame_view else crop.size,
            view=View.FRAME if frame_view else View.CROP,
            time_base_num=base.numerator,
            time_base_den=base.denominator,
            frame_duration=self._frame_duration(items, base),
            start_pts=first,
            scene_grid=self._layout.scene_grid,
            audio_codec=AudioCodec.OPUS if self._audio else AudioCodec.NONE,
            channels=self._audio.channels if self._audio else 0,
            pre_skip=self._audio.pre_skip if self._audio else 0,
        )
        return _packet(self.header, first)

    def _frame_duration(self, items: list[Tracked], base: Fraction) -> int:
        """Usual ticks between frames: the commonest step of the window, else from the frame rate."""
        times = self._blind + [item.frame.pts for item in items]
        steps = np.diff(times)
        if len(steps):
            values, counts = np.unique(steps, return_counts=True)
            return max(1, int(values[counts.argmax()]))
        return max(1, round(1 / ((self._frame_rate or Fraction(25)) * base)))

    def _code_reference(self, candidate: Candidate) -> tuple[Reference, list[Unit]]:
        """Code a reference picture, and the backdrop beside it."""
        assert self.header is not None  # noqa: S101  set before the first reference
        crop, pixels = candidate.crop, candidate.frame.pixels
        speed: Literal["best", "realtime"] = "best" if self.config.lookahead else "realtime"
        still = encode_still(crop_picture(pixels, crop), self.config.ref_quality, speed=speed)
        levels = mesh_to_levels(crop.to_crop(candidate.points).astype(np.float64))
        slot, pts = self._buffer.next_slot(), candidate.frame.pts
        start = self.header.start_pts
        place = (crop.x, crop.y, crop.side)
        unit = ReferenceUnit(slot, pts - start, *place, StillCodec.AV1, encode_mesh(levels), still)
        picture = decode_still(still, width=crop.size, height=crop.size)
        reference = Reference(slot, pts, picture, levels_to_mesh(levels), crop)
        self._buffer.put(reference)
        self._chooser.keep(reference, candidate.patch)
        units: list[Unit] = [unit]
        if self.header.view == View.FRAME and not _covers(crop, pixels.shape[1], pixels.shape[0]):
            backdrop = make_backdrop(pixels, crop)
            quality = max(0, self.config.ref_quality - BACKDROP_QUALITY_DROP)
            data = encode_still(backdrop, quality, speed=speed)
            units.append(BackdropUnit(slot, StillCodec.AV1, backdrop.shape[1], backdrop.shape[0], data))
        return reference, units

    def _activate(self, reference: Reference) -> None:
        """Make a reference picture the one in use; motion starts anew from it."""
        fitter = None
        if self._layout.scene_grid:
            picture = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255.0
            state = self._generator.prepare(picture, torch.from_numpy(reference.mesh.astype(np.float32)))
            fitter = SceneFitter(
                self._generator, state, reference.picture, reference.mesh, self._layout.scene_grid
            )
        motion = FaceMotion(reference.mesh)
        self._active = _Active(reference, motion, fitter, self._palette_of(reference, motion))
        self._access_pts = None

    def _palette_of(self, reference: Reference, motion: FaceMotion) -> PaletteChooser | None:
        """What is known of a reference picture's palette; it lasts as long as the picture."""
        if self.config.palette == "off" or not self.config.lookahead:
            return None
        kept = self._palettes.get(reference.ref_id)
        if kept is None or kept.reference is not reference:
            kept = PaletteChooser(self._generator, reference, motion, self.config.qp, self.config.ref_quality)
            self._palettes[reference.ref_id] = kept
        kept.ahead = 0
        return kept

    def _code_palette(self, count: int) -> list[Packet]:
        """Look for entries in what lies ahead, when the next group holds frames not looked at yet."""
        assert self._active is not None  # noqa: S101  chosen just before
        assert self.header is not None  # noqa: S101  likewise
        active, chooser = self._active, self._active.palette
        if chooser is None:
            return []
        if chooser.ahead >= count:
            chooser.ahead -= count
            return []
        with self._timed("palette"):
            reach = self._window.first_cut(min(len(self._window), self._group + self.config.lookahead))
            chooser.ahead = reach - count
            points, valid = self._window.smoothed(reach)
            items = self._window.frames(reach)
            known = np.flatnonzero(valid)
            if not len(known):
                return []
            pictures = [crop_picture(items[i].frame.pixels, active.reference.crop) for i in known]
            seen = [items[i].landmarks for i in known]
            raw = np.stack([face.points for face in seen if face is not None])
            to_crop = active.reference.crop.to_crop
            scene = Scene(pictures, to_crop(points[known]), to_crop(raw))
            ticks = items[-1].frame.pts + self.header.frame_duration - self.header.start_pts
            budget = allowance(float(ticks * self.header.time_base)) - self._palette_bytes
            unit = chooser.update(scene, budget)
        if unit is None:
            return []
        packet = _packet(unit, items[0].frame.pts)
        self._palette_bytes += len(packet.data)
        return [packet]

    def _code_blind(self) -> list[Packet]:
        """Code the frames before the first face: the reference picture, held."""
        packets = []
        for start in range(0, len(self._blind), GROUP):
            times = self._blind[start : start + GROUP]
            residuals = np.zeros((len(times), self._layout.count), np.int32)
            held = [True] * len(times)
            packets.append(self._pack(times, residuals, held, np.full(len(times), np.nan)))
        self._blind = []
        return packets

    def _code_group(self, items: list[Tracked], points: F32Array, valid: np.ndarray) -> Packet:
        """Fit, quantise and code the motion of a group."""
        assert self._active is not None  # noqa: S101  chosen just before
        active, face, qp = self._active, self._layout.face, self.config.qp
        times = [item.frame.pts for item in items]
        reset = self._resets(times[0])
        history = np.zeros_like(self._history) if reset else self._history
        with self._timed("motion"):
            target = active.reference.crop.to_crop(points)
            amplitudes = active.motion.fit(target)
            weight = valid.astype(np.float64)[:, None]
            levels = quantise(amplitudes, qp, history[:, :face], reset, weights=weight)
            meshes = active.motion.apply(dequantise(reconstruct(levels, history[:, :face], reset), qp))
        if active.fitter is not None:
            with self._timed("scene"):
                pictures = [crop_picture(item.frame.pixels, active.reference.crop) for item in items]
                scene = self._code_scene(active.fitter, pictures, meshes, weight, history[:, face:], reset)
            levels = np.concatenate([levels, scene], axis=1)
        miss = (meshes[..., :2] - target[..., :2]) * 256.0
        rms = np.sqrt((miss**2).sum(-1).mean(-1))
        return self._pack(times, levels, (~valid).tolist(), rms)

    def _code_scene(
        self,
        fitter: SceneFitter,
        pictures: list[U8Array],
        meshes: F64Array,
        weight: F64Array,
        history: I32Array,
        reset: bool,
    ) -> I32Array:
        """Residuals of the scene points of a group."""
        qp, grid = self.config.qp, self._layout.scene_grid
        assert self._active is not None  # noqa: S101  chosen just before
        prior = scene_prior(self._active.reference.mesh, meshes, grid)
        fit = fitter.fit(pictures, meshes)
        amplitudes = scene_to_amplitudes(fit.scene, prior)
        weights = fit.weight.reshape(len(meshes), -1) * weight
        residuals = quantise(amplitudes, qp, history, reset, weights=weights)
        still = np.zeros_like(residuals)
        coded, held = (
            amplitudes_to_scene(dequantise(reconstruct(r, history, reset), qp), prior)
            for r in (residuals, still)
        )
        return residuals if fitter.pays(pictures, meshes, coded, held) else still

    def _resets(self, pts: int) -> bool:
        """Whether the group at this time is a random access point."""
        if self._access_pts is None or self.header is None:
            return True
        return float((pts - self._access_pts) * self.header.time_base) >= RANDOM_ACCESS_S

    def _pack(self, times: list[int], residuals: I32Array, held: list[bool], rms: F64Array) -> Packet:
        """Entropy code a group and move the state on."""
        assert self._active is not None  # noqa: S101  set by the callers
        assert self.header is not None  # noqa: S101  likewise
        reset = self._resets(times[0])
        with self._timed("code"):
            face, scene = count_levels(self._levels.copy(), residuals, held, reset)
            data = encode_levels(self._levels, residuals, held, reset)
            history = np.zeros_like(self._history) if reset else self._history
            values = reconstruct(residuals, history, reset)
            self._history = np.concatenate([history, values])[-2:]
        first, deltas = MotionUnit.code_pts(self.header, times, None if reset else self._last_pts)
        slot = self._active.reference.ref_id
        unit = MotionUnit(slot, self.config.qp, len(times), first, data, reset, deltas)
        if reset:
            self._access_pts = times[0]
        self._last_pts = times[-1]
        self._active.frames += len(times)
        if self._on_frame is not None:
            share = 1 / (256 * len(times))
            for pts, lost, error in zip(times, held, rms, strict=True):
                self._on_frame(FrameStats(pts, slot, face * share, scene * share, float(error), lost))
        duration = times[-1] - times[0] + self.header.frame_duration
        return _packet(unit, times[0], duration, reset)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings.setdefault(stage, []).append(time.perf_counter() - start)


def _covers(crop: CropTransform, width: int, height: int) -> bool:
    """Whether the crop hides the whole picture, so that no backdrop is seen."""
    return crop.x <= 0 and crop.y <= 0 and crop.x + crop.side >= width and crop.y + crop.side >= height


def _packet(unit: Unit, pts: int, duration: int = 0, is_random_access: bool = False) -> Packet:
    return Packet(PacketKind(unit.KIND.label), pack_unit(unit), pts, duration, is_random_access)
