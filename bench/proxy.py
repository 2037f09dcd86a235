"""How well the encoder knows what a viewer will see: its cheap distance against LPIPS, its forecast.

    python bench/proxy.py --data FOLDER --split train --fit --frames 100 --sample 6    # prints the weights
    python bench/proxy.py --data FOLDER --split val --frames 120 --out bench/results/proxy.json

Clips are coded with ``preset=best``, which decodes and compares every frame, and with ``balanced``, which
does so with some and foretells the others. LPIPS-alex is taken of the decoded file, every ``--every`` frames.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from clips import Clip, add_clip_arguments, load_coded, read_manifest
from report import cell, facts, markdown_table, write_json
from rich.console import Console
from rich.progress import Progress
from scipy.optimize import nnls
from scipy.stats import pearsonr, spearmanr

from facecodec import DecoderConfig, Encoder, EncoderConfig, FacecodecError, SpeedConfig
from facecodec.analysis.quality import Departure, foretell
from facecodec.container import FcvWriter
from facecodec.generator.workers import single_threaded
from facecodec.media.reader import VideoReader
from facecodec.metrics.landmark import Box, expression_boxes
from facecodec.metrics.perceptual import Lpips
from facecodec.metrics.psnr import psnr_y
from facecodec.metrics.ssim import ssim_y
from facecodec.monitor import FrameStats
from facecodec.track.tracker import MeshTracker
from facecodec.types import F64Array, U8Array

REGIONS = ("whole", "eyes", "mouth")
MEASURES = ("distance", "1 - SSIM-Y", "-PSNR-Y")


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that was compared with its source.

    Attributes:
        clip: name of its clip.
        region: one of :data:`REGIONS`.
        lpips: LPIPS-alex.
        figures: the cheap measures, in the order of :data:`MEASURES`.
    """

    clip: str
    region: str
    lpips: float
    figures: tuple[float, ...]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--every", type=int, default=8, help="LPIPS of every so many frames (default: 8)")
    parser.add_argument("--sample", type=int, default=1, help="of the clips take every so many (default: 1)")
    parser.add_argument("--fit", action="store_true", help="fit the weights of the forecast, no LPIPS")
    parser.add_argument("--out", type=Path, help="result file, .json; .md beside it")
    args = parser.parse_args(argv)
    if not args.fit and args.out is None:
        parser.error("--out is missing")
    return args


def coded(
    clip: Clip, frames: int, preset: Literal["realtime", "balanced", "best"], stream: Path
) -> list[FrameStats]:
    """Code a clip into a file; what the encoder says of its frames."""
    stats: list[FrameStats] = []
    config = EncoderConfig(view="crop", audio_bps=0, preset=preset)
    encoder = Encoder(config, SpeedConfig(device="cpu", threads=1), on_frame=stats.append)
    with VideoReader(clip.path) as reader, stream.open("wb") as file, FcvWriter(file) as writer:
        for frame in islice(reader.frames(), frames or None):
            for packet in encoder.encode(frame):
                writer.write(packet)
        for packet in encoder.flush():
            writer.write(packet)
    return stats


def forecast(stats: list[FrameStats]) -> F64Array:
    """Foretold distances, [T, 3], of the frames that show a face."""
    known = [s.quality for s in stats if s.quality is not None]
    return np.concatenate(
        [foretell(q.still, Departure(*(np.array([value]) for value in q.departure))) for q in known]
    )


def distances(stats: list[FrameStats]) -> F64Array:
    """The encoder's distances, [T, 3], of the same frames."""
    return np.array([s.quality.distances for s in stats if s.quality is not None])


def figures(source: U8Array, decoded: U8Array, box: Box | None, distance: float) -> tuple[float, ...]:
    """The cheap measures of a region of a frame."""
    x, y = (p if box is None else box.cut(p) for p in (source, decoded))
    return distance, 1 - ssim_y(x, y), -psnr_y(x, y)


def look(clip: Clip, stream: Path, stats: list[FrameStats], every: int, lpips: Lpips) -> list[Seen]:
    """Compare frames of a decoded file with their sources."""
    config = DecoderConfig(view="crop", generator="warp-0", speed=SpeedConfig(device="cpu", threads=1))
    pictures = load_coded(clip.path, stream, 0, config)
    tracker = MeshTracker(threads=1)
    out = []
    for i in range(every // 2, len(stats), every):
        quality, x, y = stats[i].quality, pictures.source[i], pictures.decoded[i]
        face = tracker.track(x)
        if quality is None or face is None:
            continue
        boxes = expression_boxes(face.points[:, :2] / len(x), len(x), len(x))
        for region, box, distance in zip(REGIONS, (None, *boxes), quality.distances, strict=True):
            a, b = (p if box is None else box.cut(p) for p in (x, y))
            out.append(Seen(clip.name, region, lpips.distance(a, b), figures(x, y, box, distance)))
    return out


def correlation(x: F64Array, y: F64Array, clips: list[str]) -> dict[str, float]:
    """Spearman and Pearson over all frames, and the mean of Spearman within clips."""
    names = np.array(clips)
    within = [spearmanr(x[names == n], y[names == n])[0] for n in sorted(set(clips)) if sum(names == n) > 5]
    return {
        "spearman": float(spearmanr(x, y)[0]),
        "pearson": float(pearsonr(x, y)[0]),
        "spearman_within_clips": float(np.nanmean(within)),
    }


def fit(stats: list[list[FrameStats]]) -> F64Array:
    """Weights of the forecast, [3, 7]: non-negative least squares, every clip heard equally."""
    rows = [[s.quality for s in clip if s.quality is not None] for clip in stats]
    weights = []
    for r in range(len(REGIONS)):
        left, right = [], []
        for clip in rows:
            left += [np.array([q.still[r], *q.departure]) / len(clip) ** 0.5 for q in clip]
            right += [q.distances[r] / len(clip) ** 0.5 for q in clip]
        weights.append(nnls(np.array(left), np.array(right))[0])
    return np.array(weights)


def summary(result: dict[str, Any]) -> str:
    """The correlations as Markdown."""
    text = ""
    for title, part in result["correlations"].items():
        rows = [
            [name, *(cell(value[key], 3) for key in ("spearman", "pearson", "spearman_within_clips"))]
            for name, value in part.items()
        ]
        text += f"{title}\n\n"
        text += markdown_table(["", "Spearman", "Pearson", "Spearman within clips"], rows) + "\n"
    return text + f"Share of frames that `balanced` measures: {result['balanced_measured']:.2f}\n"


def compare(args: argparse.Namespace, clips: list[Clip], folder: Path, progress: Progress) -> dict[str, Any]:
    """Code, decode and compare every clip."""
    task = progress.add_task("clips", total=len(clips))
    lpips = Lpips("alex")
    seen: list[Seen] = []
    real, told, some, names = [], [], [], []
    measured = 0
    for clip in clips:
        stream = folder / f"{clip.name}.fcv"
        best = coded(clip, args.frames, "best", stream)
        seen += look(clip, stream, best, args.every, lpips)
        balanced = coded(clip, args.frames, "balanced", stream)
        measured += sum(s.quality is not None and s.quality.measured for s in balanced)
        real.append(distances(best))
        told.append(forecast(best))
        some.append(distances(balanced))
        names += [clip.name] * len(real[-1])
        progress.advance(task)
    parts: dict[str, dict[str, dict[str, float]]] = {}
    for region in REGIONS:
        rows = [s for s in seen if s.region == region]
        parts[f"Against LPIPS-alex, {region}"] = {
            name: correlation(
                np.array([s.figures[m] for s in rows]),
                np.array([s.lpips for s in rows]),
                [s.clip for s in rows],
            )
            for m, name in enumerate(MEASURES)
        }
    truth, foretold, balance = (np.concatenate(part) for part in (real, told, some))
    for title, part in (("Foretold", foretold), ("`balanced`, all its frames", balance)):
        parts[f"{title}, against the measured distance"] = {
            region: correlation(part[:, r], truth[:, r], names) for r, region in enumerate(REGIONS)
        }
    return {
        "frames": len(truth),
        "lpips_frames": len(seen) // len(REGIONS),
        "correlations": parts,
        "balanced_measured": measured / len(truth),
        "mean_distance": dict(zip(REGIONS, truth.mean(0).tolist(), strict=True)),
        "mean_balanced": dict(zip(REGIONS, balance.mean(0).tolist(), strict=True)),
        "mean_foretold": dict(zip(REGIONS, foretold.mean(0).tolist(), strict=True)),
    }


def main(argv: list[str] | None = None) -> int:
    """Run; 0, or 1 if a clip cannot be coded."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)[:: args.sample]
        with (
            single_threaded(),
            TemporaryDirectory() as folder,
            Progress(console=console, disable=not console.is_terminal) as progress,
        ):
            if args.fit:
                stream = Path(folder) / "fit.fcv"
                weights = fit([coded(clip, args.frames, "best", stream) for clip in clips])
                sys.stdout.write(np.array2string(weights, precision=4, suppress_small=True) + "\n")
                return 0
            result = compare(args, clips, Path(folder), progress)
    except FacecodecError as err:
        console.print(f"[red]{type(err).__name__}: {err}[/]")
        return 1
    settings = {"split": args.split, "frames": args.frames, "every": args.every}
    write_json(args.out, {"facts": facts(), "settings": settings, **result})
    text = summary(result)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
