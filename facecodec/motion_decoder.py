"""Motion without pictures: levels, reference pictures and meshes of a stream.

The part of the decoder that needs no generator and no weights: seeking and ``info`` are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecodec.bitstream import Base, MotionState, MotionUnit, PaletteUnit, ReferenceUnit, StreamHeader
from facecodec.bitstream.levels import ChannelLayout, LevelState, decode_levels
from facecodec.bitstream.limits import PALETTE_ENTRIES_MAX
from facecodec.bitstream.mesh import decode_mesh
from facecodec.bitstream.palette import GRAIN, decode_shapes
from facecodec.errors import BitstreamError, MissingReferenceError
from facecodec.motion.expression import plain_shapes, show_weights
from facecodec.motion.face import FaceMotion, load_face_model
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, rescale
from facecodec.motion.scene import amplitudes_to_scene, scene_prior
from facecodec.motion.shape import levels_to_mesh, load_shape_model
from facecodec.refpic.buffer import Reference, ReferenceBuffer
from facecodec.refpic.intra import decode_still
from facecodec.refpic.palette import Palette, PaletteEntry, Rect, cut_mosaic, mosaic_layout
from facecodec.refpic.predicted import decode_picture, decode_predicted, is_key
from facecodec.refpic.quantiser import coarseness
from facecodec.types import CropTransform, F32Array, F64Array


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
        shapes: [n, 478, 3], the faces in the reference picture's pose.
    """

    pts: list[int]
    ref_id: int
    meshes: F64Array
    scene: F32Array | None
    held: list[bool]
    residuals: np.ndarray
    reset: bool
    shapes: F64Array


class MotionDecoder:
    """The part of the decoder that makes no pictures: what seeking and ``info`` need.

    Args:
        header: the stream header.
    """

    def __init__(self, header: StreamHeader) -> None:
        self.header = header
        self.buffer = ReferenceBuffer()
        self.layout = ChannelLayout(load_face_model().basis.shape[0], header.scene_grid)
        self.levels = LevelState(self.layout)
        self.palettes: dict[int, Palette] = {}
        self._motions: dict[int, FaceMotion] = {}
        self._history = np.zeros((2, self.layout.count), np.int32)
        self._last_pts: int | None = None
        self._last_qp = 0

    def forget(self) -> None:
        """Drop the state of prediction: the next group shown is one with ``reset``."""
        self._last_pts = None

    def state(self) -> MotionState | None:
        """The state behind the last group; None where the next one has to be one with ``reset``."""
        if self._last_pts is None:
            return None
        return MotionState(self.levels.copy(), self._history, self._last_qp, self._last_pts)

    def resume(self, state: MotionState) -> None:
        """Decode the next group behind this state, whatever was decoded since."""
        self.levels = state.levels.copy()
        self._history, self._last_qp, self._last_pts = state.history, state.qp, state.pts

    def lose_reference(self) -> None:
        """Say that a reference unit was lost: the slot that was next holds an old picture."""
        slot = self.buffer.next_slot()
        self.buffer.drop(slot)
        self.palettes.pop(slot, None)

    def take_reference(self, unit: ReferenceUnit) -> Reference:
        """Decode a reference picture into its slot.

        Raises:
            BitstreamError: the unit's bytes are damaged, or the picture that it is predicted from is not
                there; the slot is then empty.
        """
        size = self.header.coded_size
        key = b"" if unit.base is None else self._key(unit.base)
        self.buffer.drop(unit.ref_id)
        self.palettes.pop(unit.ref_id, None)
        if unit.base is not None and not key:
            reason = f"key picture {unit.base.ref_id}, which it is predicted from, is not there"
            raise BitstreamError(reason, unit=unit.KIND.label)
        levels = decode_mesh(unit.mesh, load_shape_model().levels)
        if key:
            picture = decode_predicted(unit.still, key, width=size, height=size)
        else:
            picture = decode_picture(unit.still, width=size, height=size)
        crop = CropTransform(unit.crop_x, unit.crop_y, unit.crop_side, size)
        pts = unit.pts + self.header.start_pts
        own_key = unit.still if unit.base is None and is_key(unit.still) else b""
        q_idx = coarseness(key or unit.still)
        reference = Reference(unit.ref_id, pts, picture, levels_to_mesh(levels), crop, own_key, q_idx)
        self.buffer.put(reference)
        self._motions[unit.ref_id] = FaceMotion(reference.mesh)
        self.palettes[unit.ref_id] = Palette(PALETTE_ENTRIES_MAX)
        return reference

    def _key(self, base: Base) -> bytes:
        """The bytes of a key picture; none where the slot holds another, or nothing."""
        key = self.buffer.get(base.ref_id).key if base.ref_id in self.buffer else b""
        return key if key and Base.of(base.ref_id, key) == base else b""

    def take_palette(self, unit: PaletteUnit) -> Palette | None:
        """Decode entries into the palette of their reference picture; None where that is not there.

        Raises:
            BitstreamError: the unit's bytes are damaged; the palette is as it was.
        """
        if unit.ref_id not in self.palettes:
            return None
        shapes = self._decode_shapes(unit)
        rects = {region: Rect(*(GRAIN * value for value in place)) for region, place in unit.place_of.items()}
        sizes = {region: (rect.width, rect.height) for region, rect in rects.items()}
        places, width, height = mosaic_layout(unit.regions, sizes)
        patches = cut_mosaic(decode_still(unit.still, width=width, height=height), unit.regions, sizes)
        palette = self.palettes[unit.ref_id]
        if unit.clear:
            palette.entries = []
        palette.add(
            [PaletteEntry(r, rects[r], patches[shape, r], shapes[shape]) for shape, r, _, _ in places]
        )
        return palette

    def palette_weights(self, motion: DecodedMotion) -> F64Array | None:
        """How much of each palette entry the frames of a group show, [n, E]; None without a palette."""
        palette = self.palettes[motion.ref_id]
        if not palette.entries:
            return None
        mesh = self.buffer.get(motion.ref_id).mesh
        entries = [(entry.region, entry.shape) for entry in palette.entries]
        return show_weights(motion.shapes, mesh, entries)

    def _decode_shapes(self, unit: PaletteUnit) -> F64Array:
        """Faces [n, 478, 3] of the unit's shapes, in the reference picture's pose."""
        residuals = decode_shapes(unit.shapes, len(unit.regions), self.layout.deformations)
        values = reconstruct(residuals, np.zeros((2, residuals.shape[1]), np.int32), True)
        return self._motions[unit.ref_id].apply(dequantise(values, unit.qp))

    def take_motion(self, unit: MotionUnit) -> DecodedMotion | None:
        """Decode a group; None where it depends on something that is not there.

        Raises:
            BitstreamError: the unit's bytes are damaged.
        """
        self.buffer.name(unit.ref_id)
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
        motion = self._motions[unit.ref_id]
        meshes = motion.apply(amplitudes[:, :face])
        shapes = plain_shapes(motion, amplitudes[:, :face])
        scene = None
        if self.layout.scene_grid:
            prior = scene_prior(reference.mesh, meshes, self.layout.scene_grid)
            scene = amplitudes_to_scene(amplitudes[:, face:], prior)
        return DecodedMotion(pts, unit.ref_id, meshes, scene, held, residuals, unit.reset, shapes)
