"""What scene points can gain, and what holds them back: grid, step, spline, reference picture.

    python bench/scene_limits.py --data FOLDER --split val --frames 100 --out bench/results/scene_limits.json

Clips are coded at default settings. Their frames are then made again with scene points of other kinds,
against the same reference pictures, meshes and palettes: none (what every ratio divides by), grids that
FORMAT.md allows and denser ones, coded as the encoder does or as fitted (no step), and a dense field, free of
any rate. All of it also with the sources of the reference pictures in their place, which is how the prototype
of scene points was measured, and grids of the encoder's own with better reference pictures.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from clips import Clip, add_clip_arguments, read_manifest
from remake import Group, Remaker, Setting, code_clip, read_groups, uncoded
from report import cell, facts, markdown_table, mean, write_json
from rich.console import Console

from facecodec import EncoderConfig, FacecodecError
from facecodec.bitstream import StreamHeader
from facecodec.generator import model
from facecodec.generator.workers import single_threaded
from facecodec.metrics.perceptual import Lpips
from facecodec.metrics.psnr import psnr

_DENSEST = 33

NONE = Setting("none", 0)
SETTINGS = (
    *(Setting(f"{g}x{g}, coded", g) for g in (7, 9, 11, 13, 17)),
    *(Setting(f"{g}x{g}, as fitted", g, coded=False) for g in (7, 9, 11, 13, 17)),
    Setting("9x9, as fitted, and dense flow", 9, coded=False, dense=True),
)
SHORT = SETTINGS[:2]
QUALITIES = (EncoderConfig().ref_quality, 80)
"""Qualities of the reference pictures."""
SOURCE = "not coded"


@dataclass(frozen=True, slots=True)
class Found:
    """What a setting reached on a clip: LPIPS-alex and PSNR in dB (means), bits of scene a frame."""

    lpips: float
    psnr: float
    bits: float


def measure(setting: Setting, header: StreamHeader, groups: list[Group], every: int, lpips: Lpips) -> Found:
    """What a setting reaches on a clip."""
    remaker = Remaker(setting, header, groups[0].qp)
    seen, first = [], 0
    for group in groups:
        count = len(group.sources)
        wanted = [t for t in range(count) if (first + t) % every == every // 2]
        for t, frame in zip(wanted, remaker.make(group, wanted), strict=True):
            source = group.sources[t]
            seen.append((lpips.distance(source, frame), psnr(source, frame)))
        first += count
    distance, level = np.mean(seen, axis=0).tolist()
    return Found(distance, level, remaker.bits / first)


def measure_clip(clip: Clip, args: argparse.Namespace, lpips: Lpips) -> dict[str, Any]:
    """All settings on a clip, with every kind of reference picture."""
    out: dict[str, Any] = {"clip": clip.name, "still_lpips": {}}
    every, kinds = args.every, {}
    with TemporaryDirectory() as folder:
        for quality in QUALITIES[:1] if args.short else QUALITIES:
            stream = Path(folder) / f"{quality}.fcv"
            code_clip(clip, args.frames, quality, stream)
            kinds[f"quality {quality}"] = read_groups(clip, stream)
    header, groups = kinds[f"quality {QUALITIES[0]}"]
    for kind, (_, kept) in kinds.items():
        stills = {id(g.reference): lpips.distance(g.original, g.reference.picture) for g in kept}
        out["still_lpips"][kind] = mean(list(stills.values()))
    kinds[SOURCE] = header, uncoded(groups)
    for kind, (header, kept) in kinds.items():
        full = not args.short and kind != f"quality {QUALITIES[1]}"
        settings = (NONE, *(SETTINGS if full else SHORT))
        out[kind] = {s.name: asdict(measure(s, header, kept, every, lpips)) for s in settings}
    return out


def ratio(lines: list[dict[str, Any]], kind: str, name: str) -> float | None:
    """Mean over the clips of LPIPS with scene points over LPIPS without."""
    return mean([line[kind][name]["lpips"] / line[kind][NONE.name]["lpips"] for line in lines])


def reading(lines: list[dict[str, Any]]) -> str:
    """What the tables say about the bar of a ratio of 0.75, as a Markdown list."""
    (coded, better), nine = (f"quality {q}" for q in QUALITIES), SHORT[-1].name
    share = mean([line["still_lpips"][coded] / line[coded][NONE.name]["lpips"] for line in lines])
    free = [name for name in lines[0][coded] if name.endswith("as fitted")]
    text = [f"the encoder's 9x9 reaches a ratio of {cell(ratio(lines, coded, nine), 3)} at default settings"]
    if free:
        best = min(free, key=lambda name: ratio(lines, coded, name) or 1.0)
        dense = cell(ratio(lines, coded, SETTINGS[-1].name), 3)
        text.append(f"no grid without steps goes under {cell(ratio(lines, coded, best), 3)} ({best})")
        text.append(f"a dense field on top of the points, free of any rate, reaches {dense}")
    text.append(f"LPIPS of the reference picture itself is {cell(share, 2)} of that of frames without points")
    if better in lines[0]:
        text.append(
            f"with reference pictures of {better} the 9x9 reaches {cell(ratio(lines, better, nine), 3)}"
        )
    bits = cell(mean([line[SOURCE][nine]["bits"] for line in lines]), 0)
    source = cell(ratio(lines, SOURCE, nine), 3)
    text.append(f"with reference pictures that are not coded, as in the prototype, {source} for {bits} bits")
    return "".join(f"* {line}\n" for line in text)


def tables(lines: list[dict[str, Any]]) -> str:
    """Means over the clips and single clips, as Markdown."""
    text, kinds = [reading(lines)], list(lines[0]["still_lpips"]) + [SOURCE]
    for kind in kinds:
        rows = []
        for name in lines[0][kind]:
            pairs = [(line[kind][name], line[kind][NONE.name]) for line in lines]
            gain = mean([a["psnr"] - b["psnr"] for a, b in pairs])
            bits = mean([a["bits"] for a, _ in pairs]) if name.endswith("coded") else None
            rows.append([name, cell(ratio(lines, kind, name), 3), cell(gain, 2), cell(bits, 1)])
        head = ["scene points", "LPIPS ratio", "dB", "bits a frame"]
        text += [f"Reference pictures: {kind}.\n", markdown_table(head, rows[1:])]
    rows = []
    for line in lines:
        row = [line["clip"]]
        for kind in kinds:
            none, grid = line[kind][NONE.name], line[kind][SHORT[-1].name]
            still = line["still_lpips"].get(kind, 0.0)
            row += [cell(still, 3), cell(none["lpips"], 3), cell(grid["lpips"] / none["lpips"], 2)]
        rows.append([*row, cell(line[kinds[0]][SHORT[-1].name]["bits"], 1)])
    head = [f"{kind}: {what}" for kind in kinds for what in ("still", "without", "ratio")]
    text.append(
        "LPIPS-alex of single clips: of the reference picture, of frames without scene points, ratio of"
    )
    text.append("frames with 9x9, coded, to those.\n")
    return "\n".join([*text, markdown_table(["clip", *head, "bits a frame"], rows)])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_clip_arguments(parser)
    parser.add_argument("--every", type=int, default=10, help="LPIPS of every so many frames (default: 10)")
    parser.add_argument(
        "--short", action="store_true", help="7x7 and 9x9 as coded at default settings, no more"
    )
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md beside it")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run; 0, or 1 if a clip cannot be coded."""
    args = parse_args(argv)
    console, lines, lpips = Console(stderr=True), [], Lpips("alex")
    try:
        clips = read_manifest(args.data, args.manifest, args.split, args.clip)
        # The decoder takes the grids of FORMAT.md alone; here denser ones are measured, too.
        with single_threaded(), patch.object(model, "_SCENE_SIZES", range(2, _DENSEST + 1)):
            for clip in clips:
                lines.append(measure_clip(clip, args, lpips))
                console.print(clip.name, highlight=False)
    except FacecodecError as err:
        console.print(f"[red]{type(err).__name__}: {err}[/]")
        return 1
    settings = {"split": args.split, "frames": args.frames, "every": args.every}
    write_json(args.out, {"facts": facts(), "settings": settings, "clips": lines})
    text = f"Split {args.split}, {len(lines)} clips, {args.frames} frames each.\n\n{tables(lines)}"
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
