"""The encoder of pictures: reference pictures, the backdrops beside them, the palettes that add to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from facecodec.analysis.palette import PaletteChooser, Scene, allowance
from facecodec.analysis.references import Candidate, ReferenceChooser
from facecodec.analysis.scene import SceneFitter
from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.bitstream import (
    BackdropUnit,
    PaletteUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    View,
    pack_unit,
)
from facecodec.bitstream.mesh import encode_mesh
from facecodec.config import EncoderConfig
from facecodec.generator.model import WarpGenerator
from facecodec.motion.face import FaceMotion
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.refpic.backdrop import make_backdrop
from facecodec.refpic.buffer import Reference, ReferenceBuffer
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.track.crop import crop_picture
from facecodec.types import CropTransform, F32Array

BACKDROP_QUALITY_DROP = 30


@dataclass(slots=True, eq=False)
class Source:
    """A reference picture in use, with what is computed once for it.

    Attributes:
        reference: the picture.
        motion: face motion against it.
        fitter: finds scene motion against it; None where none is coded.
        palette: chooses its palette entries; None where none are sent.
        frames: frames coded from it in a row.
    """

    reference: Reference
    motion: FaceMotion
    fitter: SceneFitter | None
    palette: PaletteChooser | None
    frames: int = 0


class ReferenceEncoder:
    """Chooses and codes what groups are made from.

    Args:
        config: what changes the bytes.
        window: the frames that wait.
        reach: frames of the window that may be looked at.
        scene_grid: scene points a side, 0 for none.
        acknowledged: a new reference picture is used from :meth:`acknowledge` on, not at once.

    Attributes:
        active: the reference picture in use, once there is one.
        pending: one that was sent, and not acknowledged yet.
        quality: of the reference pictures to come, 0 to 100.
    """

    def __init__(
        self,
        config: EncoderConfig,
        window: TrackWindow,
        reach: int,
        scene_grid: int,
        *,
        acknowledged: bool = False,
    ) -> None:
        self.active: Source | None = None
        self.pending: Reference | None = None
        self.quality = config.ref_quality
        self._acknowledged = acknowledged
        self._config, self._window, self._reach, self._grid = config, window, reach, scene_grid
        self._careful = config.lookahead > 0 and config.preset != "realtime"
        self._generator = WarpGenerator()
        self._buffer = ReferenceBuffer()
        self._chooser = ReferenceChooser(window, self._buffer, reach, config.size, config.intra_period)
        self._palettes: dict[int, PaletteChooser] = {}
        self._palette_bytes = 0

    def until_intra(self) -> int | None:
        """Frames before the intra period asks for another reference picture; None where there is none."""
        period, done = self._config.intra_period, self.active.frames if self.active else 0
        return (period - done if done < period else period) if period else None

    def still_serves(self, items: list[Tracked], points: F32Array) -> bool:
        """Whether the next group can be made from the picture in use.

        Args:
            items: the group.
            points: [T, 478, 3], its faces in picture pixels.
        """
        active = self.active
        return active is not None and self._chooser.still_serves(
            active.reference, active.frames, items, points
        )

    def take_from_buffer(self, items: list[Tracked], points: F32Array) -> bool:
        """Use a picture again that the decoder holds, if one shows the next group well."""
        other = self._chooser.from_buffer(self.active.reference, items, points) if self.active else None
        if other is None:
            return False
        self._activate(other)
        return True

    def candidate(self, coded_size: int | None) -> Candidate:
        """The frame of the window that becomes the next reference picture.

        Args:
            coded_size: the stream's coded size, once it is fixed.
        """
        return self._chooser.choose(self.active.reference.crop if self.active else None, coded_size)

    def code(self, candidate: Candidate, header: StreamHeader) -> tuple[ReferenceUnit, BackdropUnit | None]:
        """Code a reference picture, and the backdrop beside it if one is seen, and use it from now on."""
        crop, pixels = candidate.crop, candidate.frame.pixels
        speed: Literal["best", "realtime"] = "best" if self._careful else "realtime"
        still = encode_still(crop_picture(pixels, crop), self.quality, speed=speed)
        levels = mesh_to_levels(crop.to_crop(candidate.points).astype(np.float64))
        slot, pts = self._free_slot(), candidate.frame.pts
        start = header.start_pts
        place = (crop.x, crop.y, crop.side)
        unit = ReferenceUnit(slot, pts - start, *place, StillCodec.AV1, encode_mesh(levels), still)
        picture = decode_still(still, width=crop.size, height=crop.size)
        reference = Reference(slot, pts, picture, levels_to_mesh(levels), crop)
        self._buffer.put(reference)
        self._chooser.keep(reference, candidate.patch)
        if self._acknowledged:
            self.pending = reference
        else:
            self._activate(reference)
        if header.view != View.FRAME or covers(crop, pixels.shape[1], pixels.shape[0]):
            return unit, None
        backdrop = make_backdrop(pixels, crop)
        quality = max(0, self.quality - BACKDROP_QUALITY_DROP)
        data = encode_still(backdrop, quality, speed=speed)
        return unit, BackdropUnit(slot, StillCodec.AV1, backdrop.shape[1], backdrop.shape[0], data)

    def acknowledge(self, ref_id: int) -> bool:
        """The receiver holds the picture of a slot: use it, if it is the one that was waited for."""
        if self.pending is None or self.pending.ref_id != ref_id:
            return False
        self._activate(self.pending)
        self.pending = None
        return True

    def _free_slot(self) -> int:
        """Slot for the next picture; what was sent last and never used is given up."""
        if self.pending is not None:
            self._buffer.drop(self.pending.ref_id)
            self.pending = None
        slot = self._buffer.next_slot()
        in_use = self.active.reference.ref_id if self.active and self._acknowledged else None
        return self._buffer.next_slot() if slot == in_use else slot

    def palette_is_due(self, count: int) -> bool:
        """Whether the next group, of ``count`` frames, holds some that were not looked at for entries yet."""
        chooser = self.active.palette if self.active else None
        if chooser is None or chooser.ahead < count:
            return chooser is not None
        chooser.ahead -= count
        return False

    def code_palette(self, header: StreamHeader, count: int) -> PaletteUnit | None:
        """Look for palette entries in the window; None where none pays.

        Args:
            header: the stream's.
            count: frames of the next group.
        """
        active, chooser = self.active, self.active.palette if self.active else None
        if active is None or chooser is None:
            return None
        reach = self._window.first_cut(min(len(self._window), self._reach))
        chooser.ahead = reach - count
        points, valid = self._window.smoothed(reach)
        items = self._window.frames(reach)
        known = np.flatnonzero(valid)
        if not len(known):
            return None
        pictures = [crop_picture(items[i].frame.pixels, active.reference.crop) for i in known]
        seen = [items[i].landmarks for i in known]
        raw = np.stack([face.points for face in seen if face is not None])
        to_crop = active.reference.crop.to_crop
        scene = Scene(pictures, to_crop(points[known]), to_crop(raw))
        ticks = items[-1].frame.pts + header.frame_duration - header.start_pts
        unit = chooser.update(scene, allowance(float(ticks * header.time_base)) - self._palette_bytes)
        if unit is not None:
            self._palette_bytes += len(pack_unit(unit))
        return unit

    def _activate(self, reference: Reference) -> None:
        """Make a reference picture the one in use."""
        fitter = None
        if self._grid:
            picture = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255.0
            state = self._generator.prepare(picture, torch.from_numpy(reference.mesh.astype(np.float32)))
            fitter = SceneFitter(self._generator, state, reference.picture, reference.mesh, self._grid)
        motion = FaceMotion(reference.mesh)
        self.active = Source(reference, motion, fitter, self._palette_of(reference, motion))

    def _palette_of(self, reference: Reference, motion: FaceMotion) -> PaletteChooser | None:
        """What is known of a reference picture's palette; it lasts as long as the picture."""
        config = self._config
        if config.palette == "off" or not self._careful:
            return None
        kept = self._palettes.get(reference.ref_id)
        if kept is None or kept.reference is not reference:
            kept = PaletteChooser(self._generator, reference, motion, config.qp, config.ref_quality)
            self._palettes[reference.ref_id] = kept
        kept.ahead = 0
        return kept


def covers(crop: CropTransform, width: int, height: int) -> bool:
    """Whether the crop hides the whole picture, so that no backdrop is seen."""
    return crop.x <= 0 and crop.y <= 0 and crop.x + crop.side >= width and crop.y + crop.side >= height
