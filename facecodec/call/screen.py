"""What the other side is seen and heard as: the newest picture, and sound that waits to be played."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from facecodec.types import F32Array, U8Array

SOUND_RATE = 48_000
_CUSHION = 40 * SOUND_RATE // 1000
"""Samples that wait before playing begins, or begins again: packets come in steps."""
_MOST = 140 * SOUND_RATE // 1000
"""More than this waits only where clocks differ; the rest is cut out, so that sound does not fall behind."""
_SEAM = 240
"""Samples over which the two sides of a cut blend: 5 ms."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on the screen.

    Attributes:
        pixels: RGB, [H, W, 3] uint8.
        shown_s: monotonic time at which it came on.
        pts_s: its time in the sender's clock.
        state: what it was made of, such as ``live``, ``idle`` or ``lost``.
    """

    pixels: U8Array
    shown_s: float
    pts_s: float
    state: str


class Screen:
    """The newest picture and the sound to be played; used from the event loop alone."""

    def __init__(self) -> None:
        self.picture: Picture | None = None
        self.pictures = 0
        self._changed = asyncio.Event()
        self._sound = np.zeros(0, np.float32)
        self._playing = False
        self.cut_samples = 0

    def show(self, picture: Picture) -> None:
        """Put a picture on."""
        self.picture = picture
        self.pictures += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def next(self, timeout_s: float) -> Picture | None:
        """Wait for the next picture, so long at most; the present one then, if any."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass  # the picture stays as it is
        return self.picture

    def play(self, samples: F32Array) -> None:
        """Append mono samples at 48 kHz."""
        if not len(samples):
            return
        self._sound = np.concatenate([self._sound, samples])
        if len(self._sound) > _MOST:
            gone = len(self._sound) - (_MOST + _CUSHION) // 2
            self.cut_samples += gone
            fade = np.linspace(0, 1, _SEAM, dtype=np.float32)
            seam = self._sound[:_SEAM] * (1 - fade) + self._sound[gone : gone + _SEAM] * fade
            self._sound = np.concatenate([seam, self._sound[gone + _SEAM :]])

    def hear(self, count: int) -> F32Array:
        """Take the next ``count`` samples; silence where there are none."""
        self._playing = self._playing or len(self._sound) >= _CUSHION
        if not self._playing:
            return np.zeros(count, np.float32)
        taken, self._sound = self._sound[:count], self._sound[count:]
        if len(taken) < count:
            self._playing = False
            fade = np.linspace(1, 0, len(taken), dtype=np.float32)
            taken = np.concatenate([taken * fade, np.zeros(count - len(taken), np.float32)])
        return taken

    def clear(self) -> None:
        """Forget the sound that was not played."""
        self._sound = np.zeros(0, np.float32)
        self._playing = False
