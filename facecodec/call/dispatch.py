"""Datagrams on their way out: bundles as they are made, fragments as the pacer lets them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from facecodec.bitstream import MotionState
from facecodec.call.config import CallConfig
from facecodec.call.outgoing import SoundQueue, Steering, WireMeter
from facecodec.call.sent import SentBundle, SentBundles, SentMessage, SentMessages
from facecodec.call.stats import WireBytes
from facecodec.transport import Datagram, MotionPart, Packetiser, SoundPart
from facecodec.transport.datagram import DATAGRAM_MAX
from facecodec.transport.pacer import Pacer
from facecodec.transport.packetise import FRAGMENT_HEAD

_PROBE_S = 0.4
"""Pictures wait so long for the first report of the path."""
_SILENCE_S = 0.35
"""While bundles are not reported for so long beyond a round trip, no pictures leave."""
_HEAD_BYTES = 48
"""Room in a bundle for heads, at most."""


class Dispatch:
    """What one end sends, and what it remembers of it.

    Args:
        config: of the call.
        steering: says what the rate allows; told what is sent.

    Attributes:
        feedback_source: gives, at a time, bytes of feedback that ride on the next bundle, or none.
        sound: Opus packets that wait for a bundle.
        bundles: those sent.
        messages: those not acknowledged yet.
        meter: counts bytes on the wire.
        pacer: fragments that wait.
    """

    def __init__(self, config: CallConfig, steering: Steering) -> None:
        self.feedback_source: Callable[[float], bytes] | None = None
        self.sound = SoundQueue()
        self.bundles, self.messages = SentBundles(steering.rate), SentMessages()
        self.meter, self.pacer = WireMeter(config.overhead), Pacer(config.overhead)
        self._overhead, self._steering = config.overhead, steering
        self._packetiser = Packetiser()
        self._outbox: deque[Datagram] = deque()
        self._leaving: list[SentBundle] = []
        self._motion_s = -1e9
        self._probed_s: float | None = None

    @property
    def next_bundle(self) -> int:
        """Number of the next bundle."""
        return self._packetiser.sequence

    def patience_s(self) -> float:
        """Seconds after which an answer would have come."""
        return 1.25 * (self.bundles.round_trip_s or 0.2) + 0.05 + self._steering.setting.bundle_s

    def poll(self, now_s: float) -> list[Datagram]:
        """What is to be sent now."""
        while self.sound.waited(now_s) >= self._sound_patience_s(now_s) - 1e-6:
            self.send_bundle(None, None, -1, now_s)
        self.send_again(self.messages.probes(now_s, self.patience_s()))
        fragments = self.pacer.poll(now_s, self._steering.picture_kbps) if self._knows_path(now_s) else []
        for bundle in self._leaving:  # the time that coding took is none of the path
            bundle.sent_s = now_s
        out = list(self._outbox)
        self._outbox.clear()
        self._leaving.clear()
        for datagram in fragments:
            self.messages.left(datagram.data[0], now_s)
            self.meter.count(datagram, WireBytes(pictures=len(datagram.data) - FRAGMENT_HEAD), now_s)
            out.append(datagram)
        return out

    def queue_message(self, data: bytes, ref_id: int | None = None, backdrop_of: int | None = None) -> None:
        """Queue a unit of the reliable channel.

        Args:
            data: the unit.
            ref_id: its slot if it is a reference picture.
            backdrop_of: its slot if it is a backdrop.
        """
        rate = max(self._steering.rate.burst_kbps, self._steering.rate.target_kbps)
        size = self.pacer.fragment_size(rate, self._steering.setting.bundle_s)
        fragments = self._packetiser.message_of(data, size)
        message = SentMessage(fragments, ref_id, len(fragments), backdrop_of)
        self.messages.add(self._packetiser.message - 1, message)
        self.pacer.push(fragments)
        self._steering.saw_picture(self._on_wire(fragments))

    def send_again(self, fragments: list[Datagram]) -> None:
        """Queue fragments that left before, in front of the others."""
        self.pacer.push(fragments, first=True)
        self._steering.saw_picture(self._on_wire(fragments), again=True)

    def count_feedback(self, datagram: Datagram, now_s: float) -> None:
        """Count a datagram of feedback that travels alone."""
        content = WireBytes(feedback=len(datagram.data) - 1)
        self._steering.saw_bundle(self.meter.count(datagram, content, now_s), content)

    def send_bundle(
        self, motion: MotionPart | None, state: MotionState | None, picture: int, now_s: float
    ) -> bool:
        """Send motion, if any, with the sound that waits.

        Args:
            motion: a motion unit.
            state: behind it; None where nothing shall follow it.
            picture: number of the message with its reference picture.
            now_s: the time.

        Returns:
            Whether the motion fitted into a datagram.
        """
        sound = self.sound.take()
        feedback = self.feedback_source(now_s) if self.feedback_source else b""
        loud = sum(len(packet) + 2 for packet in sound.packets) if sound else 0
        levels = len(motion.unit.levels) if motion else 0
        if loud and levels + loud + len(feedback) > DATAGRAM_MAX - _HEAD_BYTES:
            self._emit(None, sound, feedback, now_s)
            sound, feedback = None, b""
        if levels + len(feedback) > DATAGRAM_MAX - _HEAD_BYTES:
            return False
        sent = self._emit(motion, sound, feedback, now_s)
        sent.state, sent.picture = state, picture
        return True

    def _emit(
        self, motion: MotionPart | None, sound: SoundPart | None, feedback: bytes, now_s: float
    ) -> SentBundle:
        datagram = self._packetiser.bundle(motion, sound, feedback)
        loud = sum(map(len, sound.packets)) if sound else 0
        levels = len(motion.unit.levels) if motion else 0
        content = WireBytes(sound=loud, motion=levels, feedback=len(feedback))
        size = self.meter.count(datagram, content, now_s)
        self._steering.saw_bundle(size, content)
        sent = SentBundle(now_s, size, None, -1)
        self.bundles.add(self._packetiser.sequence - 1, sent)
        self._motion_s = now_s if motion else self._motion_s
        self._outbox.append(datagram)
        self._leaving.append(sent)
        return sent

    def _on_wire(self, datagrams: list[Datagram]) -> int:
        return sum(self._overhead.on_wire(len(datagram.data)) for datagram in datagrams)

    def _knows_path(self, now_s: float) -> bool:
        """Whether reports come in time; an empty bundle asks for the first, before any picture leaves."""
        if not len(self.pacer):
            return True
        if self.bundles.round_trip_s is not None:
            return self.bundles.silence(now_s) < (self.bundles.round_trip_min_s or 0.0) + _SILENCE_S
        if self._probed_s is None:
            self._probed_s = now_s
            self._emit(None, None, b"", now_s)
            return False
        return now_s - self._probed_s >= _PROBE_S

    def _sound_patience_s(self, now_s: float) -> float:
        """Seconds that sound waits for motion to go with."""
        setting = self._steering.setting
        if now_s - self._motion_s > 2.5 * setting.bundle_s:
            return setting.bundle_s
        return 1.25 * setting.bundle_s + 1.5 / setting.fps
