"""Write the figures of README.md from stored results.

    python bench/readme.py bench/results/table_test.json bench/results/speed.json

Everything between the markers ``<!-- figures:begin -->`` and ``<!-- figures:end -->`` is replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from report import cell, markdown_table

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
_METHODS = ("facecodec", "still", "x264")
_QUALITY = (
    ("psnr", "PSNR, dB", 2),
    ("ssim_rgb", "SSIM", 3),
    ("lpips", "LPIPS-alex", 3),
    ("landmark_px", "landmark distance, px", 2),
    ("eyes", "eye openness", 2),
    ("mouth", "mouth openness", 2),
    ("temporal", "temporal error", 2),
)


def _mean(clips: list[dict[str, Any]], method: str, key: str) -> float | None:
    values = [clip[method][key] for clip in clips if clip.get(method, {}).get(key) is not None]
    return fmean(values) if values else None


def means_table(clips: list[dict[str, Any]]) -> str:
    """Rate and quality of each method, mean over clips."""
    head = ["", "kbit/s", *(title for _, title, _ in _QUALITY)]
    rows = []
    for method in _METHODS:
        kbps = cell(_mean(clips, method, "kbps"), 2)
        rows.append([method, kbps, *(cell(_mean(clips, method, key), n) for key, _, n in _QUALITY)])
    return markdown_table(head, rows)


def clips_table(clips: list[dict[str, Any]]) -> str:
    """Where the bits go, and PSNR and LPIPS of the three methods, clip by clip."""
    parts = ("reference", "face", "scene")
    head = ["clip", "kbit/s", *parts, "other", "bits/frame", "RMS, px", "PSNR", "still", "x264"]
    head += ["LPIPS", "still", "x264", "x264 kbit/s"]
    rows = []
    for clip in clips:
        ours = clip["facecodec"]
        by_part = ours["kbps_by_part"]
        other = ours["kbps"] - sum(by_part[part] for part in parts)
        row = [clip["clip"], cell(ours["kbps"], 2), *(cell(by_part[part], 2) for part in parts)]
        row += [cell(other, 2), cell(ours["motion_bits_mean"], 1), cell(ours["point_error_px"], 3)]
        for key, digits in (("psnr", 1), ("lpips", 3)):
            row += [cell(clip.get(method, {}).get(key), digits) for method in _METHODS]
        rows.append([*row, cell(clip.get("x264", {}).get("kbps"), 2)])
    return markdown_table(head, rows)


def speed_table(speed: dict[str, Any]) -> str:
    """Milliseconds of every stage."""
    rows = []
    for way in ("encode", "decode"):
        for name, stage in speed[way]["stages"].items():
            rows.append([way, name, cell(stage["median_ms"], 2), cell(stage["p95_ms"], 2)])
    return markdown_table(["", "stage", "median ms a call", "95 % ms"], rows)


def figures(table: dict[str, Any], speed: dict[str, Any] | None) -> str:
    """The whole section."""
    clips, facts, settings = table["clips"], table["facts"], table["settings"]
    frames = settings["frames"] or "all"
    text = [
        f"{len(clips)} clips of split `{settings['split']}`, first {frames} frames of each, coded at 256x256 "
        "with default settings and no sound; every byte of the `.fcv` counts. `still` repeats the decoded "
        "reference picture, x264 (veryslow, B-frames, best of three resolutions) is at the rate nearest to "
        "facecodec's that it reaches. Openness is the correlation over time with the source's. "
        "Landmark distance and "
        "openness leave out what the tracker sees no face in, which flatters x264. How each "
        f"figure is measured: [bench/README.md](bench/README.md). Commit {facts['commit']}.",
        means_table(clips),
        "kbit/s by part, bits of motion a frame, error of the coded points, PSNR and LPIPS:",
        clips_table(clips),
    ]
    if speed is not None:
        where = speed["facts"]
        rates = ", ".join(f"{way} {speed[way]['fps']:.0f} fps" for way in ("encode", "decode"))
        text += [
            f"Speed on {where['cores']} cores ({where['cpu']}, no GPU), 640x360 source coded at 256x256: "
            f"{rates} (decode before writing the video). Motion, scene, code, entropy and generator take "
            "groups of 16 frames a call.",
            speed_table(speed),
        ]
    return "\n\n".join(part.strip() for part in text)


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("table", type=Path, help="result of table.py")
    parser.add_argument("speed", type=Path, nargs="?", help="result of speed.py")
    parser.add_argument("--readme", type=Path, default=Path(__file__).parents[1] / "README.md")
    args = parser.parse_args(argv)
    table = json.loads(args.table.read_text(encoding="utf-8"))
    speed = json.loads(args.speed.read_text(encoding="utf-8")) if args.speed else None
    text = args.readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        print(f"{args.readme}: needs one {BEGIN} and one {END}", file=sys.stderr)
        return 2
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    args.readme.write_text(f"{before}{BEGIN}\n{figures(table, speed)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
