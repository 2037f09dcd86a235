"""Rate and quality of facecodec, of its own reference repeated, and of x264 at the nearest rate.

    python bench/table.py --data FOLDER --split test --frames 250 --out bench/results/table_test.json

Every clip is coded to a real file and decoded from it; every byte of the file counts. Results of single
clips are kept in ``cache/`` beside the output, keyed by the package's code and the settings, so a run
that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anchors import x264
from clips import Clip, CodedClip, add_clip_arguments, duration_of, load_coded, read_manifest
from evaluate import add_arguments, sampling
from report import cell, code_digest, facts, markdown_table, mean, write_json
from rich.console import Console
from rich.progress import Progress, TaskID

import facecodec
from facecodec import DecoderConfig, EncoderConfig, FacecodecError, SpeedConfig
from facecodec.benchmark.quality import MEASURES, Judge, Networks, available, load_networks
from facecodec.benchmark.tracking import track_clip
from facecodec.generator.select import load_generator, pick_device

METHODS = ("facecodec", "still", "x264")
PARTS = ("reference", "backdrop", "palette", "face", "scene", "header", "index", "audio")
SCHEMA = 2


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="result file, .json; .md is written beside it"
    )
    parser.add_argument("--qp", type=int, default=EncoderConfig().rate.qp)
    parser.add_argument("--ref-quality", type=int, default=EncoderConfig().rate.ref_quality)
    parser.add_argument("--size", type=int, default=EncoderConfig().size)
    parser.add_argument("--lookahead", type=int, default=EncoderConfig().lookahead)
    parser.add_argument("--scene-points", default=EncoderConfig().scene_points)
    parser.add_argument(
        "--generator", default="auto", help="auto, warp-0, lite or base (default: auto, as users see it)"
    )
    add_arguments(parser)
    parser.add_argument("--no-x264", action="store_true", help="leave the x264 anchor out")
    parser.add_argument("--threads", type=int, default=0, help="0: what the machine has")
    parser.add_argument("--force", action="store_true", help="measure again what is in the cache")
    args = parser.parse_args(argv)
    if args.frames < 0:
        parser.error("--frames has to be 0 or more")
    try:
        args.sampling = sampling(args)
    except ValueError as err:
        parser.error(str(err))
    return args


def encoder_config(args: argparse.Namespace) -> EncoderConfig:
    """The codec's settings: the crop alone, without sound, so that rates compare with those of pictures."""
    return EncoderConfig(
        size=args.size,
        view="crop",
        qp=args.qp,
        ref_quality=args.ref_quality,
        scene_points=args.scene_points,
        lookahead=args.lookahead,
        audio_bps=0,
    )


@lru_cache(maxsize=4)
def generator_name(asked: str) -> str:
    """Name of the generator that ``--generator`` stands for here, with the id of its weights.

    Raises:
        ConfigError: there is no such generator.
        WeightsError: its weights are absent or damaged.
    """
    return load_generator(asked, pick_device("auto")).name


def cache_key(args: argparse.Namespace, clip: Clip, networks: Sequence[str]) -> str:
    """What a clip's result depends on, as a short digest."""
    stat = clip.path.stat()
    parts = [SCHEMA, code_digest(), clip.name, stat.st_size, repr(encoder_config(args)), args.frames]
    parts += [repr(args.sampling), list(networks), generator_name(args.generator), args.no_x264]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def point_error_px(stats: Path) -> float | None:
    """Root mean square point error over the frames of an encoder's statistics, pixels at 256."""
    lines = [json.loads(line) for line in stats.read_text(encoding="utf-8").splitlines() if line.strip()]
    errors = [line["rms_px"] for line in lines if line.get("rms_px") is not None]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None


def code_clip(clip: Clip, args: argparse.Namespace, folder: Path) -> tuple[CodedClip, dict[str, Any]]:
    """Code a clip to a file and decode it; the second value is what its bytes were spent on."""
    stream, stats = folder / f"{clip.name}.fcv", folder / f"{clip.name}.jsonl"
    config, speed = encoder_config(args), SpeedConfig(threads=args.threads)
    report = facecodec.encode_file(
        clip.path, stream, config, speed, duration_s=duration_of(clip.path, args.frames), stats=stats
    )
    began = time.perf_counter()
    decoder = DecoderConfig(view="crop", generator=args.generator, speed=speed)
    coded = load_coded(clip.path, stream, config=decoder)
    decode_s = time.perf_counter() - began
    seconds = len(coded.source) / coded.fps
    size = stream.stat().st_size
    spent = {
        "frames": len(coded.source),
        "fps": coded.fps,
        "size": coded.source.shape[1],
        "bytes": size,
        "kbps": size * 8 / seconds / 1000,
        "kbps_by_part": {k: v * 8 / seconds / 1000 for k, v in report.section_bytes.items()},
        "references": report.references,
        "motion_bits_mean": report.motion_bits_mean,
        "motion_bits_p95": report.motion_bits_p95,
        "held_frames": report.held_frames,
        "point_error_px": point_error_px(stats),
        "encode_s": report.wall_s,
        "decode_s": decode_s,
    }
    return coded, spent


def measure_clip(
    clip: Clip, args: argparse.Namespace, networks: Networks, progress: Progress, task: TaskID
) -> dict[str, Any]:
    """Code one clip and measure the codec and what it is compared with."""
    progress.update(task, description=f"{clip.name}: encode")
    with tempfile.TemporaryDirectory() as folder:
        coded, spent = code_clip(clip, args, Path(folder))
    methods = 2 if args.no_x264 else 3
    progress.update(task, description=f"{clip.name}: track", total=methods * len(coded.source), completed=0)
    judge = Judge(coded.source, track_clip(coded.source), networks, args.sampling)

    def measure(name: str, decoded: Any) -> dict[str, Any]:
        progress.update(task, description=f"{clip.name}: {name}")
        return dict(judge.measure(decoded, lambda: progress.advance(task)).as_dict())

    out: dict[str, Any] = {"clip": clip.name, "facecodec": {**spent, **measure("facecodec", coded.decoded)}}
    out["still"] = {"kbps": spent["kbps_by_part"].get("reference"), **measure("still", coded.still)}
    if not args.no_x264:
        progress.update(task, description=f"{clip.name}: x264 near {spent['kbps']:.1f} kbit/s")
        point = x264.nearest_rate(coded.source, coded.fps, spent["kbps"])
        out["x264"] = {
            "kbps": point.kbps,
            "bytes": point.size_bytes,
            "crf": point.crf,
            "scale": point.scale,
            "settings": point.settings,
            **measure("x264", point.decoded),
        }
    return out


def summary(results: list[dict[str, Any]]) -> str:
    """Means over clips by method, and a line for each clip, as Markdown."""
    digits = {"psnr": 2, "psnr_y": 2, "landmark_px": 2, "eyes": 2, "mouth": 2, "temporal": 2, "faces": 2}
    shown = [m for m in MEASURES if m not in ("psnr_y", "ssim_rgb")]
    rows = []
    for method in METHODS:
        there = [r[method] for r in results if method in r]
        if there:
            means = [cell(mean([r[m] for r in there]), digits.get(m, 3)) for m in shown]
            rows.append([method, cell(mean([r["kbps"] for r in there]), 2), *means])
    text = f"Mean over {len(results)} clips.\n\n" + markdown_table(["method", "kbit/s", *shown], rows)
    head = ["clip", "frames", "kbit/s", *PARTS, "refs", "bits/frame", "p95", "rms px"]
    rows = []
    for result in results:
        own = result["facecodec"]
        parts = [cell(own["kbps_by_part"].get(p, 0.0), 2) for p in PARTS]
        tail = [
            cell(own["motion_bits_mean"], 1),
            cell(own["motion_bits_p95"], 0),
            cell(own["point_error_px"], 2),
        ]
        rows.append(
            [result["clip"], str(own["frames"]), cell(own["kbps"], 2), *parts, str(own["references"]), *tail]
        )
    text += "\nWhere the rate goes, kbit/s by part; motion in bits a frame; point error at 256.\n\n"
    text += markdown_table(head, rows)
    methods = [m for m in METHODS if any(m in r for r in results)]
    head = [
        "clip",
        "x264",
        *(f"{m} {name}" for name in ("PSNR", "LPIPS", "LMD", "eyes", "mouth") for m in methods),
    ]
    rows = []
    for result in results:
        anchor = result.get("x264")
        label = f"{anchor['kbps']:.1f} kbit/s, CRF {anchor['crf']}, 1/{anchor['scale']}" if anchor else "-"
        row = [result["clip"], label]
        for name in ("psnr", "lpips", "landmark_px", "eyes", "mouth"):
            row += [cell(result[m][name], digits.get(name, 3)) if m in result else "-" for m in methods]
        rows.append(row)
    return text + "\n" + markdown_table(head, rows)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every clip was measured, 1 if one failed, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        config = encoder_config(args)
        generator = generator_name(args.generator)
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
    except FacecodecError as err:
        console.print(f"[red]{err}[/]")
        return 2
    there = available(args.no_lpips, args.lpips_weights, args.deep_every > 0)
    for name, reason in there.items():
        if reason:
            console.print(f"[yellow]{name} is left out: {reason}[/]")
    names = sorted(name for name, reason in there.items() if not reason)
    networks = load_networks(names, args.lpips_weights)
    results: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        total, task = progress.add_task("clips", total=len(clips)), progress.add_task("")
        for clip in clips:
            cached = args.out.parent / "cache" / f"{clip.name}-{cache_key(args, clip, names)}.json"
            if args.force or not cached.is_file():
                try:
                    write_json(cached, measure_clip(clip, args, networks, progress, task))
                except FacecodecError as err:
                    failed[clip.name] = f"{type(err).__name__}: {err}"
                    console.print(f"[red]{clip.name}: {failed[clip.name]}[/]")
            if cached.is_file():
                results.append(json.loads(cached.read_text(encoding="utf-8")))
                console.print(f"{clip.name}: {results[-1]['facecodec']['kbps']:.2f} kbit/s")
            progress.advance(total)
    if results:
        text = summary(results)
        settings = {
            "split": args.split,
            "frames": args.frames,
            "config": repr(config),
            "generator": generator,
            "lpips_every": args.lpips_every,
            "deep_every": args.deep_every,
        }
        write_json(args.out, {"facts": facts(), "settings": settings, "failed": failed, "clips": results})
        args.out.with_suffix(".md").write_text(text, encoding="utf-8")
        sys.stdout.write(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
