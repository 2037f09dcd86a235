"""What was seen and heard in a call, as a video file, marked as synthesised."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from facecodec.call.screen import SOUND_RATE, Picture
from facecodec.call.voice import VoiceConfig, VoiceEncoder
from facecodec.errors import MediaError
from facecodec.media.audio import OpusStreamInfo
from facecodec.media.writer import VideoWriter, synthetic_mark
from facecodec.types import AudioPacket, F32Array, Frame

_TICK = Fraction(1, 90_000)


class Recording:
    """Writes pictures as they were shown and sound as it was played. The file appears when it is complete.

    Args:
        path: ``.mp4`` or ``.mkv`` to write.
        generator: what makes the pictures, for the mark.
        fps: usual pictures a second.

    Attributes:
        pictures: written so far.
    """

    def __init__(self, path: str | Path, generator: str, fps: float) -> None:
        self._path, self._generator, self._fps = Path(path), generator, Fraction(round(fps))
        self._writer: VideoWriter | None = None
        self._voice = VoiceEncoder(VoiceConfig(bps=24000, packet_ms=20, dtx=False))
        self._start_s = 0.0
        self._last = -1
        self._heard = 0
        self._sound_pts = -self._voice.pre_skip
        self.pictures = 0

    def show(self, picture: Picture) -> None:
        """Add a picture; the first one is time zero.

        Raises:
            MediaError: the file cannot be written.
        """
        height, width = picture.pixels.shape[:2]
        if self._writer is None:
            self._start_s = picture.shown_s
            self._writer = VideoWriter(
                self._path,
                width,
                height,
                _TICK,
                frame_rate=self._fps,
                audio=OpusStreamInfo(1, self._voice.pre_skip),
                metadata=synthetic_mark(self._generator),
            )
        pts = round((picture.shown_s - self._start_s) / _TICK)
        if pts <= self._last or (height, width) != (self._writer.height, self._writer.width):
            return
        self._last = pts
        self.pictures += 1
        self._writer.write(Frame(picture.pixels, pts, _TICK))

    def hear(self, samples: F32Array) -> None:
        """Add mono sound at 48 kHz, played without a gap since the first picture.

        Raises:
            MediaError: the file cannot be written.
        """
        if self._writer is None:
            return
        self._heard += len(samples)
        for packet in self._voice.push(samples):
            self._writer.write_audio(AudioPacket(packet, self._sound_pts, self._voice.packet_samples))
            self._sound_pts += self._voice.packet_samples

    @property
    def begun(self) -> bool:
        """Whether a picture has come."""
        return self._writer is not None

    @property
    def heard_s(self) -> float:
        """Seconds of sound added."""
        return self._heard / SOUND_RATE

    @property
    def start_s(self) -> float:
        """Monotonic time of the first picture."""
        return self._start_s

    def close(self) -> None:
        """Finish the file.

        Raises:
            MediaError: no picture was shown, or the file cannot be written; there is none then.
        """
        if self._writer is None:
            raise MediaError(self._path, "not written: no picture of the other side was shown")
        self._writer.close()

    def abort(self) -> None:
        """Remove what was written."""
        if self._writer is not None:
            self._writer.abort()
