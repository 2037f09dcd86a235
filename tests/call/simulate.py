"""A whole call in one process and in no time: two ends, two paths, a clock that is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from facecodec.call.config import CallConfig
from facecodec.call.playout import ShownFrame
from facecodec.call.receiver import CallReceiver
from facecodec.call.sender import CallSender
from facecodec.call.session import CallSession
from facecodec.config import SpeedConfig
from facecodec.transport import Channel, Datagram
from facecodec.types import AudioPacket, Frame
from tests.call.network import Conditions, Path

STEP_S = 0.005
OPUS_S = 0.06
FAKE_OPUS = bytes([0x18]) + bytes(39)
"""TOC of a 60 ms packet of SILK; nobody decodes it."""


@dataclass
class Call:
    """What happened, as seen by the end that watches.

    Attributes:
        shown: what was shown, every ``show_s`` seconds: time and frame.
        sound: packets that were played, and when.
        sender: the end that is seen.
        receiver: the end that watches.
        path: the way there.
        back: the way back.
    """

    sender: CallSender
    receiver: CallReceiver
    path: Path
    back: Path
    shown: list[tuple[float, ShownFrame]] = field(default_factory=list)
    sound: list[tuple[float, AudioPacket]] = field(default_factory=list)

    def states(self, start: float = 0.0, end: float = 1e9) -> list[str]:
        """States of what was shown in a stretch of time."""
        return [frame.state.value for at, frame in self.shown if start <= at < end]

    def share(self, state: str, start: float = 0.0) -> float:
        """Share of what was shown that has a state."""
        states = self.states(start)
        return states.count(state) / len(states)


def run_call(
    frames: Sequence[Frame],
    there: Conditions,
    back: Conditions | None = None,
    *,
    config: CallConfig | None = None,
    sound: Sequence[tuple[float, bytes]] | None = None,
    after_s: float = 0.5,
    show_s: float = 0.05,
    seed: int = 1,
    meddle: Callable[[float, Call], None] | None = None,
    damage: Callable[[Datagram], bytes] | None = None,
) -> Call:
    """Send frames and sound from one end to another that sends sound alone, and look at what it shows.

    Args:
        frames: with their times; they are given when their time comes.
        there: the way of frames.
        back: the way of feedback; as ``there`` without loss if None.
        config: of both ends.
        sound: times and Opus packets, given at the end of each; stand-ins if None.
        after_s: seconds to go on behind the last frame.
        show_s: seconds from picture to picture.
        seed: of the network.
        meddle: called at every step.
        damage: changes datagrams on the way there.
    """
    config = config or CallConfig()
    a, b = CallSession(config, SpeedConfig(threads=1)), CallSession(config, SpeedConfig(threads=1))
    to_b, to_a = Path(there, seed), Path(back or Conditions(delay_s=there.delay_s), seed + 1)
    call = Call(a.sender, b.receiver, to_b, to_a)
    start = frames[0].time_s
    length = frames[-1].time_s - start
    if sound is None:
        sound = [(i * OPUS_S, FAKE_OPUS) for i in range(int(length / OPUS_S))]
    waiting, loud = list(frames)[::-1], list(sound)[::-1]
    other = list(sound)[::-1]
    overhead, shown_s = config.overhead, 0.0
    for tick in range(round((length + after_s) / STEP_S)):
        now = tick * STEP_S
        while waiting and waiting[-1].time_s - start <= now + 1e-9:
            a.sender.push_frame(waiting.pop(), now)
        while loud and loud[-1][0] + OPUS_S <= now + 1e-9:
            at, packet = loud.pop()
            a.sender.push_audio(packet, start + at, now)
        while other and other[-1][0] + OPUS_S <= now + 1e-9:
            at, packet = other.pop()
            b.sender.push_audio(packet, at, now)
        for end, path in ((a, to_b), (b, to_a)):
            for datagram in end.poll(now):
                data = damage(datagram) if damage and end is a else datagram.data
                size = overhead.on_wire(len(data))
                path.send((datagram.channel, data), size, now, reliable=datagram.channel is Channel.RELIABLE)
        for end, path in ((b, to_b), (a, to_a)):
            for channel, data in path.arrivals(now):  # type: ignore[misc]
                end.receive(channel, data, now)
        call.sound += [(now, packet) for packet in b.receiver.audio(now)]
        if now >= shown_s:
            shown_s += show_s
            frame = b.receiver.frame(now)
            if frame is not None:
                call.shown.append((now, frame))
        if meddle is not None:
            meddle(now, call)
    a.close()
    b.close()
    return call
