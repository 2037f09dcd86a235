"""Settings of a call."""

from __future__ import annotations

from dataclasses import dataclass, field

from facecodec.config import DecoderConfig, EncoderConfig
from facecodec.errors import ConfigError
from facecodec.transport import SCTP, Overhead

_ENCODER = EncoderConfig(
    view="crop",
    qp=24,
    scene_points="off",
    palette="off",
    lookahead=0,
    preset="realtime",
    audio_bps=6000,
)


@dataclass(frozen=True, slots=True)
class CallConfig:
    """One side of a call.

    Attributes:
        encoder: of the own picture; ``lookahead`` has to be 0 and ``palette`` off. ``ref_quality`` is the
            most that a reference picture gets; the rate decides.
        decoder: of the other side's.
        start_kbps: rate on the wire at the start, headers included.
        min_kbps: least rate that is aimed at.
        max_kbps: greatest rate that is aimed at. From 30 on every frame travels alone, which
            halves the delay.
        burst_kbps: rate at which reference pictures leave at the start; less where the path does not carry
            it.
        overhead: how datagrams are carried.
    """

    encoder: EncoderConfig = _ENCODER
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(generator="warp-0"))
    start_kbps: float = 15.0
    min_kbps: float = 8.0
    max_kbps: float = 15.0
    burst_kbps: float = 160.0
    overhead: Overhead = SCTP

    def __post_init__(self) -> None:
        if self.encoder.lookahead != 0:
            raise ConfigError("lookahead", self.encoder.lookahead, "0 in a call")
        if self.encoder.palette != "off" and self.encoder.preset != "realtime":
            raise ConfigError("palette", self.encoder.palette, "off in a call, or preset realtime")
        if not 0 < self.min_kbps <= self.start_kbps <= self.max_kbps:
            raise ConfigError("start_kbps", self.start_kbps, f"{self.min_kbps} to {self.max_kbps}, above 0")
