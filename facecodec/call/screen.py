"""What the other side is seen and heard as: the newest picture, and the sound that goes with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from facecodec.call.sound_buffer import SOUND_RATE as SOUND_RATE
from facecodec.call.sound_buffer import SoundBuffer
from facecodec.types import U8Array


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
    """The newest picture and the sound to be heard; used from the event loop alone.

    Attributes:
        picture: the newest; None before the first.
        pictures: shown so far.
        sound: what is to be heard.
    """

    def __init__(self) -> None:
        self.picture: Picture | None = None
        self.pictures = 0
        self.sound = SoundBuffer()
        self._changed = asyncio.Event()

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

    def clear(self) -> None:
        """Forget the sound that was not played."""
        self.sound = SoundBuffer()
