"""The lever of rate: bytes and quality over ``--quality``, clip by clip.

    python bench/lever.py --data FOLDER --split val --frames 100 --out bench/results/lever.json

Every clip is coded at every step with ``preset="best"`` (``view="crop"``, no sound), so its distance is
measured on every frame; with LPIPS weights the files are decoded by warp-0 and measured too (``--no-lpips``
leaves that out). Streams and what was measured of them are kept in ``cache/`` beside the output. Exit code 1
if a clip's bytes fall, or its distance rises, from one step to the next.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from clips import Clip, add_clip_arguments, read_manifest
from evaluate import add_arguments, sampling
from report import cell, facts, markdown_table, write_json
from rich.console import Console
from streams import coded_stream
from variants import ClipBench, Settings

from facecodec import EncoderConfig, FacecodecError, api
from facecodec.benchmark.digests import key_of

MEASURES = (("lpips", 4), ("lpips_eyes", 4), ("lpips_mouth", 4))
"""What is measured on decoded files, and digits."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--steps", default="10,25,40,60,75,90", help="of the lever, separated by commas")
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md and .png beside it")
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        args.steps = sorted({int(text) for text in args.steps.split(",")})
        args.sampling = sampling(args)
        for step in args.steps:
            EncoderConfig(quality=step)
    except ValueError as err:
        parser.error(str(err))
    return args


def measure(clip: Clip, step: int, args: argparse.Namespace) -> dict[str, Any]:
    """Rate and quality of a clip at a step of the lever. Raises FacecodecError."""
    cache = args.out.parent / "cache"
    config = EncoderConfig(view="crop", audio_bps=0, preset="best", quality=step)
    stream = coded_stream(clip, config, args.frames, cache)
    known = cache / f"{stream.stem}-{key_of(args.sampling, args.no_lpips)}.json"
    if known.is_file():
        line: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        return line
    info = api.probe(stream)
    line = {"quality": step, "kbps": info.kbps, "references": info.references}
    line |= {f"{part}_bytes": info.section_bytes[part] for part in ("reference", "palette")}
    line["distance"] = info.quality.mean if info.quality else None
    if not args.no_lpips:
        settings = Settings(args.frames, args.sampling, False, args.lpips_weights, "cpu", 1, cache)
        bench = ClipBench(clip.path, stream, settings)
        found = bench.judge.measure(bench.coded.decoded).as_dict()
        line |= {name: found[name] for name, _ in MEASURES}
    known.write_text(json.dumps(line), encoding="utf-8")
    return line


def is_monotone(curve: list[dict[str, Any]]) -> bool:
    """Whether every step takes more bytes than the one before, and comes no less near."""
    return all(a["kbps"] < b["kbps"] and a["distance"] >= b["distance"] for a, b in pairwise(curve))


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """Distance against rate, one line a clip, its steps marked."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5), dpi=110, layout="constrained")
    for line in lines:
        points = [(p["kbps"], p["distance"]) for p in line["curve"]]
        axes.plot(*zip(*points, strict=True), marker=".", lw=1, label=line["clip"])
    axes.set(xscale="log", xlabel="kbit/s", ylabel="1 - MS-SSIM of warp-0, mean over frames")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path)
    pyplot.close(figure)


def table(lines: list[dict[str, Any]]) -> str:
    """All steps of all clips, as Markdown."""
    shown = [m for m in MEASURES if all(m[0] in p for line in lines for p in line["curve"])]
    rows = []
    for line in lines:
        for p in line["curve"]:
            rest = [cell(p[name], digits) for name, digits in (("distance", 4), *shown)]
            head = [line["clip"], str(p["quality"]), cell(p["kbps"], 2), str(p["references"])]
            rows.append([*head, *rest, "yes" if line["monotone"] else "no"])
    names = ["clip", "quality", "kbit/s", "references", "distance", *(name for name, _ in shown), "monotone"]
    return markdown_table(names, rows)


def main(argv: list[str] | None = None) -> int:
    """Run; 0, 1 if a clip failed or its curve is not monotone, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
    except FacecodecError as err:
        console.print(f"[red]{err}[/]")
        return 2
    lines: list[dict[str, Any]] = []
    failed = {}
    for clip in clips:
        try:
            curve = [measure(clip, step, args) for step in args.steps]
        except FacecodecError as err:
            failed[clip.name] = f"{type(err).__name__}: {err}"
            console.print(f"[red]{clip.name}: {failed[clip.name]}[/]")
            continue
        lines.append({"clip": clip.name, "curve": curve, "monotone": is_monotone(curve)})
        console.print(f"{clip.name}: {'monotone' if lines[-1]['monotone'] else 'NOT monotone'}")
    settings = {"split": args.split, "frames": args.frames, "steps": args.steps}
    write_json(args.out, {"facts": facts(), "settings": settings, "clips": lines, "failed": failed})
    if not lines:
        return 1
    plot(lines, args.out.with_suffix(".png"))
    text = table(lines)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if failed or not all(line["monotone"] for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
