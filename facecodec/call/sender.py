"""The sending side of a call: frames and Opus packets in, datagrams out, feedback in.

Every motion unit follows a state that the other side is known to hold, or starts from a reference picture
that it has acknowledged: whatever is lost, what arrives can be decoded. The same calls at the same times give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from facecodec.bitstream import BackdropUnit, MotionUnit, ReferenceUnit, Unit, opus_duration, parse_unit
from facecodec.call.bundling import BundleClock
from facecodec.call.config import CallConfig
from facecodec.call.dispatch import Dispatch
from facecodec.call.outgoing import SOUND_BYTES_MAX, Steering
from facecodec.call.stats import SenderStats
from facecodec.config import SpeedConfig
from facecodec.encoder import Encoder
from facecodec.errors import TransportError
from facecodec.transport import Datagram, Feedback, MotionPart
from facecodec.transport.bundle import FRAMES_MAX, TICK
from facecodec.transport.packetise import MESSAGE_MAX
from facecodec.types import Frame, Packet, PacketKind

TIME_BASE = Fraction(1, 1000)
EPOCH_S = 1.0
"""Time on the wire of the first thing that is given."""


class CallSender:
    """Codes and sends one side's picture and sound.

    Args:
        config: settings.
        speed: of the encoder.

    Attributes:
        epoch_s: what is added to times on the wire to get the times that were given; None before the first.
        encoder: the encoder; its ``timings`` are emptied every second or so.
    """

    def __init__(self, config: CallConfig | None = None, speed: SpeedConfig | None = None) -> None:
        self.config = config or CallConfig()
        self.encoder = Encoder(self.config.encoder, speed, acknowledged=True)
        self.epoch_s: float | None = None
        self._steering = Steering(self.config)
        self._dispatch = Dispatch(self.config, self._steering)
        self._header = b""
        self._picture: int | None = None
        self._pictures: dict[int, int] = {}
        self._keyframe_asked, self._is_coarse, self._hurries = False, False, False
        self._pts = -1
        self._frame_due_s = -1e9
        self._bundling, self._full, self._may_plan = BundleClock(), False, False
        self._frames = self._dropped = self._references = self._plis = 0

    def take_feedback_from(self, source: Callable[[float], bytes]) -> None:
        """Let bytes of feedback ride on bundles, such as those of ``CallReceiver.piggyback``."""
        self._dispatch.feedback_source = source

    def push_frame(self, frame: Frame, now_s: float) -> None:
        """Take a picture; frames beyond the frame rate of the moment are dropped.

        Args:
            frame: its time counts on the same clock as that of the sound.
            now_s: the time, on a clock of its own that never goes back.

        Raises:
            ShapeError: the picture has another size than those before, or is too small.
        """
        self._look(now_s)
        time_s = self._since_epoch(frame.time_s)
        pts, step = round(time_s / float(TIME_BASE)), 1.0 / self._steering.setting.fps
        if time_s < self._frame_due_s - 0.4 * step or pts <= self._pts:
            self._dropped += 1
            return
        self._frame_due_s = max(self._frame_due_s + step, time_s + 0.5 * step)
        self._pts = pts
        if self.encoder.waiting >= FRAMES_MAX:
            self._end_bundle(now_s)
        self.encoder.group = FRAMES_MAX + 1
        self.encoder.encode(replace(frame, pts=pts, time_base=TIME_BASE))
        length, waiting = self._steering.setting.bundle_s, self.encoder.waiting
        if self._bundling.frame_ends(time_s, step, waiting, length, now_s) or self._hurries:
            self._full, self._hurries = True, False

    def push_audio(self, opus_packet: bytes, pts_s: float, now_s: float) -> None:
        """Take an Opus packet; silence need not be given (DTX).

        Args:
            opus_packet: as libopus made it, 1 to 1000 bytes.
            pts_s: its start, on the clock of the frames.
            now_s: the time.

        Raises:
            BitstreamError: it is no Opus packet.
            TransportError: it is longer than a bundle carries.
        """
        packet_s = opus_duration(opus_packet) / 48000
        if len(opus_packet) > SOUND_BYTES_MAX:
            size = len(opus_packet)
            raise TransportError(f"an Opus packet of {size} bytes; allowed: at most {SOUND_BYTES_MAX}")
        tick = round(self._since_epoch(pts_s) * 48000 / TICK)
        if tick < 0:
            return
        self._dispatch.sound.push(tick, opus_packet, now_s)
        self._fill_bundle(packet_s, now_s)

    def push_silence(self, seconds: float, now_s: float) -> None:
        """Say that a packet of sound was left out, so that pictures need not wait for it.

        Args:
            seconds: length of the packet.
            now_s: the time.
        """
        self._fill_bundle(seconds, now_s)

    def poll(self, now_s: float) -> list[Datagram]:
        """What is to be sent now; to be called at least every 20 ms.

        Where there is nothing, it may take some ten milliseconds to plan reference pictures.
        """
        self._look(now_s)
        if self._bundling.time_ends(now_s):
            self._bundling.ended_without(self._steering.setting.bundle_s, now_s)
            self._full = True
        if self._full:
            self._end_bundle(now_s)
        out = self._dispatch.poll(now_s)
        if self._dispatch.messages.given_up():
            self.request_keyframe()
        if not out and self._may_plan:
            self._may_plan = False
            self._send(self.encoder.plan(), None, now_s)
        return out

    def receive(self, data: bytes, now_s: float) -> None:
        """Take feedback of the other side: the bytes of a block (see ``CallReceiver.take_feedback``).

        Raises:
            TransportError: the bytes are no feedback; nothing has changed.
        """
        told = Feedback.parse(data)
        if told.report:
            self._dispatch.bundles.take(told.report, now_s)
        for number, message in self._dispatch.messages.acknowledge(told.messages) if told.messages else ():
            self._dispatch.pacer.drop(number & 255)
            if message.backdrop_of is not None:
                self.encoder.acknowledge_backdrop(message.backdrop_of)
            if message.ref_id is not None and self.encoder.acknowledge(message.ref_id):
                self._picture = self._pictures[message.ref_id] = number
                self._hurries = not self._steering.has_picture  # nothing is shown there yet
                self._steering.has_picture = True
        if told.missing:
            patience_s = self._dispatch.patience_s()
            self._dispatch.send_again(self._dispatch.messages.missing(told.missing, now_s, patience_s))
        if told.pli:
            self._plis += 1
            # One that was sent before the last fragment came is of no account.
            if not self._dispatch.messages.picture_on_its_way(
                now_s, 0.9 * (self._dispatch.bundles.round_trip_min_s or 0.0)
            ):
                self._steering.has_picture = False
                self.request_keyframe()

    def request_keyframe(self) -> None:
        """Send a new reference picture with the next frame, and the stream header before it."""
        self._keyframe_asked = self._hurries = True

    def count_feedback(self, datagram: Datagram, now_s: float) -> None:
        """Count a datagram of feedback that this end sends alone."""
        self._dispatch.count_feedback(datagram, now_s)

    def saw_wire(self, total: int) -> None:
        """Take the bytes that the connection has sent since its start, headers included.

        What this side does not count itself (ICE's checks, acknowledgements, headers of IPv6) then counts
        against the rate, too. Where it is not told, it counts what it sends.
        """
        self._steering.saw_wire(total, self._dispatch.meter.total.total)

    def stats(self) -> SenderStats:
        """Figures as they stand."""
        setting, rate, bundles = self._steering.setting, self._steering.rate, self._dispatch.bundles
        return SenderStats(
            wire=self._dispatch.meter.total,
            wire_kbps=self._dispatch.meter.kbps(),
            target_kbps=rate.target_kbps,
            fps=setting.fps,
            audio_bps=setting.audio_bps,
            opus_ms=setting.opus_ms,
            bundle_s=setting.bundle_s,
            qp=self.encoder.motion.qp,
            round_trip_s=bundles.round_trip_s,
            round_trip_min_s=bundles.round_trip_min_s,
            loss=rate.loss,
            queue_s=rate.queue_s,
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

    def _look(self, now_s: float) -> None:
        """Once a second: follow what the rate allows."""
        if not self._steering.look(now_s):
            return
        for values in self.encoder.timings.values():
            values.clear()

    def _fill_bundle(self, seconds: float, now_s: float) -> None:
        """A packet of sound has come, or was left out: perhaps the last of its bundle."""
        length = self._steering.setting.bundle_s
        if self._bundling.sound_ends(seconds, length, now_s):
            self._bundling.ended_with_sound(length, now_s)
            self._full = True

    def _end_bundle(self, now_s: float) -> None:
        """Code the frames that wait, and send them with the sound that waits."""
        encoder, self._full = self.encoder, False
        if encoder.waiting:
            waiting, base = encoder.waiting, self._prepare()
            sent = self._send(encoder.encode_waiting(), base, now_s)
            self._frames += sent
            self._dropped += waiting - sent
        if self._dispatch.sound.waited(now_s) >= 0:
            self._dispatch.send_bundle(None, None, -1, now_s)
        self._may_plan = True

    def _prepare(self) -> int | None:
        """Tell the encoder what to predict from: a bundle (its number), or None: the reference picture."""
        encoder, steering = self.encoder, self._steering
        encoder.motion.qp = min(max(self.config.encoder.rate.qp + steering.setting.qp_add, 0), 51)
        encoder.may_send_reference = steering.may_send_picture
        encoder.reference_quality = steering.picture_quality
        if self._is_coarse and steering.may_replace_first:
            self._keyframe_asked = True
        if self._keyframe_asked:
            encoder.request_keyframe()
        base = None
        self._picture = None if encoder.ref_id is None else self._pictures.get(encoder.ref_id)
        if self._picture is not None:
            base = self._dispatch.bundles.base(self._dispatch.next_bundle, self._picture)
        if base is None:
            encoder.motion.start()
            return None
        encoder.motion.resume(base[1])
        return base[0]

    def _send(self, packets: list[Packet], base: int | None, now_s: float) -> int:
        """Send what was coded; returns the frames of motion among it."""
        frames = 0
        last = max((i for i, p in enumerate(packets) if p.kind is PacketKind.MOTION), default=-1)
        for i, packet in enumerate(packets):
            unit = parse_unit(packet.data)
            if not isinstance(unit, MotionUnit):
                self._send_message(packet, unit)
                continue
            back = None if unit.reset or base is None else self._dispatch.next_bundle - base
            self._picture = self._pictures.get(unit.ref_id)
            if self._picture is None or (back is None) != unit.reset:
                return frames
            self._steering.saw_motion(len(unit.levels), unit.n_frames, unit.qp)
            # Behind all of them the encoder's state is that of the last.
            state = self.encoder.motion.state() if i == last else None
            part = MotionPart(unit, back, self._picture & 7)
            if not self._dispatch.send_bundle(part, state, self._picture, now_s):
                return frames
            base, frames = self._dispatch.next_bundle - 1, frames + unit.n_frames
        return frames

    def _send_message(self, packet: Packet, unit: Unit) -> None:
        """Queue a picture or parameters; what is too long for a call is left out."""
        if len(packet.data) > MESSAGE_MAX:
            return
        if packet.kind is PacketKind.HEADER:
            self._header = packet.data
        ref_id = unit.ref_id if isinstance(unit, ReferenceUnit) else None
        if ref_id is not None:
            self._references += 1
            self._is_coarse = not self._steering.has_picture
            self._dispatch.messages.drop_pictures()
            if self._keyframe_asked and self._references > 1:
                self._dispatch.pacer.clear()
                self._dispatch.queue_message(self._header)
            self._keyframe_asked = False
        backdrop_of = unit.ref_id if isinstance(unit, BackdropUnit) else None
        self._dispatch.queue_message(packet.data, ref_id, backdrop_of)
