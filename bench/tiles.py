"""Look at streams: source, reference picture, decoded frame and their difference, side by side.

    python bench/tiles.py clip.mp4 clip.fcv --out tiles.png
    python bench/tiles.py clip.mp4 clip.fcv --out tiles.png --frames 0,20,40
    python bench/tiles.py --data FOLDER --generators still,warp-0,lite --auto-moments --out FOLDER

Without ``--frames`` it shows the three worst frames (mean squared error, at least half a second apart),
three evenly spaced ones, the one with the most closed eyes and the one with the widest mouth; with
``--auto-moments`` the most closed eyes, the widest mouth and the largest turn of the head. With ``--data``
every clip of the split is coded as ``generators.py`` does it and gives a picture in the folder ``--out``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from clips import Clip, CodedClip, read_manifest
from PIL import Image, ImageDraw
from rich.console import Console
from streams import coded_stream
from variants import BASELINE, STILL, ClipBench, Settings, Variant, choose_variants

from facecodec import EncoderConfig, FacecodecError
from facecodec.benchmark.tracking import openness, track_clip
from facecodec.metrics.psnr import psnr
from facecodec.track.quality import frontalness

U8Array = npt.NDArray[np.uint8]
F32Array = npt.NDArray[np.float32]

LABEL_PX = 16
MARGIN_PX = 120
DIFFERENCE_GAIN = 4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=Path, nargs="?", help="the video that was coded")
    parser.add_argument("stream", type=Path, nargs="?", help="the .fcv that was made of it")
    parser.add_argument("--data", type=Path, help="take the clips of this folder instead")
    parser.add_argument("--split", default="test", help="with --data (default: test)")
    parser.add_argument("--clip", action="append", default=[], help="with --data: only this clip")
    parser.add_argument("--size", type=int, default=EncoderConfig().size, help="with --data: coded size")
    parser.add_argument(
        "--out", type=Path, required=True, help="picture to write, .png; a folder with --data"
    )
    parser.add_argument("--frames", help="frame numbers, separated by commas")
    parser.add_argument("--auto-moments", action="store_true", help="most closed eyes, widest mouth, turn")
    parser.add_argument("--limit", type=int, default=0, help="decode this many frames at most (default: all)")
    parser.add_argument(
        "--generators", help="columns: still, warp-0, lite, base (default: what decode takes)"
    )
    parser.add_argument("--weights", type=Path, action="append", default=[], help="a column for this file")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="of the decoder (default: 1)")
    parser.add_argument("--no-difference", action="store_true", help="leave the difference out")
    parser.add_argument("--force", action="store_true", help="overwrite the picture")
    args = parser.parse_args(argv)
    if args.frames is not None:
        try:
            args.frames = [int(text) for text in args.frames.split(",")]
        except ValueError:
            parser.error(f"--frames takes numbers separated by commas, not {args.frames!r}")
    if (args.data is None) == (args.stream is None):
        parser.error("give a source and its stream, or --data")
    if args.data is None and args.out.exists() and not args.force:
        parser.error(f"{args.out} exists (--force overwrites it)")
    return args


def columns_of(args: argparse.Namespace) -> list[Variant]:
    """What is shown beside the source, in order."""
    if args.generators is None and not args.weights:
        return [Variant(STILL, STILL), Variant("decoded", "auto")]
    names = (args.generators or "").split(",")
    found = choose_variants(args.generators or "", args.weights)
    order = {name: i for i, name in enumerate(names)}
    found = [v for v in found if v.name != BASELINE or BASELINE in names]
    return sorted(found, key=lambda v: order.get(v.name, len(order)))


def worst_frames(source: U8Array, decoded: U8Array, count: int, apart: int) -> list[int]:
    """The frames with the largest mean squared error, at least ``apart`` frames from each other."""
    error = [float(np.square(x.astype(np.float32) - y).mean()) for x, y in zip(source, decoded, strict=True)]
    chosen: list[int] = []
    for index in np.argsort(error)[::-1]:
        if len(chosen) < count and all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    return chosen


def moments(track: F32Array, turn: bool = True) -> dict[int, str]:
    """Frames that say most about a face, in order, and why.

    Args:
        track: landmarks of the source, [T, 478, 3]; NaN where no face is seen.
        turn: also the frame in which the head is turned farthest from where it mostly looks.
    """
    eyes, mouth = openness(track)
    seen = np.flatnonzero(np.isfinite(eyes))
    if len(seen) == 0:
        return {}
    found = [(int(np.nanargmin(eyes)), "eyes closed most"), (int(np.nanargmax(mouth)), "mouth open most")]
    if turn:
        heads = [frontalness(track[i]) for i in seen]
        angles = np.array([(head.yaw, head.pitch) for head in heads])
        away = np.linalg.norm(angles - np.median(angles, axis=0), axis=1)
        found.append((int(seen[away.argmax()]), "turned most"))
    reasons: dict[int, str] = {}
    for index, reason in sorted(found):
        reasons[index] = f"{reasons[index]}\n{reason}" if index in reasons else reason
    return reasons


def choose_frames(coded: CodedClip, shown: U8Array, track: F32Array) -> dict[int, str]:
    """Frames worth looking at, in order, and why."""
    count = len(coded.source)
    reasons: dict[int, str] = {}
    for i in worst_frames(coded.source, shown, 3, max(1, round(coded.fps / 2))):
        reasons.setdefault(i, "worst error")
    reasons = {**moments(track, turn=False), **reasons}
    for i in (count // 6, count // 2, 5 * count // 6):
        reasons.setdefault(i, "evenly spaced")
    return dict(sorted(reasons.items()))


def tile(
    source: U8Array, shown: Mapping[str, U8Array], frames: dict[int, str], fps: float, difference: bool = True
) -> Image.Image:
    """Draw chosen frames as rows.

    Args:
        source: [T, H, W, 3].
        shown: title of a column to its frames, the source's shape.
        frames: frame number to what is written beside it.
        fps: frames a second.
        difference: add |source - last column| x 4.
    """
    height, width = source.shape[1:3]
    titles = ["source", *shown] + [f"difference x {DIFFERENCE_GAIN}"] * difference
    sheet = Image.new("RGB", (MARGIN_PX + width * len(titles), LABEL_PX + height * len(frames)), "white")
    draw = ImageDraw.Draw(sheet)
    for c, name in enumerate(titles):
        draw.text((MARGIN_PX + c * width + 4, 2), name, fill="black")
    for r, (index, reason) in enumerate(frames.items()):
        pictures = [source[index], *(column[index] for column in shown.values())]
        apart = np.abs(pictures[0].astype(np.int16) - pictures[-1]) * DIFFERENCE_GAIN
        pictures += [np.minimum(apart, 255).astype(np.uint8)] * difference
        top = LABEL_PX + r * height
        figures = "\n".join(
            f"{psnr(source[index], column[index]):.1f} dB {name}"[:18] for name, column in shown.items()
        )
        text = f"frame {index}\n{index / fps:.2f} s\n{reason}\n{figures}"
        draw.multiline_text((4, top + 4), text, fill="black")
        for c, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (MARGIN_PX + c * width, top))
    return sheet


def draw_clip(source: Path, stream: Path, out: Path, args: argparse.Namespace) -> list[int]:
    """Write the picture of a clip.

    Returns:
        The frames on it.

    Raises:
        FacecodecError: source, stream or weights cannot be used.
        IndexError: a frame was asked for that is not there.
    """
    bench = ClipBench(
        source, stream, Settings(args.limit, no_lpips=True, device=args.device, threads=args.threads)
    )
    coded = bench.coded
    shown = {variant.name: bench.decode(variant).frames for variant in columns_of(args)}
    count = len(coded.source)
    if args.frames is not None:
        if not all(0 <= i < count for i in args.frames):
            raise IndexError(f"--frames takes 0 to {count - 1}")
        frames = dict.fromkeys(args.frames, "")
    else:
        track = track_clip(coded.source)
        last = list(shown.values())[-1]
        frames = moments(track) if args.auto_moments else choose_frames(coded, last, track)
    out.parent.mkdir(parents=True, exist_ok=True)
    tile(coded.source, shown, frames, coded.fps, not args.no_difference).save(out)
    return list(frames)


def _stream_of(clip: Clip, args: argparse.Namespace) -> Path:
    config = EncoderConfig(size=args.size, view="crop", audio_bps=0)
    return coded_stream(clip, config, args.limit, args.out / "cache")


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if all was written, 1 if files cannot be used, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        if args.data is None:
            frames = draw_clip(args.source, args.stream, args.out, args)
            console.print(f"{args.out}: frames {', '.join(map(str, frames))}")
            return 0
        for clip in read_manifest(args.data, None, args.split, args.clip):
            out = args.out / f"{clip.name}.png"
            if args.force or not out.exists():
                frames = draw_clip(clip.path, _stream_of(clip, args), out, args)
                console.print(f"{out}: frames {', '.join(map(str, frames))}")
    except FacecodecError as err:
        console.print(f"[red]{type(err).__name__}: {err}[/]")
        return 1
    except IndexError as err:
        console.print(f"[red]{err}[/]")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
