"""The demo: the sample clip encoded, decoded, and set beside its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

import facecodec
from facecodec.api import decode_file, encode_file
from facecodec.cli import report
from facecodec.config import DecoderConfig, EncoderConfig
from facecodec.errors import MediaError
from facecodec.media import VideoReader, VideoWriter, synthetic_mark
from facecodec.types import Frame, U8Array

SAMPLE = "talking_head.mp4"
LABEL_HEIGHT = 32


def find_sample() -> Path:
    """The sample clip of the source repository that this package is imported from.

    Raises:
        MediaError: the package was installed without the repository.
    """
    path = Path(facecodec.__file__).resolve().parents[1] / "samples" / SAMPLE
    if not path.is_file():
        raise MediaError(
            path, "no sample clip here: it comes with the source repository; name another with --clip"
        )
    return path


def run_demo(clip: Path | None, folder: Path, duration_s: float | None, config: DecoderConfig) -> None:
    """Make ``<clip>.fcv``, ``<clip>.mp4`` and ``side_by_side.mp4`` in ``folder`` and show the rates.

    Args:
        clip: source video; None takes the sample.
        folder: where the results go; made if absent.
        duration_s: seconds of the clip to take; None takes all.
        config: of the decoder; its device and threads are the encoder's too.

    Raises:
        FacecodecError: whatever encoding or decoding raises.
    """
    source = find_sample() if clip is None else clip
    folder.mkdir(parents=True, exist_ok=True)
    stream, decoded = folder / f"{source.stem}.fcv", folder / f"{source.stem}.mp4"
    if decoded.exists() and source.exists() and decoded.samefile(source):
        raise MediaError(decoded, "is the demo's own input; choose another --out")
    both = folder / "side_by_side.mp4"
    with report.progress_bars("encoding") as (show,):
        coded = encode_file(
            source,
            stream,
            EncoderConfig(),
            config.speed,
            overwrite=True,
            duration_s=duration_s,
            on_progress=show,
        )
    with report.progress_bars("decoding") as (show,):
        made = decode_file(stream, decoded, config, overwrite=True, on_progress=show)
    rate = report.kbps(coded.bytes, coded.seconds)
    labels = ("source", f"facecodec {rate:.1f} kbit/s")
    side_by_side(source, decoded, both, labels, generator=made.generator)

    console = Console()
    console.print(
        report.rate_table(f"{source.name}, {coded.seconds:.2f} s", coded.section_bytes, coded.seconds)
    )
    for what, path in (("source", source), ("stream", stream), ("decoded", decoded), ("side by side", both)):
        console.print(f"{what:>12}  {path} ({path.stat().st_size} bytes)", soft_wrap=True, highlight=False)
    console.print(f"{'generator':>12}  {made.generator}", highlight=False)


def side_by_side(left: Path, right: Path, out: Path, labels: tuple[str, str], *, generator: str) -> None:
    """Write two clips beside each other, each under its label, without sound.

    Args:
        left: clip whose height is kept.
        right: clip with the same frames, scaled to that height; it may end earlier.
        out: H.264 file to write.
        labels: text above the left and the right picture.
        generator: what made the right clip, for the mark in the file's metadata.

    Raises:
        MediaError: a clip cannot be read, or ``out`` cannot be written.
    """
    with VideoReader(left) as a, VideoReader(right) as b:
        pairs = zip(a.frames(), b.frames(), strict=False)
        pictures = _joined(pairs, labels)
        first = next(pictures, None)
        if first is None:
            raise MediaError(left, "no frames")
        height, width = first.pixels.shape[:2]
        mark = synthetic_mark(generator)
        with VideoWriter(
            out,
            width,
            height,
            first.time_base,
            frame_rate=a.info.frame_rate,
            crf=18,
            metadata=mark,
            overwrite=True,
        ) as writer:
            writer.write(first)
            for picture in pictures:
                writer.write(picture)


def _joined(pairs: Iterator[tuple[Frame, Frame]], labels: tuple[str, str]) -> Iterator[Frame]:
    for one, two in pairs:
        height = one.pixels.shape[0] // 2 * 2
        tiles = [_tile(one.pixels, height, labels[0]), _tile(two.pixels, height, labels[1])]
        yield Frame(np.concatenate(tiles, axis=1), one.pts, one.time_base)


def _tile(pixels: U8Array, height: int, label: str) -> U8Array:
    """``pixels`` at an even size of ``height``, under a black bar with ``label`` in white."""
    width = round(pixels.shape[1] * height / pixels.shape[0] / 2) * 2
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    bar = np.zeros((LABEL_HEIGHT, width, 3), dtype=np.uint8)
    cv2.putText(bar, label, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([bar, pixels], axis=0)
