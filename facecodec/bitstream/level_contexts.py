"""Channels of a motion unit and the contexts of their levels (exact zone).

Contexts are small integers computed from what both ends already know: the channel's class, the depth of the
frame in the hierarchy, the channel's residuals nearby in time, and how much other channels moved at that
frame. Models start from the shipped table (``data/contexts_1.json``, named in FORMAT.md with its hash) and
adapt until the next group with ``reset``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from facecodec.entropy.models import BitModels
from facecodec.motion.predict import Step

POSE_CHANNELS = 6
CLASSES = 14
DEPTHS = 6
NEARS = 3
BUSY = 3
PREFIX = 6
TRUST = 24
"""Bits that an initial probability stands for."""

ZERO = 0
SIGN = ZERO + CLASSES * DEPTHS * NEARS * BUSY
MAGNITUDE = SIGN + CLASSES * 3
MOVES = MAGNITUDE + 3 * 2 * NEARS * PREFIX
HOLD = MOVES + CLASSES * 12
CONTEXTS = HOLD + 4
"""How many contexts there are."""

_COEFFICIENT_CLASS = (6, 6, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9)


@dataclass(frozen=True, slots=True)
class ChannelLayout:
    """Which channels a group has, in order: 6 pose, ``deformations``, then x and y of each scene point.

    Attributes:
        deformations: deformation coefficients, 0 to 255.
        scene_grid: scene points a side, 0 for none.
    """

    deformations: int
    scene_grid: int

    @property
    def face(self) -> int:
        """Channels of the face."""
        return POSE_CHANNELS + self.deformations

    @property
    def count(self) -> int:
        """All channels."""
        return self.face + 2 * self.scene_grid**2

    def channel_class(self, channel: int) -> int:
        """Context class of a channel, 0 to 13."""
        if channel < POSE_CHANNELS:
            return channel
        k = channel - POSE_CHANNELS
        if k < self.deformations:
            return _COEFFICIENT_CLASS[k] if k < 16 else (10 if k < 32 else 11)
        return 12 + (k - self.deformations) % 2


@cache
def initial_probabilities() -> tuple[int, ...]:
    """The shipped probabilities of a 0, of 65536, one for each context."""
    source = resources.files("facecodec.bitstream").joinpath("data", "contexts_1.json")
    return tuple(json.loads(source.read_text(encoding="ascii"))["probabilities"])


class LevelState:
    """What both ends remember from group to group: models, and which channels moved in the last two groups.

    Args:
        layout: the stream's channels.
        probabilities: initial probabilities of a 0, one for each of ``CONTEXTS``; the shipped ones by
            default.

    Attributes:
        layout: the stream's channels.
        models: one model for each context.
    """

    def __init__(self, layout: ChannelLayout, probabilities: tuple[int, ...] | None = None) -> None:
        self.layout = layout
        self.models = BitModels(CONTEXTS, probabilities or initial_probabilities(), trust=TRUST)
        self._classes = [layout.channel_class(c) for c in range(layout.count)]
        self._moved = [0] * layout.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LevelState) and self._key() == other._key()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _key(self) -> tuple[object, ...]:
        models = self.models
        return self.layout, self._moved, models.fast, models.slow, models.ages

    def reset(self) -> None:
        """Forget everything but the shipped table."""
        self.models.reset()
        self._moved = [0] * self.layout.count

    def copy(self) -> LevelState:
        """Return an independent state."""
        other = LevelState.__new__(LevelState)
        other.layout, other._classes = self.layout, self._classes
        other.adopt(self)
        return other

    def adopt(self, other: LevelState) -> None:
        """Take the memory of another state of the same layout."""
        self.models, self._moved = other.models.copy(), other._moved.copy()

    def note_moves(self, channel: int, moves: int) -> None:
        """Remember whether a channel moves in this group."""
        self._moved[channel] = (self._moved[channel] << 1 | moves) & 3

    def moves_context(self, channel: int) -> int:
        """Context of the flag 'moves': what the channel did before, what its neighbours do now."""
        moved, first = self._moved, self.layout.face
        beside = 0
        if channel >= first:
            grid = self.layout.scene_grid
            point, axis = divmod(channel - first, 2)
            if axis:
                beside += moved[channel - 1] & 1
            if point % grid:
                beside += moved[channel - 2] & 1
            if point >= grid:
                beside += moved[channel - 2 * grid] & 1
            beside = min(beside, 2)
        elif channel:
            beside = moved[channel - 1] & 1
        return MOVES + self._classes[channel] * 12 + moved[channel] * 3 + beside

    def bases(self, channel: int) -> tuple[int, int, int]:
        """First context of a channel's zero flags, of its signs and of its magnitudes."""
        kind = 0 if channel < POSE_CHANNELS else (1 if channel < self.layout.face else 2)
        of_class = self._classes[channel]
        return (
            ZERO + of_class * DEPTHS * NEARS * BUSY,
            SIGN + of_class * 3,
            MAGNITUDE + kind * 2 * NEARS * PREFIX,
        )


def neighbourhood(step: Step, done: list[int]) -> tuple[int, int, int]:
    """Contexts from the residuals of the channel that are already known in this group.

    Args:
        step: the frame to come.
        done: residual of every frame, 0 where it is not known yet.

    Returns:
        Depth class 0 to 5, size class 0 to 2 of the residuals on both sides, and sign class 0 to 2 (none,
        positive, negative) of the later one, or else the earlier one.
    """
    left = done[step.lo] if step.lo >= 0 else 0
    right = done[step.hi] if step.hi is not None else 0
    leading = right or left
    sign = 0 if leading == 0 else (1 if leading > 0 else 2)
    return min(step.depth, DEPTHS - 1), min(abs(left) + abs(right), NEARS - 1), sign


def busy_class(busy: int) -> int:
    """Class 0 to 2 of how much the channels before moved at a frame."""
    return 0 if busy < 8 else (1 if busy < 24 else 2)


def busy_after(busy: int, moved: bool) -> int:
    """Decaying count of the channels that moved at a frame, after one more channel; 0 to 61."""
    return busy - (busy >> 2) + (16 if moved else 0)
