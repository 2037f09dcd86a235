"""The encoder: frames in, packets out.

The shape is that of a codec context in PyAV: :meth:`Encoder.encode` takes a frame and returns the packets
that are ready, :meth:`Encoder.flush` returns the rest. :meth:`Encoder._code_next` lists the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from threadpoolctl import ThreadpoolController

from facecodec.analysis.window import Tracked, TrackWindow
from facecodec.bitstream import StreamHeader, packet_of
from facecodec.config import EncoderConfig, SpeedConfig
from facecodec.errors import NoFaceError
from facecodec.generator.select import pick_device
from facecodec.generator.workers import single_threaded, workers
from facecodec.local_decoder import LocalDecoder, Sources
from facecodec.media.audio import OpusStreamInfo
from facecodec.monitor import FrameStats, GroupCost, NoMonitor, QualityMonitor
from facecodec.motion.face import load_face_model
from facecodec.motion.scene import scene_grid
from facecodec.motion_encoder import MotionEncoder
from facecodec.palette_encoder import PaletteEncoder
from facecodec.reference_encoder import ReferenceEncoder
from facecodec.reference_selection import ReferenceSelection
from facecodec.stream_start import StreamStart, check_frame
from facecodec.timing import timed
from facecodec.track.crop import crop_picture
from facecodec.track.tracker import make_tracker
from facecodec.types import F32Array, F64Array, Frame, I32Array, Packet

GROUP = 16
"""Frames of a motion unit with look-ahead."""
_LOOKAHEAD_BYTES = 256 << 20
"""Pictures waiting in the window take no more memory than this, whatever their size."""


class Encoder:
    """Codes frames of one video.

    Args:
        config: what changes the bytes.
        speed: what changes speed alone.
        frame_rate: usual frames a second, where known; else read off the first frames' times.
        length_s: seconds of video that will come, where known: a reference picture that may serve long is
            coded better, unless ``ref_quality`` says how.
        audio: describes the Opus track that will be written beside the packets, if any.
        on_frame: called with the figures of every coded frame, in order.
        acknowledged: for a call, see :meth:`acknowledge`. Frames before the first acknowledged reference
            picture are dropped, no frame is measured, ``group`` and ``motion`` may be steered, and reference
            pictures are planned by :meth:`plan`.

    Attributes:
        group: frames of a motion unit; in a call it may be changed between frames.
        motion: codes groups; a call tells it what to predict from, and the quantisation parameter.
        timings: seconds of each call of each stage (track, plan, still, palette, motion, scene, code,
            quality).
    """

    def __init__(
        self,
        config: EncoderConfig | None = None,
        speed: SpeedConfig | None = None,
        *,
        frame_rate: Fraction | None = None,
        length_s: float | None = None,
        audio: OpusStreamInfo | None = None,
        on_frame: Callable[[FrameStats], None] | None = None,
        acknowledged: bool = False,
    ) -> None:
        self.config = config or EncoderConfig()
        self.timings: dict[str, list[float]] = {}
        self.group = GROUP if self.config.lookahead else 1
        speed = speed or SpeedConfig()
        model = load_face_model()
        tracker = make_tracker(
            self.config.tracker,
            threads=1,
            device=speed.device,
            mean_mesh=model.mean,
            basis=model.basis,
            deviation=model.sigma,
        )
        self._window = TrackWindow(tracker, self.config.lookahead == 0, self.timings)
        rate = self.config.rate
        grid = scene_grid(rate.qp) if self.config.scene_points == "auto" else 0
        start = StreamStart(self.config, tracker.keypoint_set, grid, frame_rate, audio)
        reach = self.group + self.config.lookahead
        self.motion = MotionEncoder(model.basis.shape[0], grid, rate.qp)
        pool = workers(speed.threads)
        self._references = ReferenceEncoder(
            self.config, self._window, reach, grid, pool, length_s=length_s, acknowledged=acknowledged
        )
        self._palettes = PaletteEncoder(self.config, self._window, reach, pool)
        self._acknowledged = acknowledged
        if acknowledged:
            self._monitor: QualityMonitor = NoMonitor()
        else:
            local = LocalDecoder(self.config.preset, pick_device(speed.device), speed.threads)
            self._monitor = QualityMonitor(local, on_frame, self.timings)
        self._selection = ReferenceSelection(
            self._references, self.motion, self._monitor, start, self.timings, acknowledged=acknowledged
        )
        self._blas = ThreadpoolController()
        self._blind: list[int] = []
        self._shape: tuple[int, ...] | None = None
        self._pushed_pts: int | None = None
        self._last_points: F32Array | None = None

    def encode(self, frame: Frame) -> list[Packet]:
        """Take a frame and return the packets that are ready, which may be none.

        Raises:
            ShapeError: the picture is not [H, W, 3] uint8, too small, or of another size than those before.
            ConfigError: its time does not come after that of the frame before.
        """
        check_frame(frame, self._shape, self._pushed_pts)
        self._shape, self._pushed_pts = frame.pixels.shape, frame.pts
        self._window.push(frame)
        room = self.group + min(self.config.lookahead, max(8, _LOOKAHEAD_BYTES // frame.pixels.nbytes))
        packets: list[Packet] = []
        while len(self._window) >= room:
            packets += self._advance(self.group)
        return packets

    def encode_waiting(self) -> list[Packet]:
        """Code what was taken so far, in a call when a bundle leaves, in groups of as many frames as wait."""
        packets: list[Packet] = []
        while len(self._window):
            packets += self._advance(len(self._window))
        return packets

    def plan(self) -> list[Packet]:
        """In a call, when nothing is urgent: do ten milliseconds of what can wait, and return what pays."""
        with single_threaded(self._blas):
            return self._selection.plan()

    @property
    def header(self) -> StreamHeader | None:
        """The stream header, once it is known."""
        return self._selection.header

    @property
    def may_send_reference(self) -> bool:
        """Whether a picture may be sent that was not asked for; a call puts off what costs too much."""
        return self._selection.may_send

    @may_send_reference.setter
    def may_send_reference(self, may_send: bool) -> None:
        self._selection.may_send = may_send

    @property
    def ref_id(self) -> int | None:
        """Slot of the reference picture in use; None before the first."""
        active = self._references.active
        return None if active is None else active.reference.ref_id

    @property
    def waiting(self) -> int:
        """Frames that were taken and are not coded yet."""
        return len(self._window)

    @property
    def reference_quality(self) -> int:
        """Quality of reference pictures to come, 0 to 100; a call may change it."""
        return self._references.stills.quality

    @reference_quality.setter
    def reference_quality(self, quality: int) -> None:
        self._references.stills.quality = quality

    def request_keyframe(self) -> None:
        """Send a new reference picture with the next group that shows a face, and a backdrop beside it."""
        self._selection.is_asked = True
        self._references.stills.backdrops.forget()

    def acknowledge(self, ref_id: int) -> bool:
        """Say, in a call, that the receiver holds a reference picture: groups are made from it from now on.

        Returns:
            Whether this changes the picture in use; the next group is then a random access point.
        """
        return self._selection.acknowledge(ref_id)

    def acknowledge_backdrop(self, ref_id: int) -> None:
        """Say, in a call, that the receiver holds the backdrop that was sent with a ref_id."""
        self._references.stills.backdrops.acknowledge(ref_id)

    def flush(self) -> list[Packet]:
        """Code what is left and return the last packets.

        Raises:
            NoFaceError: no frame held a face.
        """
        packets = []
        self._references.is_ending = True
        while len(self._window):
            packets += self._advance(self.group)
        self._window.close()
        if self._references.active is None:
            raise NoFaceError("input", "no face was found in any frame")
        quality = self._monitor.finish()
        return packets if quality is None else [*packets, packet_of(quality, self._pushed_pts or 0)]

    def close(self) -> None:
        """Stop the tracking thread; for an encoder that is given up before :meth:`flush`."""
        self._window.close()

    def _advance(self, count: int) -> list[Packet]:
        with single_threaded(self._blas):
            return self._code_next(count)

    def _code_next(self, count: int) -> list[Packet]:
        """Code the next group, up to a cut."""
        count = self._window.first_cut(min(count, len(self._window), self._references.until_intra() or count))
        items = self._window.frames(count)
        points, valid = self._window.smoothed(count)
        packets: list[Packet] = []
        if not valid.any():
            if self._last_points is None or self._references.active is None:
                self._blind += [] if self._acknowledged else [item.frame.pts for item in items]
                self._window.drop(count)
                return []
            points = np.repeat(self._last_points[None], count, axis=0)
        packets += self._selection.choose(items, points, self._blind)
        if self._references.active is None:
            self._window.drop(count)
            return packets
        packets += self._code_blind()
        packets += self._code_palette(items)
        packets.append(self._code_group(items, points, valid))
        self._last_points = points[-1]
        self._window.drop(count)
        return packets

    def _code_palette(self, items: list[Tracked]) -> list[Packet]:
        """Send palette entries that pay in what lies ahead."""
        header, active = self.header, self._references.active
        assert header is not None and active is not None  # noqa: S101, PT018  sent just before
        if not self._palettes.is_due(active.reference, active.motion, items[-1].frame.pts):
            return []
        with timed(self.timings, "palette"):
            unit = self._palettes.code(header)
        if unit is None:
            return []
        self._monitor.take_palette(unit)
        return [packet_of(unit, items[0].frame.pts)]

    def _code_blind(self) -> list[Packet]:
        """Code the frames before the first face: the reference picture, held."""
        packets = []
        for start in range(0, len(self._blind), GROUP):
            times = self._blind[start : start + GROUP]
            residuals = np.zeros((len(times), self.motion.layout.count), np.int32)
            packets.append(self._pack(times, residuals, [True] * len(times), np.full(len(times), np.nan)))
        self._blind = []
        return packets

    def _code_group(self, items: list[Tracked], points: F32Array, valid: np.ndarray) -> Packet:
        """Fit, quantise and code the motion of a group."""
        header, active = self.header, self._references.active
        assert header is not None and active is not None  # noqa: S101, PT018  sent just before
        times = [item.frame.pts for item in items]
        crop, reset = active.reference.crop, self.motion.resets(header, times[0])
        with timed(self.timings, "motion"):
            faces = self.motion.code_faces(active.motion, crop.to_crop(points), valid, reset)
        residuals = faces.residuals
        pictures = [crop_picture(item.frame.pixels, crop) for item in items]
        if active.fitter is not None:
            with timed(self.timings, "scene"):
                scene = self.motion.code_scene(
                    active.fitter, active.reference, pictures, faces.meshes, valid, reset
                )
            residuals = np.concatenate([residuals, scene], axis=1)
        sources = Sources(pictures, [item.patch for item in items], crop.to_crop(points))
        return self._pack(times, residuals, (~valid).tolist(), faces.rms_px, sources)

    def _pack(
        self,
        times: list[int],
        residuals: I32Array,
        held: list[bool],
        rms: F64Array,
        sources: Sources | None = None,
    ) -> Packet:
        """Entropy code a group, and look at it as a viewer will."""
        header, active = self.header, self._references.active
        assert header is not None and active is not None  # noqa: S101, PT018  sent just before
        with timed(self.timings, "code"):
            group = self.motion.pack(header, active.reference.ref_id, times, residuals, held)
        self._references.note(len(times))
        cost = GroupCost(times, held, rms, group.face_bits, group.scene_bits)
        self._monitor.take_motion(group.unit, cost, sources)
        duration = times[-1] - times[0] + header.frame_duration
        return packet_of(group.unit, times[0], duration, group.unit.reset)
