"""The encoder of palettes: eyes and mouths that the reference picture in use does not show."""

from __future__ import annotations

import numpy as np

from facecodec.analysis.palette import PaletteChooser, Scene, allowance
from facecodec.analysis.window import TrackWindow
from facecodec.bitstream import PaletteUnit, StreamHeader, pack_unit
from facecodec.config import EncoderConfig
from facecodec.generator.model import WarpGenerator
from facecodec.generator.workers import Workers
from facecodec.motion.face import FaceMotion
from facecodec.refpic.buffer import Reference
from facecodec.track.crop import crop_picture


class PaletteEncoder:
    """Chooses and codes palette entries, while their bytes last.

    Args:
        config: what changes the bytes.
        window: the frames that wait.
        reach: frames of the window that may be looked at.
        pool: threads that look at frames side by side.
    """

    def __init__(self, config: EncoderConfig, window: TrackWindow, reach: int, pool: Workers) -> None:
        self._is_on = config.palette == "auto" and config.lookahead > 0 and config.preset != "realtime"
        self._rate, self._window, self._reach = config.rate, window, reach
        self._warper, self._pool = WarpGenerator(), pool
        self._choosers: dict[int, PaletteChooser] = {}
        self._active: PaletteChooser | None = None
        self._bytes = self._pictures = 0

    def is_due(self, reference: Reference, motion: FaceMotion, last_pts: int) -> bool:
        """Whether the next group holds frames that were not looked at for entries yet.

        Args:
            reference: the reference picture in use.
            motion: face motion against it.
            last_pts: time of the group's last frame.
        """
        if not self._is_on:
            return False
        if self._active is None or self._active.reference is not reference:
            self._active = self._chooser(reference, motion)
        seen_pts = self._active.seen_pts
        return seen_pts is None or seen_pts < last_pts

    def code(self, header: StreamHeader) -> PaletteUnit | None:
        """Look for entries in the window; None where none pays."""
        chooser = self._active
        if chooser is None:
            return None
        reach = self._window.first_cut(min(len(self._window), self._reach))
        points, valid = self._window.smoothed(reach)
        items = self._window.frames(reach)
        chooser.seen_pts = items[-1].frame.pts
        known = np.flatnonzero(valid)
        if not len(known):
            return None
        crop = chooser.reference.crop
        pictures = [crop_picture(items[i].frame.pixels, crop) for i in known]
        seen = [items[i].landmarks for i in known]
        raw = np.stack([face.points for face in seen if face is not None])
        scene = Scene(pictures, crop.to_crop(points[known]), crop.to_crop(raw))
        ticks = items[-1].frame.pts + header.frame_duration - header.start_pts
        allowed = allowance(float(ticks * header.time_base), self._rate, self._pictures)
        unit = chooser.update(scene, allowed - self._bytes)
        if unit is not None:
            self._bytes += len(pack_unit(unit))
        return unit

    def _chooser(self, reference: Reference, motion: FaceMotion) -> PaletteChooser:
        """What is known of a reference picture's palette; it lasts as long as the picture."""
        kept = self._choosers.get(reference.ref_id)
        if kept is None or kept.reference is not reference:
            kept = PaletteChooser(self._warper, reference, motion, self._rate, self._pool)
            self._choosers[reference.ref_id] = kept
            self._pictures += 1
        return kept
