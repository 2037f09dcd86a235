"""What each part of the generator is worth: arms trained for equally many steps, or switched off afterwards.

    python bench/ablate.py --data T.safetensors --val V.safetensors --init restorer.safetensors --out A.json
    python bench/ablate.py --switch weights.safetensors --val V.safetensors --out B.json

Every arm starts from the same seed, sees the same samples in the same order and is judged on the same frames
of the validation data. An arm that was broken off goes on where it stopped; one that is done is not trained
again. ``--switch`` trains nothing: it leaves parts out of trained weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from arms import ARMS, Arm, ArmGenerator
from report import cell, facts, markdown_table, write_json
from rich.console import Console

from facecodec.errors import FacecodecError
from facecodec.generator.profile import PROFILES
from facecodec.train import checkpoint
from facecodec.train.config import TrainConfig
from facecodec.train.config_file import dump_config, load_config
from facecodec.train.generator_task import GeneratorTask
from facecodec.train.loop import train
from facecodec.train.pack import Pack
from facecodec.train.trainer import Trainer
from facecodec.train.validate import ClipJudge

DEFAULT_CONFIG = Path(__file__).with_name("ablation.toml")
DIGITS = {"psnr": 2, "temporal": 2}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, action="append", default=[], help="packed training data")
    parser.add_argument("--val", type=Path, required=True, help="packed validation data")
    parser.add_argument("--config", default=str(DEFAULT_CONFIG), help="settings (default: ablation.toml)")
    parser.add_argument("--init", type=Path, help="weights that every arm begins with, such as a restorer's")
    parser.add_argument("--switch", type=Path, help="trained weights; train nothing")
    parser.add_argument("--arms", help="names, separated by commas (default: all)")
    parser.add_argument("--steps", type=int, help="steps of each arm (default: the settings')")
    parser.add_argument("--seconds", type=float, help="seconds of each arm instead of steps")
    parser.add_argument("--frames", type=int, default=176, help="frames to judge by (default: 176)")
    parser.add_argument("--runs", type=Path, help="folder of the runs (default: cache/ beside the result)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--workers", type=int, default=0, help="processes that make samples (default: 0)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--out", type=Path, required=True, help="result file, .json; .md beside it")
    args = parser.parse_args(argv)
    known = {arm.name: arm for arm in ARMS if args.switch is None or arm.switchable}
    names = args.arms.split(",") if args.arms else list(known)
    if not set(names) <= known.keys():
        parser.error(f"--arms takes {', '.join(known)}")
    args.chosen = [known[name] for name in names]
    if args.switch is None and not args.data:
        parser.error("give --data, or --switch")
    return args


def settings_of(args: argparse.Namespace) -> TrainConfig:
    """Settings of the arm that leaves nothing out.

    Raises:
        ConfigError: a setting is out of its range.
        MediaError: the file cannot be read.
    """
    config = load_config(args.config)
    limits = replace(config.limits, validation_frames=0)
    if args.seconds is not None:
        limits = replace(limits, seconds=args.seconds, steps=0)
    elif args.steps is not None:
        limits = replace(limits, seconds=0.0, steps=args.steps)
    return replace(config, limits=limits, threads=args.threads, workers=args.workers, device=args.device)


def make_model(arm: Arm, config: TrainConfig, weights: Path | None) -> ArmGenerator:
    """The generator of an arm, the same at the start in all of them.

    Raises:
        WeightsError: the weights do not fit.
    """
    torch.manual_seed(config.seed)
    model = ArmGenerator(PROFILES[config.profile], arm)
    if weights is not None:
        checkpoint.load_weights(weights, model)
    return model


def train_arm(
    arm: Arm, base: TrainConfig, args: argparse.Namespace, packs: list[Pack], judge_pack: Pack
) -> dict[str, Any] | None:
    """Train and judge an arm, or read what it came to.

    Returns:
        Its line of the result; None where a signal ended it.

    Raises:
        FacecodecError: what training raises.
    """
    folder = (args.runs or args.out.parent / "cache" / "ablation") / arm.name
    config = arm.config(base)
    init = checkpoint.file_sha256(args.init) if args.init is not None else ""
    kept = folder / "result.json"
    asked = {"config": dump_config(config), "init": init, "frames": args.frames}
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if found["asked"] == asked:
            return found
    task = GeneratorTask(config, make_model(arm, config, args.init), packs, None)
    trainer = Trainer(config, task, folder, resume=_same_run(folder, asked["config"]), parent=init)
    try:
        done = train(trainer)
    finally:
        trainer.processes.close()
    if done.interrupted:
        return None
    line = {
        "arm": arm.name,
        "title": arm.title,
        "steps": done.step,
        "seconds": done.seconds,
        "samples": trainer.state.samples,
        "values": judge(trainer.ema.network, judge_pack, args.frames, config.sequential),
        "asked": asked,
    }
    write_json(kept, line)
    return line


def _same_run(folder: Path, config: str) -> bool:
    """Whether a folder holds the beginning of the very run that is wanted."""
    written = folder / "config.toml"
    return written.is_file() and written.read_text(encoding="utf-8") == config


def switch_arm(arm: Arm, base: TrainConfig, args: argparse.Namespace, judge_pack: Pack) -> dict[str, Any]:
    """Judge trained weights without what an arm leaves out.

    Raises:
        WeightsError: the weights do not fit.
    """
    config = arm.config(base)
    cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    model = make_model(arm, config, args.switch).to("cuda" if cuda else "cpu").eval()
    values = judge(model, judge_pack, args.frames, config.sequential)
    return {"arm": arm.name, "title": arm.title, "values": values}


def judge(model: Any, pack: Pack, frames: int, sequential: bool) -> dict[str, float]:
    """Scores of a model, and of warp-0 on the same frames, by name."""
    with torch.no_grad():
        verdict = ClipJudge(pack, frames, sequential).judge(model, 0)
    return {value.name: value.value for value in verdict.values}


def summary(lines: list[dict[str, Any]]) -> str:
    """The table, as Markdown: warp-0 first."""
    names = [name.removeprefix("made_") for name in lines[0]["values"] if name.startswith("made_")]

    def row(title: str, line: dict[str, Any], prefix: str) -> list[str]:
        values = [cell(line["values"].get(f"{prefix}_{name}"), DIGITS.get(name, 4)) for name in names]
        return [title, *values, str(line.get("steps", "-")), cell(line.get("seconds"), 0)]

    rows = [[*row("warp-0", lines[0], "warp0")[:-2], "-", "-"]]
    rows += [row(line["title"], line, "made") for line in lines]
    return markdown_table(["arm", *names, "steps", "seconds"], rows)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 if every arm was judged, 1 if one failed or was stopped, 2 for wrong arguments."""
    args = parse_args(argv)
    console = Console(stderr=True)
    torch.set_num_threads(args.threads)
    lines: list[dict[str, Any]] = []
    try:
        base, judge_pack = settings_of(args), Pack.open(args.val)
        packs = [Pack.open(path) for path in args.data]
        for arm in args.chosen:
            console.print(f"{arm.title}", highlight=False)
            if args.switch is not None:
                lines.append(switch_arm(arm, base, args, judge_pack))
                continue
            line = train_arm(arm, base, args, packs, judge_pack)
            if line is None:
                console.print("stopped; run it again to go on")
                return 1
            lines.append(line)
    except FacecodecError as err:
        console.print(f"[red]{type(err).__name__}: {err}[/]")
        return 2 if isinstance(err, ValueError) else 1
    settings = {"config": dump_config(base), "init": str(args.init or ""), "frames": args.frames}
    if args.switch is not None:
        settings = {"switched": checkpoint.file_sha256(args.switch), "frames": args.frames}
    write_json(args.out, {"facts": facts(), "settings": settings, "arms": lines})
    text = summary(lines)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
