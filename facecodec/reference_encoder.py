"""The encoder of reference pictures, and of the backdrops beside them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch

from facecodec.analysis.plan import CANDIDATES, TAIL, ReferencePlanner, medoids
from facecodec.analysis.references import Candidate, ReferenceChooser
from facecodec.analysis.scene import SceneFitter
from facecodec.analysis.serving import STRIDE, CoarseViewer, take_samples
from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.bitstream import (
    BackdropUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    View,
    pack_unit,
)
from facecodec.bitstream.mesh import encode_mesh
from facecodec.config import EncoderConfig
from facecodec.generator.model import WarpGenerator
from facecodec.generator.workers import Workers
from facecodec.motion.face import FaceMotion
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.refpic.backdrop import BackdropKeeper, code_backdrop, covers
from facecodec.refpic.buffer import Reference, ReferenceBuffer
from facecodec.refpic.intra import decode_still, encode_still
from facecodec.refpic.lifetime import expected_service, quality_for
from facecodec.refpic.pacing import Pacer
from facecodec.track.crop import crop_picture
from facecodec.types import CropTransform, F32Array, U8Array

_BACKDROP_STRIDE = 16
"""One frame in so many is looked at to see whether a backdrop still looks right."""


@dataclass(slots=True, eq=False)
class Source:
    """A reference picture in use, with what is computed once for it.

    Attributes:
        reference: the picture.
        motion: face motion against it.
        fitter: finds scene motion against it; None where none is coded.
        frames: frames coded from it in a row.
    """

    reference: Reference
    motion: FaceMotion
    fitter: SceneFitter | None
    frames: int = 0


class ReferenceEncoder:
    """Chooses and codes what groups are made from.

    Args:
        config: what changes the bytes.
        window: the frames that wait.
        reach: frames of the window that may be looked at.
        scene_grid: scene points a side, 0 for none.
        pool: threads that code pictures and look at frames side by side.
        length_s: seconds of video that will come, where known.
        acknowledged: a new reference picture is used from :meth:`acknowledge` on, not at once.

    Attributes:
        active: the reference picture in use, once there is one.
        pending: one that was sent, and may not have arrived yet.
        quality: of reference pictures that serve for a short time, 0 to 100.
        backdrops: the newest backdrop.
        is_ending: no frames come behind those of the window.
    """

    def __init__(
        self,
        config: EncoderConfig,
        window: TrackWindow,
        reach: int,
        scene_grid: int,
        pool: Workers,
        *,
        length_s: float | None = None,
        acknowledged: bool = False,
    ) -> None:
        self.active: Source | None = None
        self.pending: Reference | None = None
        self.is_ending = False
        self._config, self._window, self._reach, self._grid = config, window, reach, scene_grid
        self.quality, self._is_call = config.rate.ref_quality, config.lookahead == 0
        self._acknowledged, self._sent, self._clock = acknowledged, 0, (0, Fraction(0))
        self._length_s = None if config.lookahead == 0 or config.ref_quality is not None else length_s
        self._careful = config.lookahead > 0 and config.preset != "realtime"
        self._still_speed: Literal["best", "realtime"] = "best" if self._careful else "realtime"
        self._generator, self._pool = WarpGenerator(), pool
        self._buffer = ReferenceBuffer()
        self._chooser = ReferenceChooser(window, self._buffer, reach, config.size, config.intra_period)
        viewer = CoarseViewer(self._generator, scene_grid)
        self._planner = ReferencePlanner(viewer, config.rate.price, pool)
        self._pacer = Pacer(config.picture_bps)
        self._unplanned, self._still_bytes, self._backdrop_bytes = 0, 0, 0
        self.backdrops = BackdropKeeper(shares=not config.intra_period, acknowledged=acknowledged)

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

    def is_paced(self, item: Tracked) -> bool:
        """Whether a picture sent now has to get through before motion names it: in a call, but for cuts."""
        return (
            not self._acknowledged
            and self._is_call
            and not self._config.intra_period
            and self.active is not None
            and not item.is_cut
        )

    def is_busy(self, item: Tracked) -> bool:
        """Whether a picture is on its way that others have to wait for."""
        if self._acknowledged:
            return self.pending is not None
        return self.is_paced(item) and not self._pacer.is_clear(item.frame.time_s)

    def take_arrived(self, item: Tracked) -> bool:
        """Use the picture that was on its way, if there is one; behind a cut it is of no use."""
        if self._acknowledged:
            return False
        arrived, self.pending = self.pending, None
        if arrived is None or item.is_cut:
            return False
        self._activate(arrived)
        return True

    def acknowledge(self, ref_id: int) -> bool:
        """The receiver holds the picture of a slot: use it, if it is the one that was waited for."""
        if self.pending is None or self.pending.ref_id != ref_id:
            return False
        self._activate(self.pending)
        self.pending = None
        return True

    def is_plan_due(self, items: list[Tracked]) -> bool:
        """Count the frames of a group, and say whether it is time to plan; asked once of every group."""
        self._unplanned -= len(items)
        return self._unplanned < 0 and self.active is not None and not self._config.intra_period

    def plan_by_parts(
        self, items: list[Tracked], points: F32Array
    ) -> Generator[None, None, Candidate | None]:
        """As :meth:`plan` of a call, in parts; the plan is given up when another picture comes into use."""
        assert self.active is not None  # noqa: S101  asked for by the caller
        active, self._planner.quality = self.active.reference, self.quality
        held, self._unplanned = [active, *self._beside(active)], STRIDE
        tried = take_samples(items, points, active.crop)
        past = [self._planner.remember(sample) for sample in tried]
        if not past:
            return None
        last_bytes = self._bytes_of_another(items[0], active.crop)
        parts = self._planner.candidate_by_parts(held, past[-1], tried, last_bytes, TAIL)
        while True:
            try:
                next(parts)
            except StopIteration as done:
                found: Candidate | None = done.value
                return found
            yield
            if self.pending is not None or self.active.reference is not active:
                return None

    def plan(self, items: list[Tracked], points: F32Array) -> Candidate | None:
        """Look at frames as they come; a frame that pays as another reference picture, if there is one.

        Args:
            items: the next group.
            points: [T, 478, 3], its faces in picture pixels.
        """
        if not self.is_plan_due(items) or self.active is None:
            return None
        crop, self._planner.quality = self.active.reference.crop, self._quality_at(items[0].frame.pts)
        held = [self.active.reference, *self._beside(self.active.reference)]
        last_bytes = self._bytes_of_another(items[0], crop)
        if self._is_call:
            self._unplanned = STRIDE
            tried = take_samples(items, points, crop)
            past = [self._planner.remember(sample) for sample in tried]
            return self._planner.candidate(held, past[-1], tried, last_bytes, TAIL) if past else None
        reach = self._window.first_cut(min(len(self._window), self._reach))
        self._unplanned = reach - len(items)
        ahead, valid = self._window.smoothed(reach)
        samples = take_samples(self._window.frames(reach), ahead, crop) if valid.any() else []
        tail = 0 if self.is_ending else TAIL
        tried = medoids(samples, held, CANDIDATES) if samples else []
        return self._planner.candidate(held, samples, tried, last_bytes, tail)

    def take_best(self, items: list[Tracked], points: F32Array) -> bool:
        """Use the picture of the buffer that serves a group best; whether that is another one than before.

        Args:
            items: the group.
            points: [T, 478, 3], its faces in picture pixels.
        """
        if self.active is None or self._config.intra_period:
            return False
        active = self.active.reference
        others = self._beside(active)
        if not others or (self._is_call and not self._acknowledged and self._unplanned != STRIDE):
            return False
        best = self._planner.best(active, others, take_samples(items, points, active.crop))
        if best is active:
            return False
        self._activate(best)
        return True

    def note(self, frames: int) -> None:
        """Note that a motion unit of so many frames names the picture in use."""
        if self.active is not None:
            self.active.frames += frames
            self._buffer.name(self.active.reference.ref_id)

    def take_from_buffer(self, items: list[Tracked], points: F32Array) -> bool:
        """Use a picture again that the decoder holds, if one shows the next group well."""
        if self.active is None or self._config.intra_period:
            return False
        if items[0].is_cut:
            reach = self._window.first_cut(min(len(self._window), self._reach))
            other = self._planner.again(
                self._buffer.all(),
                self._window.frames(reach),
                self._window.smoothed(reach)[0],
                self._still_bytes + self._backdrop_bytes,
            )
        else:
            other = self._chooser.from_buffer(self.active.reference, items, points)
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

    def code(
        self, candidate: Candidate, header: StreamHeader, at_once: bool
    ) -> tuple[ReferenceUnit, BackdropUnit | None]:
        """Code a reference picture, and the backdrop beside it if one is seen that was not sent before.

        Args:
            candidate: the picture.
            header: the stream's.
            at_once: use it from now on.
        """
        crop, pixels = candidate.crop, candidate.frame.pixels
        self._clock = (header.start_pts, header.time_base)
        quality, speed = self._quality_at(candidate.frame.pts), self._still_speed
        tried = candidate.still if speed == "realtime" else None
        still = tried or encode_still(crop_picture(pixels, crop), quality, speed=speed)
        levels = mesh_to_levels(crop.to_crop(candidate.points).astype(np.float64))
        if self._acknowledged and self.pending is not None:
            self._buffer.drop(self.pending.ref_id)
        slot, pts = self._buffer.next_slot(), candidate.frame.pts
        start = header.start_pts
        place = (crop.x, crop.y, crop.side)
        unit = ReferenceUnit(slot, pts - start, *place, StillCodec.AV1, encode_mesh(levels), still)
        picture = decode_still(still, width=crop.size, height=crop.size)
        reference = Reference(slot, pts, picture, levels_to_mesh(levels), crop)
        self._buffer.put(reference)
        self._chooser.keep(reference, candidate.patch)
        backdrop = self._code_backdrop(candidate, header, slot)
        self._sent += 1
        self._still_bytes, size = len(pack_unit(unit)), len(pack_unit(backdrop)) if backdrop else 0
        self._backdrop_bytes = size or self._backdrop_bytes
        self._pacer.send(candidate.frame.time_s, self._still_bytes + size)
        if self._acknowledged or (self._is_call and not at_once):
            self.pending = reference
        elif at_once:
            self.pending = None
            self._activate(reference)
        return unit, backdrop

    def _quality_at(self, pts: int) -> int:
        """Quality of a picture sent at a time, by how long it is likely to serve."""
        if self._length_s is None:
            return self.quality
        seen_s = float((pts - self._clock[0]) * self._clock[1])
        return quality_for(self.quality, expected_service(seen_s, self._length_s - seen_s, self._sent))

    def _code_backdrop(self, candidate: Candidate, header: StreamHeader, slot: int) -> BackdropUnit | None:
        """The backdrop of a reference picture; None where it is not seen, or shares the newest."""
        crop, pixels = candidate.crop, candidate.frame.pixels
        if header.view != View.FRAME or covers(crop, pixels.shape[1], pixels.shape[0]):
            return None
        if self._shares_backdrop(pixels, crop):
            return None
        coded = code_backdrop(pixels, crop, self._quality_at(candidate.frame.pts))
        self.backdrops.put(coded, slot)
        return BackdropUnit(slot, StillCodec.AV1, coded.picture.shape[1], coded.picture.shape[0], coded.still)

    def _bytes_of_another(self, item: Tracked, crop: CropTransform) -> int:
        """What another reference picture is reckoned to take: as the last, and a backdrop if needed."""
        shares = self._shares_backdrop(item.frame.pixels, crop)
        return self._still_bytes + (0 if shares else self._backdrop_bytes)

    def _shares_backdrop(self, pixels: U8Array, crop: CropTransform) -> bool:
        """Whether a reference picture can do with the newest backdrop, as far as the window shows."""
        waiting = min(len(self._window), self._reach)  # none, where a call plans between two groups
        items = self._window.frames(self._window.first_cut(waiting)) if waiting else []
        if items and items[0].is_cut:
            return False
        ahead = [item.frame.pixels for item in items[_BACKDROP_STRIDE::_BACKDROP_STRIDE]]
        return self.backdrops.serves(pixels, crop, ahead)

    def _beside(self, active: Reference) -> list[Reference]:
        """The other pictures at hand that show the square of the one in use."""
        away = (active, self.pending)
        return [r for r in self._buffer.all() if r not in away and r.crop == active.crop]

    def _activate(self, reference: Reference) -> None:
        """Make a reference picture the one in use."""
        if self.active is not None and self.active.reference.crop != reference.crop:
            self._planner.forget()
        fitter = None
        if self._grid:
            picture = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255.0
            state = self._generator.prepare(picture, torch.from_numpy(reference.mesh.astype(np.float32)))
            fitter = SceneFitter(
                self._generator, state, reference.picture, reference.mesh, self._grid, self._pool
            )
        self.active = Source(reference, FaceMotion(reference.mesh), fitter)
