"""Bits of motion a frame against point error over QP, for every clip of a split.

    python bench/motion_rd.py --data FOLDER --split test --out bench/results/motion_rd.json

Only the motion of the mesh is coded (no pictures): the track is smoothed as for files and cut as the
encoder cuts it. A plot is written beside the result. The default QP is marked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from clips import Clip, add_clip_arguments, read_manifest
from report import cell, facts, markdown_table, mean, write_json
from rich.console import Console
from rich.progress import Progress

from facecodec import FacecodecError, api
from facecodec.config import QP_DEFAULT, QP_MAX, QP_MIN
from facecodec.errors import NoFaceError
from facecodec.media.reader import VideoReader
from facecodec.track.crop import choose_crop
from facecodec.track.smooth import smooth_zero_phase
from facecodec.track.tracker import MeshTracker
from facecodec.types import F32Array

CODED_SIZE = 256


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--qp", default="8,12,16,20,24,28,32,36,40", help="QPs, separated by commas")
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .png and .md beside it")
    args = parser.parse_args(argv)
    try:
        args.qps = sorted({int(text) for text in args.qp.split(",")} | {QP_DEFAULT})
    except ValueError:
        parser.error(f"--qp takes numbers separated by commas, not {args.qp!r}")
    if not QP_MIN <= args.qps[0] <= args.qps[-1] <= QP_MAX:
        parser.error(f"--qp takes numbers from {QP_MIN} to {QP_MAX}")
    return args


def crop_track(path: Path, frames: int = 0) -> tuple[F32Array, float]:
    """Track a clip as the encoder does: smoothed without delay, in units of one fixed crop.

    Args:
        path: a video.
        frames: how many frames at most; 0 for all.

    Returns:
        [T, 478, 3] crop units and the frame rate. A frame without a face repeats the one before it;
        frames before the first face are left out.

    Raises:
        NoFaceError: no face in the whole clip.
        MediaError: not a video.
    """
    tracker = MeshTracker(threads=1)
    points, valid = [], []
    with VideoReader(path) as reader:
        width, height, fps = reader.info.width, reader.info.height, float(reader.info.frame_rate)
        for index, frame in enumerate(reader.frames()):
            if frames and index >= frames:
                break
            face = tracker.track(frame.pixels)
            valid.append(face is not None)
            points.append(face.points if face is not None else np.zeros((478, 3), np.float32))
    seen = np.array(valid)
    if not seen.any():
        raise NoFaceError(path, "no face in the whole clip")
    smooth = smooth_zero_phase(np.stack(points), seen)
    first = int(np.argmax(seen))
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), 0))[first:]
    crop = choose_crop(smooth[seen], 0, width, height, CODED_SIZE)
    return crop.to_crop(smooth[latest]), fps


def sweep(clip: Clip, args: argparse.Namespace) -> dict[str, Any]:
    """Rate and error of a clip at every QP."""
    points, fps = crop_track(clip.path, args.frames)
    curve = []
    for qp in args.qps:
        bits, rms_px = api.code_track(points, fps, qp)
        curve.append({"qp": qp, "bits_per_frame": bits, "rms_px": rms_px})
    return {"clip": clip.name, "frames": len(points), "fps": fps, "curve": curve}


def mean_curve(results: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Mean over clips of rate and error at each QP."""
    return [
        {
            "qp": column[0]["qp"],
            "bits_per_frame": float(np.mean([p["bits_per_frame"] for p in column])),
            "rms_px": float(np.mean([p["rms_px"] for p in column])),
        }
        for column in zip(*(r["curve"] for r in results), strict=True)
    ]


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """One line a clip, the mean in black, the default QP marked."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5), dpi=110, layout="constrained")
    colours = pyplot.get_cmap("turbo")(np.linspace(0.05, 0.95, len(results)))
    for result, colour in zip(results, colours, strict=True):
        curve = result["curve"]
        axes.plot(
            [p["bits_per_frame"] for p in curve],
            [p["rms_px"] for p in curve],
            lw=1,
            marker=".",
            color=colour,
            label=result["clip"],
        )
    curve = mean_curve(results)
    axes.plot(
        [p["bits_per_frame"] for p in curve],
        [p["rms_px"] for p in curve],
        "k",
        lw=2.5,
        marker="o",
        ms=4,
        label="mean",
    )
    default = next(p for p in curve if p["qp"] == QP_DEFAULT)
    axes.plot(
        default["bits_per_frame"],
        default["rms_px"],
        "kD",
        ms=10,
        mfc="none",
        label=f"default QP {QP_DEFAULT}",
    )
    axes.set(
        xscale="log", xlabel="bits of face motion a frame", ylabel="RMS point error, pixels at 256 x 256"
    )
    for part in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        part("{x:g}")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize=7, ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every clip was measured, 1 if one failed, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
    except FacecodecError as err:
        console.print(f"[red]{err}[/]")
        return 2
    results, failed = [], {}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("clips", total=len(clips))
        for clip in clips:
            progress.update(task, description=clip.name)
            try:
                results.append(sweep(clip, args))
            except FacecodecError as err:
                failed[clip.name] = f"{type(err).__name__}: {err}"
                console.print(f"[red]{clip.name}: {failed[clip.name]}[/]")
            progress.advance(task)
    if not results:
        return 1
    curve = mean_curve(results)
    settings = {"split": args.split, "frames": args.frames, "default_qp": QP_DEFAULT}
    data = {"facts": facts(), "settings": settings, "failed": failed, "mean": curve, "clips": results}
    write_json(args.out, data)
    plot(results, args.out.with_suffix(".png"))
    rows = [[str(p["qp"]), cell(p["bits_per_frame"], 1), cell(p["rms_px"], 3)] for p in curve]
    text = (
        f"Mean over {len(results)} clips, {cell(mean([float(r['frames']) for r in results]), 0)} frames.\n\n"
    )
    text += markdown_table(["QP", "bits a frame", "RMS error, px at 256"], rows)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
