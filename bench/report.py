"""What every result file says about where it comes from, and how results are written."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from pathlib import Path
from typing import Any

import av
import torch

import facecodec
from facecodec.benchmark.machine import commit, cores, cpu_model

_PACKAGE = Path(facecodec.__file__).parent
_CODE_SUFFIXES = {".py", ".npz", ".safetensors", ".task", ".json", ".bin"}


def code_digest() -> str:
    """Digest of the installed package's code, tables and models: what decides the numbers."""
    digest = hashlib.sha256()
    for path in sorted(p for p in _PACKAGE.rglob("*") if p.suffix in _CODE_SUFFIXES):
        digest.update(str(path.relative_to(_PACKAGE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def facts() -> dict[str, Any]:
    """Machine, versions and commit, for the head of a result file."""
    return {
        "commit": commit(),
        "code": code_digest(),
        "facecodec": facecodec.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "av": av.__version__,
        "cpu": cpu_model(),
        "cores": cores(),
        "system": platform.platform(),
    }


def _plain(value: Any) -> Any:
    """Values that JSON can hold: NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, data: Any) -> None:
    """Write a result whole or not at all.

    Args:
        path: the file; its folder is made.
        data: plain values; NaN and infinity are written as null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(_plain(data), indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def mean(values: list[float | None]) -> float | None:
    """Mean of the values that are there; None where there is none."""
    there = [v for v in values if v is not None and math.isfinite(v)]
    return sum(there) / len(there) if there else None


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with its numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: float | None, digits: int) -> str:
    """A number with a given number of digits after the point; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
