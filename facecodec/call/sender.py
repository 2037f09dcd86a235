"""The sending side of a call: frames and Opus packets in, datagrams out, feedback in.

Every motion unit follows a state that the other side is known to hold, or starts from a reference picture
that it has acknowledged: whatever is lost, what arrives can be decoded. The same calls at the same times give the
same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from facecodec.bitstream import MotionState, MotionUnit, opus_duration, parse_unit
from facecodec.call.config import CallConfig
from facecodec.call.sent import SentBundle, SentBundles, SentMessage, SentMessages
from facecodec.call.stats import SenderStats, WireBytes
from facecodec.config import SpeedConfig
from facecodec.encoder import Encoder
from facecodec.errors import TransportError
from facecodec.transport import Datagram, Feedback, MotionPart, Packetiser, SoundPart
from facecodec.transport.bundle import FRAMES_MAX, SOUND_MAX, TICK
from facecodec.transport.datagram import DATAGRAM_MAX
from facecodec.transport.pacer import Pacer
from facecodec.transport.packetise import FRAGMENT_HEAD, MESSAGE_MAX
from facecodec.transport.rate import RateController, Setting, SettingChooser
from facecodec.types import Frame, Packet, PacketKind

TIME_BASE = Fraction(1, 1000)
EPOCH_S = 1.0
"""Time on the wire of the first thing that is given."""
_SOUND_WAITING_MAX = 64
_PLI_PATIENCE_S = 0.1
_WINDOW_S = 2.0
_PICTURE_SHARE = 0.15
"""Share of the rate that new reference pictures may take in the long run, unless they are asked for,"""
_PICTURE_CREDIT = 3000.0
"""and bytes that may be saved for them."""


class CallSender:
    """Codes and sends one side's picture and sound.

    Args:
        config: settings.
        speed: of the encoder.

    Attributes:
        feedback_source: gives, at a time, bytes of feedback that ride on the next bundle, or none; see
            :meth:`facecodec.call.receiver.CallReceiver.piggyback`.
        epoch_s: what is added to times on the wire to get the times that were given; None before the first.
        encoder: the encoder; its ``timings`` are emptied every second or so.
    """

    def __init__(self, config: CallConfig | None = None, speed: SpeedConfig | None = None) -> None:
        self.config = config or CallConfig()
        self.encoder = Encoder(self.config.encoder, speed, acknowledged=True)
        self.feedback_source: Callable[[float], bytes] | None = None
        self.epoch_s: float | None = None
        overhead, burst = self.config.overhead, self.config.burst_kbps
        self._rate = RateController(self.config.start_kbps, self.config.min_kbps, self.config.max_kbps, burst)
        self._chooser = SettingChooser(overhead, self.config.encoder.rate.qp)
        self._setting = self._chooser.choose(self._rate.target_kbps)
        self._packetiser = Packetiser()
        self._bundles, self._messages = SentBundles(self._rate), SentMessages()
        self._pacer = Pacer(overhead)
        self._outbox: deque[Datagram] = deque()
        self._sound: deque[tuple[int, bytes, float]] = deque()
        self._header = b""
        self._picture: int | None = None
        self._pictures: dict[int, int] = {}
        self._keyframe_asked = False
        self._bundle_end_s = self._frame_due_s = -1e9
        self._sound_run: tuple[float, int] = (0.0, 0)
        self._recent: deque[tuple[float, int]] = deque(maxlen=2048)
        self._wire = WireBytes()
        self._frames = self._dropped = self._references = self._plis = 0
        self._checked_s: float | None = None
        self._motion_s, self._bundle_open = -1e9, False
        self._picture_credit = 0.0

    def push_frame(self, frame: Frame, now_s: float) -> None:
        """Take a picture; frames beyond the frame rate of the moment are dropped.

        Args:
            frame: its time counts on the same clock as that of the sound.
            now_s: the time, on a clock of its own that never goes back.

        Raises:
            ShapeError: the picture has another size than those before, or is too small.
        """
        self._choose_setting(now_s)
        time_s = self._since_epoch(frame.time_s)
        pts = round(time_s / float(TIME_BASE))
        step = 1.0 / self._setting.fps
        if time_s < self._frame_due_s - 0.4 * step:
            self._dropped += 1
            return
        self._frame_due_s = max(self._frame_due_s + step, time_s + 0.5 * step)
        encoder, base = self.encoder, self._prepare()
        waiting = encoder.waiting + 1
        whole = self._ends_bundle(time_s, step)
        encoder.group = waiting if whole else FRAMES_MAX + 1
        sent = self._send(encoder.encode(replace(frame, pts=pts, time_base=TIME_BASE)), base, now_s)
        self._frames += sent
        if whole:
            self._dropped += max(waiting - encoder.waiting - sent, 0)

    def push_audio(self, opus_packet: bytes, pts_s: float, now_s: float) -> None:
        """Take an Opus packet; silence need not be given (DTX).

        Args:
            opus_packet: as libopus made it, 1 to 1000 bytes.
            pts_s: its start, on the clock of the frames.
            now_s: the time.

        Raises:
            BitstreamError: it is no Opus packet.
            TransportError: it is longer than a datagram carries.
        """
        opus_duration(opus_packet)
        if len(opus_packet) > 1000:
            raise TransportError(f"an Opus packet of {len(opus_packet)} bytes; allowed: at most 1000")
        tick = round(self._since_epoch(pts_s) * 48000 / TICK)
        if tick >= 0:
            self._sound.append((tick, opus_packet, now_s))
        while len(self._sound) > _SOUND_WAITING_MAX:
            self._sound.popleft()

    def poll(self, now_s: float) -> list[Datagram]:
        """What is to be sent now; to be called at least every 20 ms."""
        self._flush_sound(now_s)
        patience = self._patience()
        self._pacer.push(self._messages.probes(now_s, patience), first=True)
        if self._messages.given_up():
            self.request_keyframe()
        out = list(self._outbox)
        self._outbox.clear()
        bundles_kbps = self._chooser.cost_kbps(self._setting)
        rate = max(self._rate.burst_kbps, self._rate.target_kbps)
        for datagram in self._pacer.poll(now_s, rate, bundles_kbps):
            self._messages.left(datagram.data[0], now_s)
            content = len(datagram.data) - FRAGMENT_HEAD
            self._wire.pictures += content
            self._count(datagram, content, now_s)
            out.append(datagram)
        return out

    def receive(self, data: bytes, now_s: float) -> None:
        """Take feedback of the other side: the bytes of a block (see ``CallReceiver.take_feedback``).

        Raises:
            TransportError: the bytes are no feedback; nothing has changed.
        """
        told = Feedback.parse(data)
        if told.report:
            self._bundles.take(told.report, now_s)
        if told.messages:
            for number, message in self._messages.acknowledge(told.messages):
                if message.ref_id is not None and self.encoder.acknowledge(message.ref_id):
                    self._picture = self._pictures[message.ref_id] = number
        if told.missing:
            again = self._messages.missing(told.missing, now_s, self._patience())
            self._pacer.push(again, first=True)
        if told.pli:
            self._plis += 1
            if not self._messages.picture_on_its_way(now_s, self._patience()):
                self.request_keyframe()

    def count_feedback(self, datagram: Datagram, now_s: float) -> None:
        """Count a datagram of feedback that this end sends alone."""
        content = len(datagram.data) - 1
        self._wire.feedback += content
        self._count(datagram, content, now_s)

    def request_keyframe(self) -> None:
        """Send a new reference picture with the next frame, and the stream header before it."""
        self._keyframe_asked = True

    def stats(self) -> SenderStats:
        """Figures as they stand."""
        span = self._recent[-1][0] - self._recent[0][0] if len(self._recent) > 1 else 0.0
        recent = sum(size for _, size in self._recent)
        return SenderStats(
            wire=replace(self._wire),
            wire_kbps=recent / max(span, 0.5) / 125.0,
            target_kbps=self._rate.target_kbps,
            fps=self._setting.fps,
            bundle_s=self._setting.bundle_s,
            qp=self.encoder.motion.qp,
            round_trip_s=self._bundles.round_trip_s,
            loss=self._rate.loss,
            queue_s=self._rate.queue_s,
            frames=self._frames,
            frames_dropped=self._dropped,
            references=self._references,
            keyframes_asked=self._plis,
        )

    def close(self) -> None:
        """Stop the tracking thread."""
        self.encoder.close()

    def _since_epoch(self, time_s: float) -> float:
        if self.epoch_s is None:
            self.epoch_s = time_s - EPOCH_S
        return time_s - self.epoch_s

    def _patience(self) -> float:
        """Seconds after which an answer would have come."""
        return 1.25 * (self._bundles.round_trip_s or 0.2) + 0.05 + self._setting.bundle_s

    def _choose_setting(self, now_s: float) -> None:
        """Once a second: what the rate allows."""
        if self._checked_s is not None and now_s - self._checked_s < 1.0:
            return
        if self._checked_s is not None:
            self._chooser.saw_sound(self._sound_run[1] / 125.0 / (now_s - self._checked_s))
        self._checked_s, self._sound_run = now_s, (now_s, 0)
        self._setting: Setting = self._chooser.choose(self._rate.target_kbps)
        self.encoder.motion.qp = min(self.config.encoder.rate.qp + self._setting.qp_add, 51)
        self._picture_credit = min(
            self._picture_credit + _PICTURE_SHARE * self._rate.target_kbps * 125.0, _PICTURE_CREDIT
        )
        for values in self.encoder.timings.values():
            values.clear()

    def _ends_bundle(self, time_s: float, step: float) -> bool:
        """Whether a frame is the last of its bundle; bundles follow each other without a gap."""
        length = self._setting.bundle_s
        if not self._bundle_open:
            follows = abs(time_s - self._bundle_end_s) < 0.5 * length
            self._bundle_end_s = (self._bundle_end_s if follows else time_s) + length
        whole = time_s + step >= self._bundle_end_s - 0.25 * step or self.encoder.waiting + 1 >= FRAMES_MAX
        self._bundle_open = not whole
        return whole

    def _prepare(self) -> int | None:
        """Tell the encoder what to predict from: a bundle (its number), or None: the reference picture."""
        self.encoder.may_send_reference = self._picture_credit >= 0
        if self._keyframe_asked:
            most = self.config.encoder.rate.ref_quality
            self.encoder.request_keyframe(min(self._setting.ref_quality, most))
        base = None
        if self._picture is not None:
            base = self._bundles.base(self._packetiser.sequence, self._picture)
        if base is None:
            self.encoder.motion.start()
            return None
        self.encoder.motion.resume(base[1])
        return base[0]

    def _send(self, packets: list[Packet], base: int | None, now_s: float) -> int:
        """Send what was coded; returns the frames of motion among it."""
        frames = 0
        last = max((i for i, p in enumerate(packets) if p.kind is PacketKind.MOTION), default=-1)
        for i, packet in enumerate(packets):
            if packet.kind is not PacketKind.MOTION:
                self._send_message(packet, now_s)
                continue
            unit = parse_unit(packet.data)
            assert isinstance(unit, MotionUnit)  # noqa: S101  by its kind
            back = None if unit.reset or base is None else self._packetiser.sequence - base
            self._picture = self._pictures.get(unit.ref_id)
            if self._picture is None or (back is None) != unit.reset:
                return frames
            self._chooser.saw_motion(len(unit.levels), unit.n_frames, unit.qp)
            # Behind all of them the encoder's state is that of the last.
            state = self.encoder.motion.state() if i == last else None
            if not self._send_bundle(MotionPart(unit, back, self._picture & 7), state, now_s):
                return frames
            base, frames = self._packetiser.sequence - 1, frames + unit.n_frames
        return frames

    def _send_message(self, packet: Packet, now_s: float) -> None:
        """Queue a picture or parameters."""
        if len(packet.data) > MESSAGE_MAX:
            return
        if packet.kind is PacketKind.HEADER:
            self._header = packet.data
        ref_id = None
        if packet.kind is PacketKind.REFERENCE:
            ref_id = getattr(parse_unit(packet.data), "ref_id", None)
            self._references += 1
            self._messages.drop_pictures()
            if self._keyframe_asked and self._references > 1:
                self._pacer.clear()
                self._queue(self._header, None, True, now_s)
            self._keyframe_asked = False
        self._queue(packet.data, ref_id, packet.kind is PacketKind.HEADER, now_s)

    def _queue(self, data: bytes, ref_id: int | None, is_header: bool, now_s: float) -> None:
        rate = max(self._rate.burst_kbps, self._rate.target_kbps)
        size = self._pacer.fragment_size(rate, self._setting.bundle_s)
        fragments = self._packetiser.message_of(data, size)
        message = SentMessage(fragments, ref_id, is_header, len(fragments), now_s)
        self._messages.add(self._packetiser.message - 1, message)
        self._picture_credit -= sum(self.config.overhead.on_wire(len(f.data)) for f in fragments)
        self._pacer.push(fragments)

    def _send_bundle(self, motion: MotionPart | None, state: MotionState | None, now_s: float) -> bool:
        """Send motion with the sound that waits; False where the motion is too long for a datagram."""
        sound = self._next_sound()
        feedback = self.feedback_source(now_s) if self.feedback_source else b""
        size = sum(len(p) + 2 for p in sound.packets) + 4 if sound else 0
        levels = len(motion.unit.levels) + 32 if motion else 0
        if size and levels + size + len(feedback) > DATAGRAM_MAX - 8:
            self._emit(None, sound, feedback, None, now_s)
            sound, feedback = None, b""
        if levels + len(feedback) > DATAGRAM_MAX - 8:
            return False
        self._emit(motion, sound, feedback, state, now_s)
        return True

    def _emit(
        self,
        motion: MotionPart | None,
        sound: SoundPart | None,
        feedback: bytes,
        state: MotionState | None,
        now_s: float,
    ) -> None:
        datagram = self._packetiser.bundle(motion, sound, feedback)
        size = self.config.overhead.on_wire(len(datagram.data))
        sent = SentBundle(now_s, size, state, -1 if self._picture is None else self._picture)
        self._bundles.add(self._packetiser.sequence - 1, sent)
        loud = sum(map(len, sound.packets)) if sound else 0
        levels = len(motion.unit.levels) if motion else 0
        self._motion_s = now_s if motion else self._motion_s
        self._wire.sound += loud
        self._wire.motion += levels
        self._wire.feedback += len(feedback)
        self._sound_run = (self._sound_run[0], self._sound_run[1] + loud)
        self._count(datagram, loud + levels + len(feedback), now_s)
        self._outbox.append(datagram)

    def _next_sound(self) -> SoundPart | None:
        """The sound that waits, up to its first gap."""
        if not self._sound:
            return None
        start = at = self._sound[0][0]
        packets: list[bytes] = []
        size = 0
        while self._sound and abs(self._sound[0][0] - at) <= 1 and len(packets) < SOUND_MAX and size < 1000:
            _, packet, _ = self._sound.popleft()
            packets.append(packet)
            size += len(packet) + 2
            at += opus_duration(packet) // TICK
            if self._sound and size + len(self._sound[0][1]) > 1000:
                break
        return SoundPart(start * TICK, tuple(packets))

    def _flush_sound(self, now_s: float) -> None:
        """Send sound that has waited for a bundle's time and found no motion to go with."""
        wait = self._setting.bundle_s
        if now_s - self._motion_s < 2.5 * wait:
            wait = 1.25 * wait + 1.5 / self._setting.fps
        while self._sound and now_s - self._sound[0][2] >= wait - 1e-6:
            self._send_bundle(None, None, now_s)

    def _count(self, datagram: Datagram, content: int, now_s: float) -> None:
        size = self.config.overhead.on_wire(len(datagram.data))
        self._wire.headers += size - content
        self._recent.append((now_s, size))
        while now_s - self._recent[0][0] > _WINDOW_S:
            self._recent.popleft()


__all__ = ["CallSender"]
