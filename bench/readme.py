"""Write the figures of README.md from stored results.

    python bench/readme.py

Reads ``generators_test.json`` and ``speed.json``, which may be absent. Everything between the markers
``<!-- figures:begin -->`` and ``<!-- figures:end -->`` is replaced.
Likewise ``rd_test.json`` (of ``facecodec bench``) between ``<!-- rd:begin -->`` and ``<!-- rd:end -->``, with
the plots ``rd_test.png`` and ``rd_test_others.png`` beside it, and a table of longer clips and larger squares
from what there is of ``rd_test_30s.json``, ``rd_test_60s.json`` and ``rd_test_512.json``. Between
``<!-- limits:begin -->`` and ``<!-- limits:end -->`` comes a line that says from which rates on other codecs
show the source more exactly. What is there stays where ``rd_test.json`` is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from bars import lost, mean_of
from report import cell, markdown_table, mean

from facecodec.benchmark.compare import compare
from facecodec.benchmark.curves import mean_points
from facecodec.benchmark.leads import where_ahead
from facecodec.benchmark.measures import SHOWN, measure_of
from facecodec.benchmark.own import CURVES, OWN, WARP
from facecodec.benchmark.report import summary_markdown
from facecodec.benchmark.results import Results, load_results
from facecodec.config import QUALITY_DEFAULT
from facecodec.errors import MediaError

RD_BEGIN, RD_END = "<!-- rd:begin -->", "<!-- rd:end -->"
_RD_MEASURES = ("lpips", "dists", "vmaf", "eyes", "mouth", "landmark_px", "identity", "psnr_y", "ms_ssim")
"""Measures of README's table and plot; the others are in the report."""
LIMITS_BEGIN, LIMITS_END = "<!-- limits:begin -->", "<!-- limits:end -->"
_LIMITS = ("psnr_y", "ssim_y")
"""Measures of the line in README's *Limits*; the others are in the section on rate and quality."""
_RD_MORE = ("rd_test_30s.json", "rd_test_60s.json", "rd_test_512.json")
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
_TITLES = {
    "psnr": ("PSNR, dB", 2),
    "ssim_rgb": ("SSIM", 3),
    "lpips": ("LPIPS-alex", 3),
    "lpips_eyes": ("LPIPS-alex around the eyes", 3),
    "lpips_mouth": ("LPIPS-alex around the mouth", 3),
    "lpips_vgg": ("LPIPS-vgg", 3),
    "dists": ("DISTS", 3),
    "identity": ("identity", 3),
    "landmark_px": ("landmark distance, px", 2),
    "eyes": ("eye openness", 2),
    "mouth": ("mouth openness", 2),
    "temporal": ("temporal error", 2),
}
"""Measures: what README calls them, and digits."""
_GENERATOR_MEASURES = (
    *("lpips", "lpips_eyes", "lpips_mouth", "landmark_px", "eyes", "mouth", "psnr", "ssim_rgb"),
    *("dists", "lpips_vgg", "identity", "temporal"),
)
_BASELINE = "warp-0"


def generators_table(result: dict[str, Any]) -> str:
    """Means of each generator over the clips, a line for each measure."""
    clips = [clip for clip in result["clips"] if "variants" in clip]
    names = [variant["name"] for variant in result["variants"]]
    rows = []
    for measure in _GENERATOR_MEASURES:
        title, digits = _TITLES[measure]
        rows.append([title, *(cell(mean_of(clips, name, measure), digits) for name in names)])
    worse = [str(len(lost(clips, name, _BASELINE))) if name != _BASELINE else "-" for name in names]
    took = [mean([clip["variants"].get(name, {}).get("decode_ms") for clip in clips]) for name in names]
    rows.append([f"clips of {len(clips)} with more LPIPS-alex than {_BASELINE}", *worse])
    rows.append(["decoder, ms a frame", *(cell(ms, 0) for ms in took)])
    return markdown_table(["", *names], rows)


def generators_text(result: dict[str, Any]) -> str:
    """What the table of generators shows."""
    clips = [clip for clip in result["clips"] if "variants" in clip]
    made = [f"`{v['name']}` is {v['name']}-{v['weights']}" for v in result["variants"] if v["weights"]]
    frames = max(clip["frames"] for clip in clips)
    kbps = cell(mean([clip["kbps"] for clip in clips]), 2)
    split = result["settings"]["split"]
    return (
        f"{len(clips)} clips of split `{split}`, {frames} frames of each at most, coded at 256x256 with "
        f"default settings and no sound: {kbps} kbit/s on average, every byte of the `.fcv` counted. "
        f"Generators on the same streams ({'; '.join(made)}); `still` repeats the decoded reference picture. "
        "Openness is the correlation over time with the source's; identity is the cosine of SFace's "
        "embeddings with the source's; milliseconds are a core's own time, set-up and reading of the file "
        "included. How each figure is measured: [bench/README.md](bench/README.md). "
        f"Commit {result['facts']['commit']}."
    )


def clips_table(result: dict[str, Any]) -> str:
    """Rate, reference pictures, LPIPS and PSNR, clip by clip."""
    names = [variant["name"] for variant in result["variants"]]
    head = ["clip", "frames", "kbit/s", "references"]
    head += [f"{title} {name}" for title in ("LPIPS", "PSNR") for name in names]
    rows = []
    for clip in result["clips"]:
        if "variants" not in clip:
            continue
        row = [clip["clip"], str(clip["frames"]), cell(clip["kbps"], 2), str(clip["references"])]
        for measure, digits in (("lpips", 3), ("psnr", 1)):
            row += [cell(clip["variants"][name]["quality"][measure], digits) for name in names]
        rows.append(row)
    return markdown_table(head, rows)


def speed_table(speed: dict[str, Any]) -> str:
    """Milliseconds of every stage."""
    rows = []
    for way in ("encode", "decode"):
        for name, stage in speed[way]["stages"].items():
            rows.append([way, name, cell(stage["median_ms"], 2), cell(stage["p95_ms"], 2)])
    return markdown_table(["", "stage", "median ms a call", "95 % ms"], rows)


def figures(speed: dict[str, Any] | None, generators: dict[str, Any] | None) -> str:
    """The whole section."""
    text = []
    if generators is not None:
        text += [
            generators_text(generators),
            generators_table(generators),
            "LPIPS-alex and PSNR of single clips:",
        ]
        text.append(clips_table(generators))
    if speed is not None:
        where = speed["facts"]
        made = speed["decode"].get("generator", _BASELINE)
        rates = ", ".join(f"{way} {speed[way]['fps']:.0f} fps" for way in ("encode", "decode"))
        text += [
            f"Speed on {where['cores']} cores ({where['cpu']}, no GPU), 640x360 source coded at 256x256: "
            f"{rates} (decode with {made}, before writing the video). Motion, scene, code, entropy and "
            "generator take groups of 16 frames a call.",
            speed_table(speed),
        ]
    return "\n\n".join(part.strip() for part in text)


def more_table(runs: list[Results]) -> str:
    """Runs over other lengths and sizes: rate, share of reference pictures, BD-rate in LPIPS-alex."""
    lpips = [measure for measure in SHOWN if measure.field == "lpips"]
    found = [{c.anchor: c for c in compare(run, lpips)} for run in runs]
    named = dict.fromkeys(name for by_anchor in found for name in by_anchor)
    anchors = [name for name in named if name not in CURVES]
    rows = []
    for run, by_anchor in zip(runs, found, strict=True):
        usual = [p for p in run.points if p.setting == f"quality {QUALITY_DEFAULT}"]
        shown = [[p for p in usual if p.codec == name] for name in (OWN, WARP)]  # the same streams
        own = shown[0] or shown[1]
        if not own:
            continue
        seconds = sorted(p.frames / p.fps for p in own)
        row = [f"`{run.name}`", f"{own[0].width}x{own[0].height}", str(len(own))]
        row += [f"{seconds[0]:.0f} to {seconds[-1]:.0f}", cell(mean([p.kbps for p in own]), 2)]
        row += [cell(mean([100 * p.still_share for p in own if p.still_share is not None]), 0)]
        for name in anchors:
            bd = by_anchor.get(name)
            row.append("-" if bd is None or bd.pchip is None else f"{bd.pchip:+.0f}")
        rows.append(row)
    head = ["set", "size", "clips", "seconds", "kbit/s", "reference pictures, % of the bytes"]
    return markdown_table([*head, *(f"BD-rate to {name}, %" for name in anchors)], rows)


def rd_text(path: Path, base: Path, more: list[Path], *, draw: bool) -> str:
    """The section on rate and quality.

    Args:
        path: results of ``facecodec bench``; the plots lie beside it.
        base: folder of the README, which the plots are named from.
        more: those of other lengths and sizes.
        draw: make the plots too.

    Raises:
        MediaError: the results are damaged.
    """
    results = load_results(path)
    plot, others = path.with_suffix(".png"), path.with_name(f"{path.stem}_others.png")
    summary = summary_markdown(results, _RD_MEASURES, *((plot, others) if draw else ()))
    clips = list(dict.fromkeys(p.clip for p in results.points))
    frames = sorted({p.frames for p in results.points})
    span = f"{frames[0]} to {frames[-1]}" if len(frames) > 1 else f"{frames[0]}"
    made = (
        f"{len(clips)} clips of set `{results.name}`, {span} frames each; commit {results.machine.commit}, "
        f"{results.made}."
    )
    shown, more_shown = (Path(os.path.relpath(path, base)).as_posix() for path in (plot, others))
    picture = f"![Quality over rate, mean over clips]({shown})"
    if others.is_file():
        picture += f"\n\nThe other measures: [{others.name}]({more_shown})."
    text = f"{made}\n\n{picture}\n\n{summary.strip()}"
    if not more:
        return text
    title = f"Other lengths and sizes, rate at quality {QUALITY_DEFAULT}, BD-rate in LPIPS-alex:"
    return f"{text}\n\n{title}\n\n{more_table([results, *map(load_results, more)]).strip()}"


def limits_text(path: Path) -> str:
    """A line of the list of limits: from which rates on other codecs are more exact than this one.

    Raises:
        MediaError: the results are damaged.
    """
    results = load_results(path)
    measures = [measure_of(field) for field in _LIMITS]
    found = where_ahead(results, mean_points(results, measures), measures)
    said = (
        "above some rate conventional codecs show the source more exactly, at equal rate and by means over "
        f"the test clips. {' '.join(found.lines)}"
    )
    if not found.lines:
        said = "but no codec that was compared shows the source more exactly at a rate that this one has."
    return (
        f"* Pictures are made, not copied: {said} The other measures: [Rate and quality](#rate-and-quality)."
    )


def _put(text: str, markers: tuple[str, str], inside: str) -> str:
    """Replace what stands between two markers.

    Raises:
        ValueError: there is not one of each.
    """
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"needs one {begin} and one {end}")
    return f"{text.split(begin)[0]}{begin}\n{inside}\n{end}{text.split(end)[1]}"


def _read(path: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def page(text: str, results: Path, base: Path, *, draw: bool) -> str:
    """A README with its figures as they are now.

    Args:
        text: of the README.
        results: folder of the results.
        base: folder of the README.
        draw: make the plots too.

    Raises:
        ValueError: markers are absent, or there twice.
        MediaError: results are damaged.
    """
    speed, generators = (_read(results / name) for name in ("speed.json", "generators_test.json"))
    text = _put(text, (BEGIN, END), figures(speed, generators))
    rd = results / "rd_test.json"
    if rd.is_file():
        more = [path for path in (results / name for name in _RD_MORE) if path.is_file()]
        text = _put(text, (RD_BEGIN, RD_END), rd_text(rd, base, more, draw=draw))
        text = _put(text, (LIMITS_BEGIN, LIMITS_END), limits_text(rd))
    return text


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="folder")
    parser.add_argument("--readme", type=Path, default=Path(__file__).parents[1] / "README.md")
    args = parser.parse_args(argv)
    try:
        text = page(args.readme.read_text(encoding="utf-8"), args.results, args.readme.parent, draw=True)
    except (ValueError, MediaError) as err:
        print(err if isinstance(err, MediaError) else f"{args.readme}: {err}", file=sys.stderr)
        return 2
    args.readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
