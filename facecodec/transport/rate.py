"""Rate: from the path's loss and delay to a rate, and from the rate to how motion is sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from facecodec.errors import ConfigError
from facecodec.transport.overhead import Overhead

_QUEUE_HIGH_S = 0.10
"""Queueing delay that says that more is sent than the path carries."""
_QUEUE_LOW_S = 0.04
_BACK_OFF = 0.85
_BURST_START_KBPS = 32.0
_BURST_FALL, _BURST_RISE = 0.5, 1.5
"""By which the rate of pictures changes with every report of a queue, and with every one of none."""
_GROWTH = 0.06
"""Growth a second while the path is clear."""
_LOSS_HIGH = 0.35
"""Loss above which the rate is lowered even without delay: random loss alone is not made better by it."""
_HOLD_S = 1.0
_BASE_S = 20.0
"""Time for which the shortest delay of the path is remembered."""
_SPARE = 0.95
"""Share of the target that a better setting may take."""
_QP_OCTAVE = 9.0
"""QP by which the bytes of motion halve (measured on validation clips, groups of two)."""
_PART_BYTES = 14
"""Bytes of a bundle that are neither sound nor levels: heads, and feedback in every other one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How motion is sent.

    Attributes:
        fps: frames a second, at most.
        bundle_s: seconds of sound and motion that share a datagram.
        qp_add: added to the quantisation parameter of the configuration.
        ref_quality: quality of reference pictures, 0 to 100.
        audio_bps: bits a second that sound should take: advice for whoever codes it,
        opus_ms: and how long its packets should be, milliseconds.
    """

    fps: float
    bundle_s: float
    qp_add: int
    ref_quality: int
    audio_bps: int = 6000
    opus_ms: int = 60


SETTINGS = (
    Setting(25.0, 0.04, -4, 55, 20000, 20),
    Setting(25.0, 0.04, -4, 55, 12000, 20),
    Setting(20.0, 0.05, -2, 55, 8000, 20),
    Setting(20.0, 0.10, -2, 55, 8000, 40),
    Setting(20.0, 0.10, 0, 55, 6000, 40),
    Setting(20.0, 0.12, 0, 55),
    Setting(20.0, 0.12, 4, 52),
    Setting(20.0, 0.12, 8, 48),
    Setting(20.0, 0.18, 8, 45),
    Setting(12.5, 0.24, 10, 42),
    Setting(8.0, 0.24, 12, 42),
    Setting(8.0, 0.36, 12, 42),
)
"""From the best to the barest. Beyond 120 ms only below what a call with sound needs else."""
_START = 6


class PathDelay:
    """Queueing delay of a path: how much later things arrive than the fastest of the last 20 seconds.

    The fastest of three in a row is taken: jitter alone is not a queue.
    """

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=400)
        self._last: deque[float] = deque(maxlen=3)

    def observe(self, now_s: float, one_way_s: float) -> float:
        """Take a delay between two clocks, of whatever offset; returns the queueing delay, seconds."""
        while self._times and now_s - self._times[0][0] > _BASE_S:
            self._times.popleft()
        self._times.append((now_s, one_way_s))
        self._last.append(one_way_s)
        return min(self._last) - min(value for _, value in self._times)


class RateController:
    """A target that backs off when the path's queue grows, and returns slowly (LEDBAT, RFC 6817, in spirit).

    Args:
        start_kbps: target at the start.
        min_kbps: least target.
        max_kbps: greatest target.
        burst_kbps: rate at which pictures may leave where the path carries it.

    Attributes:
        target_kbps: what may be sent, headers included.
        burst_kbps: rate of pictures.
        queue_s: queueing delay as last told.
        loss: share of bundles lost, averaged over about 32.

    Raises:
        ConfigError: the bounds are not in order.
    """

    def __init__(self, start_kbps: float, min_kbps: float, max_kbps: float, burst_kbps: float) -> None:
        if not 0 < min_kbps <= start_kbps <= max_kbps:
            raise ConfigError("start_kbps", start_kbps, f"between {min_kbps} and {max_kbps}, both above 0")
        self.target_kbps, self._burst_max = start_kbps, max(burst_kbps, start_kbps)
        self.burst_kbps = min(max(_BURST_START_KBPS, start_kbps), self._burst_max)
        self._min, self._max = min_kbps, max_kbps
        self.queue_s, self.loss = 0.0, 0.0
        self._last_s: float | None = None
        self._hold_until = 0.0

    def count(self, lost: bool) -> None:
        """Take the fate of one bundle."""
        self.loss += (float(lost) - self.loss) / 32.0

    def update(self, now_s: float, queue_s: float, received_kbps: float | None) -> None:
        """Take a report.

        Args:
            now_s: the time.
            queue_s: queueing delay.
            received_kbps: what arrived lately; None where that is not known.
        """
        elapsed = 0.0 if self._last_s is None else min(max(now_s - self._last_s, 0.0), 1.0)
        self._last_s, self.queue_s = now_s, queue_s
        if queue_s > _QUEUE_HIGH_S:
            self.burst_kbps = max(self.burst_kbps * _BURST_FALL, self.target_kbps)
        if queue_s > _QUEUE_HIGH_S or self.loss > _LOSS_HIGH:
            if now_s >= self._hold_until:
                base = min(self.target_kbps, received_kbps or self.target_kbps)
                self.target_kbps = max(base * _BACK_OFF, self._min)
                self._hold_until = now_s + _HOLD_S
        elif queue_s < _QUEUE_LOW_S and now_s >= self._hold_until:
            self.target_kbps = min(self.target_kbps * (1 + _GROWTH * elapsed), self._max)
            self.burst_kbps = min(self.burst_kbps * _BURST_RISE, self._burst_max)


class SettingChooser:
    """Chooses the best setting that the target pays for, from what sound and motion have cost.

    Args:
        overhead: what the network adds to a bundle.
        qp: quantisation parameter of the configuration.

    Attributes:
        index: the setting in use, of :data:`SETTINGS`.
    """

    def __init__(self, overhead: Overhead, qp: int) -> None:
        self._overhead, self._qp = overhead, qp
        self._sound_kbps = 6.0
        self._frame_bytes = 13.0
        self.index = _START

    @property
    def setting(self) -> Setting:
        """The setting in use."""
        return SETTINGS[self.index]

    def saw_sound(self, kbps: float) -> None:
        """Take the rate of Opus packets over the last second or so."""
        self._sound_kbps += 0.3 * (kbps - self._sound_kbps)

    def saw_motion(self, levels: int, frames: int, qp: int) -> None:
        """Take the bytes of a motion unit."""
        alike = levels / frames * 2 ** ((qp - self._qp) / _QP_OCTAVE)
        self._frame_bytes += 0.1 * (alike - self._frame_bytes)

    def cost_kbps(self, setting: Setting) -> float:
        """What a setting takes on the wire."""
        bundles = max(1.0 / setting.bundle_s, 0.0) * (self._overhead.on_wire(0) + _PART_BYTES)
        frames = setting.fps * self._frame_bytes * 2 ** (-setting.qp_add / _QP_OCTAVE)
        sound_kbps = self._sound_kbps * setting.audio_bps / self.setting.audio_bps
        return (bundles + frames) / 125.0 + sound_kbps

    def choose(self, target_kbps: float) -> Setting:
        """The best setting that fits; it goes up only where there is room to spare.

        Args:
            target_kbps: what bundles may take.
        """
        costs = [self.cost_kbps(setting) for setting in SETTINGS]
        limits = [target_kbps * (_SPARE if i < self.index else 1.0) for i in range(len(SETTINGS))]
        fits = [i for i, cost in enumerate(costs) if cost <= limits[i]]
        self.index = fits[0] if fits else len(SETTINGS) - 1
        return self.setting
