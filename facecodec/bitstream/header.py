"""The stream header: everything that holds for the whole stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import ClassVar, Self

from facecodec.bitstream import limits
from facecodec.bitstream.bits import FieldReader, pack_svarint, pack_varint
from facecodec.bitstream.framing import UnitKind
from facecodec.errors import UnsupportedVersionError
from facecodec.types import KeypointSet

BITSTREAM_VERSION = 3
"""Version of FORMAT.md that this package writes."""
VERSIONS_READ = (1, 2, 3)
"""Versions that it reads."""


class View(IntEnum):
    """What the stream shows. Values are assigned numbers of FORMAT.md."""

    CROP = 0
    FRAME = 1


class AudioCodec(IntEnum):
    """How sound is coded. Values are assigned numbers of FORMAT.md."""

    NONE = 0
    OPUS = 1


_UNIT = "header"


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """First unit of every stream. Making one checks it: LimitError names the field.

    Attributes:
        model_id: first 8 bytes of the generator model's hash.
        keypoint_set: points that the motion speaks of.
        basis_id: deformation basis, an assigned number.
        coded_size: side of the coded crop in pixels, 64..1024, even.
        width: width of the shown picture, 16..16384 pixels.
        height: height of the shown picture, 16..16384 pixels.
        view: crop alone, or the whole picture.
        time_base_num: numerator of the seconds that a tick lasts, 1..2**31 - 1.
        time_base_den: its denominator, 1..2**31 - 1.
        frame_duration: usual ticks between frames, 1..2**31 - 1.
        start_pts: origin of the other times of the stream, in ticks.
        scene_grid: scene points a side: 0 (none), 5, 7 or 9.
        audio_codec: none or Opus.
        channels: audio channels, 1 or 2; 0 without audio.
        pre_skip: samples at 48 kHz to drop from the start of the audio; 0 without audio.
        version: bitstream version, 1 to 3.
    """

    model_id: bytes
    keypoint_set: KeypointSet
    basis_id: int
    coded_size: int
    width: int
    height: int
    view: View
    time_base_num: int
    time_base_den: int
    frame_duration: int
    start_pts: int = 0
    scene_grid: int = 0
    audio_codec: AudioCodec = AudioCodec.NONE
    channels: int = 0
    pre_skip: int = 0
    version: int = BITSTREAM_VERSION

    KIND: ClassVar[UnitKind] = UnitKind.HEADER

    def __post_init__(self) -> None:
        limits.check_choice("version", self.version, VERSIONS_READ, _UNIT)
        size = limits.MODEL_ID_BYTES
        limits.check("model_id bytes", len(self.model_id), size, size, _UNIT)
        limits.check_choice("keypoint_set", self.keypoint_set, tuple(KeypointSet), _UNIT)
        limits.check_choice("basis_id", self.basis_id, limits.BASIS_IDS, _UNIT)
        limits.check("coded_size", self.coded_size, limits.CODED_SIZE_MIN, limits.CODED_SIZE_MAX, _UNIT)
        limits.check("coded_size modulo 2", self.coded_size % 2, 0, 0, _UNIT)
        limits.check_choice("view", self.view, tuple(View), _UNIT)
        crop = self.view == View.CROP
        low, high = (self.coded_size,) * 2 if crop else (limits.PICTURE_SIZE_MIN, limits.PICTURE_SIZE_MAX)
        limits.check("width", self.width, low, high, _UNIT)
        limits.check("height", self.height, low, high, _UNIT)
        limits.check("time_base_num", self.time_base_num, 1, limits.TIME_BASE_MAX, _UNIT)
        limits.check("time_base_den", self.time_base_den, 1, limits.TIME_BASE_MAX, _UNIT)
        limits.check("frame_duration", self.frame_duration, 1, limits.FRAME_DURATION_MAX, _UNIT)
        limits.check("start_pts", self.start_pts, limits.PTS_MIN, limits.PTS_MAX, _UNIT)
        limits.check_choice("scene_grid", self.scene_grid, limits.SCENE_GRIDS, _UNIT)
        limits.check_choice("audio_codec", self.audio_codec, tuple(AudioCodec), _UNIT)
        opus = self.audio_codec == AudioCodec.OPUS
        limits.check("channels", self.channels, *((1, 2) if opus else (0, 0)), _UNIT)
        limits.check("pre_skip", self.pre_skip, 0, 65535 if opus else 0, _UNIT)

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick lasts."""
        return Fraction(self.time_base_num, self.time_base_den)

    def pack(self) -> bytes:
        """Return the payload."""
        out = bytearray([self.version])
        out += self.model_id
        out += bytes([self.keypoint_set, self.basis_id])
        for value in (self.coded_size, self.width, self.height):
            out += value.to_bytes(2, "big")
        out.append(self.view)
        for value in (self.time_base_num, self.time_base_den, self.frame_duration):
            out += pack_varint(value)
        out += pack_svarint(self.start_pts)
        out += bytes([self.scene_grid, self.audio_codec])
        if self.audio_codec == AudioCodec.OPUS:
            out.append(self.channels)
            out += self.pre_skip.to_bytes(2, "big")
        return bytes(out)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a payload: the inverse of :meth:`pack`.

        Raises:
            UnsupportedVersionError: the stream has another bitstream version.
            TruncatedError: the payload ends too early.
            LimitError: a field is out of range.
        """
        reader = FieldReader(payload, _UNIT, UnitKind.HEADER.payload_max)
        version = reader.u8()
        if version not in VERSIONS_READ:
            raise UnsupportedVersionError(version, BITSTREAM_VERSION)
        model_id = reader.take(limits.MODEL_ID_BYTES)
        keypoint_set, basis_id = reader.u8(), reader.u8()
        limits.check_choice("keypoint_set", keypoint_set, tuple(KeypointSet), _UNIT)
        coded_size, width, height, view = reader.u16(), reader.u16(), reader.u16(), reader.u8()
        limits.check_choice("view", view, tuple(View), _UNIT)
        num = reader.varint("time_base_num", 1, limits.TIME_BASE_MAX)
        den = reader.varint("time_base_den", 1, limits.TIME_BASE_MAX)
        frame_duration = reader.varint("frame_duration", 1, limits.FRAME_DURATION_MAX)
        start_pts = reader.svarint("start_pts")
        scene_grid, audio = reader.u8(), reader.u8()
        limits.check_choice("audio_codec", audio, tuple(AudioCodec), _UNIT)
        opus = audio == AudioCodec.OPUS
        channels, pre_skip = (reader.u8(), reader.u16()) if opus else (0, 0)
        reader.end()
        return cls(
            model_id, KeypointSet(keypoint_set), basis_id, coded_size, width, height, View(view),
            num, den, frame_duration, start_pts, scene_grid, AudioCodec(audio), channels, pre_skip, version,
        )  # fmt: skip
