"""Which reference picture groups are made from, and which frame becomes the next one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch

from facecodec.analysis.plan import CANDIDATES, TAIL, ReferencePlanner, medoids, whole
from facecodec.analysis.references import Candidate, ReferenceChooser
from facecodec.analysis.scene import SceneFitter
from facecodec.analysis.serving import STRIDE, CoarseViewer, take_samples
from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.bitstream import BackdropUnit, ReferenceUnit, StreamHeader
from facecodec.config import EncoderConfig
from facecodec.generator.model import WarpGenerator
from facecodec.generator.workers import Workers
from facecodec.motion.face import FaceMotion
from facecodec.refpic.buffer import Reference, ReferenceBuffer
from facecodec.refpic.pacing import Pacer
from facecodec.still_encoder import StillEncoder
from facecodec.types import CropTransform, F32Array


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
    """Chooses what groups are made from, and has it coded.

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
        stills: codes reference pictures and backdrops, and knows what the last ones took.
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
        self._is_call, self._acknowledged = config.lookahead == 0, acknowledged
        self.stills = StillEncoder(config, window, reach, length_s=length_s, acknowledged=acknowledged)
        self._generator, self._pool = WarpGenerator(), pool
        self._buffer = ReferenceBuffer()
        self._chooser = ReferenceChooser(window, self._buffer, reach, config.size, config.intra_period)
        viewer = CoarseViewer(self._generator, scene_grid)
        self._planner = ReferencePlanner(viewer, config.rate.price, pool)
        self._pacer = Pacer(config.picture_bps)
        self._unplanned = 0

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
        active, self._planner.quality = self.active.reference, self.stills.quality
        self._planner.key = self.stills.key_of(self._base(active.crop))
        held, self._unplanned = [active, *self._beside(active)], STRIDE
        tried = take_samples(items, points, active.crop)
        past = [self._planner.remember(sample) for sample in tried]
        if not past:
            return None
        last_bytes = self.stills.bytes_of_another(items[0], active.crop)
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
        if self._is_call:
            return whole(self.plan_by_parts(items, points))
        crop, self._planner.quality = self.active.reference.crop, self.stills.quality_at(items[0].frame.pts)
        self._planner.key = self.stills.key_of(self._base(crop))
        held = [self.active.reference, *self._beside(self.active.reference)]
        last_bytes = self.stills.bytes_of_another(items[0], crop)
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
                self.stills.key_bytes + self.stills.backdrop_bytes,
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
        kept = self.active.reference.crop if self.active else None
        candidates = self._chooser.candidates(kept, coded_size)
        if len(candidates) == 1:
            return candidates[0]
        reach = self._window.first_cut(min(len(self._window), self._reach))
        points, tail = self._window.smoothed(reach)[0], 0 if self.is_ending else TAIL
        return self._planner.fittest(candidates, self._window.frames(reach), points, tail)

    def code(
        self, candidate: Candidate, header: StreamHeader, at_once: bool, alone: bool
    ) -> tuple[ReferenceUnit, BackdropUnit | None]:
        """Code a reference picture, and the backdrop beside it if one is seen that was not sent before.

        Args:
            candidate: the picture.
            header: the stream's.
            at_once: use it from now on.
            alone: it must not depend on what was sent before.
        """
        if self._acknowledged and self.pending is not None:
            self._buffer.drop(self.pending.ref_id)
        base = None if alone else self._base(candidate.crop)
        coded = self.stills.code(candidate, header, self._buffer.next_slot(), base)
        self._buffer.put(coded.reference)
        self._chooser.keep(coded.reference, candidate.patch)
        self._pacer.send(candidate.frame.time_s, coded.size)
        if self._acknowledged or (self._is_call and not at_once):
            self.pending = coded.reference
        elif at_once:
            self.pending = None
            self._activate(coded.reference)
        return coded.unit, coded.backdrop

    def _base(self, crop: CropTransform) -> Reference | None:
        """The key picture that one of a square would be predicted from.

        That is the one in use, else the newest of the square, else, where there is time to try, the newest.
        """
        if self._config.intra_period:
            return None
        active = None if self.active is None else self.active.reference
        keys = [r for r in self._buffer.all() if r.key and r is not self.pending]
        keys = [r for r in keys if r.crop == crop] or ([] if self._is_call else keys)
        return max(keys, key=lambda r: (r is active, r.pts), default=None)

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
