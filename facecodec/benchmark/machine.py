"""Where a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

import facecodec
from facecodec.benchmark.ffmpeg import ffmpeg_version, find_ffmpeg
from facecodec.benchmark.results import Machine
from facecodec.errors import ConfigError


def cpu_model() -> str:
    """Name of the processor, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mib() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (AttributeError, OSError, ValueError):
        return 0


def commit() -> str:
    """Commit of the working tree, with ``+`` where files differ from it; ``unknown`` outside git."""
    root = Path(facecodec.__file__).resolve().parents[1]
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--", "facecodec") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *args: str) -> str:
    command = ["git", *args]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


def machine() -> Machine:
    """Facts of this machine, for the head of results."""
    try:
        ffmpeg = ffmpeg_version(find_ffmpeg())
    except ConfigError:
        ffmpeg = "none"
    return Machine(
        processor=cpu_model(),
        cores=cores(),
        memory_mib=_memory_mib(),
        system=platform.platform(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        ffmpeg=ffmpeg,
        commit=commit(),
    )
