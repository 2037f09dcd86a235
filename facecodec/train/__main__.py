"""``python -m facecodec.train run``: train from a packed data set. Needs neither typer nor rich."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from facecodec.errors import FacecodecError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it went well, 2 for wrong settings, 1 for any other error on purpose."""
    parser = argparse.ArgumentParser(prog="python -m facecodec.train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train a part of the generator")
    run.add_argument("--config", required=True, help="TOML file, or the name of a preset, such as debug")
    run.add_argument("--data", type=Path, required=True, action="append", help="packed data set; repeatable")
    run.add_argument("--val", type=Path, help="packed data set for validation")
    run.add_argument("--out", type=Path, required=True, help="folder of the run")
    run.add_argument("--resume", action="store_true", help="go on where the run in --out stopped")
    run.add_argument("--init", type=Path, help="weights to begin with (safetensors)")
    run.add_argument("--seconds", type=float, help="limit of training time in all, instead of the config's")
    run.add_argument("--steps", type=int, help="limit of steps in all, instead of the config's")
    run.add_argument("--workers", type=int, help="processes that make samples, instead of the config's")
    run.add_argument("--threads", type=int, help="threads of torch, instead of the config's")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    from facecodec.train.run import RunOptions, run_training

    options = RunOptions(
        config=given.config,
        data=tuple(given.data),
        val=given.val,
        out=given.out,
        resume=given.resume,
        init=given.init,
        seconds=given.seconds,
        steps=given.steps,
        workers=given.workers,
        threads=given.threads,
    )
    try:
        result = run_training(options)
    except FacecodecError as err:
        sys.stderr.write(f"facecodec.train: {err}\n")
        return 2 if isinstance(err, ValueError) else 1
    if os.environ.get("RANK", "0") != "0":
        return 0
    how = "stopped" if result.interrupted else "done"
    sys.stderr.write(f"{how} after {result.step} steps, {result.seconds:.0f} s: {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
