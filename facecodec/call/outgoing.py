"""What a sender keeps beside its encoder: sound that waits, bytes that it sent, what the rate allows."""

from __future__ import annotations

from collections import deque

from facecodec.bitstream import opus_duration
from facecodec.call.config import CallConfig
from facecodec.call.stats import WireBytes
from facecodec.transport import Datagram, Overhead, SoundPart
from facecodec.transport.bundle import SOUND_MAX, TICK
from facecodec.transport.rate import RateController, Setting, SettingChooser

SOUND_BYTES_MAX = 1000
"""Bytes of sound in a bundle."""
_WAITING_MAX = 64
_WINDOW_S = 2.0
_PICTURE_SHARE = (0.03, 0.25)
"""Share of the rate, at least and at most, that new reference pictures may take in the long run, unless they
are asked for: what everything else leaves of"""
_AIM = 0.97
"""the rate. One leaves when the bytes of one have been saved, and"""
_PICTURE_CREDIT = 4000.0
"""so many can be. So the mean rate of a minute is below the target, the first minute's, too."""
_SAFE = 0.985
"""Share of the rate that is planned with: sound and motion are guessed from what they took."""
_REPAY_S = 60.0
"""Time in which bundles make room for pictures that were asked for, or sent again."""
_BUNDLE_GAIN, _OUTSIDE_GAIN = 0.15, 0.1
"""By which averages follow a second's rate: of bundles, and of what others send (ICE checks every 5 s)."""
_OUTSIDE = (-0.05, 0.3)
"""Share of the rate that others can take, at least and at most: what is more is not there to stay."""
_FIRST_QUALITY = 20
"""Quality of the first picture: a face is seen soon, whatever the path carries. A better one follows"""
_WIDE = 2.0
"""at once where pictures may leave at so many times the rate, or when its bytes are saved."""


class SoundQueue:
    """Opus packets that wait for a bundle; the oldest beyond 64 are dropped."""

    def __init__(self) -> None:
        self._packets: deque[tuple[int, bytes, float]] = deque(maxlen=_WAITING_MAX)

    def push(self, tick: int, packet: bytes, now_s: float) -> None:
        """Add a packet that starts at a time in 1/400 s."""
        self._packets.append((tick, packet, now_s))

    def waited(self, now_s: float) -> float:
        """Seconds that the oldest has waited; below 0 where there is none."""
        return now_s - self._packets[0][2] if self._packets else -1.0

    def take(self) -> SoundPart | None:
        """The sound that waits, up to its first gap, as much as fits a bundle; None where there is none."""
        if not self._packets:
            return None
        start = at = self._packets[0][0]
        packets: list[bytes] = []
        size = 0
        while self._packets and len(packets) < SOUND_MAX:
            tick, packet, _ = self._packets[0]
            size += len(packet) + 2
            if packets and (abs(tick - at) > 1 or size > SOUND_BYTES_MAX):
                break
            self._packets.popleft()
            packets.append(packet)
            at += opus_duration(packet) // TICK
        return SoundPart(start * TICK, tuple(packets))


class WireMeter:
    """Counts bytes on the wire.

    Args:
        overhead: what the network adds to a datagram.

    Attributes:
        total: since the start, by part.
    """

    def __init__(self, overhead: Overhead) -> None:
        self.total = WireBytes()
        self._overhead = overhead
        self._recent: deque[tuple[float, int]] = deque(maxlen=2048)

    def count(self, datagram: Datagram, content: WireBytes, now_s: float) -> int:
        """Take a datagram with what is known to be in it; returns its bytes on the wire."""
        size, total = self._overhead.on_wire(len(datagram.data)), self.total
        self.total = WireBytes(
            total.headers + size - content.total,
            total.sound + content.sound,
            total.motion + content.motion,
            total.pictures + content.pictures,
            total.feedback + content.feedback,
        )
        self._recent.append((now_s, size))
        while now_s - self._recent[0][0] > _WINDOW_S:
            self._recent.popleft()
        return size

    def kbps(self) -> float:
        """Rate over the last 2 seconds."""
        span = self._recent[-1][0] - self._recent[0][0] if self._recent else 0.0
        return sum(size for _, size in self._recent) / max(span, 0.5) / 125.0


class Steering:
    """What the rate allows, looked at once a second.

    Args:
        config: of the call.

    Attributes:
        rate: the target.
        setting: how motion is sent.
        has_picture: whether the other side has a reference picture.
    """

    def __init__(self, config: CallConfig) -> None:
        self.rate = RateController(config.start_kbps, config.min_kbps, config.max_kbps, config.burst_kbps)
        self.has_picture = False
        self._quality = config.encoder.rate.ref_quality
        self._chooser = SettingChooser(config.overhead, config.encoder.rate.qp)
        self.setting: Setting = self._chooser.choose(self.rate.target_kbps)
        self._credit = self._picture_bytes = 0.0
        self._sound_bytes = self._bundle_bytes = 0
        self._bundles_kbps = self._outside_kbps = 0.0
        self._mean_kbps = 0.8 * config.start_kbps
        self._wire: tuple[int, int] | None = None
        self._wire_before: tuple[int, int] | None = None
        self._checked_s: float | None = None

    def look(self, now_s: float) -> bool:
        """Choose anew if a second has gone by; whether it has."""
        if self._checked_s is None:
            self._checked_s = now_s
        elapsed = now_s - self._checked_s
        if elapsed < 1.0:
            return False
        self._checked_s = now_s
        self._chooser.saw_sound(self._sound_bytes / 125.0 / elapsed)
        self._bundles_kbps = self._bundle_bytes / 125.0 / elapsed
        self._sound_bytes = self._bundle_bytes = 0
        self._average(elapsed)
        low, high = (share * self.rate.target_kbps for share in _PICTURE_SHARE)
        owed = -self._credit / 125.0 / _REPAY_S
        room = _SAFE * self.rate.target_kbps - self._outside_kbps - max(low, owed)
        self.setting = self._chooser.choose(room)
        rest = _AIM * self.rate.target_kbps - self._outside_kbps - self._mean_kbps
        self._credit = min(self._credit + min(max(rest, low), high) * 125.0 * elapsed, _PICTURE_CREDIT)
        return True

    def _average(self, elapsed: float) -> None:
        """Follow the rate of bundles, and that of what leaves uncounted beside them."""
        self._mean_kbps += _BUNDLE_GAIN * (self._bundles_kbps - self._mean_kbps)
        before, self._wire_before = self._wire_before, self._wire
        if before is None or self._wire is None:
            return
        outside = ((self._wire[0] - before[0]) - (self._wire[1] - before[1])) / 125.0 / elapsed
        low, high = (share * self.rate.target_kbps for share in _OUTSIDE)
        self._outside_kbps += _OUTSIDE_GAIN * (min(max(outside, low), high) - self._outside_kbps)

    def saw_wire(self, total: int, counted: int) -> None:
        """Take bytes since the start: all that have left, and those of them that this side has counted."""
        self._wire = (total, counted)

    def saw_bundle(self, size: int, content: WireBytes) -> None:
        """Take the bytes on the wire of a bundle, or of feedback alone, and what was in it."""
        self._bundle_bytes += size
        self._sound_bytes += content.sound

    def saw_motion(self, levels: int, frames: int, qp: int) -> None:
        """Take the bytes of a motion unit."""
        self._chooser.saw_motion(levels, frames, qp)

    def saw_picture(self, size: int, *, again: bool = False) -> None:
        """Take the bytes on the wire of a message that is queued, or of fragments that are sent again."""
        self._credit -= size
        if not again:
            self._picture_bytes = max(float(size), 0.5 * self._picture_bytes)

    @property
    def may_send_picture(self) -> bool:
        """Whether there is room for a reference picture that nobody asked for."""
        return self._credit >= min(self._picture_bytes, _PICTURE_CREDIT)

    @property
    def may_replace_first(self) -> bool:
        """Whether a better picture may follow the first one."""
        is_wide = self.rate.burst_kbps >= _WIDE * self.rate.target_kbps
        return self.has_picture and (is_wide or self.may_send_picture)

    @property
    def picture_quality(self) -> int:
        """Quality of the next reference picture, 0 to 100."""
        quality = min(self.setting.ref_quality, self._quality)
        return quality if self.has_picture else min(quality, _FIRST_QUALITY)

    @property
    def picture_kbps(self) -> float:
        """Rate at which pictures may leave."""
        rate = max(self.rate.burst_kbps, self.rate.target_kbps)
        return max(rate - self._bundles_kbps, rate * (0.25 if self.has_picture else 0.5))
