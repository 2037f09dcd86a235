"""Clips of a folder with a manifest, and what the codec makes of one of them as arrays.

The source is judged in the codec's own crop: ``facecodec.api.source_crops`` cuts every source frame
with the square that its reference unit in the stream names, so decoded and source pixels coincide and
no other loss is measured.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from facecodec import DecoderConfig, Frame, api
from facecodec.errors import ConfigError, FacecodecError, MediaError
from facecodec.media.reader import VideoReader
from facecodec.types import U8Array


@dataclass(frozen=True, slots=True)
class Clip:
    """One line of a manifest.

    Attributes:
        name: file name without folder and ending.
        path: the video.
        split: such as ``train`` or ``test``.
    """

    name: str
    path: Path
    split: str


@dataclass(frozen=True, slots=True)
class CodedClip:
    """A clip before and after the codec, frame by frame in the codec's crop.

    Attributes:
        source: RGB, [T, H, W, 3] uint8.
        decoded: what the decoder made of the stream, the same shape.
        still: the decoded reference picture that each frame was made from, the same shape.
        fps: frames a second (mean).
    """

    source: U8Array
    decoded: U8Array
    still: U8Array
    fps: float


def read_manifest(
    folder: Path, manifest: Path | None = None, split: str = "test", only: Sequence[str] = ()
) -> list[Clip]:
    """Read the clips of a split.

    Args:
        folder: what the column ``file`` is relative to.
        manifest: CSV with the columns ``file`` and ``split``; ``manifest.csv`` in the folder if None.
        split: which clips; ``all`` for every one.
        only: names of clips; empty for all of the split.

    Raises:
        MediaError: the manifest or a clip is absent, or a column is.
        ConfigError: no clip is left, or a name is not in the split.
    """
    manifest = manifest if manifest is not None else folder / "manifest.csv"
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as err:
        raise MediaError(manifest, str(err)) from err
    if rows and not {"file", "split"} <= rows[0].keys():
        raise MediaError(manifest, "has no columns 'file' and 'split'")
    clips = [
        Clip(Path(row["file"]).stem, folder / row["file"], row["split"])
        for row in rows
        if split in ("all", row["split"])
    ]
    names = {clip.name for clip in clips}
    for name in only:
        if name not in names:
            raise ConfigError("clip", name, f"a clip of split {split}: {', '.join(sorted(names))}")
    clips = [clip for clip in clips if not only or clip.name in only]
    if not clips:
        raise ConfigError("split", split, f"a split of {manifest} that holds a clip")
    for clip in clips:
        if not clip.path.is_file():
            raise MediaError(clip.path, f"named by {manifest} but not there")
    return clips


def each_clip(
    clips: Iterable[Clip],
    measure: Callable[[Clip], dict[str, Any]],
    short: Callable[[dict[str, Any]], object],
    console: Console,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Measure clips one after the other; what fails is named, and the others go on.

    Args:
        clips: which.
        measure: gives what is kept of a clip; a FacecodecError fails this clip alone.
        short: what is printed of it.
        console: where.

    Returns:
        What is kept of the clips that were measured, and name and reason of those that failed.
    """
    lines: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for clip in clips:
        try:
            lines.append(measure(clip))
            console.print(f"{clip.name}: {short(lines[-1])}", highlight=False)
        except FacecodecError as err:
            failed.append({"clip": clip.name, "failed": f"{type(err).__name__}: {err}"})
            console.print(f"{clip.name}: {failed[-1]['failed']}", highlight=False)
    return lines, failed


def frame_rate(path: Path) -> Fraction:
    """Mean frame rate of a video as its container gives it.

    Raises:
        MediaError: not a video.
    """
    with VideoReader(path) as reader:
        return reader.info.frame_rate


def duration_of(path: Path, frames: int) -> float | None:
    """Seconds that hold exactly so many frames of a video; None (all of it) for 0 frames."""
    return float((frames - Fraction(1, 2)) / frame_rate(path)) if frames else None


def _paired(streams: dict[str, Iterable[Frame]]) -> Iterator[tuple[Frame, ...]]:
    """Frames of several streams side by side; their number and times have to agree."""
    start: list[float] | None = None
    for index, row in enumerate(zip_longest(*streams.values())):
        for name, frame in zip(streams, row, strict=True):
            if frame is None:
                raise MediaError(name, f"ends before frame {index}, which another stream has")
        times = [frame.time_s for frame in row]
        start = times if start is None else start
        since = [now - first for now, first in zip(times, start, strict=True)]
        if max(since) - min(since) > 0.02:
            raise MediaError(", ".join(streams), f"frame {index} lies at {since} s from the first")
        yield row


def load_coded(source: Path, stream: Path, frames: int = 0, config: DecoderConfig | None = None) -> CodedClip:
    """Decode a stream in its crop and put the source's and the reference's pixels beside it.

    Args:
        source: the video that was coded.
        stream: the ``.fcv`` that was made of it.
        frames: how many frames at most; 0 for all.
        config: of the decoder, with ``view="crop"``; its default generator if None.

    Raises:
        MediaError: source and stream do not hold the same frames, or the crop changes its size.
        FacecodecError: what reading either raises.
    """
    config = config or DecoderConfig(view="crop")
    decoded = list(islice(api.decode_frames(stream, config), frames or None))
    count = len(decoded)  # the source may be longer than the stream, never the other way round
    rows = list(
        _paired(
            {
                str(stream): decoded,
                str(source): islice(api.source_crops(source, stream), count),
                f"{stream} (reference pictures)": islice(api.reference_crops(stream), count),
            }
        )
    )
    if len({frame.pixels.shape for row in rows for frame in row}) != 1:
        raise MediaError(stream, "the crop changes its size, or holds no frame")
    made, original, still = (np.stack([frame.pixels for frame in lane]) for lane in zip(*rows, strict=True))
    span = rows[-1][0].time_s - rows[0][0].time_s
    fps = (count - 1) / span if count > 1 and span > 0 else float(frame_rate(source))
    return CodedClip(source=original, decoded=made, still=still, fps=fps)


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which clips are measured, and how much of each."""
    parser.add_argument("--data", type=Path, required=True, help="folder that the manifest's files are in")
    parser.add_argument("--manifest", type=Path, help="default: DATA/manifest.csv")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--clip", action="append", default=[], help="only this clip (may be repeated)")
    parser.add_argument(
        "--frames", type=int, default=250, help="frames of each clip, 0 for all (default: 250)"
    )
