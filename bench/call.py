"""A call over simulated networks: bytes on the wire by part, and what loss does to the picture.

    python bench/call.py --clip samples/talking_head.mp4 --clip CLIP --out bench/results/call.json

Two ends in one process, with a counted clock: one sends the clip's pictures and sound (Opus, 60 ms packets),
the other stand-ins of sound of the same length and, with them, feedback. A shown picture is compared with the
source picture nearest to its time in the square that its reference picture shows: LPIPS-alex of every 10th.
*Frozen* is the share of pictures that are the same as the one before. *Recovery* is the time from the end of
the outage to the first picture made from received motion.

The rate of a minute is that of a call of 60 seconds on a clear path, over data channels and over SRTP.

Clips that are too short are played forwards and backwards. Rates count IP, UDP, DTLS and SCTP headers
(``facecodec/transport/overhead.py``), the first reference picture included; *answers* are the other side's
transport acknowledgements, at one for each datagram, which travel against them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import cell, facts, markdown_table, write_json
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from facecodec import FacecodecError, Frame
from facecodec.call.config import CallConfig
from facecodec.media.audio import has_audio, read_opus
from facecodec.media.reader import VideoReader
from facecodec.metrics.perceptual import Lpips
from facecodec.track.crop import crop_picture
from facecodec.transport import SRTP
from tests.call.network import LAN, NETWORKS, Conditions
from tests.call.simulate import FAKE_OPUS, OPUS_S, Call, run_call

LONG_S = 60.0
STATES = ("live", "interpolated", "idle", "lost")
EVERY = 10
"""Shown pictures from one that is measured to the next."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clip", type=Path, action="append", required=True, help="may be repeated")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each call (default: 20)")
    parser.add_argument("--network", action="append", choices=tuple(NETWORKS), help="default: all")
    parser.add_argument("--max-kbps", type=float, default=15.0, help="aim of both ends (default: 15)")
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md beside it")
    args = parser.parse_args(argv)
    if not 4 <= args.seconds <= 600:
        parser.error("--seconds has to be 4 to 600")
    return args


def material(path: Path, seconds: float) -> tuple[list[Frame], list[tuple[float, bytes]], float]:
    """Frames and Opus packets of a clip for so long, and seconds from frame to frame. Raises MediaError."""
    with VideoReader(path) as reader:
        step, start = float(1 / reader.info.frame_rate), reader.info.start_s
        pixels = []
        for frame in reader.frames():
            if len(pixels) * step >= seconds:
                break
            pixels.append(frame.pixels)
    count, period = round(seconds / step), max(2 * (len(pixels) - 1), 1)
    order = [i % period if i % period < len(pixels) else period - i % period for i in range(count)]
    frames = [Frame(pixels[p], round(1000 * i * step), Fraction(1, 1000)) for i, p in enumerate(order)]
    own: list[bytes] = [FAKE_OPUS]
    if has_audio(path):
        with read_opus(path, bitrate_bps=6000, duration_s=seconds, video_start_s=start, frame_ms=60) as opus:
            own = [packet.data for packet in opus]
    packets = int(seconds / OPUS_S)
    return frames, [(i * OPUS_S, own[i % len(own)]) for i in range(packets)], step


def run(
    frames: list[Frame], sound: list[tuple[float, bytes]], conditions: Conditions, config: CallConfig
) -> Call:
    """One call; feedback suffers as motion does."""
    back = replace(conditions, rate_kbps=0.0)
    return run_call(frames, conditions, back, config=config, sound=sound)


def figures(
    call: Call, frames: list[Frame], step: float, judge: Lpips, conditions: Conditions
) -> dict[str, Any]:
    """What is kept of a call."""
    sent, got, seconds = call.sender.stats(), call.receiver.stats(), frames[-1].time_s
    epoch = call.sender.epoch_s or 0.0
    shown = [(at, frame) for at, frame in call.shown if at <= seconds]
    lpips = []
    for at, frame in shown[::EVERY]:
        place = min(max(round((frame.pts_s + epoch) / step), 0), len(frames) - 1)
        source = crop_picture(frames[place].pixels, frame.crop)
        lpips.append((at, judge.distance(source, frame.pixels)))
    frozen = sum(bool(np.array_equal(a.pixels, b.pixels)) for (_, a), (_, b) in pairwise(shown))
    states = call.states(end=seconds)
    end = conditions.outages[0][1] if conditions.outages else None
    back = [at for at, frame in shown if end is not None and at > end and frame.state.value == "live"]
    count = call.sender.config.overhead
    return {
        "wire_kbps": {part: value * 8 / seconds / 1000 for part, value in asdict(sent.wire).items()},
        "wire_total_kbps": sent.wire.total * 8 / seconds / 1000,
        "last_seconds_kbps": sent.wire_kbps,
        "answers_kbps": call.path.sent * count.answer * 8 / seconds / 1000,
        "lpips": float(np.mean([value for _, value in lpips])) if lpips else None,
        "first_picture_s": shown[0][0] if shown else None,
        "frozen": frozen / max(len(shown) - 1, 1),
        "states": {
            name: states.count(name) / max(len(states), 1)
            for name in ("live", "interpolated", "idle", "lost")
        },
        "recovery_s": back[0] - end if back and end is not None else None,
        "frames_sent": sent.frames,
        "frames_received": got.frames,
        "undecodable": got.undecodable + got.malformed,
        "fps": sent.frames / seconds,
        "references": sent.references,
        "delay_s": got.delay_s,
        "network": asdict(conditions),
    }


def measure_clip(path: Path, args: argparse.Namespace, judge: Lpips, console: Console) -> dict[str, Any]:
    """All networks for one clip. Raises FacecodecError."""
    frames, sound, step = material(path, args.seconds)
    config = CallConfig(max_kbps=args.max_kbps, start_kbps=args.max_kbps)
    out: dict[str, Any] = {"clip": path.stem, "networks": {}}
    names = args.network or list(NETWORKS)
    for name in names:
        found = figures(run(frames, sound, NETWORKS[name], config), frames, step, judge, NETWORKS[name])
        out["networks"][name] = found
        console.print(
            f"{path.stem}, {name}: {found['wire_total_kbps']:.1f} kbit/s, LPIPS {cell(found['lpips'], 4)}, "
            f"undecodable {found['undecodable']}, recovery {found['recovery_s']}",
            highlight=False,
        )
    frames, sound, step = material(path, LONG_S)
    for key, overhead in (("minute_kbps", config.overhead), ("minute_srtp_kbps", SRTP)):
        long = run_call(frames, LAN, config=replace(config, overhead=overhead), sound=sound, show_s=LONG_S)
        sent = long.sender.stats()
        out[key] = sent.wire.total * 8 / frames[-1].time_s / 1000
        out[key.replace("kbps", "fps")] = sent.frames / frames[-1].time_s
    return out


def tables(clips: list[dict[str, Any]]) -> str:
    """Every clip's networks, as Markdown."""
    text = []
    for clip in clips:
        networks = clip["networks"]
        base = networks.get("clear", {}).get("lpips")
        rows = []
        for name, found in networks.items():
            parts = found["wire_kbps"]
            rows.append(
                [
                    name,
                    *(
                        cell(parts[part], 1)
                        for part in ("headers", "sound", "motion", "pictures", "feedback")
                    ),
                    cell(found["wire_total_kbps"], 1),
                    cell(found["fps"], 1),
                    cell(found["lpips"], 4),
                    cell(None if base is None or found["lpips"] is None else found["lpips"] - base, 4),
                    str(found["undecodable"]),
                    cell(100 * found["frozen"], 1),
                    " / ".join(cell(100 * value, 0) for value in found["states"].values()),
                    cell(found["recovery_s"], 2),
                ]
            )
        head = ["network", "headers", "sound", "motion", "pictures", "feedback", "wire, kbit/s", "fps"]
        head += [
            "LPIPS",
            "more",
            "undecodable",
            "frozen, %",
            "live / between / idle / lost, %",
            "recovery, s",
        ]
        long = f"{clip['minute_kbps']:.1f} kbit/s at {clip['minute_fps']:.1f} frames a second"
        srtp = f"{clip['minute_srtp_kbps']:.1f} kbit/s at {clip['minute_srtp_fps']:.1f} over SRTP"
        text.append(f"{clip['clip']}; in a minute {long}, {srtp}.\n")
        text.append(markdown_table(head, rows))
    return "\n".join(text)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every clip was measured, 1 if one failed."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    console = Console(stderr=True)
    judge = Lpips("alex")
    clips, failed = [], []
    for path in args.clip:
        try:
            clips.append(measure_clip(path, args, judge, console))
        except FacecodecError as err:
            failed.append({"clip": path.stem, "failed": f"{type(err).__name__}: {err}"})
            console.print(f"{path.stem}: {failed[-1]['failed']}", highlight=False)
    settings = {"seconds": args.seconds, "max_kbps": args.max_kbps, "every": EVERY}
    write_json(args.out, {"facts": facts(), "settings": settings, "clips": clips, "failed": failed})
    text = tables(clips) if clips else "Nothing was measured.\n"
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
