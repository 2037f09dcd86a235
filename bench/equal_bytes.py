"""More reference pictures and palettes, against one reference picture coded better with the same bytes.

    python bench/equal_bytes.py --data FOLDER --split val --out /tmp/equal_bytes.json

Every clip is coded at default settings (``view="crop"``, no sound), and without palettes and further
reference pictures, at the quality that the encoder gives its first picture and at several others; all are
decoded by ``--generator``, warp-0 unless another is named. LPIPS of the single picture at the bytes of the
default is interpolated between its qualities (logarithms of both), or continued beyond them. Streams are kept
in ``cache/`` beside the output.
Exit code 1 if a clip cannot be measured.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from clips import Clip, add_clip_arguments, each_clip, read_manifest
from evaluate import add_arguments, sampling
from report import cell, facts, markdown_table, mean, write_json
from rich.console import Console
from streams import coded_stream
from variants import BASELINE, ClipBench, Settings, Variant

from facecodec import EncoderConfig, FacecodecError, api
from facecodec.analysis import plan

MEASURES = ("lpips", "lpips_eyes", "lpips_mouth")
QUALITIES = (None, 70, 85, 100)
"""Quality of the single picture; None is the encoder's choice."""
ROUNDING = 1e-6
"""Share by which a clip whose streams are the same may come out worse."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md beside it")
    parser.add_argument("--generator", default=BASELINE, choices=(BASELINE, "lite", "base"), help="decodes")
    add_arguments(parser)
    args = parser.parse_args(argv)
    if args.frames < 0:
        parser.error("--frames has to be 0 or more")
    try:
        args.sampling = sampling(args)
    except ValueError as err:
        parser.error(str(err))
    return args


def measure(clip: Clip, config: EncoderConfig, cache: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Bytes, reference pictures and distances of a clip. Raises FacecodecError."""
    stream = coded_stream(clip, config, args.frames, cache)
    info = api.probe(stream)
    settings = Settings(args.frames, args.sampling, args.no_lpips, args.lpips_weights, "cpu", 1, cache)
    bench = ClipBench(clip.path, stream, settings)
    if args.generator == BASELINE:
        quality = bench.judge.measure(bench.coded.decoded).as_dict()
    else:
        quality = bench.measure(Variant(args.generator, args.generator))[1].as_dict()
    figures = {name: quality[name] for name in MEASURES}
    return {"kbps": info.kbps, "references": info.references, "bytes": stream.stat().st_size, **figures}


def measure_clip(clip: Clip, args: argparse.Namespace) -> dict[str, Any]:
    """Code a clip at default settings and from single pictures, and measure. Raises FacecodecError."""
    cache, usual = args.out.parent / "cache", EncoderConfig(view="crop", audio_bps=0)
    found = {"clip": clip.name, "default": measure(clip, usual, cache, args), "single": []}
    with patch.object(plan, "PRICE", math.inf):
        for quality in QUALITIES:
            config = replace(usual, palette="off", ref_quality=quality)
            found["single"].append(measure(clip, config, cache / "single", args))
    return found


def at_equal_bytes(line: dict[str, Any]) -> float:
    """LPIPS that single pictures would have at the bytes of the default."""
    points = {single["bytes"]: single["lpips"] for single in line["single"]}
    size = np.log(sorted(points))
    lpips = np.log([points[each] for each in sorted(points)])
    wanted = math.log(line["default"]["bytes"])
    segment = int(np.clip(np.searchsorted(size, wanted) - 1, 0, len(size) - 2))
    slope = (lpips[segment + 1] - lpips[segment]) / (size[segment + 1] - size[segment])
    return float(np.exp(lpips[segment] + slope * (wanted - size[segment])))


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Rate more than that of single pictures, ratios of distances to theirs, and clips that lose."""
    more = [line["default"]["kbps"] - line["single"][0]["kbps"] for line in lines]
    out: dict[str, Any] = {"kbps_more": mean(more)}
    means = {
        name: (mean([x["default"][name] for x in lines]), mean([x["single"][0][name] for x in lines]))
        for name in MEASURES
    }
    out |= {name: now / before for name, (now, before) in means.items() if now is not None and before}
    boxes = [means[name] for name in MEASURES[1:]]
    out["boxes"] = sum(now or 0 for now, _ in boxes) / max(sum(before or 0 for _, before in boxes), 1e-9)
    worse = [line for line in lines if line["default"]["lpips"] > (1 + ROUNDING) * at_equal_bytes(line)]
    out["worse_at_equal_bytes"] = [line["clip"] for line in worse]
    return out


def tables(lines: list[dict[str, Any]], found: dict[str, Any], generator: str) -> str:
    """Means and single clips, as Markdown."""
    worse = ", ".join(found["worse_at_equal_bytes"]) or "none"
    head = (
        f"{len(lines)} clips, shown by {generator}: {cell(found['kbps_more'], 2)} kbit/s more than a single "
        f"picture, LPIPS-alex in eye and mouth boxes {cell(found['boxes'], 3)} times its, in the whole "
        f"{cell(found['lpips'], 3)} times. More LPIPS than a better single picture of "
        f"the same bytes: {worse}.\n\n"
    )
    rows = []
    for line in lines:
        usual, single = line["default"], line["single"][0]
        pairs = [f"{cell(single[name], 4)} > {cell(usual[name], 4)}" for name in MEASURES]
        rate = f"{cell(single['kbps'], 2)} > {cell(usual['kbps'], 2)}"
        shown = f"{single['references']} > {usual['references']}"
        rows.append([line["clip"], rate, shown, *pairs, cell(at_equal_bytes(line), 4)])
    names = ["clip", "kbit/s", "references", "LPIPS", "eyes", "mouth", "LPIPS of one at equal bytes"]
    return head + markdown_table(names, rows)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every clip was measured, 1 if one failed, 2 for wrong arguments."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    console = Console(stderr=True)
    try:
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
    except FacecodecError as err:
        console.print(f"[red]{err}[/]")
        return 2
    lines, failed = each_clip(clips, lambda clip: measure_clip(clip, args), lambda x: x["default"], console)
    found = summary(lines) if lines else {}
    settings = {"split": args.split, "frames": args.frames, "generator": args.generator}
    settings["sampling"] = asdict(args.sampling)
    write_json(
        args.out, {"facts": facts(), "settings": settings, "summary": found, "clips": lines, "failed": failed}
    )
    text = tables(lines, found, args.generator) if lines else "Nothing was measured.\n"
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    console.print(text, highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
