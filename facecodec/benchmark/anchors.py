"""What people would use instead: conventional encoders, swept over their quantiser and over resolution.

Every anchor is a line of :data:`ANCHORS`: a command of the FFmpeg that ``imageio-ffmpeg`` bundles (or another
that ``FACECODEC_FFMPEG`` names), so that anybody can repeat a point. One key frame, one thread, no rate
control: CRF (QP for VVC) is swept down to its floor, and over {1, 1/2, 1/4} of the resolution with Lanczos
both ways. For H.264 and H.265 the floor of CRF is not that of the encoder: on some clips a constant QP of 51
takes fewer bits, so it is coded too. What is counted is the elementary stream without supplemental
information, delimiters, padding and container (:mod:`facecodec.benchmark.bytestream`); pictures are decoded
from exactly those bytes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import av.error
import numpy as np

from facecodec.benchmark.bytestream import Syntax, split_ivf, strip
from facecodec.benchmark.ffmpeg import find_ffmpeg, has_encoder, run_measured
from facecodec.benchmark.pictures import ToRgb, check_clip, resize, scaled_size, to_planes
from facecodec.errors import ConfigError, MediaError
from facecodec.types import U8Array

SCALES = (1, 2, 4)
"""Resolutions: 1, 1/2 and 1/4 of the side."""
_OLD_CRF = {1: (27, 33, 39, 45, 51), 2: (24, 31, 38, 45, 51), 4: (18, 27, 36, 44, 51)}
_FLOOR_QP = "qp 51"
"""The coarsest QP of H.264 and H.265; with CRF the encoder chooses finer ones for some frames."""
_NEW_CRF = {1: (35, 43, 51, 57, 63), 2: (27, 37, 47, 55, 63), 4: (15, 30, 42, 53, 63)}
_VVC_QP = {1: (33, 39, 45, 51, 63), 2: (27, 34, 41, 49, 63), 4: (18, 27, 36, 46, 63)}
_DECODERS = {"av1": "libdav1d"}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A conventional encoder and how it is driven.

    Attributes:
        name: of the curve.
        encoder: FFmpeg's name of the encoder.
        options: its arguments.
        quantiser: the argument that is swept.
        syntax: of the stream.
        muxer: FFmpeg's format that carries it with the least around it.
        sweep: scale to the values of the quantiser, ascending; the last is its floor.
        floor: another setting at the lowest rates, such as ``qp 51``; empty for none.
    """

    name: str
    encoder: str
    options: tuple[str, ...]
    quantiser: str
    syntax: Syntax
    muxer: str
    sweep: tuple[tuple[int, tuple[int, ...]], ...]
    floor: str = ""

    def settings(self, scale: int) -> tuple[str, ...]:
        """What the quantiser is set to at a scale, such as ``crf 35``; finest first."""
        return tuple(f"{self.quantiser} {value}" for value in dict(self.sweep)[scale])

    def command(self, setting: str, width: int, height: int, fps: Fraction) -> list[str]:
        """Arguments of FFmpeg: ``in.yuv`` (8 bit 4:2:0) to ``out``.

        Args:
            setting: of :meth:`settings`, or :attr:`floor`.
            width: coded.
            height: coded.
            fps: frames a second.
        """
        return [
            *("-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "rawvideo"),
            *("-pix_fmt", "yuv420p", "-video_size", f"{width}x{height}", "-framerate", str(fps)),
            *("-color_range", "tv", "-colorspace", "bt709", "-i", "in.yuv", "-c:v", self.encoder),
            *(*self._quantised(setting), "-f", self.muxer, "out"),
        ]

    def _quantised(self, setting: str) -> tuple[str, ...]:
        """The encoder's arguments with a setting among them."""
        name, value = setting.split()
        if setting == self.floor and "-x265-params" in self.options:  # joins the parameters that are there
            place = self.options.index("-x265-params") + 1
            joined = f"{self.options[place]}:{name}={value}"
            return (*self.options[:place], joined, *self.options[place + 1 :])
        return (*self.options, f"-{name}", value)


def _anchor(
    name: str, encoder: str, options: str, syntax: Syntax, sweep: Mapping[int, tuple[int, ...]]
) -> Anchor:
    muxer = "ivf" if syntax in ("av1", "vp9") else syntax
    quantiser = "qp" if syntax == "vvc" else "crf"
    floor = _FLOOR_QP if syntax in ("h264", "hevc") else ""
    return Anchor(
        name, encoder, tuple(options.split()), quantiser, syntax, muxer, tuple(sweep.items()), floor
    )


_X264 = "-preset veryslow {}-threads 1 -x264-params keyint=infinite:scenecut=0"
_X265 = "-preset veryslow {}-x265-params keyint=-1:scenecut=0:pools=none:frame-threads=1:log-level=error"
_ONE_KEY = "-threads 1 -row-mt 0 -g 9999 -keyint_min 9999 -b:v 0"

ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        _anchor("x264-ld", "libx264", _X264.format("-tune zerolatency "), "h264", _OLD_CRF),
        _anchor("x264", "libx264", _X264.format(""), "h264", _OLD_CRF),
        _anchor("x265-ld", "libx265", _X265.format("-tune zerolatency "), "hevc", _OLD_CRF),
        _anchor("x265", "libx265", _X265.format(""), "hevc", _OLD_CRF),
        _anchor("svt-av1", "libsvtav1", "-preset 2 -svtav1-params keyint=-1:lp=1", "av1", _NEW_CRF),
        _anchor("libaom", "libaom-av1", f"-cpu-used 2 {_ONE_KEY}", "av1", _NEW_CRF),
        _anchor(
            "vvenc", "libvvenc", "-preset medium -threads 1 -vvenc-params intraperiod=-1", "vvc", _VVC_QP
        ),
        _anchor(
            "vp9",
            "libvpx-vp9",
            f"-deadline good -cpu-used 1 -auto-alt-ref 1 -lag-in-frames 25 {_ONE_KEY}",
            "vp9",
            _NEW_CRF,
        ),
    )
}
"""Name to anchor. ``-ld`` is low delay: no B-frames, no look-ahead (``-tune zerolatency``); the others may
look ahead, as this codec does with its default settings."""


@dataclass(frozen=True, slots=True)
class AnchorStream:
    """What an anchor made of a clip.

    Attributes:
        packets: the elementary stream, a picture (AV1: temporal unit) each, as it is counted and decoded.
        width: coded width.
        height: coded height.
        command: FFmpeg's arguments.
        encode_s: seconds of processor time that the encoder took.
        peak_mib: its highest resident memory.
    """

    packets: tuple[bytes, ...]
    width: int
    height: int
    command: str
    encode_s: float
    peak_mib: float

    @property
    def size_bytes(self) -> int:
        """What is counted."""
        return sum(len(packet) for packet in self.packets)


def check_anchor(anchor: Anchor) -> None:
    """See whether an anchor can run here.

    Raises:
        ConfigError: the FFmpeg has no such encoder, or there is none; the message names what to install.
    """
    tool = find_ffmpeg()
    if not has_encoder(tool, anchor.encoder):
        raise ConfigError("codec", anchor.name, f"encoders of {tool.name}, which has no {anchor.encoder}")
    if _decoder_name(anchor) not in av.codecs_available:
        raise ConfigError("codec", anchor.name, f"decoders of PyAV, which has no {_decoder_name(anchor)}")


def encode(anchor: Anchor, frames: U8Array, fps: Fraction, setting: str, scale: int = 1) -> AnchorStream:
    """Code a clip.

    Args:
        anchor: one of :data:`ANCHORS`.
        frames: RGB, [T, H, W, 3] uint8; H and W even.
        fps: frames a second.
        setting: of :meth:`Anchor.settings`, or its floor.
        scale: 1, 2 or 4: coded at 1/scale of the side.

    Raises:
        ShapeError: not a clip of even size.
        MediaError: the encoder failed; the message has its last line.
    """
    check_clip(frames)
    width, height = scaled_size(frames.shape[2], frames.shape[1], scale)
    command = anchor.command(setting, width, height, fps)
    with TemporaryDirectory(prefix="facecodec-bench-") as folder:
        small = np.stack(list(resize(frames, width, height)))
        with open(Path(folder) / "in.yuv", "wb") as raw:
            raw.writelines(to_planes(small))
        cost = run_measured([str(find_ffmpeg()), *command], Path(folder), anchor.name)
        data = (Path(folder) / "out").read_bytes()
    packets = _packets(anchor, data)
    if not packets:
        raise MediaError(anchor.name, "wrote nothing")
    text = " ".join(["ffmpeg", *command])
    return AnchorStream(tuple(packets), width, height, text, cost.cpu_s, cost.peak_mib)


def _decoder_name(anchor: Anchor) -> str:
    return _DECODERS.get(anchor.syntax, anchor.syntax)


def _packets(anchor: Anchor, data: bytes) -> list[bytes]:
    if anchor.muxer == "ivf":
        return [strip(frame, anchor.syntax) for frame in split_ivf(data, anchor.name)]
    parser = av.CodecContext.create(anchor.syntax, "r")
    found = [*parser.parse(strip(data, anchor.syntax)), *parser.parse(None)]
    return [bytes(packet) for packet in found]


def decode(
    anchor: Anchor, packets: Sequence[bytes], width: int, height: int, count: int
) -> tuple[U8Array, float]:
    """Decode an anchor's stream and resample it to the clip's size.

    Args:
        anchor: that made it.
        packets: the elementary stream.
        width: of the clip.
        height: of the clip.
        count: frames of the clip.

    Returns:
        RGB, [T, H, W, 3] uint8, and the seconds of processor time that decoding took, without resampling.

    Raises:
        MediaError: the stream cannot be decoded, holds another number of frames or several key frames.
    """
    decoder: Any = av.CodecContext.create(_decoder_name(anchor), "r")
    decoder.thread_count = 1
    began = time.thread_time()
    try:
        shown = [frame for data in packets if data for frame in decoder.decode(av.Packet(data))]
        shown += decoder.decode(None)
    except av.error.FFmpegError as err:
        raise MediaError(anchor.name, f"stream cannot be decoded: {err}") from err
    took = time.thread_time() - began
    keys = sum(bool(frame.key_frame) for frame in shown)
    if len(shown) != count or keys != 1:
        raise MediaError(anchor.name, f"{count} frames went in, {len(shown)} came out, {keys} key frames")
    convert = ToRgb()
    return np.stack(list(resize((convert(frame) for frame in shown), width, height))), took
