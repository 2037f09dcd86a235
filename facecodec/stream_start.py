"""The start of a stream: what its header says, once the first reference picture is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from facecodec.bitstream import AudioCodec, StreamHeader, View
from facecodec.config import EncoderConfig
from facecodec.errors import ConfigError, ShapeError
from facecodec.generator.model import WarpGenerator
from facecodec.media.audio import OpusStreamInfo
from facecodec.refpic.backdrop import covers
from facecodec.types import CropTransform, Frame, KeypointSet


@dataclass(frozen=True, slots=True)
class StreamStart:
    """What is known before the first picture.

    Attributes:
        config: what changes the bytes.
        keypoint_set: of the tracker.
        scene_grid: scene points a side, 0 for none.
        frame_rate: usual frames a second, where known.
        audio: describes the Opus track beside the packets, if any.
    """

    config: EncoderConfig
    keypoint_set: KeypointSet
    scene_grid: int
    frame_rate: Fraction | None
    audio: OpusStreamInfo | None

    def header(
        self, times: list[int], base: Fraction, crop: CropTransform, width: int, height: int
    ) -> StreamHeader:
        """The stream header.

        Args:
            times: of the first frames, in ticks.
            base: seconds of a tick.
            crop: of the first reference picture.
            width: of the pictures.
            height: of the pictures.
        """
        whole = covers(crop, width, height) and crop.size == width == height
        frame_view = self.config.view == "frame" and not whole
        audio = self.audio
        return StreamHeader(
            model_id=self.config.model_id or WarpGenerator.model_id,
            keypoint_set=self.keypoint_set,
            basis_id=1,
            coded_size=crop.size,
            width=width if frame_view else crop.size,
            height=height if frame_view else crop.size,
            view=View.FRAME if frame_view else View.CROP,
            time_base_num=base.numerator,
            time_base_den=base.denominator,
            frame_duration=self._frame_duration(times, base),
            start_pts=times[0],
            scene_grid=self.scene_grid,
            audio_codec=AudioCodec.OPUS if audio else AudioCodec.NONE,
            channels=audio.channels if audio else 0,
            pre_skip=audio.pre_skip if audio else 0,
        )

    def _frame_duration(self, times: list[int], base: Fraction) -> int:
        """Usual ticks between frames: the commonest step of the first ones, else from the frame rate."""
        steps = np.diff(times)
        if len(steps):
            values, counts = np.unique(steps, return_counts=True)
            return max(1, int(values[counts.argmax()]))
        return max(1, round(1 / ((self.frame_rate or Fraction(25)) * base)))


def check_frame(frame: Frame, shape: tuple[int, ...] | None, last_pts: int | None) -> None:
    """Refuse a frame that cannot follow those before.

    Args:
        frame: the frame.
        shape: of the pictures before, if any.
        last_pts: time of the frame before, if any.

    Raises:
        ShapeError: the picture is not [H, W, 3] uint8, too small, or of another size than those before.
        ConfigError: its time does not come after that of the frame before.
    """
    own = frame.pixels.shape
    if len(own) != 3 or own[2] != 3 or min(own[:2]) < 16 or frame.pixels.dtype != np.uint8:
        raise ShapeError("frame", "[H, W, 3] uint8, at least 16x16", f"{list(own)} {frame.pixels.dtype}")
    if shape not in (None, own):
        raise ShapeError("frame", str(list(shape or ())), list(own))
    if last_pts is not None and frame.pts <= last_pts:
        raise ConfigError("pts", frame.pts, f"more than {last_pts}, that of the frame before")
