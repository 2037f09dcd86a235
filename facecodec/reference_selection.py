"""Reference picture selection: what each group is made from, and what is sent where that is not there yet."""

from __future__ import annotations

from collections.abc import Generator

from facecodec.analysis.references import Candidate
from facecodec.analysis.window import Tracked
from facecodec.bitstream import StreamHeader, packet_of
from facecodec.monitor import QualityMonitor
from facecodec.motion_encoder import MotionEncoder
from facecodec.reference_encoder import ReferenceEncoder
from facecodec.stream_start import StreamStart
from facecodec.timing import timed
from facecodec.types import CropTransform, F32Array, Packet


class ReferenceSelection:
    """Keeps the reference picture, takes one from the buffer, or sends another, before every group.

    Args:
        references: the pictures.
        motion: starts anew with every change of the picture in use.
        monitor: takes what is sent.
        start: makes the stream header, which goes out before the first picture.
        timings: seconds of planning and of coding stills are added to its lists ``plan`` and ``still``.
        acknowledged: in a call, pictures that pay are looked for by :meth:`plan`.

    Attributes:
        header: the stream header, once it is known.
        is_asked: a new picture goes out with the next group that shows a face.
        may_send: whether a new picture may be sent that was not asked for.
    """

    def __init__(
        self,
        references: ReferenceEncoder,
        motion: MotionEncoder,
        monitor: QualityMonitor,
        start: StreamStart,
        timings: dict[str, list[float]],
        *,
        acknowledged: bool,
    ) -> None:
        self.header: StreamHeader | None = None
        self.is_asked, self.may_send = False, True
        self._references, self._motion, self._monitor = references, motion, monitor
        self._start, self._timings, self._acknowledged = start, timings, acknowledged
        self._planning: Generator[None, None, list[Packet]] | None = None

    def choose(self, items: list[Tracked], points: F32Array, blind: list[int]) -> list[Packet]:
        """Choose the picture that a group is made from.

        Args:
            items: the group.
            points: [T, 478, 3], its faces in picture pixels.
            blind: times of frames before it that wait for the first picture.

        Returns:
            What has to be sent before the group.
        """
        references = self._references
        asked = self.is_asked and any(item.landmarks is not None for item in items)
        if not asked:
            if references.is_busy(items[0]):
                return []
            if references.take_arrived(items[0]):
                self._motion.start()
                return []
            if references.still_serves(items, points):
                return self._improve(items, points)
            if references.take_from_buffer(items, points):
                self._motion.start()
                return []
            if references.active is not None and not self.may_send:
                return []
        self.is_asked = False
        candidate = references.candidate(self.header.coded_size if self.header else None)
        packets = [] if self.header is not None else [self._start_stream(items, candidate.crop, blind)]
        at_once = asked or not references.is_paced(items[0])
        return packets + self._send(candidate, at_once, alone=asked)

    def plan(self) -> list[Packet]:
        """Do a part of the planning that waits, if any; as :meth:`Encoder.plan`."""
        if self._planning is None:
            return []
        try:
            with timed(self._timings, "plan"):
                next(self._planning)
        except StopIteration as done:
            self._planning = None
            packets: list[Packet] = done.value
            return packets
        return []

    def acknowledge(self, ref_id: int) -> bool:
        """The receiver holds the picture of a slot; whether this changes the picture in use."""
        if not self._references.acknowledge(ref_id):
            return False
        self._motion.start()
        return True

    def _improve(self, items: list[Tracked], points: F32Array) -> list[Packet]:
        """Send another reference picture where one pays, and use the one that serves best."""
        if self._acknowledged:
            if self._references.is_plan_due(items) and self._planning is None:
                self._planning = self._improve_by_parts(items, points)
            return []
        with timed(self._timings, "plan"):
            candidate = self._references.plan(items, points) if self.may_send else None
        packets = [] if candidate is None else self._send(candidate, at_once=False)
        with timed(self._timings, "plan"):
            changed = self._references.take_best(items, points)
        if changed:
            self._motion.start()
        return packets

    def _improve_by_parts(
        self, items: list[Tracked], points: F32Array
    ) -> Generator[None, None, list[Packet]]:
        """The same in a call, behind the group that it looks at."""
        references, candidate = self._references, None
        if self.may_send:
            candidate = yield from references.plan_by_parts(items, points)
        if candidate is not None and references.pending is None:
            return self._send(candidate, at_once=False)
        yield
        if references.pending is None and references.take_best(items, points):
            self._motion.start()
        return []

    def _send(self, candidate: Candidate, at_once: bool, *, alone: bool = False) -> list[Packet]:
        """Code a reference picture, and the backdrop beside it if it needs one."""
        assert self.header is not None  # noqa: S101  set with the first
        before = self._references.active
        with timed(self._timings, "still"):
            unit, backdrop = self._references.code(candidate, self.header, at_once, alone)
        if self._references.active is not before:
            self._motion.start()
        self._monitor.take_reference(unit, candidate.frame, candidate.points)
        stills = (unit,) if backdrop is None else (unit, backdrop)
        return [packet_of(still, candidate.frame.pts) for still in stills]

    def _start_stream(self, items: list[Tracked], crop: CropTransform, blind: list[int]) -> Packet:
        """The stream header, now that the first picture is chosen."""
        first = items[0].frame
        height, width = first.pixels.shape[:2]
        times = blind + [item.frame.pts for item in items]
        self.header = self._start.header(times, first.time_base, crop, width, height)
        self._monitor.start(self.header)
        return packet_of(self.header, times[0])
