"""Look at a stream: source, reference picture, decoded frame and their difference, side by side.

    python bench/tiles.py clip.mp4 clip.fcv --out tiles.png
    python bench/tiles.py clip.mp4 clip.fcv --out tiles.png --frames 0,20,40

Without ``--frames`` it shows the three worst frames (mean squared error, at least half a second apart),
three evenly spaced ones, the one with the most closed eyes and the one with the widest mouth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from clips import CodedClip, load_coded, openness, track_clip
from PIL import Image, ImageDraw
from rich.console import Console

from facecodec import FacecodecError
from facecodec.metrics.psnr import psnr

U8Array = npt.NDArray[np.uint8]

LABEL_PX = 16
MARGIN_PX = 120
DIFFERENCE_GAIN = 4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=Path, help="the video that was coded")
    parser.add_argument("stream", type=Path, help="the .fcv that was made of it")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png")
    parser.add_argument("--frames", help="frame numbers, separated by commas")
    parser.add_argument("--limit", type=int, default=0, help="decode this many frames at most (default: all)")
    parser.add_argument("--no-difference", action="store_true", help="leave the difference out")
    parser.add_argument("--force", action="store_true", help="overwrite the picture")
    args = parser.parse_args(argv)
    if args.frames is not None:
        try:
            args.frames = [int(text) for text in args.frames.split(",")]
        except ValueError:
            parser.error(f"--frames takes numbers separated by commas, not {args.frames!r}")
    if args.out.exists() and not args.force:
        parser.error(f"{args.out} exists (--force overwrites it)")
    return args


def worst_frames(source: U8Array, decoded: U8Array, count: int, apart: int) -> list[int]:
    """The frames with the largest mean squared error, at least ``apart`` frames from each other."""
    error = [float(np.square(x.astype(np.float32) - y).mean()) for x, y in zip(source, decoded, strict=True)]
    chosen: list[int] = []
    for index in np.argsort(error)[::-1]:
        if len(chosen) < count and all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    return chosen


def choose_frames(coded: CodedClip) -> dict[int, str]:
    """Frames worth looking at, in order, and why."""
    count = len(coded.source)
    reasons: dict[int, str] = {}
    for i in worst_frames(coded.source, coded.decoded, 3, max(1, round(coded.fps / 2))):
        reasons.setdefault(i, "worst error")
    eyes, mouth = openness(track_clip(coded.source))
    if np.isfinite(eyes).any():
        reasons.setdefault(int(np.nanargmin(eyes)), "eyes closed most")
        reasons.setdefault(int(np.nanargmax(mouth)), "mouth open most")
    for i in (count // 6, count // 2, 5 * count // 6):
        reasons.setdefault(i, "evenly spaced")
    return dict(sorted(reasons.items()))


def tile(coded: CodedClip, frames: dict[int, str], difference: bool = True) -> Image.Image:
    """Draw chosen frames as rows.

    Args:
        coded: the clip.
        frames: frame number to what is written beside it.
        difference: add |source - decoded| x 4.
    """
    height, width = coded.source.shape[1:3]
    columns = ["source", "reference picture", "decoded"]
    columns += [f"difference x {DIFFERENCE_GAIN}"] if difference else []
    sheet = Image.new("RGB", (MARGIN_PX + width * len(columns), LABEL_PX + height * len(frames)), "white")
    draw = ImageDraw.Draw(sheet)
    for c, name in enumerate(columns):
        draw.text((MARGIN_PX + c * width + 4, 2), name, fill="black")
    for r, (index, reason) in enumerate(frames.items()):
        x, still, y = coded.source[index], coded.still[index], coded.decoded[index]
        apart = np.abs(x.astype(np.int16) - y) * DIFFERENCE_GAIN
        pictures = [x, still, y, np.minimum(apart, 255).astype(np.uint8)]
        top = LABEL_PX + r * height
        text = f"frame {index}\n{index / coded.fps:.2f} s\n{psnr(x, y):.1f} dB\n{reason}"
        draw.multiline_text((4, top + 4), text, fill="black")
        for c, picture in enumerate(pictures[: len(columns)]):
            sheet.paste(Image.fromarray(picture), (MARGIN_PX + c * width, top))
    return sheet


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if the picture was written, 1 if the files cannot be used, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        with console.status("decoding"):
            coded = load_coded(args.source, args.stream, args.limit)
    except FacecodecError as err:
        console.print(f"[red]{type(err).__name__}: {err}[/]")
        return 1
    count = len(coded.source)
    if args.frames is not None and not all(0 <= i < count for i in args.frames):
        console.print(f"[red]--frames takes 0 to {count - 1}[/]")
        return 2
    frames = choose_frames(coded) if args.frames is None else dict.fromkeys(args.frames, "")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tile(coded, frames, not args.no_difference).save(args.out)
    console.print(f"{args.out}: frames {', '.join(map(str, frames))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
