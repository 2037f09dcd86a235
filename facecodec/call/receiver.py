"""The receiving side of a call: datagrams in, pictures and Opus packets out, feedback out.

Nothing that comes from the network raises, crashes or takes memory without bound: what breaks the rules is
dropped and counted. The same calls at the same times give the same results.

Making a picture takes most of the time. :meth:`CallReceiver.make` may therefore run beside everything else,
but for the taking of reliable messages: they change what pictures are made from.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from facecodec.bitstream import (
    BackdropUnit,
    MotionState,
    PaletteUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
    parse_unit,
)
from facecodec.call.config import CallConfig
from facecodec.call.playout import MotionPlayout, Received, Shown, ShownFrame, State
from facecodec.call.reporter import Reporter
from facecodec.call.sound_order import SoundOrder
from facecodec.call.stats import ReceiverStats
from facecodec.decoder import DecodedMotion, Decoder
from facecodec.errors import FacecodecError, TransportError
from facecodec.motion.pose import Pose
from facecodec.refpic.buffer import Reference
from facecodec.transport import Bundle, Channel, Datagram, Depacketiser, Message, MotionPart
from facecodec.transport.bundle import BASE_MAX
from facecodec.transport.jitter import PlayoutClock
from facecodec.transport.packetise import feedback_datagram
from facecodec.types import AudioPacket

_SIZE_MAX = 1280 * 1280
"""Pixels of a shown picture: a call's other side is not trusted to ask for more memory."""
_WAITING_MAX = 4
_MESH_MAX = 16.0
"""Crop units: a mesh that reaches further is nonsense."""
_FEEDBACK_KEPT = 32
SOUND_AFTER_S = 0.03
"""Sound is heard so long behind its time, at least: a picture is seen later still, once it is made."""


class CallReceiver:
    """Shows one side of a call to the other.

    A sender that begins anew needs a receiver that does.

    Args:
        config: settings; only ``decoder`` matters.
    """

    def __init__(self, config: CallConfig | None = None) -> None:
        self.config = config or CallConfig()
        self._decoder = Decoder(self.config.decoder)
        self._depacketiser = Depacketiser()
        self._reporter = Reporter(self._depacketiser)
        self._clock, self._playout = PlayoutClock(), MotionPlayout()
        self._states: OrderedDict[int, MotionState] = OrderedDict()
        self._pictures: dict[int, int] = {}
        self._reference: Reference | None = None
        self._waiting: list[Message] = []
        self._sound = SoundOrder()
        self._told: list[bytes] = []
        self._last_s: float | None = None
        self._shown_s = 0.0
        self._malformed = self._undecodable = self._frames = self._references = 0
        self._shown = dict.fromkeys(State, 0)

    def receive(self, channel: Channel, data: bytes, now_s: float) -> None:
        """Take a datagram."""
        try:
            got = self._depacketiser.take(channel, data, now_s)
            if isinstance(got, Message):
                self._take_message(got, now_s)
            elif isinstance(got, Bundle):
                self._take_bundle(got, now_s)
            elif got is not None:
                self._keep_feedback(got)
        except TransportError:
            self._malformed += 1

    def take_feedback(self) -> list[bytes]:
        """Blocks of feedback that came, for ``CallSender.receive`` of this side; each is returned once."""
        out, self._told = self._told, []
        return out

    def piggyback(self, now_s: float) -> bytes:
        """Feedback that is due, for the next bundle of this side's sender; empty if none is."""
        return self._reporter.block(now_s, alone=False)

    def poll(self, now_s: float) -> list[Datagram]:
        """Feedback that has to travel alone: none where :meth:`piggyback` gives it away often enough."""
        block = self._reporter.block(now_s, alone=True)
        return [feedback_datagram(block)] if block else []

    @property
    def reference(self) -> Reference | None:
        """The newest reference picture, to compare faces by; None before the first."""
        return self._reference

    def media_time(self, now_s: float) -> float | None:
        """Time on the wire of what is to be shown now; None before anything has come."""
        return self._clock.media_time(now_s)

    def frame(self, now_s: float) -> ShownFrame | None:
        """The picture to show now; None before the first can be made, or where the last one shall stay."""
        due = self.due(now_s)
        return None if due is None else self.make(due)

    def due(self, now_s: float) -> Shown | None:
        """What is to be shown now; None as in :meth:`frame`."""
        time_s = self._clock.media_time(now_s)
        due = None if time_s is None else self._playout.at(time_s)
        if due is None or not self._can_make(due.frame):
            # Where nothing can be shown, what comes soon need not wait for its time.
            due = self._playout.soonest(self._can_make)
        if due is None or due.frame.time_s < self._shown_s:
            return None
        self._shown_s = due.frame.time_s
        self._shown[due.state] += 1
        return due

    def _can_make(self, frame: Received) -> bool:
        return self._pictures.get(frame.ref_id) == frame.picture

    def make(self, due: Shown) -> ShownFrame:
        """Make the picture of what :meth:`due` gave."""
        frame, state = due
        pose, header = frame.pose, self._decoder.header
        assert header is not None  # noqa: S101  there is motion
        scene = None if pose.scene is None else pose.scene[None].astype(np.float32)
        pts = [round(frame.time_s / float(header.time_base))]
        none = np.zeros((1, 0), np.int32)
        motion = DecodedMotion(
            pts, frame.ref_id, pose.mesh[None], scene, [False], none, False, pose.shape[None]
        )
        for values in self._decoder.timings.values():
            del values[:-100]
        return ShownFrame(self._decoder.show(motion)[0].pixels, frame.time_s, state, frame.crop)

    def audio(self, now_s: float) -> list[AudioPacket]:
        """Opus packets whose time has come, in order; ``pts`` are samples at 48 kHz on the wire's clock.

        They are to be heard :data:`SOUND_AFTER_S` behind their time; what comes until then is in time.
        A gap between the end of one and the start of the next is silence, or loss: the packet behind it may
        hold what is missing (in-band FEC).
        """
        time_s = self._clock.media_time(now_s)
        if time_s is None:
            return []
        return self._sound.take(time_s)

    def stats(self) -> ReceiverStats:
        """Figures as they stand."""
        return ReceiverStats(
            bundles=self._reporter.arrived,
            lost=self._reporter.lost,
            malformed=self._malformed,
            undecodable=self._undecodable,
            frames=self._frames,
            references=self._references,
            late=self._clock.late,
            delay_s=self._clock.delay_s,
            jitter_s=self._clock.jitter_s,
            behind_s=self._clock.behind_s,
            live=self._shown[State.LIVE],
            interpolated=self._shown[State.INTERPOLATED],
            idle=self._shown[State.IDLE],
            lost_shown=self._shown[State.LOST],
            plis=self._reporter.plis,
        )

    def _take_bundle(self, bundle: Bundle, now_s: float) -> None:
        if bundle.feedback:
            self._keep_feedback(bundle.feedback)
        usable, times, ends, before_s = True, [], [0.0], self._last_s
        if bundle.sound:
            start, end = self._sound.insert(bundle.sound)
            times.append(start + SOUND_AFTER_S)
            ends.append(end)
        if bundle.motion:
            first = self._take_motion(bundle.sequence, bundle.motion, now_s)
            usable = first is not None
            times += [] if first is None else [self._playout.stands_for(first, before_s)]
            ends.append(self._last_s or 0.0)
        if times:
            self._clock.observe(min(times), now_s, max(ends))
        self._reporter.bundle(bundle.sequence, usable, now_s)

    def _take_motion(self, number: int, part: MotionPart, now_s: float) -> float | None:
        """Decode a unit; its first time, or None where that cannot be done."""
        unit, decoder = part.unit, self._decoder
        picture = self._pictures.get(unit.ref_id)
        if decoder.header is None or picture is None or picture & 7 != part.picture:
            self._undecodable += 1
            self._reporter.lacks_picture(now_s)
            return None
        if part.base is not None:
            state = self._states.get(number - part.base)
            if state is None:
                self._undecodable += 1
                return None
            decoder.motion.resume(state)
        try:
            with np.errstate(all="ignore"):
                motion = decoder.motion.take_motion(unit)
        except FacecodecError:
            motion = None
        after = decoder.motion.state()
        if motion is None or after is None or not _sane(motion):
            self._malformed += 1
            return None
        self._reporter.has_picture()
        self._states[number] = after
        while len(self._states) > BASE_MAX:
            self._states.pop(min(self._states))
        return self._show_later(motion, picture)

    def _show_later(self, motion: DecodedMotion, picture: int) -> float:
        base = float(self._decoder.motion.header.time_base)
        frames, crop = [], self._decoder.motion.buffer.get(motion.ref_id).crop
        for i, pts in enumerate(motion.pts):
            scene = None if motion.scene is None else motion.scene[i]
            pose = Pose(motion.meshes[i], motion.shapes[i], scene)
            frames.append(Received(pts * base, pose, motion.ref_id, picture, crop))
        self._playout.insert(frames)
        self._frames += len(frames)
        if self._last_s is not None and len(frames) == 1:
            self._playout.note_step(frames[0].time_s - self._last_s)
        self._last_s = frames[-1].time_s
        return frames[0].time_s

    def _take_message(self, message: Message, now_s: float) -> None:
        try:
            unit = parse_unit(message.data)
        except FacecodecError:
            self._malformed += 1
            self._reporter.damaged()
            return
        if isinstance(unit, StreamHeader):
            self._take_header(message, unit)
            for waiting in self._waiting if self._decoder.header else []:
                self._take_picture(waiting, parse_unit(waiting.data))
            self._waiting = []
        elif self._decoder.header is None:
            self._waiting = [*self._waiting, message][-_WAITING_MAX:]
        else:
            self._take_picture(message, unit)

    def _take_header(self, message: Message, header: StreamHeader) -> None:
        if header.width * header.height > _SIZE_MAX or header.coded_size > 512:
            raise TransportError(f"a picture of {header.width}x{header.height} pixels")
        if header != self._decoder.header:
            try:
                self._decoder.take(header)
            except FacecodecError as err:
                raise TransportError(str(err)) from err
            self._pictures.clear()
            self._states.clear()
        self._reporter.message(message.number, picture=False)

    def _take_picture(self, message: Message, unit: Unit) -> None:
        if not isinstance(unit, ReferenceUnit | BackdropUnit | PaletteUnit):
            raise TransportError(f"a {unit.KIND.label} unit on the reliable channel")
        if isinstance(unit, ReferenceUnit):
            self._pictures.pop(unit.ref_id, None)
        try:
            self._decoder.take(unit, number=message.number)
        except FacecodecError:
            self._malformed += 1
            self._reporter.damaged()
            return
        if isinstance(unit, ReferenceUnit):
            self._pictures[unit.ref_id] = message.number
            self._reference = self._decoder.motion.buffer.get(unit.ref_id)
            self._references += 1
        self._reporter.message(message.number, picture=isinstance(unit, ReferenceUnit))

    def _keep_feedback(self, block: bytes) -> None:
        self._told = [*self._told, block][-_FEEDBACK_KEPT:]


def _sane(motion: DecodedMotion) -> bool:
    """Whether meshes and scene points are numbers of a reasonable size."""
    size = np.abs(motion.meshes).max()
    if motion.scene is not None:
        size = max(size, np.abs(motion.scene).max())
    return bool(size < _MESH_MAX and np.isfinite(motion.shapes).all())
