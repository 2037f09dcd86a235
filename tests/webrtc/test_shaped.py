"""Calls over real connections and a bad network: SCTP, DTLS and ICE are in the way, and the clock is real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from facecodec.call.config import CallConfig
from facecodec.call.peer import Peer
from facecodec.call.session import CallSession
from facecodec.call.settings import WIRE
from facecodec.config import SpeedConfig
from facecodec.transport import Channel
from facecodec.types import Frame
from tests.call.conftest import _quick, clip, sample_frames, tracked  # noqa: F401
from tests.call.network import NETWORKS, Conditions
from tests.call.simulate import FAKE_OPUS, OPUS_S
from tests.webrtc.shaper import Shaper, shaped

POLL_S = 0.005
PATH = Conditions(delay_s=0.02)


@dataclass
class End:
    """One side: a session, a connection, and what it has shown and heard, with the time of each."""

    session: CallSession = field(
        default_factory=lambda: CallSession(CallConfig(overhead=WIRE), SpeedConfig(threads=1))
    )
    shown: list[tuple[float, str]] = field(default_factory=list)
    heard: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peer = Peer(self.take, lambda state: None, loopback=True)

    def take(self, reliable: bool, data: bytes) -> None:
        self.session.receive(Channel.RELIABLE if reliable else Channel.MOTION, data, time.monotonic())

    def step(self) -> None:
        """Send what is due, look at what there is."""
        now = time.monotonic()
        self.session.sender.saw_wire(self.peer.wire.bytes_out)
        for datagram in self.session.poll(now):
            self.peer.send(datagram.channel is Channel.RELIABLE, datagram.data)
        receiver = self.session.receiver
        self.heard += [(now, packet.pts) for packet in receiver.audio(now)]
        due = receiver.due(now)
        if due is not None:
            self.shown.append((now, due.state.value))


@dataclass
class Talk:
    """What happened; ``start_s`` is when both could send."""

    here: End
    there: End
    start_s: float
    shaper: Shaper

    def states(self, start: float, end: float) -> list[str]:
        return [state for at, state in self.there.shown if start <= at - self.start_s < end]


def talk(
    frames: list[Frame],
    conditions: Conditions,
    *,
    at: dict[float, Callable[[Talk], None]] | None = None,
    seed: int = 1,
) -> Talk:
    """Send frames and sound one way, sound the other, over two real connections in this process."""

    async def run() -> Talk:
        with shaped(PATH, seed) as shaper:
            call = Talk(End(), End(), 0.0, shaper)
            here, there = call.here.peer, call.there.peer
            await here.accept(await there.answer(await here.offer()))
            while not (here.is_open and there.is_open):
                await asyncio.sleep(POLL_S)
            shaper.conditions = conditions
            await play(call, frames, dict(at or {}))
            for end in (call.here, call.there):
                end.session.close()
                await end.peer.close()
        return call

    return asyncio.run(asyncio.wait_for(run(), 60 + frames[-1].time_s))


async def play(call: Talk, frames: list[Frame], at: dict[float, Callable[[Talk], None]]) -> None:
    call.start_s = start_s = time.monotonic()
    waiting, sounds, due_s = list(frames)[::-1], 0, start_s
    while (elapsed := time.monotonic() - start_s) < frames[-1].time_s + 0.3:
        while waiting and waiting[-1].time_s <= elapsed:
            call.here.session.sender.push_frame(waiting.pop(), time.monotonic())
        while (sounds + 1) * OPUS_S <= elapsed:
            for end in (call.here, call.there):
                end.session.sender.push_audio(FAKE_OPUS, sounds * OPUS_S, time.monotonic())
            sounds += 1
        for when in [when for when in at if when <= elapsed]:
            at.pop(when)(call)
        call.here.step()
        call.there.step()
        due_s = max(due_s + POLL_S, time.monotonic() - POLL_S)
        await asyncio.sleep(max(due_s - time.monotonic(), 0.0))


def cut_off_while_a_picture_leaves(call: Talk) -> None:
    """Two seconds of silence, with fragments of a picture on the reliable channel."""
    call.here.session.sender.request_keyframe()
    asyncio.get_running_loop().call_later(0.2, call.shaper.outage, 2.0)


@pytest.mark.parametrize("delay_s", [0.02, 0.06, 0.15])
def test_motion_is_back_within_half_a_second_of_an_outage(delay_s, clip):  # noqa: F811
    conditions = Conditions(delay_s=delay_s)
    call = talk(clip(7.5), conditions, at={3.0: cut_off_while_a_picture_leaves})
    begin, end = call.shaper.conditions.outages[0]
    offset = call.shaper.start_s - call.start_s
    begin, end = begin + offset, end + offset
    assert call.states(begin + 0.8, end) == ["idle"] * len(call.states(begin + 0.8, end))
    back = next(at for at, state in call.there.shown if at - call.start_s > end and state == "live")
    assert back - call.start_s - end < 0.5
    heard = next(at for at, _ in call.there.heard if at - call.start_s > end + delay_s / 2)
    assert heard - call.start_s - end < 0.6


@pytest.mark.parametrize("delay_s", [0.02, 0.15])
def test_motion_waits_for_no_picture_that_was_lost(delay_s):
    """A picture's fragments are lost in an outage; what follows comes at once, and nothing old with it."""

    async def run() -> list[tuple[float, float]]:
        came: list[tuple[float, float]] = []
        ends = [Peer(lambda *_: None, lambda state: None, loopback=True)]
        take = lambda reliable, data: reliable or came.append((time.monotonic(), float(data)))  # noqa: E731
        ends.append(Peer(take, lambda state: None, loopback=True))
        with shaped(Conditions(delay_s=delay_s)) as shaper:
            await ends[0].accept(await ends[1].answer(await ends[0].offer()))
            while not all(end.is_open for end in ends):
                await asyncio.sleep(POLL_S)
            shaper.outage(2.0)
            over_s = time.monotonic() + 2.0
            for i in range(60):
                if i < 10:
                    ends[0].send(True, bytes(1100))
                ends[0].send(False, repr(time.monotonic()).encode())
                await asyncio.sleep(0.05)
            for end in ends:
                await end.close()
        return [(at - over_s, at - sent) for at, sent in came]

    came = asyncio.run(asyncio.wait_for(run(), 30))
    assert came[0][0] < delay_s + 0.15
    assert max(age for _, age in came) < delay_s + 0.1


def test_what_is_on_the_wire_is_what_the_sender_keeps_to(clip):  # noqa: F811
    """Bytes of a real connection, ICE and acknowledgements included, against those that are counted."""
    marks = {}

    def mark(call: Talk) -> None:
        marks[time.monotonic()] = call.here.peer.wire.bytes_out

    call = talk(clip(21), PATH, at={float(at): mark for at in (5, 20)})
    (first_s, first), (last_s, last) = marks.items()
    kbps = (last - first) / (last_s - first_s) / 125
    sent = call.here.session.sender.stats()
    assert 12.5 < kbps < 15.0
    assert sent.fps == 20
    counted, out = sent.wire.total, call.here.peer.wire.bytes_out
    assert counted < out < 1.12 * counted + 3500  # of which the handshakes are the most
    # A loop that is told of ICE's checks knows of them.
    assert 0.05 < call.here.session.sender._steering._outside_kbps < 1.0


@pytest.mark.parametrize("name", ["loss 10 %", "bursts 10 %", "jitter", "delay 150 ms"])
def test_a_call_goes_on_over_a_bad_network(name, clip):  # noqa: F811
    call = talk(clip(8), NETWORKS[name], seed=3)
    got = call.there.session.receiver.stats()
    assert got.undecodable == got.malformed == 0
    assert got.references >= 1
    states = call.states(3.0, 8.0)
    assert states.count("live") + states.count("interpolated") > 0.85 * len(states)
    assert "lost" not in states
