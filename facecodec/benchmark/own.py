"""This codec in the benchmark: its settings, its streams, what they are shown with.

Coding and decoding run in a process of their own (:mod:`facecodec.benchmark.own_process`), so that memory and
processor time are theirs alone.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import facecodec
from facecodec import api
from facecodec.benchmark.digests import ENCODER_MODULES, LEARNED_MODULES, WARP_MODULES, import_digest, key_of
from facecodec.benchmark.ffmpeg import run_measured
from facecodec.benchmark.results import PartBytes
from facecodec.bitstream import MAGIC, StreamHeader, pack_unit
from facecodec.config import QUALITY_DEFAULT, EncoderConfig
from facecodec.container.fcv import FcvReader
from facecodec.errors import MediaError
from facecodec.generator.select import load_generator, pick_device
from facecodec.types import U8Array

OWN, WARP, STILL = "facecodec", "facecodec-warp-0", "still"
CURVES = (OWN, WARP, STILL)
"""Curves that one stream gives: the default generator, warping alone, the reference picture repeated."""

BASELINES = (WARP, STILL)
"""What only measures the worth of parts of this codec: no codec that people would use instead."""

SETTINGS: dict[str, dict[str, Any]] = {
    f"quality {quality}": {"quality": quality} for quality in (15, 35, QUALITY_DEFAULT, 80)
}
"""What is swept: label to fields of ``EncoderConfig``, cheapest first."""


_COST_RULE = 2
"""Raised when time or memory are measured otherwise, so that older figures are not taken."""


@dataclass(frozen=True, slots=True)
class OwnCost:
    """What coding or decoding took.

    Attributes:
        cpu_s: seconds of processor time.
        peak_mib: highest resident memory.
        stages_ms: stage, all of its time spread over the frames, milliseconds.
    """

    cpu_s: float
    peak_mib: float
    stages_ms: tuple[tuple[str, float], ...]


def encoder_config(label: str, size: int) -> EncoderConfig:
    """Settings of a point: the whole square, without sound."""
    whole: Any = size
    return EncoderConfig(size=whole, view="frame", audio_bps=0, **SETTINGS[label])


def command_line(label: str, size: int, curve: str) -> str:
    """The same as commands of ``facecodec``."""
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in SETTINGS[label].items())
    text = f"facecodec encode clip.avi clip.fcv --size {size} --audio none {options}"
    if curve == STILL:
        return f"{text}; its reference pictures, repeated"
    return f"{text}; facecodec decode clip.fcv clip.mp4 --generator {_generator(curve)}"


def _generator(curve: str) -> str:
    return "warp-0" if curve == WARP else "auto"


@lru_cache(maxsize=4)
def generator_name(curve: str) -> str:
    """Generator that shows a curve on a processor, with the id of its weights.

    Raises:
        WeightsError: its weights are damaged.
    """
    return "" if curve == STILL else load_generator(_generator(curve), pick_device("cpu")).name


def version(curve: str) -> str:
    """Version of the codec and the generator of a curve."""
    return " ".join(part for part in (f"facecodec {facecodec.__version__}", generator_name(curve)) if part)


def stream_key(clip_digest: str, label: str, size: int) -> str:
    """What a stream depends on."""
    config = encoder_config(label, size)
    return key_of("stream", clip_digest, config, import_digest(ENCODER_MODULES), _COST_RULE)


def picture_key(curve: str) -> str:
    """What the pictures of a curve depend on besides the stream."""
    if curve == STILL:
        return STILL
    modules = WARP_MODULES if generator_name(curve) == "warp-0" else LEARNED_MODULES
    return key_of(generator_name(curve), import_digest(modules))


def encode(clip: Path, label: str, size: int, stream: Path) -> OwnCost:
    """Code a clip.

    Raises:
        MediaError: the coding process failed; the message has its last line.
    """
    return _run(["encode", str(clip), str(stream), json.dumps(_plain(encoder_config(label, size)))])[0]


def decode(stream: Path, curve: str) -> tuple[U8Array, OwnCost]:
    """Show a stream as a curve does.

    Returns:
        RGB, [T, S, S, 3] uint8, and what it took.

    Raises:
        MediaError: the decoding process failed, or pictures change their size.
        BitstreamError: the stream is damaged.
    """
    if curve == STILL:
        return _still(stream), OwnCost(0.0, 0.0, ())
    with TemporaryDirectory(prefix="facecodec-bench-") as folder:
        frames = Path(folder) / "frames.rgb"
        cost, told = _run(["decode", str(stream), str(frames), _generator(curve)])
        return np.fromfile(frames, np.uint8).reshape(told["shape"]), cost


def _still(stream: Path) -> U8Array:
    info = api.probe(stream)
    frames = [frame.pixels for frame in api.reference_crops(stream)]
    if info.coded_size != info.width or {frame.shape for frame in frames} != {frames[0].shape}:
        raise MediaError(stream.name, "the reference picture shows a part of the square alone")
    return np.stack(frames)


def _plain(config: EncoderConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name != "model_id"}


def _run(arguments: list[str]) -> tuple[OwnCost, dict[str, Any]]:
    """Run the process; its cost, and all that it told."""
    root = str(Path(facecodec.__file__).resolve().parents[1])
    before = os.environ.get("PYTHONPATH")
    with TemporaryDirectory(prefix="facecodec-bench-") as folder:
        account = Path(folder) / "account.json"
        path = root if not before else os.pathsep.join((root, before))
        command = [sys.executable, "-m", "facecodec.benchmark.own_process", *arguments, str(account)]
        run = run_measured(command, Path(folder), "facecodec", {"PYTHONPATH": path})
        told = json.loads(account.read_text(encoding="utf-8"))
    return OwnCost(told["cpu_s"], run.peak_mib, tuple((name, ms) for name, ms in told["stages_ms"])), told


def part_bytes(stream: Path) -> PartBytes:
    """Where the bytes of a stream went; they sum to its size.

    Raises:
        BitstreamError: the stream is damaged.
    """
    spent = api.probe(stream).section_bytes
    return PartBytes(
        reference=spent["reference"],
        backdrop=spent["backdrop"],
        palette=spent["palette"],
        face=spent["face"],
        scene=spent["scene"],
        framing=spent["header"] + spent["index"] + spent["audio"],
    )


def still_bytes(stream: Path) -> PartBytes:
    """What the reference pictures alone need: them, their backdrops and the header.

    Raises:
        BitstreamError: the stream is damaged.
    """
    parts = part_bytes(stream)
    with FcvReader(stream) as reader:
        header: StreamHeader = reader.header
    return PartBytes(
        reference=parts.reference, backdrop=parts.backdrop, framing=len(MAGIC) + len(pack_unit(header))
    )
