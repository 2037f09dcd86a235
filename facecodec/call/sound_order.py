"""Opus packets in the order of their times, each until its time has come."""

from __future__ import annotations

from facecodec.bitstream import opus_duration
from facecodec.transport import SoundPart
from facecodec.transport.jitter import TimedBuffer
from facecodec.types import AudioPacket

_KEPT = 128
_RATE = 48000
_OVERLAP = _RATE // 200
"""Samples by which a packet may begin before the end of the one before: times are rounded on the way."""


class SoundOrder:
    """Takes sound as it comes, gives it as it is to be heard; what is too late is dropped."""

    def __init__(self) -> None:
        self._packets: TimedBuffer[bytes] = TimedBuffer(_KEPT)
        self._end = -1

    def insert(self, sound: SoundPart) -> tuple[float, float]:
        """Take a bundle's packets; the time of the first one's start and of the last one's end, seconds."""
        times = sound.times()
        for pts, packet in zip(times, sound.packets, strict=False):
            if pts >= self._end - _OVERLAP:
                self._packets.insert(pts, packet)
        return times[0] / _RATE, times[-1] / _RATE

    def take(self, time_s: float) -> list[AudioPacket]:
        """Packets that begin until a time; each is returned once."""
        out = []
        for pts, packet in self._packets.take_until(time_s * _RATE):
            if pts >= self._end - _OVERLAP:
                duration = opus_duration(packet)
                self._end = pts + duration
                out.append(AudioPacket(packet, pts, duration))
        return out
