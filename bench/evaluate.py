"""Options of every script that measures; the measuring itself is ``facecodec.benchmark.quality``."""

from __future__ import annotations

import argparse
from pathlib import Path

from facecodec.benchmark.quality import Sampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every script that measures; see :func:`sampling`."""
    parser.add_argument(
        "--lpips-every", type=int, default=5, help="LPIPS and identity of every nth frame (default: 5)"
    )
    parser.add_argument(
        "--deep-every", type=int, default=25, help="LPIPS-vgg and DISTS of every nth, 0: none (default: 25)"
    )
    parser.add_argument(
        "--no-lpips", action="store_true", help="leave out LPIPS, DISTS and identity, which need weights"
    )
    parser.add_argument("--lpips-weights", type=Path, help="folder with alexnet.ckpt and vgg16.ckpt")


def sampling(args: argparse.Namespace) -> Sampling:
    """Which frames the networks see, from the command line.

    Raises:
        ValueError: a step is out of range.
    """
    if args.lpips_every < 1 or args.deep_every < 0:
        raise ValueError("--lpips-every has to be 1 or more, --deep-every 0 or more")
    return Sampling(args.lpips_every, args.deep_every)
