"""Small streams and clips, made for a test."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from facecodec.config import EncoderConfig
from facecodec.encoder import Encoder
from facecodec.types import Frame, Packet

BASE = Fraction(1, 1000)


def timed(pictures: list[np.ndarray], step: int = 40) -> list[Frame]:
    """Pictures at even times."""
    return [Frame(p, step * i, BASE) for i, p in enumerate(pictures)]


def encode(frames: list[Frame], config: EncoderConfig | None = None, **options) -> list[Packet]:
    """All packets of some frames; scene points are off unless the configuration says otherwise."""
    encoder = Encoder(config or EncoderConfig(scene_points="off"), **options)
    packets = [packet for frame in frames for packet in encoder.encode(frame)]
    return packets + encoder.flush()


def write_clip(path: Path, frames: list[Frame], sound: np.ndarray | None = None) -> Path:
    """A video file of frames with their exact times, and mono sound at 48 kHz."""
    with av.open(str(path), "w") as out:
        height, width = frames[0].pixels.shape[:2]
        stream = out.add_stream("libx264", rate=25, options={"crf": "16", "preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = BASE
        audio = out.add_stream("aac", rate=48000, layout="mono") if sound is not None else None
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")
            picture.pts, picture.time_base = frame.pts, BASE
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        if audio is not None and sound is not None:
            for start in range(0, len(sound) - 1023, 1024):
                block = np.ascontiguousarray(sound[None, start : start + 1024].astype(np.float32))
                samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = 48000, start, Fraction(1, 48000)
                out.mux(audio.encode(samples))
            out.mux(audio.encode(None))
    return path


def retimed(frames: list[Frame], times: list[int]) -> list[Frame]:
    """The same pictures at other times."""
    return [replace(frame, pts=pts) for frame, pts in zip(frames, times, strict=True)]
