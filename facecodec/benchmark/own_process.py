"""Code or decode a clip in this process and say what it took; see :mod:`facecodec.benchmark.own`.

    python -m facecodec.benchmark.own_process encode CLIP STREAM CONFIG ACCOUNT
    python -m facecodec.benchmark.own_process decode STREAM FRAMES GENERATOR ACCOUNT

CONFIG are fields of ``EncoderConfig`` as JSON; FRAMES is a file to write, RGB frame by frame; ACCOUNT is a
JSON to write, which has the shape of the frames too.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facecodec.bitstream import StreamHeader
from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.container.fcv import DamagedUnit, FcvReader, FcvWriter
from facecodec.decoder import Decoder
from facecodec.encoder import Encoder
from facecodec.errors import FacecodecError, MediaError
from facecodec.generator.workers import single_threaded
from facecodec.media.reader import VideoReader
from facecodec.types import Frame

_SPEED = SpeedConfig(device="cpu", threads=1)


def encode(clip: Path, stream: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Code a clip to a file as ``api.encode_file`` does.

    Returns:
        ``cpu_s`` and ``stages_ms``, see :class:`facecodec.benchmark.own.OwnCost`.

    Raises:
        FacecodecError: the clip cannot be coded.
    """
    with VideoReader(clip, threads=1) as reader, stream.open("wb") as file, single_threaded():
        encoder = Encoder(EncoderConfig(**fields), _SPEED, frame_rate=reader.info.frame_rate)
        writer, count = FcvWriter(file), 0
        began = time.process_time()
        for frame in reader.frames():
            count += 1
            for packet in encoder.encode(frame):
                writer.write(packet)
        for packet in encoder.flush():
            writer.write(packet)
        writer.close()
        took = time.process_time() - began
    return {"cpu_s": took, "stages_ms": _stages("encode", encoder.timings, count)}


def decode(stream: Path, frames: Path, generator: Any) -> dict[str, Any]:
    """Decode a file, and write pictures as they come, so that memory is the decoder's own.

    Returns:
        As :func:`encode`, and ``shape``: [T, H, W, 3]. The time that writing takes is left out.

    Raises:
        FacecodecError: the stream or the weights are damaged, or pictures change their size.
    """
    decoder = Decoder(DecoderConfig(generator=generator, speed=_SPEED))
    with FcvReader(stream) as reader, frames.open("wb") as file, single_threaded():
        written = _Frames(file, stream)
        decoder.take(reader.header)
        began = time.process_time()
        units = (at.unit for at in reader.units())
        for unit in units:
            if not isinstance(unit, StreamHeader | DamagedUnit):
                written.write(decoder.take(unit))
        took = time.process_time() - began - written.took_s
    stages = _stages("decode", decoder.timings, written.count)
    return {"cpu_s": took, "stages_ms": stages, "shape": written.shape}


class _Frames:
    """Pictures of one size, one after another in a file.

    Args:
        file: to write to.
        stream: that they come from, for messages.
    """

    def __init__(self, file: BinaryIO, stream: Path) -> None:
        self._file, self._stream = file, stream
        self._size: tuple[int, ...] = ()
        self.count = 0
        self.took_s = 0.0

    def write(self, frames: Iterable[Frame]) -> None:
        """Write pictures. Raises MediaError where one has another size than those before."""
        began = time.process_time()
        for frame in frames:
            self._size = self._size or frame.pixels.shape
            if frame.pixels.shape != self._size:
                raise MediaError(self._stream, f"shows pictures of {self._size} and of {frame.pixels.shape}")
            self._file.write(np.ascontiguousarray(frame.pixels).data)
            self.count += 1
        self.took_s += time.process_time() - began

    @property
    def shape(self) -> list[int]:
        """Of all of them as one array. Raises MediaError where there is none."""
        if not self.count:
            raise MediaError(self._stream, "shows no picture")
        return [self.count, *self._size]


def _stages(way: str, timings: dict[str, list[float]], frames: int) -> list[tuple[str, float]]:
    """All of each stage's time, spread over the frames, milliseconds."""
    return [
        (f"{way} {name}", math.fsum(seconds) / max(frames, 1) * 1000)
        for name, seconds in timings.items()
        if seconds
    ]


def main(argv: list[str]) -> int:
    """Run; 0, or 1 with the error's message on standard error."""
    way, source, target, how, account = argv
    try:
        if way == "encode":
            found = encode(Path(source), Path(target), json.loads(how))
        else:
            found = decode(Path(source), Path(target), how)
    except FacecodecError as err:
        sys.stderr.write(f"{' '.join(str(err).split())}\n")
        return 1
    Path(account).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
