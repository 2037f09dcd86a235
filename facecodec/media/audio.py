"""Sound: any track of a file to Opus packets (RFC 6716), aligned to the pictures."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.filter import Graph

from facecodec.errors import ConfigError, MediaError
from facecodec.media.source import open_input
from facecodec.types import AudioPacket

_log = logging.getLogger(__name__)

OPUS_RATE = 48_000
"""Opus counts time in samples at 48 kHz, whatever the sound's own rate (RFC 6716, section 2)."""

_TICK = Fraction(1, OPUS_RATE)
_SPEECH_BELOW_BPS = 32_000
_PREROLL_S = 0.5
_GAP_S = 0.04
_STRETCH = 480
"""Samples a second by which the resampler may stretch sound to follow the file's clock: 1 %."""


@dataclass(frozen=True, slots=True)
class OpusStreamInfo:
    """What a decoder must know of an Opus track: the fields of ``OpusHead`` (RFC 7845, section 5.1).

    Attributes:
        channels: 1 or 2.
        pre_skip: samples at 48 kHz that the decoder drops at the start.
    """

    channels: int = 1
    pre_skip: int = 312

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise ConfigError("channels", self.channels, "1 or 2")
        if not 0 <= self.pre_skip <= 0xFFFF:
            raise ConfigError("pre_skip", self.pre_skip, "an integer from 0 to 65535")

    def opus_head(self) -> bytes:
        """Write the 19 bytes of ``OpusHead``: version 1, 48 kHz source, no gain, mapping family 0."""
        return struct.pack("<8sBBHIhB", b"OpusHead", 1, self.channels, self.pre_skip, OPUS_RATE, 0, 0)


def has_audio(path: str | Path) -> bool:
    """Say whether a media file has a sound track.

    Raises:
        MediaError: the file cannot be opened.
    """
    with open_input(path) as container:
        return len(container.streams.audio) > 0


def read_opus(
    path: str | Path,
    *,
    bitrate_bps: int,
    channels: Literal[1, 2] = 1,
    start_s: float = 0.0,
    duration_s: float | None = None,
    video_start_s: float = 0.0,
    frame_ms: Literal[20, 40, 60] = 20,
) -> OpusReader:
    """Code the first sound track of a file with Opus, packet by packet.

    Sample 0 is the first picture's time, ``video_start_s + start_s``. Sound before it is cut; silence
    fills what comes before the sound starts and every gap over 40 ms; a clock that drifts against the
    file's times is followed by stretching. Nothing is kept, so memory does not grow with length.

    Args:
        path: a media file, opened here on its own.
        bitrate_bps: target bits a second, 6000 to 256000 (variable rate).
        channels: 1 or 2; other layouts are mixed down.
        start_s: seconds of the video to leave out.
        duration_s: stop after this many seconds (rounded up to whole packets); None codes to the end.
        video_start_s: time of the file's first picture as the file counts it
            (``VideoInfo.start_s``).
        frame_ms: length of a packet. Longer ones save their overhead and add delay.

    Returns:
        An iterator of :class:`~facecodec.types.AudioPacket`; its ``info`` is known at once. The first
        packet's ``pts`` is ``-info.pre_skip``.

    Raises:
        MediaError: the file cannot be opened or has no sound.
        ConfigError: a setting is out of range.
    """
    if not 6000 <= bitrate_bps <= 256_000:
        raise ConfigError("bitrate_bps", bitrate_bps, "an integer from 6000 to 256000")
    if frame_ms not in (20, 40, 60):
        raise ConfigError("frame_ms", frame_ms, "20, 40, 60")
    encoder = _open_encoder(bitrate_bps, channels, frame_ms)
    origin_s = Fraction(video_start_s) + Fraction(start_s)
    return OpusReader(Path(path), encoder, origin_s, duration_s, frame_ms)


class OpusReader(Iterator[AudioPacket]):
    """The Opus packets of a file's sound, as :func:`read_opus` makes them.

    Attributes:
        info: channels and pre-skip, for whoever muxes the packets.
    """

    def __init__(
        self,
        path: Path,
        encoder: AudioCodecContext,
        origin_s: Fraction,
        duration_s: float | None,
        frame_ms: int,
    ) -> None:
        self._path = path
        self._encoder = encoder
        self._origin_s = origin_s
        self._end = None if duration_s is None else round(duration_s * OPUS_RATE)
        self._frame_samples = frame_ms * OPUS_RATE // 1000
        pre_skip = struct.unpack_from("<H", encoder.extradata or bytes(12), 10)[0]
        self.info = OpusStreamInfo(encoder.layout.nb_channels, pre_skip)
        self._container = open_input(path)
        if not self._container.streams.audio:
            self._container.close()
            raise MediaError(path, "has no sound")
        self._packets = self._encode()

    def __next__(self) -> AudioPacket:
        """Give the next packet."""
        return next(self._packets)

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; no packet follows."""
        self._packets.close()  # type: ignore[attr-defined]
        self._container.close()

    def _encode(self) -> Iterator[AudioPacket]:
        end = self._end
        for frame in self._timeline():
            if end is not None and frame.pts is not None and frame.pts >= end:
                break
            for packet in self._encoder.encode(frame):
                yield _packet_of(packet)
        for packet in self._encoder.encode(None):
            yield _packet_of(packet)
        self._container.close()

    def _timeline(self) -> Iterator[AudioFrame]:
        """Decoded sound at 48 kHz from sample 0 on, without gaps, in frames of one packet each."""
        graph: Graph | None = None
        form: tuple[str, str, int] | None = None
        produced = 0
        for frame in _decode(self._container, self._path, float(self._origin_s)):
            if frame.pts is not None and frame.time_base is not None:
                frame.pts = round((frame.pts * frame.time_base - self._origin_s) * OPUS_RATE)
                frame.time_base = _TICK
            if self._end is not None and frame.pts is not None and frame.pts >= self._end:
                break
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if graph is None or now != form:
                if graph is not None:
                    graph.push(None)
                    for out in _pull(graph):
                        produced = (out.pts or 0) + out.samples
                        yield out
                graph, form = self._graph(frame, produced), now
            graph.push(frame)
            for out in _pull(graph):
                produced = (out.pts or 0) + out.samples
                yield out
        if graph is not None:
            graph.push(None)
            yield from _pull(graph)

    def _graph(self, like: AudioFrame, first: int) -> Graph:
        """Resample, mix, fill, trim and cut into packets' lengths, from output sample ``first`` on."""
        graph = Graph()
        layout = "mono" if self.info.channels == 1 else "stereo"
        timing = f"async={_STRETCH}:min_hard_comp={_GAP_S}:first_pts={first}"
        chain = [
            graph.add_abuffer(
                sample_rate=like.sample_rate,
                format=like.format.name,
                layout=like.layout.name,
                time_base=_TICK,
            ),
            graph.add("aresample", f"{OPUS_RATE}:{timing}"),
            graph.add("aformat", f"sample_fmts=flt:sample_rates={OPUS_RATE}:channel_layouts={layout}"),
            graph.add("asetnsamples", f"n={self._frame_samples}:p=0"),
            graph.add("abuffersink"),
        ]
        for above, below in zip(chain, chain[1:], strict=False):
            above.link_to(below)
        graph.configure()
        return graph


def _open_encoder(bitrate_bps: int, channels: int, frame_ms: int) -> AudioCodecContext:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = OPUS_RATE
    encoder.format = "flt"
    encoder.layout = "mono" if channels == 1 else "stereo"
    encoder.bit_rate = bitrate_bps
    encoder.time_base = _TICK
    encoder.options = {
        "application": "voip" if bitrate_bps < _SPEECH_BELOW_BPS * channels else "audio",
        "vbr": "on",
        "compression_level": "10",
        "frame_duration": str(frame_ms),
    }
    encoder.open()
    return encoder


def _packet_of(packet: av.Packet[AudioStream]) -> AudioPacket:
    scale = (packet.time_base or _TICK) * OPUS_RATE
    return AudioPacket(bytes(packet), round((packet.pts or 0) * scale), round((packet.duration or 0) * scale))


def _pull(graph: Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, AudioFrame):
            yield frame


def _decode(container: InputContainer, path: Path, from_s: float) -> Iterator[AudioFrame]:
    """Decode the first sound track from a little before ``from_s``, leaving out what is damaged."""
    stream = container.streams.audio[0]
    begin_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if from_s > begin_s + 2 * _PREROLL_S:
        try:
            container.seek(int((from_s - _PREROLL_S) * av.time_base))
        except (av.FFmpegError, OSError):
            _log.debug("%s: sound cannot be sought, decoding from the start", path)
    damaged = 0
    source = container.demux(stream)
    while True:
        try:
            packet = next(source, None)
            yield from stream.decode(packet if packet is not None and packet.size else None)
        except av.error.EOFError:
            return
        except (av.FFmpegError, OSError) as err:
            damaged += 1
            if damaged == 1:
                _log.warning("%s: damaged sound left out: %s", path, err.strerror)
            if damaged > 1000:
                return
            continue
        if packet is None or not packet.size:
            return
