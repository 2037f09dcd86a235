"""Inputs and outputs of a command: pipes are spooled, files appear only when they are complete."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facecodec.errors import MediaError

PIPE = "-"


class OutputError(Exception):
    """The output that was asked for cannot be used as it is."""


@contextmanager
def input_file(name: str) -> Iterator[Path]:
    """A path that can be read and sought: ``name`` itself, or standard input in a temporary file.

    Raises:
        MediaError: there is no such file, or it is a folder.
    """
    if name != PIPE:
        path = Path(name)
        if path.is_dir():
            raise MediaError(path, "is a folder")
        if not path.exists():
            raise MediaError(path, "no such file")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="facecodec-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
        with _renamed(path, "standard input"):
            yield path


@contextmanager
def output_file(name: str, suffix: str, *, force: bool) -> Iterator[Path]:
    """A path to write to, which becomes ``name`` if the block ends without an exception.

    Until then ``name`` is untouched: the block writes into a temporary folder beside it. Standard
    output and other things that are no regular files get the bytes at the end.

    Args:
        name: file to write, or ``-``.
        suffix: ending of the temporary file where ``name`` has none to go by, with its dot.
        force: whether a file that exists may be replaced.

    Raises:
        OutputError: ``name`` exists and ``force`` is false, or is a terminal.
        MediaError: ``name`` is a folder, or its folder does not exist or cannot be written to.
    """
    if name == PIPE:
        if sys.stdout.isatty():
            raise OutputError("standard output is a terminal; name a file or use a pipe")
        with tempfile.TemporaryDirectory(prefix="facecodec-") as folder:
            path = Path(folder) / f"stdout{suffix}"
            with _renamed(path, "standard output"):
                yield path
            _copy_out(path, sys.stdout.buffer.fileno())
        return
    target = Path(name).resolve()
    if target.is_dir():
        raise MediaError(name, "is a folder")
    if not target.parent.is_dir():
        raise MediaError(name, "its folder does not exist")
    refuse_overwrite(target, name, force=force)
    special = target.exists() and not target.is_file()
    beside = None if special else target.parent
    with _folder(name, beside) as folder:
        path = Path(folder) / (f"out{suffix}" if special else target.name)
        with _renamed(path, name):
            yield path
        if special:
            descriptor = os.open(target, os.O_WRONLY)
            try:
                _copy_out(path, descriptor)
            finally:
                os.close(descriptor)
        else:
            path.replace(target)


def _folder(name: str, beside: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder to write in; where none can be made, the MediaError names what was to be written."""
    try:
        return tempfile.TemporaryDirectory(prefix=".facecodec-", dir=beside)
    except OSError as err:
        from facecodec.media.atomic import os_reason  # takes PyAV with it, which no command needs to begin

        raise MediaError(name, f"cannot be written: {os_reason(err)}") from err


@contextmanager
def stats_file(path: Path | None, *, force: bool) -> Iterator[Path | None]:
    """:func:`output_file` for ``--stats``, which may be absent."""
    if path is None:
        yield None
        return
    with output_file(str(path), ".jsonl", force=force) as out:
        yield out


def refuse_overwrite(path: Path, name: str, *, force: bool) -> None:
    """Raise OutputError if ``path`` is a file that exists and ``force`` is false."""
    if path.is_file() and not force:
        raise OutputError(f"{name} exists; --force overwrites it")


def refuse_same(src: str, dst: str) -> None:
    """Raise OutputError if a command would replace its own input."""
    if PIPE not in (src, dst) and Path(dst).is_file() and Path(src).exists() and os.path.samefile(src, dst):
        raise OutputError(f"{dst} is the input itself")


@contextmanager
def _renamed(path: Path, name: str) -> Iterator[None]:
    """Let errors about the temporary ``path`` speak of ``name``."""
    try:
        yield
    except MediaError as err:
        if err.path != str(path):
            raise
        raise type(err)(name, err.reason) from err


def _copy_out(path: Path, descriptor: int) -> None:
    with path.open("rb") as source, os.fdopen(os.dup(descriptor), "wb") as sink:
        shutil.copyfileobj(source, sink)
