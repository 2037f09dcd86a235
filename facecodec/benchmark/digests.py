"""What coded streams, decoded pictures and figures depend on, as digests for names of cached files."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import facecodec

_PACKAGE = Path(facecodec.__file__).parent
_DATA_SUFFIXES = (".npz", ".json", ".task")
ENCODER_MODULES = ("facecodec.encoder",)
WARP_MODULES = ("facecodec.motion_decoder", "facecodec.generator.model")
LEARNED_MODULES = ("facecodec.decoder", "facecodec.generator.streaming", "facecodec.generator.patches")
TUNING_MODULES = ("facecodec.train.finetune",)
METRIC_MODULES = (
    "facecodec.metrics.dists",
    "facecodec.metrics.identity",
    "facecodec.metrics.landmark",
    "facecodec.metrics.ms_ssim",
    "facecodec.metrics.ssim",
    "facecodec.metrics.temporal",
    "facecodec.metrics.vmaf",
    "facecodec.track.tracker",
)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules that may be imported when a module is: what functions import later is left out."""
    for line in tree.body:
        if isinstance(line, ast.Import):
            yield from (name.name for name in line.names)
        elif isinstance(line, ast.ImportFrom) and line.module:
            yield line.module
            yield from (f"{line.module}.{name.name}" for name in line.names)


def _file_of(module: str) -> Path | None:
    """File of a module of the package; None where it is none."""
    if module.split(".")[0] != _PACKAGE.name:
        return None
    path = _PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


@lru_cache(maxsize=8)
def import_digest(modules: tuple[str, ...]) -> str:
    """Digest of what some modules of the package import, and of the tables that lie beside it.

    It does not change with parts of the package that have no say: so what
    was coded stays coded while a generator is worked on.
    """
    files: set[Path] = set()
    waiting = list(modules)
    while waiting:
        file = _file_of(waiting.pop())
        if file is not None and file not in files:
            files.add(file)
            waiting += _imported(ast.parse(file.read_text(encoding="utf-8")))
    for folder in {file.parent for file in files} - {_PACKAGE}:
        files |= {p for p in folder.rglob("*") if p.suffix in _DATA_SUFFIXES}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(str(file.relative_to(_PACKAGE)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def key_of(*parts: object) -> str:
    """A short digest of plain values, for the name of a file in a cache."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]
