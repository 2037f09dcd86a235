"""The decoder: packets in, frames out.

The stages are the encoder's backwards: unit, levels, motion, generator, compositing. A decoder never fails
on a packet that cannot be shown because something before it is missing: it drops it, and ``needs_keyframe``
says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Protocol

import cv2
import numpy as np

from facecodec.bitstream import (
    BackdropUnit,
    MotionUnit,
    PaletteUnit,
    ReferenceUnit,
    StreamHeader,
    Unit,
    View,
    parse_unit,
)
from facecodec.composite import Paster, PoissonPaster
from facecodec.config import DecoderConfig
from facecodec.errors import BitstreamError
from facecodec.generator.palette import RegionPatch
from facecodec.generator.render import StreamRenderer
from facecodec.generator.select import LoadedGenerator, load_generator, pick_device
from facecodec.motion_decoder import DecodedMotion, MotionDecoder
from facecodec.refpic.intra import decode_still
from facecodec.refpic.policy import nearest
from facecodec.timing import timed
from facecodec.types import Frame, Packet, PacketKind, U8Array

__all__ = ["DecodedMotion", "Decoder", "MotionDecoder"]


class _Paster(Protocol):
    def paste(self, crop_rgb: U8Array) -> U8Array: ...


class Decoder:
    """Decodes one stream.

    Args:
        config: what changes the pictures.

    Attributes:
        header: the stream header, once it has come.
        needs_keyframe: motion came that cannot be shown; a reference picture and a reset group are needed.
        timings: seconds of each call of each stage (entropy, still, generator, composite), a group at a time.
        held_frames: frames shown so far in which the encoder saw no face.
        position: time of the last frame decoded, shown or not; None before the first.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """

    def __init__(self, config: DecoderConfig | None = None) -> None:
        self.config = config or DecoderConfig()
        self.header: StreamHeader | None = None
        self.needs_keyframe = False
        self.timings: dict[str, list[float]] = {}
        self.held_frames = 0
        self.position: int | None = None
        self._device = pick_device(self.config.speed.device)
        self._generator: LoadedGenerator | None = None
        self._renderer: StreamRenderer | None = None
        self._motion: MotionDecoder | None = None
        self._backdrops: dict[int, U8Array] = {}
        self._newest_backdrop: tuple[int, U8Array] | None = None
        self._pasters: dict[int, _Paster] = {}
        self._pasting: int | None = None

    @property
    def generator(self) -> str:
        """Name of the generator in use: ``warp-0``, or profile and id such as ``lite-0123456789abcdef``.

        Raises:
            BitstreamError: the stream header has not come yet.
        """
        if self._generator is None:
            raise BitstreamError("no stream header yet", unit="header")
        return self._generator.name

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames.

        Raises:
            BitstreamError: the stream header has not come yet.
        """
        if self.header is None:
            raise BitstreamError("no stream header yet", unit="header")
        if self.config.view == "crop":
            return self.header.coded_size, self.header.coded_size
        return self.header.width, self.header.height

    def decode(self, packet: Packet) -> list[Frame]:
        """Take a packet and return the frames that it makes.

        Raises:
            BitstreamError: the packet is damaged.
            WeightsError: the weights asked for are absent or damaged.
            WeightsMismatchError: the stream was made for a model that is not here.
        """
        return self.take(parse_unit(packet.data))

    def flush(self) -> list[Frame]:
        """Return what is left: nothing, since every group is shown when it comes."""
        return []

    def take(
        self,
        unit: Unit,
        *,
        show_from: int | None = None,
        show_to: int | None = None,
        number: int | None = None,
    ) -> list[Frame]:
        """Take a parsed unit; as :meth:`decode`.

        Args:
            unit: any unit; those that carry no picture are passed over.
            show_from: frames before this time are decoded but not made.
            show_to: frames at or behind this time likewise.
            number: the unit's place in the stream, which rises, where units may come in another order.
        """
        if isinstance(unit, StreamHeader):
            self._start(unit)
        elif isinstance(unit, ReferenceUnit):
            with timed(self.timings, "still"):
                self._take_reference(unit)
        elif isinstance(unit, BackdropUnit):
            with timed(self.timings, "still"):
                self._take_backdrop(unit, number)
        elif isinstance(unit, PaletteUnit):
            with timed(self.timings, "still"):
                self._take_palette(unit)
        elif isinstance(unit, MotionUnit):
            with timed(self.timings, "entropy"):
                motion = self._running().take_motion(unit)
            self.needs_keyframe = motion is None
            if motion is not None:
                self.position = motion.pts[-1]
                low = motion.pts[0] if show_from is None else show_from
                high = motion.pts[-1] + 1 if show_to is None else show_to
                return self._show(motion, [i for i, pts in enumerate(motion.pts) if low <= pts < high])
        return []

    @property
    def motion(self) -> MotionDecoder:
        """What decodes motion; a call steers it, and shows what it gives by :meth:`show`.

        Raises:
            BitstreamError: the stream header has not come yet.
        """
        return self._running()

    def show(self, motion: DecodedMotion) -> list[Frame]:
        """Make the pictures of motion that came from elsewhere: between frames, or from memory.

        Raises:
            MissingReferenceError: its reference picture is not there.
        """
        return self._show(motion, list(range(len(motion.pts))))

    def lost(self, kind: PacketKind | None = None) -> None:
        """Say that a packet did not arrive: motion waits for the next reset group.

        Args:
            kind: what it carried, where that is known. The place of a lost reference picture in the buffer
                is emptied, so that nothing is made from the older picture there. Without a palette unit
                pictures are made as before it, and no picture needs an extension unit.
        """
        if kind in (PacketKind.PALETTE, PacketKind.EXTENSION):
            return
        motion = self._running()
        motion.forget()
        if self._renderer is not None:
            self._renderer.reset()
        if kind is PacketKind.REFERENCE:
            motion.lose_reference()

    def _start(self, header: StreamHeader) -> None:
        """Begin a stream: everything of the one before is forgotten."""
        asked = (self.config.generator, self._device, self.config.weights)
        generator = load_generator(*asked, stream=header.model_id)
        self._renderer = StreamRenderer(generator, self._device, self.config.speed.threads)
        self._generator, self.header, self._motion = generator, header, MotionDecoder(header)
        self._backdrops, self._newest_backdrop = {}, None
        self._pasters, self._pasting = {}, None
        self.needs_keyframe, self.position = False, None

    def _running(self) -> MotionDecoder:
        if self._motion is None:
            raise BitstreamError("no stream header yet", unit="header")
        return self._motion

    def _rendering(self) -> StreamRenderer:
        if self._renderer is None:
            raise BitstreamError("no stream header yet", unit="header")
        return self._renderer

    def _take_reference(self, unit: ReferenceUnit) -> None:
        motion, renderer = self._running(), self._rendering()
        renderer.drop(unit.ref_id)
        if self._newest_backdrop is not None:
            self._backdrops[unit.ref_id] = self._newest_backdrop[1]
        self._pasters.pop(unit.ref_id, None)
        reference = motion.take_reference(unit)
        renderer.put(unit.ref_id, reference.picture, reference.mesh, reference.q_idx)

    def _take_backdrop(self, unit: BackdropUnit, number: int | None) -> None:
        """Take a backdrop: of its slot, and of reference pictures to come until there is a newer one."""
        header = self._running().header
        still = decode_still(unit.still, width=unit.width, height=unit.height)
        if (unit.width, unit.height) != (header.width, header.height):
            still = cv2.resize(still, (header.width, header.height), interpolation=cv2.INTER_CUBIC)
        backdrop = self._backdrops[unit.ref_id] = np.asarray(still, np.uint8)
        self._pasters.pop(unit.ref_id, None)
        newest = -1 if self._newest_backdrop is None else self._newest_backdrop[0]
        if number is None or number > newest:
            self._newest_backdrop = newest + 1 if number is None else number, backdrop

    def _take_palette(self, unit: PaletteUnit) -> None:
        palette = self._running().take_palette(unit)
        if palette is not None:
            patches = [RegionPatch(e.region, e.patch, e.rect, e.shape) for e in palette.entries]
            self._rendering().put_palette(unit.ref_id, patches)

    def _show(self, motion: DecodedMotion, wanted: list[int]) -> list[Frame]:
        header, renderer = self._running().header, self._rendering()
        self.held_frames += sum(motion.held[i] for i in wanted)
        if motion.reset or not wanted or wanted[0] > 0:
            renderer.reset()
        weights = self._running().palette_weights(motion)
        frames = []
        for picked, others in self._batches(motion, wanted):
            scene = None if motion.scene is None else motion.scene[picked]
            with timed(self.timings, "generator"):
                shares = None if weights is None else weights[picked]
                pictures = renderer.render(motion.ref_id, motion.meshes[picked], scene, others, shares)
            with timed(self.timings, "composite"):
                for i, picture in zip(picked, pictures, strict=True):
                    shown = self._composite(motion.ref_id, picture)
                    frames.append(Frame(shown, motion.pts[i], header.time_base))
        if not wanted or wanted[-1] < len(motion.pts) - 1:
            renderer.reset()
        return frames

    def _batches(self, motion: DecodedMotion, wanted: list[int]) -> Iterator[tuple[list[int], list[int]]]:
        """Frames of a group that are made at once, and the slots of further pictures that they look at."""
        buffer, count = self._running().buffer, self.config.references - 1
        named = buffer.get(motion.ref_id)
        others = [r for r in buffer.all() if r is not named and r.crop == named.crop] if count else []
        near = [sorted(slots) for slots in nearest(others, motion.meshes[wanted], count)]
        for slots, run in groupby(zip(wanted, near, strict=True), key=lambda pair: pair[1]):
            frames = [frame for frame, _ in run]
            for start in range(0, len(frames), self.config.speed.batch):
                yield frames[start : start + self.config.speed.batch], slots

    def _composite(self, ref_id: int, picture: U8Array) -> U8Array:
        header = self._running().header
        if self.config.view == "crop" or header.view == View.CROP:
            return picture
        if ref_id not in self._pasters:
            self._pasters[ref_id] = self._make_paster(ref_id)
        if self._pasting != ref_id:
            self._pasting = ref_id
            paster = self._pasters[ref_id]
            if isinstance(paster, PoissonPaster):
                paster.reset()
        return self._pasters[ref_id].paste(picture)

    def _make_paster(self, ref_id: int) -> _Paster:
        header = self._running().header
        crop = self._running().buffer.get(ref_id).crop
        backdrop = self._backdrops.get(ref_id)
        if backdrop is None:
            backdrop = np.full((header.height, header.width, 3), 128, np.uint8)
        kind = PoissonPaster if self.config.composite == "poisson" else Paster
        return kind(header.width, header.height, crop, backdrop)
