"""Median and 95th percentile of the time of every stage, encoding and decoding.

    python bench/speed.py clip.mp4 --frames 250 --out bench/results/speed.json

Encoder and decoder measure their own stages (``timings``); this adds the reading of the video and the
whole way, and ``facecodec --help`` in a new process. The first calls of each stage warm up and are left
out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from report import cell, facts, markdown_table, write_json
from rich.console import Console
from rich.progress import Progress

from facecodec import (
    Decoder,
    DecoderConfig,
    Encoder,
    EncoderConfig,
    FacecodecError,
    Frame,
    Packet,
    SpeedConfig,
)
from facecodec.errors import MediaError
from facecodec.generator.workers import single_threaded
from facecodec.media.reader import VideoReader

WARM_UP_CALLS = 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("clip", type=Path, help="a video with a face")
    parser.add_argument("--frames", type=int, default=250, help="frames of it (default: 250)")
    parser.add_argument("--out", type=Path, required=True, help="result file, .json")
    parser.add_argument("--view", choices=("frame", "crop"), default="crop", help="default: crop")
    parser.add_argument("--size", type=int, choices=(256, 512), default=256, help="default: 256")
    parser.add_argument("--lookahead", type=int, default=EncoderConfig().lookahead, help="0 is a call")
    parser.add_argument("--preset", default=EncoderConfig().preset, help="realtime, balanced or best")
    parser.add_argument("--generator", default="auto", help="auto, warp-0, lite or base (default: auto)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: what the machine has")
    parser.add_argument("--batch", type=int, default=SpeedConfig().batch)
    parser.add_argument("--runs", type=int, default=3, help="starts of `facecodec --help` (default: 3)")
    args = parser.parse_args(argv)
    if args.frames < 2:
        parser.error("--frames has to be 2 or more")
    return args


def percentiles(seconds: list[float], frames: int, warm_up: int = WARM_UP_CALLS) -> dict[str, float | int]:
    """Median, 95th percentile and share of a frame of a stage's calls, ms.

    Args:
        seconds: of each call.
        frames: frames that the calls made together.
        warm_up: first calls to leave out of median and percentile (never all).
    """
    kept = seconds[warm_up:] or seconds
    return {
        "calls": len(seconds),
        "median_ms": float(np.median(kept)) * 1000,
        "p95_ms": float(np.percentile(kept, 95)) * 1000,
        "ms_per_frame": sum(seconds) / frames * 1000,
    }


def timed(frames: Iterator[Frame], seconds: list[float]) -> Iterator[Frame]:
    """Pass frames on and note how long each took to come."""
    while True:
        began = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        seconds.append(time.perf_counter() - began)
        yield frame


def time_encoder(args: argparse.Namespace, on_frame: Any) -> tuple[list[Packet], dict[str, Any]]:
    """Encode the clip; its packets and the timings."""
    config = EncoderConfig(
        size=args.size, view=args.view, lookahead=args.lookahead, preset=args.preset, audio_bps=0
    )
    encoder = Encoder(config, SpeedConfig(device=args.device, threads=args.threads, batch=args.batch))
    reading: list[float] = []
    packets: list[Packet] = []
    began = time.perf_counter()
    with VideoReader(args.clip, threads=args.threads) as reader:
        fps = float(reader.info.frame_rate)
        for frame in timed(islice(reader.frames(), args.frames), reading):
            packets += encoder.encode(frame)
            on_frame()
    packets += encoder.flush()
    total = time.perf_counter() - began
    count = len(reading)
    if count < 2:
        raise MediaError(args.clip, "holds fewer than two frames")
    stages = {"decode video": reading, **encoder.timings}
    return packets, {
        "frames": count,
        "source_fps": fps,
        "total_s": total,
        "fps": count / total,
        "real_time_factor": count / total / fps,
        "stages": {name: percentiles(s, count) for name, s in stages.items() if s},
    }


def time_decoder(packets: list[Packet], args: argparse.Namespace, on_frame: Any) -> dict[str, Any]:
    """Decode packets; the timings, nothing written."""
    speed = SpeedConfig(device=args.device, threads=args.threads, batch=args.batch)
    decoder = Decoder(DecoderConfig(generator=args.generator, speed=speed))
    count = 0
    first_s = None
    began = time.perf_counter()
    for packet in packets:
        for _ in decoder.decode(packet):
            first_s = time.perf_counter() - began if first_s is None else first_s
            count += 1
            on_frame()
    for _ in decoder.flush():
        count += 1
        on_frame()
    total = time.perf_counter() - began
    return {
        "generator": decoder.generator,
        "frames": count,
        "total_s": total,
        "fps": count / total,
        "first_frame_s": first_s,
        "stages": {name: percentiles(s, max(1, count)) for name, s in decoder.timings.items() if s},
    }


def time_help(runs: int) -> dict[str, float]:
    """Time of ``facecodec --help`` in a new process, seconds."""
    seconds = []
    for _ in range(max(1, runs)):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "facecodec", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
    return {"median_s": float(np.median(seconds)), "min_s": min(seconds)}


def summary(result: dict[str, Any]) -> str:
    """Both directions as Markdown."""
    text = ""
    for way in ("encode", "decode"):
        part = result[way]
        text += f"{way}: {part['frames']} frames in {part['total_s']:.2f} s, {part['fps']:.1f} a second\n\n"
        rows = [
            [name, str(s["calls"]), cell(s["median_ms"], 2), cell(s["p95_ms"], 2), cell(s["ms_per_frame"], 2)]
            for name, s in part["stages"].items()
        ]
        text += markdown_table(["stage", "calls", "median ms", "p95 ms", "ms a frame"], rows) + "\n"
    return text + f"facecodec --help: {result['help']['median_s']:.2f} s\n"


def main(argv: list[str] | None = None) -> int:
    """Run; 0, or 1 if the clip cannot be coded."""
    args = parse_args(argv)
    console = Console(stderr=True)
    try:
        with (
            single_threaded(),  # as encode_file and decode_file run
            Progress(console=console, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task("encode", total=args.frames)
            packets, encoding = time_encoder(args, lambda: progress.advance(task))
            task = progress.add_task("decode", total=encoding["frames"])
            decoding = time_decoder(packets, args, lambda: progress.advance(task))
        starting = time_help(args.runs)
    except (FacecodecError, subprocess.CalledProcessError) as err:
        console.print(f"[red]{type(err).__name__}: {err}[/]")
        return 1
    settings = {
        k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in ("clip", "out")
    }
    result = {
        "facts": facts(),
        "settings": settings,
        "encode": encoding,
        "decode": decoding,
        "help": starting,
    }
    write_json(args.out, result)
    text = summary(result)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
