"""Speech as Opus packets (RFC 6716) and back, packet by packet."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from facecodec.bitstream import opus_duration
from facecodec.call.libopus import GRAIN, OpusDecoder
from facecodec.errors import ConfigError
from facecodec.media.audio import OPUS_RATE
from facecodec.types import AudioPacket, F32Array

_TICK = Fraction(1, OPUS_RATE)
_SILENT, _ALWAYS_HEARD = 1e-4, 5e-3
"""RMS below which nothing is heard, and above which nothing counts as silence."""
_ABOVE_FLOOR = 2.5
_FLOOR_RISE = 0.5
"""Share by which the level of silence may rise in a second."""
_HANGOVER_S = 0.2
_REFRESH_S = 0.4
_FADE = 240
"""Samples over which sound goes silent before a packet that did not come, without libopus: 5 ms."""
_GAP_S = (0.005, 0.3)
"""Sound that is missing for less is only rounded on the way; for more, it is a pause, not a loss."""
_LOSSES = (2, 5, 10, 20)
"""Percent of packets lost that the encoder can be told of."""


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """How speech is coded.

    Attributes:
        bps: bits a second, 6000 to 32000.
        packet_ms: length of a packet, 20, 40 or 60.
        expected_loss: percent of packets that the encoder prepares for with in-band FEC, 0 to 50. libopus
            spends bits on it from 12 kbit/s on (10 % of loss: 14), below it codes speech alone.
        dtx: leave packets of silence out, but for one in 0.4 s, as RFC 6716, section 2.1.9, has it.
    """

    bps: int = 6000
    packet_ms: int = 40
    expected_loss: int = 0
    dtx: bool = True

    def __post_init__(self) -> None:
        if not 6000 <= self.bps <= 32000:
            raise ConfigError("bps", self.bps, "an integer from 6000 to 32000")
        if self.packet_ms not in (20, 40, 60):
            raise ConfigError("packet_ms", self.packet_ms, "20, 40, 60")
        if not 0 <= self.expected_loss <= 50:
            raise ConfigError("expected_loss", self.expected_loss, "an integer from 0 to 50")


def expected_loss(share: float, before: int) -> int:
    """Percent of packets that an encoder prepares to lose.

    Args:
        share: of packets that are lost at present.
        before: what it prepared for so far; it forgets slowly.
    """
    percent = 100 * share
    level = max((known for known in _LOSSES if known <= percent), default=0)
    return level if level > before or percent < before / 2 else before


class _Pause:
    """Finds silence by its level against the quietest of the last seconds.

    libopus could do it itself (DTX), but FFmpeg has no option for that.

    Args:
        packet_s: length of a packet.
    """

    def __init__(self, packet_s: float) -> None:
        self._packet_s = packet_s
        self._floor = 1.0
        self._quiet_s = self._left_out_s = 0.0

    def leaves_out(self, samples: F32Array) -> bool:
        """Whether a packet is not to be sent."""
        level = float(np.sqrt(np.mean(np.square(samples))))
        self._floor = max(min(level, self._floor * (1 + _FLOOR_RISE * self._packet_s)), _SILENT)
        quiet = level < _ALWAYS_HEARD and level < _ABOVE_FLOOR * self._floor
        self._quiet_s = self._quiet_s + self._packet_s if quiet else 0.0
        if self._quiet_s <= _HANGOVER_S or self._left_out_s + self._packet_s > _REFRESH_S:
            self._left_out_s = 0.0
            return False
        self._left_out_s += self._packet_s
        return True


class VoiceEncoder:
    """Sound at 48 kHz in, Opus packets out.

    Args:
        config: see :class:`VoiceConfig`.
        after: an encoder whose place this one takes; what it has not coded yet comes first.

    Attributes:
        config: as given.
        delay_s: how far the encoder looks ahead.
        packet_samples: samples of a packet.
    """

    def __init__(self, config: VoiceConfig | None = None, after: VoiceEncoder | None = None) -> None:
        self.config = config = config or VoiceConfig()
        self.packet_samples = config.packet_ms * OPUS_RATE // 1000
        self._waiting: F32Array = np.zeros(0, np.float32)
        if after is not None:
            self._waiting = after._waiting
        self._pts = 0
        self._pause = _Pause(config.packet_ms / 1000) if config.dtx else None
        self._codec: AudioCodecContext = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate = OPUS_RATE
        self._codec.format = "flt"
        self._codec.layout = "mono"
        self._codec.bit_rate = config.bps
        self._codec.time_base = _TICK
        self._codec.options = {
            "application": "voip",
            "vbr": "on",
            "fec": "1" if config.expected_loss else "0",
            "packet_loss": str(config.expected_loss),
            "compression_level": "10",
            "frame_duration": str(config.packet_ms),
        }
        self._codec.open()
        head = self._codec.extradata or bytes(12)
        self.pre_skip = int.from_bytes(head[10:12], "little")
        self.delay_s = self.pre_skip / OPUS_RATE

    @property
    def waiting(self) -> int:
        """Samples taken that are in no packet yet."""
        return len(self._waiting)

    def push(self, samples: F32Array) -> list[bytes]:
        """Take mono samples, [N] float32 in [-1, 1]; give full packets, empty ones for silence."""
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)])
        packets: list[bytes] = []
        while len(self._waiting) >= self.packet_samples:
            head, self._waiting = np.split(self._waiting, [self.packet_samples])
            frame = AudioFrame.from_ndarray(head[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = OPUS_RATE, self._pts, _TICK
            self._pts += self.packet_samples
            keep = self._pause is None or not self._pause.leaves_out(head)
            packets += [bytes(packet) if keep else b"" for packet in self._codec.encode(frame)]
        return packets


class VoiceDecoder:
    """Opus packets in, mono samples at 48 kHz out; what did not come is filled in for.

    That is libopus' own concealment, and the copies of lost sound that packets bring (in-band FEC). Where
    libopus is not found, FFmpeg decodes, and what did not come is faded out and stays silent.
    """

    def __init__(self) -> None:
        self._opus = OpusDecoder.open()
        self._codec = None if self._opus is not None else _ffmpeg_decoder()
        self._last = np.float32(0)

    def decode(self, packet: bytes) -> F32Array:
        """Decode a packet: [N] float32. What cannot be decoded gives no samples."""
        if self._codec is None:
            assert self._opus is not None  # noqa: S101  one of both is there
            return self._opus.decode(packet)
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.FFmpegError:
            return np.zeros(0, np.float32)
        parts = [frame.to_ndarray().reshape(-1).astype(np.float32) for frame in frames]
        samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if len(samples):
            self._last = samples[-1]
        return samples

    def conceal(self, count: int, behind: bytes = b"") -> F32Array:
        """Fill in for ``count`` samples that did not come.

        Args:
            count: how many.
            behind: the packet that follows them, which may hold a copy of the last ones.
        """
        out = np.zeros(count, np.float32)
        if self._opus is None:
            fade = min(count, _FADE)
            out[:fade] = self._last * np.linspace(1, 0, fade, dtype=np.float32)
            self._last = np.float32(0)
            return out
        whole = count // GRAIN * GRAIN
        copied = min(opus_duration(behind), whole) if behind else 0
        out[: whole - copied] = self._opus.conceal(whole - copied)
        if copied:
            found = self._opus.recover(behind, copied)
            out[whole - copied : whole - copied + len(found)] = found
        return out


class VoicePlayer:
    """Decodes packets in the order of their times; what is missing between them is filled in for."""

    def __init__(self) -> None:
        self._decoder = VoiceDecoder()
        self._end = -1

    def decode(self, packets: list[AudioPacket]) -> list[tuple[F32Array, float]]:
        """Pieces of sound, each with its time in seconds."""
        parts = []
        for packet in packets:
            gap = packet.pts - self._end
            if self._end >= 0 and _GAP_S[0] < gap / OPUS_RATE < _GAP_S[1]:
                parts.append((self._decoder.conceal(gap, packet.data), self._end / OPUS_RATE))
            self._end = packet.pts + packet.duration
            parts.append((self._decoder.decode(packet.data), packet.pts / OPUS_RATE))
        return parts


def _ffmpeg_decoder() -> AudioCodecContext:
    codec: AudioCodecContext = av.CodecContext.create("libopus", "r")
    codec.sample_rate = OPUS_RATE
    codec.format = "flt"
    codec.layout = "mono"
    codec.open()
    return codec
