"""What is shown at a time: received motion, what lies between, or idle motion when nothing comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from facecodec.motion.idle import IdleMotion
from facecodec.motion.pose import Pose, blend
from facecodec.transport.jitter import TimedBuffer
from facecodec.types import CropTransform, U8Array

FRAMES_KEPT = 64
_GAP_MAX_S = 0.6
"""Frames further apart are not bridged."""
_PATIENCE = 2.2
"""Frames further apart than so many usual steps have one missing between them."""
_HOLD_S = 0.15
"""Seconds behind the last frame before idle motion begins."""
_RETURN_S = 0.25
"""Seconds in which idle motion goes over into received motion."""
LOST_S = 3.0
_STEP_MAX_S = 0.2
_LOSS_LEAST, _LOSS_MOST_S = 2.5, 0.3
"""Frames so many steps apart, and no more seconds than this, are bridged: the delay leaves time for it where
that happens often."""


class State(Enum):
    """Where a shown picture comes from."""

    LIVE = "live"
    """Received motion."""
    INTERPOLATED = "interpolated"
    """Between received frames of which some are missing."""
    IDLE = "idle"
    """Idle motion: nothing has come for a while."""
    LOST = "lost"
    """Nothing has come for 3 seconds; idle motion goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A frame of received motion.

    Attributes:
        time_s: its time on the wire.
        pose: the face.
        ref_id: slot of its reference picture.
        picture: number of the message that brought that picture.
        crop: the square that it shows.
    """

    time_s: float
    pose: Pose
    ref_id: int
    picture: int
    crop: CropTransform


class Shown(NamedTuple):
    """What is to be shown: a pose of a reference picture at a time, and where it comes from."""

    frame: Received
    state: State


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """What is on the screen.

    Attributes:
        pixels: RGB, [H, W, 3].
        pts_s: its time on the wire: the sender's time less ``CallSender.epoch_s``.
        state: where it comes from.
        crop: the square of the sender's picture that its reference picture shows.
    """

    pixels: U8Array
    pts_s: float
    state: State
    crop: CropTransform


class MotionPlayout:
    """Orders received frames and says what to show.

    Attributes:
        step_s: usual seconds from frame to frame, as received.
    """

    def __init__(self) -> None:
        self.step_s = 0.05
        self._buffer: TimedBuffer[Received] = TimedBuffer(FRAMES_KEPT)
        self._idle = IdleMotion()
        self._idle_since: float | None = None
        self._return_from: tuple[float, int] | None = None

    def insert(self, frames: list[Received]) -> None:
        """Add the frames of a motion unit."""
        for frame in frames:
            self._buffer.insert(round(frame.time_s * 1000), frame)
            self._idle.learn(frame.time_s, frame.pose, frame.picture, frame.crop)
        for a, b in zip(frames, frames[1:], strict=False):
            self._learn_step(b.time_s - a.time_s)

    def note_step(self, seconds: float) -> None:
        """Learn the usual step from single frames that follow each other."""
        self._learn_step(seconds)

    def stands_for(self, first_s: float, before_s: float | None) -> float:
        """The first time that motion of a time stands for: the place of lost frames before it, too.

        Args:
            first_s: its first time.
            before_s: the last time of what came before it; None where nothing did.
        """
        if before_s is not None and _LOSS_LEAST * self.step_s < first_s - before_s < _LOSS_MOST_S:
            return before_s + self.step_s
        return first_s

    def at(self, time_s: float) -> Shown | None:
        """What to show at a time of the sender's clock, which never goes back; None at first."""
        self._buffer.drop_before(time_s * 1000 - 50.0)
        before, after = self._buffer.around(time_s * 1000)
        if before is None:
            return None
        if after is not None and after.time_s - before.time_s > _GAP_MAX_S:
            after = None
        age = time_s - before.time_s
        if after is None and age > max(_HOLD_S, _PATIENCE * self.step_s):
            return self._idling(time_s, before, age)
        return self._live(time_s, before, after)

    def soonest(self, holds: Callable[[Received], bool]) -> Shown | None:
        """The first frame of which something holds, before its time has come."""
        frame = self._buffer.first(holds)
        return None if frame is None else Shown(frame, State.LIVE)

    def _live(self, time_s: float, before: Received, after: Received | None) -> Shown:
        state, frame = State.LIVE, before
        if after is not None and after.picture == before.picture:
            gap = after.time_s - before.time_s
            pose = blend(before.pose, after.pose, (time_s - before.time_s) / gap)
            frame = replace(before, time_s=time_s, pose=pose)
            if gap > _PATIENCE * self.step_s and before.time_s < time_s < after.time_s:
                state = State.INTERPOLATED
        if self._idle_since is not None:
            last = self._idle.pose(time_s)
            self._idle_since = None
            if last is not None:
                self._return_from = (time_s, self._idle.picture)
        return Shown(self._returning(time_s, frame), state)

    def _returning(self, time_s: float, frame: Received) -> Received:
        """Go over from idle motion, which goes on meanwhile, to what is received."""
        if self._return_from is None:
            return frame
        start, picture = self._return_from
        share = (time_s - start) / _RETURN_S
        pose = self._idle.pose(time_s)
        if share >= 1.0 or pose is None or picture != frame.picture:
            self._return_from = None
            return frame
        smooth = share * share * (3 - 2 * share)
        return replace(frame, pose=blend(pose, frame.pose, smooth))

    def _idling(self, time_s: float, last: Received, age: float) -> Shown:
        if self._idle_since is None:
            self._idle_since = time_s
            self._idle.start(time_s, last.pose, last.picture)
        state = State.LOST if age > LOST_S else State.IDLE
        pose = self._idle.pose(time_s) or last.pose
        return Shown(replace(last, time_s=time_s, pose=pose), state)

    def _learn_step(self, seconds: float) -> None:
        if 0.0 < seconds < _STEP_MAX_S:
            self.step_s += 0.1 * (seconds - self.step_s)
