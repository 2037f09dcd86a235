"""When a bundle leaves: with the sound that fills it, so that sound never waits for a picture.

Opus packets come at a steady pace. The bundle leaves with the last one that it has room for, and takes the
pictures that were captured by then. Silence that is not sent (DTX) keeps the pace where it is told of; where
there is no sound at all, a bundle leaves with its last picture.
"""

from __future__ import annotations

from facecodec.transport.bundle import FRAMES_MAX

_PAUSE_S = 0.6
"""Sound that has not come for so long does not set the pace: in silence one packet in 0.4 s comes."""
_GRACE_S = 0.04
"""A bundle waits so long for the sound that is due."""


class BundleClock:
    """Says when bundles end, from what is given and the time."""

    def __init__(self) -> None:
        self._heard_s = self._due_s = self._end_s = -1e9
        self._filled_s = 0.0
        self._open = False

    def sound_ends(self, packet_s: float, length_s: float, now_s: float) -> bool:
        """Whether a packet of sound, or as much silence, is the last of its bundle.

        Args:
            packet_s: seconds of the packet.
            length_s: how long a bundle is.
            now_s: the time.
        """
        if not self._has_sound(now_s):
            self._due_s, self._filled_s = now_s + length_s, 0.0
        self._heard_s = now_s
        self._filled_s += packet_s
        return self._filled_s > _full(packet_s, length_s) - 0.5 * packet_s

    def frame_ends(self, time_s: float, step_s: float, waiting: int, length_s: float, now_s: float) -> bool:
        """Whether a frame is the last of its bundle; bundles follow each other without a gap.

        Args:
            time_s: of the frame.
            step_s: seconds between frames.
            waiting: frames that wait, this one included.
            length_s: how long a bundle is.
            now_s: the time.
        """
        if self._has_sound(now_s):
            self._open = False
            return waiting >= FRAMES_MAX
        if not self._open:
            follows = abs(time_s - self._end_s) < 0.5 * length_s
            self._end_s = (self._end_s if follows else time_s) + length_s
        whole = time_s + step_s >= self._end_s - 0.25 * step_s or waiting >= FRAMES_MAX
        self._open = not whole
        return whole

    def time_ends(self, now_s: float) -> bool:
        """Whether the sound that a bundle waits for has not come."""
        return self._has_sound(now_s) and now_s >= self._due_s + _GRACE_S - 1e-6

    def ended_with_sound(self, length_s: float, now_s: float) -> None:
        """A bundle has ended with its sound; the next one is due a length later."""
        self._filled_s, self._due_s = 0.0, now_s + length_s

    def ended_without(self, length_s: float, now_s: float) -> None:
        """A bundle has ended without; sound that still comes for it does not fill the next one."""
        self._filled_s = max(self._filled_s - length_s, -length_s)
        self._due_s = max(self._due_s, now_s - length_s) + length_s

    def _has_sound(self, now_s: float) -> bool:
        return now_s - self._heard_s < _PAUSE_S


def _full(packet_s: float, length_s: float) -> float:
    """Seconds of sound in a bundle: whole packets, one at least."""
    return max(round(length_s / packet_s), 1) * packet_s
