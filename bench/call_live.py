"""A live call between two processes of this machine: rate on the wire, glass to glass, pictures, memory.

    python bench/call_live.py samples/talking_head.mp4 --seconds 600 --out bench/results/call_live.json

Both ends show the clip again and again. Glass to glass is from the time at which a picture of the clip
is due, which is when a camera would have taken it, to the time at which it is put on the other side's
screen; both processes read one monotonic clock. The first ten seconds are left out of everything but
memory, whose growth is that behind the second minute. Rates are those of the whole UDP packets with their
IP headers. What else runs on the machine is told by its load and by the cores that others take meanwhile.

``--network NAME`` puts a network of ``tests/call/network.py`` under both ends once they are connected, its
outage ten seconds later; recovery is from its end to the first picture made from received motion.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from call_budget import STAGES, Probe, budget
from report import cell, facts, markdown_table, write_json

from facecodec.call.headless import HeadlessCall
from facecodec.call.settings import CallSettings
from facecodec.call.signalling import ServerConfig, SignallingServer
from facecodec.call.threads import keep_memory, short_turns

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.call.network import NETWORKS, Conditions
from tests.webrtc.shaper import Shaper, shaped

WARM_UP_S = 10.0
SETTLED_S = 120
"""Memory is looked at from then on: until then slots for reference pictures and memories of motion fill."""


def resident_mb() -> float:
    """Memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def busy() -> float:
    """Seconds for which the cores of this machine have worked."""
    user, nice, system, _, _, irq, soft_irq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")


async def one_end(url: str, clip: str, seconds: float, network: str | None) -> dict[str, object]:
    """Talk, and note what is shown."""
    with shaped(Conditions(delay_s=0.0)) if network else contextlib.nullcontext() as shaper:
        return await talk(url, clip, seconds, None if network is None else NETWORKS[network], shaper)


async def talk(
    url: str, clip: str, seconds: float, network: Conditions | None, shaper: Shaper | None
) -> dict[str, object]:
    """Talk, once connected over the network, and note what is shown."""
    end = HeadlessCall(CallSettings(url, "bench", "bench", loopback=True), clip, None, seconds)
    shown: list[tuple[float, float, str]] = []
    samples: list[tuple[float, float, dict[str, float], int]] = []
    show = end.call.screen.show

    def note(picture):
        shown.append((picture.shown_s, picture.pts_s, picture.state))
        show(picture)

    end.call.screen.show = note
    probe = Probe()
    probe.attach_call(end.call)
    epoch_s: list[float] = []

    async def attach() -> None:
        while end.call.session is None:
            await asyncio.sleep(0.002)
        probe.attach(end.call.session)
        if shaper is not None and network is not None:
            shaper.start_s, shaper.conditions = time.monotonic() + WARM_UP_S, network

    async def watch() -> None:
        await attach()
        while True:
            await asyncio.sleep(1.0)
            session, status = end.call.session, end.call.status()
            if session is None or status.out is None:
                continue
            epoch_s[:] = [session._engine.sender.epoch_s]
            parts = {name: getattr(status.out, name) for name in status.out.__dataclass_fields__}
            frames = session.sender_stats.frames if session.sender_stats else 0
            samples.append((time.monotonic(), resident_mb(), parts, frames))

    watching = asyncio.ensure_future(watch())
    try:
        report = await end.run()
    finally:
        watching.cancel()
    return {
        "shown": shown,
        "probe": probe.result(),
        "epoch_s": epoch_s[0],
        "samples": samples,
        "kbps_whole_call": report.kbps_out,
        "cpu_s": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
        "seconds": report.seconds,
        "lost_in_percent": report.status.loss_in,
        "round_trip_ms": report.status.rtt_ms,
        "outages": [
            (shaper.start_s + a, shaper.start_s + b)
            for a, b in (network.outages if network and shaper else ())
        ],
    }


def summary(mine: dict, other: dict) -> dict[str, object]:
    """Figures of one direction: what ``mine`` showed of what ``other`` sent."""
    start = mine["shown"][0][0] + WARM_UP_S
    steady = [s for s in mine["shown"] if s[0] >= start]
    ages = np.array([at - (pts + other["epoch_s"]) for at, pts, state in steady if state == "live"]) * 1000
    span = steady[-1][0] - steady[0][0]
    noted = [(at, parts, frames) for at, _, parts, frames in other["samples"] if at >= start]
    rates = [parts for _, parts, _ in noted]
    memory = [mb for _, mb, _, _ in mine["samples"]]
    states = sorted({state for _, _, state in steady})
    return {
        "kbps": {name: round(float(np.mean([r[name] for r in rates])), 2) for name in rates[0]},
        "kbps_whole_call": round(other["kbps_whole_call"], 2),
        "glass_to_glass_ms": [round(float(np.quantile(ages, q)), 1) for q in (0.05, 0.5, 0.95)],
        "budget_ms": budget(
            {**mine["probe"], "shown": mine["shown"]}, other["probe"], start, other["epoch_s"]
        ),
        "picture_before_sound_ms": apart(mine["probe"]["apart"], start),
        "pictures_a_second": round(len(steady) / span, 2),
        "motion_frames_sent_a_second": round((noted[-1][2] - noted[0][2]) / (noted[-1][0] - noted[0][0]), 2),
        "recovery_s": recovery(mine["shown"], other["outages"]),
        "states": {state: sum(s[2] == state for s in steady) for state in states},
        "round_trip_ms": round(mine["round_trip_ms"], 1),
        "cores_taken": round(mine["cpu_s"] / mine["seconds"], 2),
        "memory_mb_every_20_s": [round(mb, 1) for mb in memory[::20]],
        "memory_mb_settled_and_at_the_end": settled(memory),
        "memory_growth_percent": growth(*settled(memory)),
    }


def recovery(shown: list[tuple[float, float, str]], outages: list[tuple[float, float]]) -> float | None:
    """Seconds from the end of the other side's outage to the first picture of received motion."""
    back = [at - end for _, end in outages[:1] for at, _, state in shown if at > end and state == "live"]
    return round(back[0], 3) if back else None


def apart(noted: list[tuple[float, float]], start_s: float) -> dict[str, object]:
    """Picture before sound: mean, 95 % of the magnitude, and the mean of every minute."""
    times, values = np.array([n for n in noted if n[0] >= start_s]).T
    minutes = ((times - start_s) // 60).astype(int)
    return {
        "mean": round(1000 * float(values.mean()), 1),
        "95_percent": round(1000 * float(np.quantile(np.abs(values), 0.95)), 1),
        "by_minute": [round(1000 * float(values[minutes == m].mean()), 1) for m in np.unique(minutes)],
    }


def settled(memory: list[float]) -> tuple[float | None, float | None]:
    """Megabytes at the second minute's end and at the call's end; None for shorter calls."""
    if len(memory) <= SETTLED_S + 20:
        return None, None
    before, after = np.median(memory[SETTLED_S - 10 : SETTLED_S + 10]), np.median(memory[-20:])
    return round(float(before), 1), round(float(after), 1)


def growth(before: float | None, after: float | None) -> float | None:
    """Percent by which memory has grown between the two."""
    return None if before is None or after is None else round(100 * (after / before - 1), 1)


def table(result: dict) -> str:
    """The figures of both directions as Markdown."""
    rows: list[list[str]] = []
    ends = (result["first"], result["second"])

    def row(name: str, of: Callable[[dict], float | None], digits: int) -> None:
        rows.append([name, *(cell(of(end), digits) for end in ends)])

    row("glass to glass, median, ms", lambda e: e["glass_to_glass_ms"][1], 0)
    row("glass to glass, 95 %, ms", lambda e: e["glass_to_glass_ms"][2], 0)
    for stage in STAGES:
        row(f"of it {stage}, mean, ms", lambda e, stage=stage: e["budget_ms"][stage][1], 1)
    row("picture before sound, mean, ms", lambda e: e["picture_before_sound_ms"]["mean"], 1)
    row("picture from sound, 95 %, ms", lambda e: e["picture_before_sound_ms"]["95_percent"], 1)
    row("pictures a second", lambda e: e["pictures_a_second"], 1)
    row("motion frames sent a second", lambda e: e["motion_frames_sent_a_second"], 1)
    if any(end["recovery_s"] is not None for end in ends):
        row("recovery from the outage, s", lambda e: e["recovery_s"], 2)
    row("wire, kbit/s", lambda e: e["kbps"]["total"], 1)
    row("cores taken", lambda e: e["cores_taken"], 2)
    row("memory behind the second minute, MB", lambda e: e["memory_mb_settled_and_at_the_end"][0], 0)
    row("memory at the end, MB", lambda e: e["memory_mb_settled_and_at_the_end"][1], 0)
    row("memory growth behind the second minute, %", lambda e: e["memory_growth_percent"], 1)
    network = f" --network '{result['network']}'" if result["network"] else ""
    before, after = (", ".join(f"{v:.1f}" for v in result[key]) for key in ("load_before", "load_after"))
    others = result["cores_taken_by_others"]
    head = (
        f"`python bench/call_live.py {result['clip']} --seconds {result['seconds']:.0f}{network}`: a call "
        f"between two processes of a machine of {result['facts']['cores']} cores; "
        f"load before {before}, after {after}; others took {others} cores meanwhile.\n\n"
    )
    return head + markdown_table(["", "first", "second"], rows)


async def main(args: argparse.Namespace) -> None:
    """Run the server and both ends."""
    server = SignallingServer(ServerConfig(port=0))
    await server.start()
    load, busy_s, start_s = os.getloadavg(), busy(), time.monotonic()
    run = [sys.executable, __file__, args.clip, "--seconds", str(args.seconds), "--url", server.url]
    run += ["--network", args.network] if args.network else []
    ends = [
        await asyncio.create_subprocess_exec(*run, stdout=subprocess.PIPE, limit=1 << 28) for _ in range(2)
    ]
    said = [json.loads((await end.communicate())[0]) for end in ends]
    await server.close()
    if args.noted:
        Path(args.noted).write_text(json.dumps(said))
    others_s = busy() - busy_s - sum(end["cpu_s"] for end in said)
    result = {
        "facts": facts(),
        "clip": Path(args.clip).name,
        "seconds": args.seconds,
        "network": args.network,
        "load_before": load,
        "load_after": os.getloadavg(),
        "cores_taken_by_others": round(others_s / (time.monotonic() - start_s), 2),
        "first": summary(*said),
        "second": summary(*reversed(said)),
    }
    text = table(result)
    sys.stdout.write(text)
    if args.out:
        write_json(Path(args.out), result)
        Path(args.out).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--network", choices=tuple(NETWORKS), help="between the two ends (default: loopback)")
    parser.add_argument("--out")
    parser.add_argument("--noted", help="write everything that both ends noted to this file, too")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.url:
        keep_memory()
        with short_turns():
            print(json.dumps(asyncio.run(one_end(args.url, args.clip, args.seconds, args.network))))
    else:
        asyncio.run(main(args))
