"""The expression palette: what it costs, and what it gains by generator.

    python bench/palette.py --data FOLDER --split val --generators lite --out /tmp/palette.json

Every clip is coded twice at default settings (``view="crop"``, no sound), without and with a palette, and
both streams are decoded from their files. Streams are kept in ``cache/`` beside the output.

*Flicker* is the mean absolute second difference in time, grey levels, in the rings where patches fade into
the face, less that of the source in the same places: below 0 where the source trembles more.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import Clips
from clips import Clip, add_clip_arguments, each_clip, read_manifest
from evaluate import add_arguments, sampling
from report import cell, facts, markdown_table, mean, write_json
from rich.console import Console
from streams import coded_stream
from variants import BASELINE, ClipBench, Settings, choose_variants

from facecodec import EncoderConfig, FacecodecError, api
from facecodec.benchmark.quality import Judge
from facecodec.generator.model import WarpGenerator
from facecodec.generator.patches import patch_masks
from facecodec.types import F32Array, U8Array

SHOWN = (
    ("lpips", 4),
    ("lpips_eyes", 4),
    ("lpips_mouth", 4),
    ("eyes", 3),
    ("mouth", 3),
    ("landmark_px", 3),
    ("temporal", 2),
    ("flicker", 2),
)
"""Measures of the tables, and their digits."""
MODES = ("off", "auto")
_RING = (0.02, 0.98)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--generators", default="", help="lite, base, separated by commas; warp-0 is there")
    parser.add_argument(
        "--weights", type=Path, action="append", default=[], help="weights file (may be repeated)"
    )
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md beside it")
    add_arguments(parser)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of the decoder")
    parser.add_argument("--threads", type=int, default=1, help="of the decoder (default: 1)")
    args = parser.parse_args(argv)
    if args.frames < 0 or args.threads < 1:
        parser.error("--frames has to be 0 or more, --threads 1 or more")
    try:
        args.sampling = sampling(args)
    except ValueError as err:
        parser.error(str(err))
    args.variants = choose_variants(args.generators, args.weights)
    return args


def rings(track: F32Array, size: int) -> np.ndarray:
    """Where patches fade, [T, size, size] bool, of the source's track [T, 478, 3]; nowhere without a face."""
    warper, out = WarpGenerator().eval(), np.zeros((len(track), size, size), bool)
    low, high = _RING
    with torch.inference_mode():
        for i in np.flatnonzero(np.isfinite(track).all(axis=(1, 2))):
            masks = patch_masks(warper, torch.from_numpy(track[i : i + 1]).float(), size)[0].numpy()
            out[i] = ((masks > low) & (masks < high)).any(0)
    return out


def unrest(frames: U8Array, where: np.ndarray) -> float:
    """Mean absolute second difference in time of [T, S, S, 3] in [T, S, S] bool; NaN without a place."""
    total, count = 0.0, 0
    for t in range(1, len(frames) - 1):
        here = where[t]
        before, now, after = (frames[i][here].astype(np.int16) for i in (t - 1, t, t + 1))
        total += float(np.abs(after - 2 * now + before).sum())
        count += now.size
    return total / count if count else float("nan")


def measure_clip(clip: Clip, args: argparse.Namespace) -> dict[str, Any]:
    """Code a clip both ways, decode and measure. Raises FacecodecError."""
    torch.set_num_threads(args.threads)
    cache = args.out.parent / "cache"
    settings = Settings(
        args.frames, args.sampling, args.no_lpips, args.lpips_weights, args.device, args.threads, cache
    )
    out: dict[str, Any] = {"clip": clip.name, "variants": {}}
    judge: Judge | None = None
    where: np.ndarray | None = None
    own = 0.0
    for mode in MODES:
        config = replace(encoder_config(), palette=mode)  # type: ignore[arg-type]
        stream = coded_stream(clip, config, args.frames, cache)
        info = api.probe(stream)
        palette_kbps = info.section_bytes["palette"] * 8 / info.duration_s / 1000
        out[mode] = {"kbps": info.kbps, "palette_kbps": palette_kbps, "seconds": info.duration_s}
        bench = ClipBench(clip.path, stream, settings)
        for variant in args.variants:
            frames = bench.coded.decoded if variant.name == BASELINE else bench.decode(variant).frames
            if judge is None or where is None:
                judge = bench.judge
                where = rings(judge.track, frames.shape[1])
                own = unrest(judge.source, where)
            quality = judge.measure(frames).as_dict()
            quality["flicker"] = unrest(frames, where) - own
            out["variants"].setdefault(variant.name, {})[mode] = quality
    return out


def encoder_config() -> EncoderConfig:
    """Default settings, the crop alone, without sound."""
    return EncoderConfig(view="crop", audio_bps=0)


def figures(lines: Clips, variant: str, mode: str) -> dict[str, float | None]:
    """Means over the clips."""
    return {m: mean([line["variants"][variant][mode][m] for line in lines]) for m, _ in SHOWN}


def box_ratio(lines: Clips, variant: str) -> float | None:
    """LPIPS-alex in the boxes with a palette, over that without: of the means over clips and boxes."""
    off, auto = (figures(lines, variant, mode) for mode in MODES)
    before = mean([off["lpips_eyes"], off["lpips_mouth"]])
    after = mean([auto["lpips_eyes"], auto["lpips_mouth"]])
    return after / before if before and after is not None else None


def tables(lines: Clips, variants: list[str]) -> str:
    """Means and single clips, as Markdown."""
    cost = mean([line["auto"]["kbps"] - line["off"]["kbps"] for line in lines])
    rate = mean([line["off"]["kbps"] for line in lines])
    text = [f"Mean over {len(lines)} clips: {cell(rate, 2)} kbit/s, {cell(cost, 2)} more with palettes.\n"]
    rows = []
    for variant in variants:
        for mode in MODES:
            found = figures(lines, variant, mode)
            ratio = cell(box_ratio(lines, variant), 3) if mode == "auto" else "-"
            rows.append([f"{variant}, {mode}", *(cell(found[m], d) for m, d in SHOWN), ratio])
    names = [m for m, _ in SHOWN]
    text.append(markdown_table(["generator, palette", *names, "boxes, ratio"], rows))
    for variant in variants:
        rows = []
        for line in lines:
            pair = [line["variants"][variant][mode] for mode in MODES]
            shown = [" > ".join(cell(q[m], d) for q in pair) for m, d in SHOWN]
            rows.append(
                [line["clip"], cell(line["off"]["kbps"], 2), cell(line["auto"]["palette_kbps"], 2), *shown]
            )
        text += [f"{variant}, without > with palette.\n"]
        text.append(markdown_table(["clip", "kbit/s", "palette kbit/s", *names], rows))
    return "\n".join(text)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every clip was measured, 1 if one failed, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
    except FacecodecError as err:
        console.print(f"[red]{err}[/]")
        return 2
    lines, failed = each_clip(clips, lambda clip: measure_clip(clip, args), _short, console)
    names = [variant.name for variant in args.variants]
    settings = {
        "split": args.split,
        "frames": args.frames,
        "config": repr(encoder_config()),
        "sampling": asdict(args.sampling),
    }
    found = {
        name: {mode: figures(lines, name, mode) for mode in MODES} | {"boxes": box_ratio(lines, name)}
        for name in names
    }
    result = {"facts": facts(), "settings": settings, "means": found, "clips": lines, "failed": failed}
    write_json(args.out, result)
    text = tables(lines, names) if lines else "Nothing was measured.\n"
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if failed else 0


def _short(line: dict[str, Any]) -> str:
    """LPIPS in the mouth box of every variant."""
    found = []
    for name, modes in line["variants"].items():
        pair = " > ".join(cell(modes[mode]["lpips_mouth"], 4) for mode in MODES)
        found.append(f"{name} {pair}")
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
