"""Write pictures and Opus packets to MP4 or Matroska."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.audio.stream import AudioStream
from av.container.output import OutputContainer
from av.video.stream import VideoStream

from facecodec.errors import ConfigError, MediaError, ShapeError
from facecodec.media.atomic import AtomicFile, os_reason
from facecodec.media.audio import OPUS_RATE, OpusStreamInfo
from facecodec.media.color import to_yuv420p
from facecodec.types import AudioPacket, Frame

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska"}
"""Suffixes that can be written, and FFmpeg's names of their formats."""

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def synthetic_mark(model_id: str) -> dict[str, str]:
    """Make the metadata that says, to people and to machines, that the pictures are synthesised.

    ``digital_source_type`` is a term of IPTC's Digital Source Type vocabulary:
    ``compositeWithTrainedAlgorithmicMedia`` for pictures from a trained generator that starts from a
    captured reference picture, ``compositeSynthetic`` for the warp generators, which move captured
    pixels and have learned none.

    Args:
        model_id: the generator's id.

    Returns:
        ``comment``, ``digital_source_type`` and ``facecodec_model``, for ``VideoWriter``.
    """
    trained = not model_id.startswith("warp")
    term = "compositeWithTrainedAlgorithmicMedia" if trained else "compositeSynthetic"
    return {
        "comment": "Synthesised pictures: made by facecodec from a coded reference picture and coded "
        f"motion, generator {model_id}. Not a camera recording.",
        "digital_source_type": _IPTC + term,
        "facecodec_model": model_id,
    }


class VideoWriter:
    """A video file in the making: H.264 (BT.709, limited range, 4:2:0) and Opus.

    The file is written under a temporary name beside its own and renamed by :meth:`close`; leaving the
    ``with`` block by an exception, or :meth:`abort`, removes it. Pictures keep their times exactly in
    MP4, and to the nearest millisecond in Matroska. There are no B pictures, so stored order is
    shown order. Opus packets are copied, not coded again.

    Args:
        path: file to write; the suffix chooses the container, ``.mp4`` or ``.mkv``.
        width: width of the pictures; an odd one is stored one larger, its edge repeated.
        height: height of the pictures; an odd one is stored one larger, its edge repeated.
        time_base: seconds a tick of the pictures' ``pts`` lasts.
        frame_rate: mean pictures a second; the last picture lasts ``1 / frame_rate``.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's speed preset.
        audio: the Opus track, if there is to be one.
        metadata: keys and values for the whole file, such as :func:`synthetic_mark` makes.
        overwrite: replace an existing file.

    Raises:
        MediaError: the suffix is not known, the file exists, or it cannot be written.
        ConfigError: a number is out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        time_base: Fraction,
        *,
        frame_rate: Fraction,
        crf: int = 12,
        preset: str = "veryfast",
        audio: OpusStreamInfo | None = None,
        metadata: dict[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.width, self.height = width, height
        self.time_base, self.frame_rate = time_base, frame_rate
        kind = CONTAINERS.get(self.path.suffix.lower())
        if kind is None:
            raise MediaError(path, f"cannot be written; known suffixes: {', '.join(CONTAINERS)}")
        _check_settings(width, height, time_base, frame_rate, crf)
        self._last_pts: int | None = None
        self._audio: AudioStream | None = None
        self._template: av.container.InputContainer | None = None
        self._container: OutputContainer | None = None
        self._file = AtomicFile(path, overwrite)
        try:
            options = {"movflags": "faststart+use_metadata_tags"} if kind == "mp4" else {}
            self._container = av.open(
                f"file:{self._file.temporary}", "w", format=kind, container_options=options
            )
            self._container.metadata.update(metadata or {})
            self._video = self._add_video(self._container, crf, preset)
            if audio is not None:
                self._template = av.open(io.BytesIO(_ogg_headers(audio)), "r", format="ogg")
                self._audio = self._container.add_stream_from_template(self._template.streams.audio[0])
        except BaseException as err:
            self.abort()
            if isinstance(err, av.FFmpegError | OSError | ValueError):
                raise self._failure(err) from err
            raise

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, or remove it if the block raised."""
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame: Frame) -> None:
        """Add a picture.

        Raises:
            ShapeError: the picture has another size than the file.
            MediaError: its time is not after the last one's, or the file cannot be written.
        """
        if frame.pixels.shape != (self.height, self.width, 3):
            raise ShapeError("picture", f"[{self.height}, {self.width}, 3]", list(frame.pixels.shape))
        pts = round(frame.pts * frame.time_base / self.time_base)
        if self._last_pts is not None and pts <= self._last_pts:
            raise MediaError(self.path, f"picture at pts {pts} does not come after pts {self._last_pts}")
        picture = to_yuv420p(frame.pixels)
        picture.pts, picture.time_base = pts, self.time_base
        self._last_pts = pts
        self._encode(picture)

    def write_audio(self, packet: AudioPacket) -> None:
        """Add an Opus packet; packets come in the order of their times.

        Raises:
            MediaError: the file was opened without sound, or cannot be written.
        """
        if self._audio is None:
            raise MediaError(self.path, "was opened without a sound track")
        out = av.Packet(packet.data)
        out.stream = self._audio
        out.time_base = Fraction(1, OPUS_RATE)
        out.pts = out.dts = packet.pts
        out.duration = packet.duration
        out.is_keyframe = True
        self._mux(out)

    def close(self) -> None:
        """Finish the file and give it its name. Does nothing the second time.

        Raises:
            MediaError: no picture was written, or the file cannot be written; it is then removed.
        """
        if self._container is None:
            return
        if self._last_pts is None:
            self.abort()
            raise MediaError(self.path, "not written: there was no picture to write")
        self._encode(None)
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as err:
            self.abort()
            raise self._failure(err) from err
        self._container = None
        self._close_template()
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written. Does nothing after :meth:`close`."""
        container, self._container = self._container, None
        self._close_template()
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError, ValueError):
                pass  # the file is thrown away in any case
        self._file.discard()

    def _add_video(self, container: OutputContainer, crf: int, preset: str) -> VideoStream:
        options = {"crf": str(crf), "preset": preset, "bf": "0"}
        stream = container.add_stream("libx264", rate=self.frame_rate, options=options)
        context = stream.codec_context
        context.width = self.width + self.width % 2
        context.height = self.height + self.height % 2
        context.pix_fmt = "yuv420p"
        context.time_base = self.time_base
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        stream.time_base = self.time_base
        return stream

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            packets = self._video.encode(picture)
        except (av.FFmpegError, OSError) as err:
            self.abort()
            raise self._failure(err) from err
        for packet in packets:
            tick = packet.time_base or self.time_base
            packet.duration = max(1, round(1 / (self.frame_rate * tick)))
            self._mux(packet)

    def _mux(self, packet: av.Packet[Any]) -> None:
        if self._container is None:
            raise MediaError(self.path, "is closed")
        try:
            self._container.mux_one(packet)
        except (av.FFmpegError, OSError) as err:
            self.abort()
            raise self._failure(err) from err

    def _close_template(self) -> None:
        if self._template is not None:
            self._template.close()
            self._template = None

    def _failure(self, err: Exception) -> MediaError:
        reason = os_reason(err) if isinstance(err, OSError) else str(err)
        return MediaError(self.path, f"cannot be written: {reason}")


def _check_settings(width: int, height: int, time_base: Fraction, frame_rate: Fraction, crf: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= 16384:
            raise ConfigError(name, value, "an integer from 1 to 16384")
    if time_base <= 0:
        raise ConfigError("time_base", time_base, "a positive fraction")
    if frame_rate <= 0:
        raise ConfigError("frame_rate", frame_rate, "a positive fraction")
    if not 0 <= crf <= 51:
        raise ConfigError("crf", crf, "an integer from 0 to 51")


def _ogg_headers(info: OpusStreamInfo) -> bytes:
    """Make a minimal Ogg Opus file (RFC 7845, section 3): two headers and one packet of silence.

    FFmpeg reads it as a stream, from which a muxer takes the codec's parameters.
    """
    tags = struct.pack("<8sII", b"OpusTags", 0, 0)
    pages = [(2, 0, info.opus_head()), (0, 0, tags), (4, 960 + info.pre_skip, b"\xf8\xff\xfe")]
    return b"".join(_ogg_page(n, flags, time, payload) for n, (flags, time, payload) in enumerate(pages))


def _ogg_page(number: int, flags: int, granule: int, payload: bytes) -> bytes:
    """Make an Ogg page that holds one packet of under 255 bytes (RFC 3533, section 6)."""
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, 1, number)
    tail = bytes([1, len(payload)]) + payload
    return head + struct.pack("<I", _ogg_crc(head + bytes(4) + tail)) + tail


def _ogg_crc(data: bytes) -> int:
    """Compute the CRC-32 of Ogg: polynomial 0x04C11DB7, not reflected, no initial or final inversion."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
