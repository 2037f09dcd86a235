"""Playback of a facecodec file: its units in order, to frames and sound of a stretch of time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from facecodec.api.report import check_part
from facecodec.bitstream import AudioCodec, AudioUnit, StreamHeader, UnitKind, opus_duration
from facecodec.container.fcv import DamagedUnit, FcvReader, UnitAt
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError, ConfigError, TruncatedError
from facecodec.types import AudioPacket, Frame, PacketKind

AUDIO_RATE = 48000
"""Samples of sound a second, whatever it was recorded with: Opus counts so."""
_LOST = {
    UnitKind.REFERENCE: PacketKind.REFERENCE,
    UnitKind.PALETTE: PacketKind.PALETTE,
    UnitKind.EXTENSION: PacketKind.EXTENSION,
}
"""Kinds of packets whose loss is told to the decoder by name."""


class Playback:
    """Walks through a file: frames and sound of a stretch of time, and what went wrong on the way.

    Args:
        reader: the file.
        decoder: takes its units.
        start_s: seconds to leave out.
        duration_s: seconds to play; None plays to the end.
        with_sound: give sound beside the frames.

    Attributes:
        header: the stream header.
        warning: the first thing that was wrong with the stream, if anything.
        bytes_read: how far into the file the walk has come.

    Raises:
        ConfigError: ``start_s`` or ``duration_s`` is no stretch of time.
        WeightsMismatchError: the stream was made for a model that is not here.
    """

    def __init__(
        self,
        reader: FcvReader,
        decoder: Decoder,
        start_s: float,
        duration_s: float | None,
        *,
        with_sound: bool,
    ) -> None:
        check_part(start_s, duration_s)
        self.header = reader.header
        self.warning: str | None = None
        self.bytes_read = 0
        self._reader, self._decoder = reader, decoder
        base = self.header.time_base
        self._from = self.header.start_pts + round(Fraction(start_s) / base)
        self._to = None if duration_s is None else self._from + round(Fraction(duration_s) / base)
        self._sound_end: int | None = None
        self._sound_to: int | None = None
        if self._to is not None:
            self._sound_to = round((self._to - self.header.start_pts) * base * AUDIO_RATE)
        self._has_sound = with_sound and self.header.audio_codec == AudioCodec.OPUS
        self._start_s = start_s
        decoder.take(self.header)
        if start_s > 0:
            reader.seek(self._from)

    def run(self) -> Iterator[Frame | AudioPacket]:
        """Give frames (times as in the stream) and sound (samples since the first frame of the stream)."""
        units = self._reader.units(resilient=True)
        while True:
            try:
                at = next(units, None)
            except BitstreamError as err:
                self._warn(err)
                return
            if at is None:
                return
            self.bytes_read = at.offset + at.size
            yield from self._take(at)
            if self._ended() and self._sound_ended():
                return

    def nothing(self) -> BitstreamError | ConfigError:
        """Why :meth:`run` has given no frame."""
        last = self._decoder.position
        if self.warning is None and last is not None and last < self._from:
            end_s = float((last + self.header.frame_duration - self.header.start_pts) * self.header.time_base)
            return ConfigError("start_s", self._start_s, f"before the end of the stream, at {end_s:.3f} s")
        return BitstreamError(self.warning or "no frames in this part of the stream")

    def _ended(self) -> bool:
        last = self._decoder.position
        return self._to is not None and last is not None and last >= self._to

    def _sound_ended(self) -> bool:
        """Whether the part's sound is there: it lies in the file a little behind its pictures."""
        if not self._has_sound or self._sound_to is None:
            return True
        return self._sound_end is not None and self._sound_end >= self._sound_to

    def _take(self, at: UnitAt) -> Iterator[Frame | AudioPacket]:
        if isinstance(at.unit, DamagedUnit):
            self._warn(at.unit.error)
            self._decoder.lost(_LOST.get(at.kind))
            self._sound_end = None
        elif isinstance(at.unit, AudioUnit):
            if self._has_sound:
                yield from self._sound(at.unit)
        elif not isinstance(at.unit, StreamHeader) and not self._ended():
            try:
                frames = self._decoder.take(at.unit, show_from=self._from, show_to=self._to)
            except BitstreamError as err:
                if at.is_spare:  # those that name it wait, and the warning comes then
                    return
                self._warn(err)
                self._decoder.lost(_LOST.get(at.kind) if at.kind == UnitKind.PALETTE else None)
                return
            if self._decoder.needs_keyframe:
                reason = "what it is made from is not there"
                self._warn(BitstreamError(reason, unit="motion", offset=at.offset))
            yield from frames

    def _sound(self, unit: AudioUnit) -> Iterator[AudioPacket]:
        if self._sound_end is None and not unit.absolute:
            return
        times = unit.resolve_pts(self._sound_end or 0)
        self._sound_end = times[-1]
        for data, pts in zip(unit.packets, times, strict=False):
            if self._sound_to is None or pts < self._sound_to:
                yield AudioPacket(data, pts, opus_duration(data))

    def _warn(self, err: BitstreamError) -> None:
        if self.warning is None:
            cut = "the file is cut short: " if isinstance(err, TruncatedError) else "damaged: "
            self.warning = cut + str(err)
