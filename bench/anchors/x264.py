"""The H.264 anchor: libx264 through PyAV, veryslow with its default B-frames, one key frame, fixed CRF.

What is counted is the elementary stream without SEI (x264 writes 0.6 kB of its settings into one), and
the pictures are decoded from exactly those bytes. Lower resolutions are made and undone with Lanczos
resampling. CRF is swept, or bisected for a rate: rate control misses by far at these rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np
import numpy.typing as npt

from facecodec.benchmark.bytestream import split_nal_units
from facecodec.benchmark.pictures import resize
from facecodec.errors import ConfigError, MediaError, ShapeError

Clip = npt.NDArray[np.uint8]

SCALES = (1, 2, 4)
"""Resolutions: 1, 1/2 and 1/4."""
CRF_MIN, CRF_MAX = 18, 51
PRESET = "veryslow"
NEAR = 0.15
"""Points within this part of the wanted rate count as at it."""

_NAL_SEI = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One operating point.

    Attributes:
        crf: constant rate factor.
        scale: 1, 2 or 4: the coded side is 1/scale of the clip's, to the nearest even number.
        size_bytes: bytes of the elementary stream without SEI.
        kbps: those bytes over the clip's duration.
        settings: x264's own account of its version and settings.
        decoded: [T, H, W, 3] uint8, decoded from those bytes, at the clip's size.
    """

    crf: int
    scale: int
    size_bytes: int
    kbps: float
    settings: str
    decoded: Clip


def strip_sei(data: bytes) -> tuple[bytes, str]:
    """Take SEI out of an Annex B stream.

    Returns:
        The rest, and x264's version and settings where its SEI was there (else an empty string).
    """
    kept, settings = [], ""
    for kind, unit in split_nal_units(data, "h264"):
        if kind != _NAL_SEI:
            kept.append(unit)
        elif (at := unit.find(b"x264 - core")) >= 0:
            settings = unit[at:].split(b"\x00")[0].decode("ascii", "replace")
    return b"".join(kept), settings


def _encode_packets(frames: Clip, fps: Fraction, crf: int) -> list[bytes]:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt = "yuv420p"
    encoder.framerate, encoder.time_base = fps, 1 / fps
    encoder.thread_count = 1
    encoder.options = {
        "preset": PRESET,
        "crf": str(crf),
        "x264-params": "keyint=infinite:scenecut=0",
    }
    packets = []
    for i, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = i, 1 / fps
        packets += [bytes(p) for p in encoder.encode(frame)]
    return packets + [bytes(p) for p in encoder.encode(None)]


def _decode_packets(packets: list[bytes]) -> list[Clip]:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [f for data in packets if data for f in decoder.decode(av.Packet(data))]
    frames += decoder.decode(None)
    return [np.asarray(f.to_ndarray(format="rgb24", interpolation="LANCZOS"), np.uint8) for f in frames]


def encode(frames: Clip, fps: float, crf: int, scale: int = 1) -> Point:
    """Code a clip and decode it again.

    Args:
        frames: RGB, [T, H, W, 3] uint8; H and W even.
        fps: frames a second.
        crf: constant rate factor, 0 to 51.
        scale: 1, 2 or 4.

    Raises:
        ConfigError: CRF or scale out of range.
        ShapeError: not a clip of even size.
        MediaError: libx264 failed.
    """
    if not 0 <= crf <= CRF_MAX:
        raise ConfigError("crf", crf, f"0 to {CRF_MAX}")
    if scale not in SCALES:
        raise ConfigError("scale", scale, "1, 2, 4")
    if frames.ndim != 4 or len(frames) == 0 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ShapeError("clip", "[T, H, W, 3] uint8", f"{frames.shape} {frames.dtype}")
    count, height, width = frames.shape[:3]
    if height % 2 or width % 2:
        raise ShapeError("clip", "H and W even", frames.shape)
    rate = Fraction(fps).limit_denominator(1001)
    small_width, small_height = (2 * round(side / (2 * scale)) for side in (width, height))
    small = np.stack(list(resize(frames, small_width, small_height)))
    try:
        stripped = [strip_sei(data) for data in _encode_packets(small, rate, crf)]
        decoded = _decode_packets([data for data, _ in stripped])
    except av.error.FFmpegError as err:
        raise MediaError("libx264", str(err)) from err
    if len(decoded) != count:
        raise MediaError("libx264", f"{count} frames went in, {len(decoded)} came out")
    size_bytes = sum(len(data) for data, _ in stripped)
    return Point(
        crf=crf,
        scale=scale,
        size_bytes=size_bytes,
        kbps=size_bytes * 8 * float(rate) / count / 1000,
        settings="".join(text for _, text in stripped),
        decoded=np.stack(list(resize(decoded, width, height))),
    )


def sweep(
    frames: Clip, fps: float, crfs: Iterable[int] = range(30, 52, 3), scales: Iterable[int] = SCALES
) -> Iterator[Point]:
    """Every operating point of a grid of CRF and resolution, one after another.

    Args:
        frames: RGB, [T, H, W, 3] uint8.
        fps: frames a second.
        crfs: constant rate factors.
        scales: 1, 2, 4 or some of them.
    """
    crfs = tuple(crfs)
    for scale in scales:
        for crf in crfs:
            yield encode(frames, fps, crf, scale)


def _mean_square_error(source: Clip, decoded: Clip) -> float:
    total = 0.0
    for x, y in zip(source, decoded, strict=True):
        total += float(np.square(x.astype(np.float32) - y).mean())
    return total / len(source)


def _nearest_crf(encode_at: Callable[[int], Point], kbps: float) -> Point:
    """The point nearest to a rate (by ratio), by bisection: the rate falls as CRF grows."""
    tried = {crf: encode_at(crf) for crf in (CRF_MAX,)}
    low, high = CRF_MIN - 1, CRF_MAX
    while high - low > 1 and tried[CRF_MAX].kbps < kbps:
        middle = (low + high) // 2
        tried[middle] = encode_at(middle)
        low, high = (middle, high) if tried[middle].kbps > kbps else (low, middle)
    return min(tried.values(), key=lambda p: max(p.kbps / kbps, kbps / p.kbps))


def nearest_rate(frames: Clip, fps: float, kbps: float, scales: Iterable[int] = SCALES) -> Point:
    """The best that x264 does at a rate.

    For each resolution the CRF is bisected for the point nearest to the rate. Of those within 15 % of it
    the one with the least mean squared error is taken; where there is none, the nearest.

    Args:
        frames: RGB, [T, H, W, 3] uint8.
        fps: frames a second.
        kbps: wanted rate, kbit/s.
        scales: resolutions to try.

    Raises:
        ConfigError: the rate is not positive.
        ShapeError: see :func:`encode`.
        MediaError: libx264 failed.
    """
    if not kbps > 0:
        raise ConfigError("kbps", kbps, "above 0")
    points = [_nearest_crf(lambda crf, s=scale: encode(frames, fps, crf, s), kbps) for scale in scales]  # type: ignore[misc]
    near = [p for p in points if abs(p.kbps / kbps - 1) <= NEAR]
    if near:
        return min(near, key=lambda p: _mean_square_error(frames, p.decoded))
    return min(points, key=lambda p: max(p.kbps / kbps, kbps / p.kbps))
