"""What one side has sent: which bundles and messages the other side holds, and what it cost on the way."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from facecodec.bitstream import MotionState
from facecodec.transport import Datagram
from facecodec.transport.bundle import BASE_MAX, SEQUENCE_BITS
from facecodec.transport.feedback import HISTORY, MESSAGES, Acknowledged, Missing, Report
from facecodec.transport.packetise import MESSAGE_BITS
from facecodec.transport.rate import PathDelay, RateController
from facecodec.transport.sequence import distance

_REMEMBERED = 256
_REORDERING = 4
"""A bundle that is missing behind so many others counts as lost."""
_RUN_MAX = 3
"""Of losses in a row no more are counted: an outage is not for want of rate."""
PROBES_MAX = 4
_ROUND_TRIP_GAIN = 0.125
_CLOCK_BITS = 16


@dataclass(slots=True, eq=False)
class SentBundle:
    """A bundle on its way.

    Attributes:
        sent_s: when it left.
        size: bytes on the wire.
        state: of motion behind it; None where it carries none.
        picture: number of the message with the reference picture that its motion is made from.
        held: the other side has it.
        judged: counted as held or lost.
    """

    sent_s: float
    size: int
    state: MotionState | None
    picture: int
    held: bool = False
    judged: bool = False


class SentBundles:
    """The bundles of the last while, and what reports say of them.

    Args:
        rate: told of losses, delay and what arrives.

    Attributes:
        round_trip_s: smoothed; None before the first report.
        round_trip_min_s: the shortest so far; likewise.
    """

    def __init__(self, rate: RateController) -> None:
        self.round_trip_s: float | None = None
        self.round_trip_min_s: float | None = None
        self._rate, self._path = rate, PathDelay()
        self._sent: OrderedDict[int, SentBundle] = OrderedDict()
        self._arrived: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._newest, self._run = -1, 0
        self._clock: int | None = None

    def add(self, number: int, bundle: SentBundle) -> None:
        """Remember a bundle."""
        self._sent[number] = bundle
        if (old := self._sent.get(number - BASE_MAX)) is not None:
            old.state = None  # nothing may follow it any more
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def silence(self, now_s: float) -> float:
        """Seconds for which the first bundle that was not reported yet has been on its way."""
        first = next((b for n, b in self._sent.items() if n > self._newest), None)
        return 0.0 if first is None else now_s - first.sent_s

    def base(self, next_number: int, picture: int) -> tuple[int, MotionState] | None:
        """The newest state that the other side holds and a bundle may follow: its number, and the state.

        Args:
            next_number: number of the bundle to come.
            picture: number of the message with the reference picture in use.
        """
        for number in reversed(self._sent):
            if next_number - number > BASE_MAX:
                return None
            bundle = self._sent[number]
            if bundle.held and bundle.state is not None and bundle.picture == picture:
                return number, bundle.state
        return None

    def forget_states(self) -> None:
        """The other side has lost what it held."""
        for bundle in self._sent.values():
            bundle.state = None

    def take(self, report: Report, now_s: float) -> None:
        """Take a report; one of bundles that were never sent, or of long ago, is passed over."""
        last = next(reversed(self._sent), -1)
        newest = last + distance(report.newest, last & ((1 << SEQUENCE_BITS) - 1), SEQUENCE_BITS)
        if newest > last or newest not in self._sent:
            return
        for back in range(HISTORY + 1):
            bundle = self._sent.get(newest - back)
            if bundle is not None and report.holds(back) and not bundle.held:
                bundle.held = True
                self._arrived.append((bundle.sent_s, bundle.size))
        if newest > self._newest:
            self._judge(newest)
            self._newest = newest
            self._measure(self._sent[newest], report, now_s)

    def _judge(self, newest: int) -> None:
        for number, bundle in self._sent.items():
            if number > newest - _REORDERING:
                break
            if not bundle.judged:
                bundle.judged = True
                self._run = 0 if bundle.held else self._run + 1
                if self._run <= _RUN_MAX:
                    self._rate.count(not bundle.held)

    def _measure(self, bundle: SentBundle, report: Report, now_s: float) -> None:
        sample = max(now_s - bundle.sent_s - report.hold_ms / 1000.0, 0.0)
        old = self.round_trip_s
        self.round_trip_min_s = min(sample, self.round_trip_min_s or sample)
        self.round_trip_s = sample if old is None else old + _ROUND_TRIP_GAIN * (sample - old)
        raw = report.arrival_ms - int(bundle.sent_s * 1000.0)
        clock = raw if self._clock is None else self._clock + distance(raw, self._clock, _CLOCK_BITS)
        self._clock = clock
        self._rate.update(now_s, self._path.observe(now_s, clock / 1000.0), self._received_kbps())

    def _received_kbps(self) -> float | None:
        """Rate of what arrived, by the times of sending, over the last second that is known of."""
        if len(self._arrived) < 2:
            return None
        end = max(at for at, _ in self._arrived)
        recent = [(at, size) for at, size in self._arrived if end - at <= 1.0]
        span = end - min(at for at, _ in recent)
        return sum(size for _, size in recent) / span / 125.0 if span > 0.5 else None


@dataclass(slots=True, eq=False)
class SentMessage:
    """A message of the reliable channel on its way.

    Attributes:
        fragments: its datagrams.
        ref_id: slot of the reference picture in it; None for others.
        backdrop_of: slot of the reference picture that the backdrop in it was sent for; None for others.
        left: fragments that have not left the pacer yet.
        last_s: when the last fragment left.
        probes: times that nothing was heard of it.
        again_s: when each fragment was sent again.
    """

    fragments: list[Datagram]
    ref_id: int | None
    left: int
    backdrop_of: int | None = None
    last_s: float = 0.0
    probes: int = 0
    again_s: dict[int, float] = field(default_factory=dict)


class SentMessages:
    """Messages that the other side has not acknowledged; at most eight, the oldest are given up."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, SentMessage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, number: int, message: SentMessage) -> None:
        """Remember a message."""
        self._open[number] = message
        while len(self._open) > MESSAGES:
            self._open.popitem(last=False)

    def left(self, number_low: int, now_s: float) -> None:
        """A fragment of a message (low bits of its number) has left."""
        for number, message in self._open.items():
            if number & ((1 << MESSAGE_BITS) - 1) == number_low:
                message.left, message.last_s = max(message.left - 1, 0), now_s

    def picture_on_its_way(self, now_s: float, patience_s: float) -> bool:
        """Whether a reference picture is still leaving, or left so short a time ago."""
        return any(
            m.ref_id is not None and (m.left > 0 or now_s - m.last_s < patience_s)
            for m in self._open.values()
        )

    def given_up(self) -> bool:
        """Whether a reference picture was asked after in vain; it is forgotten."""
        silent = [n for n, m in self._open.items() if m.ref_id is not None and m.probes >= PROBES_MAX]
        for number in silent:
            del self._open[number]
        return bool(silent)

    def drop_pictures(self) -> None:
        """Send nothing of reference pictures again: a new one takes their place."""
        for number in [n for n, m in self._open.items() if m.ref_id is not None]:
            del self._open[number]

    def acknowledge(self, told: Acknowledged) -> Iterator[tuple[int, SentMessage]]:
        """Forget and return what the other side has, the oldest first."""
        low = {told.newest} | {(told.newest - 1 - i) & 255 for i in range(MESSAGES) if told.before >> i & 1}
        for number in [n for n in self._open if n & 255 in low]:
            yield number, self._open.pop(number)

    def missing(self, told: Missing, now_s: float, patience_s: float) -> list[Datagram]:
        """Fragments to be sent again; each one at most once in ``patience_s`` seconds."""
        out = []
        for number, message in self._open.items():
            if number & 255 != told.message or message.left > 0:
                continue
            for index in told.fragments:
                last = message.again_s.get(index, message.last_s - patience_s)
                if index < len(message.fragments) and now_s - last >= patience_s:
                    message.again_s[index] = now_s
                    out.append(message.fragments[index])
        return out

    def probes(self, now_s: float, patience_s: float) -> list[Datagram]:
        """Last fragments of messages that nothing was heard of (RFC 9002, section 6.2), ever less often."""
        out = []
        for message in self._open.values():
            wait = patience_s * 2 ** min(message.probes, 5)
            if message.left == 0 and now_s - message.last_s >= wait:
                message.last_s = now_s
                message.probes += 1
                out.append(message.fragments[-1])
        return out
