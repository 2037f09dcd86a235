"""Idle motion from what was received: a video texture (Schoedl, Szeliski, Salesin, Essa, SIGGRAPH 2000).

Poses of the last 20 seconds are played again, forwards and at their own speed; from time to time, and where
they end, it goes on from another one whose points and velocities match, so blinks and small movements of the
head come back as they were. Moments of little mouth movement are liked better, and the mouth goes to how it
was most closed: nobody speaks without sound. What is left of a difference at a jump fades out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from facecodec.motion.face import align, load_face_model
from facecodec.motion.openings import LEFT_EYE, MOUTH, RIGHT_EYE, OpeningMap
from facecodec.motion.pose import Pose
from facecodec.types import F64Array

MEMORY_S = 20.0
_KEPT = 400
_GAP_S = 0.2
"""Poses further apart do not follow each other."""
_FADE_S = 0.35
_STAY_S = 0.8
"""Seconds from jump to jump at least."""
_AHEAD_S = 0.4
"""Seconds that have to lie ahead of the pose that is jumped to."""
_APART_S = 0.5
_VELOCITY = 0.15
"""Seconds: a difference in velocity weighs as the way that it makes in this time."""
_GOOD = 1.2
"""Points, RMS: differences below are jumped over before the end is near."""
_QUIET = 0.08
"""Weight of mouth movement in the choice: seconds, as for velocity."""
_HUSH_S = 0.5
"""Seconds in which the mouth closes."""
_AGAIN = 0.6
"""Points that a place costs more each time it was jumped to."""
_UPPER_SHARE = 0.5
"""How much of the closing the upper lip does."""
_POINTS = np.array(
    sorted({*range(0, 468, 9), *(i for o in (RIGHT_EYE, LEFT_EYE, MOUTH) for pair in o.pairs for i in pair)})
)
_MOUTH = np.array(sorted({i for pair in MOUTH.pairs for i in pair}))


@dataclass(slots=True, eq=False)
class _Memory:
    """A received pose.

    Attributes:
        time_s: its time.
        pose: the pose.
        picture: number of its reference picture.
        points: [P, 2], points that are compared, in points.
        velocity: [P, 2] a second.
        restless: movement of the mouth, points a second, RMS.
        jumps: how often it was jumped to.
    """

    time_s: float
    pose: Pose
    picture: int
    points: F64Array
    velocity: F64Array
    restless: float
    jumps: int = 0


class _Table(NamedTuple):
    """The memory as arrays of N poses: times, ends of what follows without a gap, and what is compared."""

    times: F64Array
    ends: F64Array
    points: F64Array
    velocities: F64Array
    restless: F64Array


class IdleMotion:
    """Remembers received poses, and goes on from them.

    Attributes:
        picture: number of the reference picture that poses are given for.
    """

    def __init__(self) -> None:
        self.picture = -1
        self._memory: deque[_Memory] = deque(maxlen=_KEPT)
        self._place: Hashable = None
        self._at_s = 0.0
        self._now_s = 0.0
        self._jump_s = -1e9
        self._gap: Pose | None = None
        self._known: _Table | None = None
        self._begin_s = 0.0
        self._hush: tuple[OpeningMap, F64Array] | None = None

    def __len__(self) -> int:
        return len(self._memory)

    def learn(self, time_s: float, pose: Pose, picture: int, place: Hashable = None) -> None:
        """Remember a received pose; one that is older than the newest is passed over.

        Args:
            time_s: its time.
            pose: the pose.
            picture: number of its reference picture.
            place: the square that the picture shows; when it changes all others are forgotten.
        """
        if place != self._place:
            self._memory.clear()
            self._place = place
        if self._memory and time_s <= self._memory[-1].time_s:
            return
        self._known = None
        while self._memory and time_s - self._memory[0].time_s > MEMORY_S:
            self._memory.popleft()
        points = pose.mesh[_POINTS, :2] * 256.0
        velocity, restless = np.zeros_like(points), 0.0
        if self._memory and time_s - self._memory[-1].time_s <= _GAP_S:
            before = self._memory[-1]
            step = time_s - before.time_s
            velocity = (points - before.points) / step
            change = (pose.shape[_MOUTH] - before.pose.shape[_MOUTH])[:, :2] * 256.0 / step
            restless = float(np.sqrt((change**2).sum(-1).mean()))
        self._memory.append(_Memory(time_s, pose, picture, points, velocity, restless))

    def start(self, time_s: float, pose: Pose, picture: int) -> None:
        """Go on from a pose that was shown last.

        Args:
            time_s: the time of it.
            pose: the pose.
            picture: number of the reference picture that poses are wanted for.
        """
        self.picture, self._now_s, self._begin_s, self._gap = picture, time_s, time_s, None
        for memory in self._memory:
            memory.jumps = 0
        if not self._memory:
            return
        quiet = min((m.pose.shape for m in self._memory), key=lambda shape: float(MOUTH.gap(shape)))
        mouth = OpeningMap(MOUTH, _UPPER_SHARE, quiet, quiet, load_face_model().mean)
        self._hush = (mouth, quiet)
        last = self._memory[-1]
        points = pose.mesh[_POINTS, :2] * 256.0
        self._jump(pose, self._best(points, last.velocity, None), time_s)

    def pose(self, time_s: float) -> Pose | None:
        """The pose at a time, which never goes back; None where nothing was received."""
        if not self._memory:
            return None
        self._at_s += max(time_s - self._now_s, 0.0)
        self._now_s = max(time_s, self._now_s)
        place, share = self._find(self._at_s)
        here = self._memory[place]
        ends = float(self._table().ends[place]) - self._at_s
        if ends <= 0.02 or (self._now_s - self._jump_s >= _STAY_S and not ends > 4 * _AHEAD_S):
            target = self._best(here.points, here.velocity, self._at_s)
            if ends <= 0.02 or self._costs(here.points, here.velocity)[target] < _GOOD:
                self._jump(self._shown(place, share), target, self._now_s)
                place, share = self._find(self._at_s)
        return self._hushed(self._shown(place, share))

    def _hushed(self, pose: Pose) -> Pose:
        """The pose with its mouth going to how it was most closed."""
        if self._hush is None:
            return pose
        mouth, quiet = self._hush
        t = float(np.clip((self._now_s - self._begin_s) / _HUSH_S, 0.0, 1.0))
        change = t * t * (3 - 2 * t) * (mouth.correct(pose.shape[None], quiet[None])[0] - pose.shape)
        scale, rotation, _, _ = align(pose.shape, pose.mesh, load_face_model().weights)
        return Pose(pose.mesh + scale * change @ rotation.T, pose.shape + change, pose.scene)

    def _shown(self, place: int, share: float) -> Pose:
        """The remembered pose, and what is left of the last jump."""
        base, memory = self._memory[place].pose, self._memory
        mesh, shape = base.mesh, base.shape
        if share > 0 and place + 1 < len(memory):
            after = memory[place + 1].pose
            mesh = (1 - share) * mesh + share * after.mesh
            shape = (1 - share) * shape + share * after.shape
        left = 1.0 - (self._now_s - self._jump_s) / _FADE_S
        if self._gap is not None and left > 0:
            smooth = left * left * (3 - 2 * left)
            mesh, shape = mesh + smooth * self._gap.mesh, shape + smooth * self._gap.shape
        scene = base.scene if memory[place].picture == self.picture else None
        return Pose(mesh, shape, scene)

    def _jump(self, shown: Pose, target: int, now_s: float) -> None:
        memory = self._memory[target]
        memory.jumps += 1
        self._gap = replace(
            shown, mesh=shown.mesh - memory.pose.mesh, shape=shown.shape - memory.pose.shape, scene=None
        )
        self._at_s, self._jump_s = memory.time_s, now_s

    def _best(self, points: F64Array, velocity: F64Array, at_s: float | None) -> int:
        """The pose that is best gone on from."""
        table = self._table()
        costs = self._costs(points, velocity) + _QUIET * table.restless
        costs += _AGAIN * np.array([memory.jumps for memory in self._memory])
        costs += 1e3 * (table.ends - table.times < _AHEAD_S)
        if at_s is not None:
            costs += 1e2 * (np.abs(table.times - at_s) < _APART_S)
        return int(costs.argmin())

    def _costs(self, points: F64Array, velocity: F64Array) -> F64Array:
        """Differences of place and movement from every pose, [N], in points, RMS."""
        table = self._table()
        place = ((table.points - points) ** 2).sum(-1).mean(-1)
        change = ((table.velocities - velocity) ** 2).sum(-1).mean(-1) * _VELOCITY**2
        return np.asarray(np.sqrt(place + change))

    def _table(self) -> _Table:
        if self._known is None:
            memory = list(self._memory)
            times = np.array([m.time_s for m in memory])
            ends = times.copy()
            for i in range(len(memory) - 2, -1, -1):
                if times[i + 1] - times[i] <= _GAP_S:
                    ends[i] = ends[i + 1]
            points, velocities = np.stack([m.points for m in memory]), np.stack([m.velocity for m in memory])
            restless = np.array([m.restless for m in memory])
            self._known = _Table(times, ends, points, velocities, restless)
        return self._known

    def _find(self, time_s: float) -> tuple[int, float]:
        """The pose at or before a time, and the share of the way to the next."""
        times = self._table().times
        place = max(int(np.searchsorted(times, time_s, side="right")) - 1, 0)
        if place + 1 >= len(self._memory):
            return place, 0.0
        here, after = float(times[place]), float(times[place + 1])
        if after - here > _GAP_S:
            return place, 0.0
        return place, float(np.clip((time_s - here) / (after - here), 0.0, 1.0))
