"""Generators compared on the same streams: quality of each, and against warp-0.

    python bench/generators.py --data FOLDER --split test --generators lite --out bench/results/lite.json
    python bench/generators.py --data FOLDER --split val --weights run/weights.safetensors --out /tmp/val.json

Every clip is coded once at default settings (``view="crop"``, no sound). Streams, and figures of single
clips, are kept in ``cache/`` beside the output, keyed by the code that they depend on, so a run that was
broken off goes on where it stopped, and runs over different clips (``--clip``) can be put together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from bars import summary_table, verdicts
from clips import Clip, add_clip_arguments, read_manifest
from evaluate import add_arguments, sampling
from report import facts, write_json
from rich.console import Console
from streams import coded_stream
from variants import BASELINE, ClipBench, Settings, choose_variants

from facecodec import EncoderConfig, FacecodecError, api
from facecodec.benchmark.digests import METRIC_MODULES, import_digest, key_of

SCHEMA = 2


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--size", type=int, default=EncoderConfig().size, help="coded size, 256 or 512")
    parser.add_argument(
        "--generators", default="", help="still, lite, base, separated by commas; warp-0 is always there"
    )
    parser.add_argument(
        "--weights", type=Path, action="append", default=[], help="weights file (may be repeated)"
    )
    parser.add_argument(
        "--references", default="1", help="reference pictures for each frame: 1, or a list such as 1,2,4"
    )
    parser.add_argument(
        "--buffered", type=int, default=1, help="also with up to so many references of the stream itself"
    )
    parser.add_argument("--patches", action="store_true", help="also with region patches from other frames")
    parser.add_argument("--uncoded", action="store_true", help="take added pictures as they are")
    parser.add_argument(
        "--finetune", type=int, default=0, help="also fitted to each stream for so many steps"
    )
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md beside it")
    add_arguments(parser)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of the decoder")
    parser.add_argument("--threads", type=int, default=1, help="of each job (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="clips measured at once (default: 1)")
    parser.add_argument("--force", action="store_true", help="measure again what is in the cache")
    args = parser.parse_args(argv)
    if min(args.frames, args.finetune) < 0 or min(args.jobs, args.threads) < 1:
        parser.error("--frames and --finetune have to be 0 or more, --jobs and --threads 1 or more")
    try:
        args.sampling = sampling(args)
        counts = sorted({int(text) for text in args.references.split(",")})
    except ValueError as err:
        parser.error(f"--references, --lpips-every or --deep-every: {err}")
    if not 1 <= counts[0] <= counts[-1] <= 4:
        parser.error("--references takes numbers from 1 to 4")
    if not 1 <= args.buffered <= 4:
        parser.error("--buffered takes a number from 1 to 4")
    added = (counts, args.patches, not args.uncoded, args.finetune, args.buffered)
    args.variants = choose_variants(args.generators, args.weights, *added)
    return args


def encoder_config(args: argparse.Namespace) -> EncoderConfig:
    """Default settings, the crop alone, without sound."""
    return EncoderConfig(size=args.size, view="crop", audio_bps=0)


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        frames=args.frames,
        sampling=args.sampling,
        no_lpips=args.no_lpips,
        lpips_weights=args.lpips_weights,
        device=args.device,
        threads=args.threads,
        cache=args.out.parent / "cache",
    )


def measure_clip(clip: Clip, args: argparse.Namespace) -> dict[str, Any]:
    """Code a clip where that is needed, and measure every variant that is not in the cache.

    Returns:
        A line of the result; ``skipped`` holds a reason where the clip is too small.

    Raises:
        FacecodecError: the clip cannot be coded, or a variant cannot show it.
    """
    torch.set_num_threads(args.threads)
    cache = args.out.parent / "cache"
    stream = coded_stream(clip, encoder_config(args), args.frames, cache)
    info = api.probe(stream)
    out: dict[str, Any] = {"clip": clip.name, "frames": info.frames, "fps": info.frame_rate}
    out |= {"size": info.coded_size, "kbps": info.kbps, "references": info.references}
    if info.coded_size < args.size > EncoderConfig().size:
        return {**out, "skipped": f"coded at {info.coded_size}"}
    settings = _settings(args)
    bench, found = ClipBench(clip.path, stream, settings), {}
    common = (SCHEMA, stream.stem, args.sampling, settings.network_names(), import_digest(METRIC_MODULES))
    for variant in args.variants:
        kept = cache / f"{clip.name}-{key_of(*common, variant.key())}.json"
        if args.force or not kept.is_file():
            made, quality = bench.measure(variant)
            kbps = made.extra_bytes * 8 / info.duration_s / 1000
            write_json(kept, {"quality": quality.as_dict(), "decode_ms": made.ms, "extra_kbps": kbps})
        found[variant.name] = json.loads(kept.read_text(encoding="utf-8"))
    return {**out, "variants": found}


def attempt(clip: Clip, args: argparse.Namespace) -> dict[str, Any]:
    """As :func:`measure_clip`, but with what went wrong as ``skipped``."""
    try:
        return measure_clip(clip, args)
    except FacecodecError as err:
        return {"clip": clip.name, "skipped": f"{type(err).__name__}: {err}", "failed": True}


def measure_clips(clips: Sequence[Clip], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Lines of the result in the order of the clips, several made at once where that is asked for."""
    if args.jobs == 1:
        yield from (attempt(clip, args) for clip in clips)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        yield from pool.map(attempt, clips, [args] * len(clips))


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every clip was measured, 1 if one failed, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        config = encoder_config(args)
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
        columns = [
            {"name": v.name, "generator": v.generator, "weights": v.weights_id()} for v in args.variants
        ]
    except FacecodecError as err:
        console.print(f"[red]{err}[/]")
        return 2
    for name, reason in _settings(args).absent().items():
        console.print(f"[yellow]{name} is left out: {reason}[/]")
    results = []
    for line in measure_clips(clips, args):
        results.append(line)
        console.print(f"{line['clip']}: {line.get('skipped') or _short(line)}", highlight=False)
    names = [variant.name for variant in args.variants]
    there = [line for line in results if "variants" in line]
    settings = {
        "split": args.split,
        "frames": args.frames,
        "config": repr(config),
        "sampling": asdict(args.sampling),
        "added_pictures": "as they are" if args.uncoded else f"coded at quality {config.rate.ref_quality}",
    }
    result = {"facts": facts(), "settings": settings, "variants": columns, "clips": results}
    write_json(args.out, {**result, "verdicts": verdicts(there, names, BASELINE)})
    text = summary_table(results, names, BASELINE)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if any(line.get("failed") for line in results) else 0


def _short(line: dict[str, Any]) -> str:
    """LPIPS of every variant of a clip."""
    found = ((name, made["quality"]["lpips"]) for name, made in line["variants"].items())
    return ", ".join(f"{name} {value:.4f}" if value is not None else name for name, value in found)


if __name__ == "__main__":
    sys.exit(main())
