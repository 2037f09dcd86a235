"""Code or decode a clip in this process and say what it took; see :mod:`facecodec.benchmark.own`.

    python -m facecodec.benchmark.own_process encode CLIP STREAM CONFIG ACCOUNT
    python -m facecodec.benchmark.own_process decode STREAM FRAMES GENERATOR ACCOUNT

CONFIG are fields of ``EncoderConfig`` as JSON; FRAMES is an ``.npy`` to write, ACCOUNT a JSON to write.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from facecodec.bitstream import StreamHeader
from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.container.fcv import DamagedUnit, FcvReader, FcvWriter
from facecodec.decoder import Decoder
from facecodec.encoder import Encoder
from facecodec.errors import FacecodecError
from facecodec.generator.workers import single_threaded
from facecodec.media.reader import VideoReader

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
    """Decode a file to an array.

    Returns:
        As :func:`encode`.

    Raises:
        FacecodecError: the stream or the weights are damaged.
    """
    decoder = Decoder(DecoderConfig(generator=generator, speed=_SPEED))
    with FcvReader(stream) as reader, single_threaded():
        decoder.take(reader.header)
        began = time.process_time()
        units = (at.unit for at in reader.units())
        coded = (unit for unit in units if not isinstance(unit, StreamHeader | DamagedUnit))
        shown = [frame.pixels for unit in coded for frame in decoder.take(unit)]
        took = time.process_time() - began
    np.save(frames, np.stack(shown))
    return {"cpu_s": took, "stages_ms": _stages("decode", decoder.timings, len(shown))}


def _stages(way: str, timings: dict[str, list[float]], frames: int) -> list[tuple[str, float]]:
    """Median time of each stage's calls, spread over the frames, milliseconds."""
    return [
        (f"{way} {name}", float(np.median(seconds)) * len(seconds) / max(frames, 1) * 1000)
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
