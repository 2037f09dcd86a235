"""Small media files made on the spot."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

PALETTE = np.array([[200, 40, 30], [20, 180, 60], [30, 60, 210], [230, 220, 90]], np.uint8)
"""Colours of the quarters: top left, top right, bottom left, bottom right."""


def quarters(width=64, height=48):
    """A picture whose four quarters have the colours of PALETTE."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = PALETTE[0]
    picture[: height // 2, width // 2 :] = PALETTE[1]
    picture[height // 2 :, : width // 2] = PALETTE[2]
    picture[height // 2 :, width // 2 :] = PALETTE[3]
    return picture


def corners(picture):
    """The colours in the middles of the four quarters, [4, 3]."""
    h, w = picture.shape[:2]
    return np.array([picture[y, x] for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)], int)


def write_clip(
    path: Path,
    pictures,
    *,
    codec="libx264",
    pix_fmt="yuv444p",
    matrix=5,
    full=False,
    tagged=True,
    pts=None,
    time_base=Fraction(1, 25),
    setup=None,
    options=None,
    container_options=None,
):
    """Write pictures with chosen tags, with PyAV alone."""
    space = {1: "itu709", 5: "itu601", 9: "bt2020"}[matrix]
    with av.open(str(path), "w", container_options=container_options or {}) as out:
        if options is None:
            options = {"crf": "1", "preset": "ultrafast"} if codec == "libx264" else {}
        stream = out.add_stream(codec, rate=25, options=options)
        h, w = pictures[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = w, h, pix_fmt
        stream.codec_context.time_base = time_base
        if tagged:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        if setup:
            setup(stream)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
                format=pix_fmt,
                dst_colorspace=space,
                src_color_range="JPEG",
                dst_color_range="JPEG" if full else "MPEG",
            )
            if not tagged:
                frame.colorspace, frame.color_range = 2, 0
            frame.pts = i if pts is None else pts[i]
            frame.time_base = time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_sound(path: Path, samples, rate=48000, codec="pcm_s16le", start=0, gaps=()):
    """Write mono float samples; ``gaps`` are (sample, length) holes that are left out of the file."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        for at in range(0, len(samples), 1024):
            if any(a <= at < a + n for a, n in gaps):
                continue
            part = np.ascontiguousarray((samples[None, at : at + 1024] * 32767).astype(np.int16))
            frame = av.AudioFrame.from_ndarray(part, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start + at, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def click(rate, length_s, at_s):
    """Silence with a short loud tone at a time."""
    samples = np.zeros(round(rate * length_s), np.float32)
    n = rate // 200
    start = round(at_s * rate)
    samples[start : start + n] = 0.9 * np.sin(np.arange(n) * 2 * np.pi * 2000 / rate)
    return samples


def onset_s(path: Path):
    """When the sound of a media file first gets loud, in seconds; None if it never does."""
    with av.open(str(path)) as source:
        for frame in source.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(float)[0]) > 0.2)
            if loud.size:
                return float(frame.time) + loud[0] / frame.sample_rate
    return None
