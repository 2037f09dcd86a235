"""What a run shows: CSV files, TensorBoard events where that is installed, sheets of tiles, progress."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import MediaError, ShapeError

_GAP = 2
"""Pixels between tiles."""

_log = logging.getLogger(__name__)


class Value(NamedTuple):
    """A named number of a log."""

    name: str
    value: float


def mean_values(values: Sequence[Sequence[Value]]) -> list[Value]:
    """Mean of each name over several lists of values that may hold different names."""
    sums: dict[str, list[float]] = {}
    for each in values:
        for name, value in each:
            sums.setdefault(name, []).append(value)
    return [Value(name, sum(found) / len(found)) for name, found in sums.items()]


class CsvLog:
    """A CSV file that is appended to, and keeps what an earlier part of the run wrote.

    A column that the file does not have yet makes it begin anew with the wider header, old lines kept.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), [])

    def keep_until(self, step: int) -> None:
        """Drop lines of later steps: a resumed run takes those steps again."""
        if "step" in self._columns:
            rows = [row for row in self._rows() if float(row["step"]) <= step]
            self._rewrite(rows)

    def _rows(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row.get("step")]

    def _rewrite(self, rows: Sequence[dict[str, str]]) -> None:
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def write(self, values: Sequence[Value]) -> None:
        """Append a line.

        Raises:
            MediaError: the file cannot be written.
        """
        new = [each.name for each in values if each.name not in self._columns]
        try:
            if new:
                old = self._rows() if self._columns else []
                self._columns += new
                self._rewrite(old)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self._columns, restval="", lineterminator="\n")
                writer.writerow({each.name: f"{each.value:.6g}" for each in values})
        except OSError as err:
            raise MediaError(self.path, f"cannot be written: {err.strerror}") from err


class Board:
    """TensorBoard events; does nothing where ``tensorboard`` (the extra ``train``) is not installed.

    Args:
        folder: where the event files go.
        done: steps that earlier parts of the run have done; what they wrote of later ones is hidden.
    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is None:
            return
        try:
            module = importlib.import_module("torch.utils.tensorboard")
            self._writer = module.SummaryWriter(str(folder), purge_step=done + 1 if done else None)
        except (ImportError, AttributeError) as err:
            _log.warning("no TensorBoard events: %s", err)

    def write(self, step: int, group: str, values: Sequence[Value]) -> None:
        """Add numbers at a step."""
        if self._writer is not None:
            for each in values:
                self._writer.add_scalar(f"{group}/{each.name}", each.value, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


def _cell(picture: Tensor, side: int) -> np.ndarray:
    """[3 or 1, h, w] in [0, 1] to [side, side, 3] uint8."""
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise ShapeError("tile", "[1 or 3, h, w]", tuple(picture.shape))
    shown = picture.detach().float().cpu().expand(3, -1, -1)[None]
    if shown.shape[-2:] != (side, side):
        shown = functional.interpolate(shown, (side, side), mode="bilinear", antialias=True)
    pixels = shown[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return np.asarray(pixels.numpy())


def sheet(rows: Sequence[Sequence[Tensor]], side: int = 256) -> np.ndarray:
    """Lay out rows of pictures.

    Args:
        rows: of pictures [3, h, w] or masks [1, h, w] in [0, 1]; shorter rows are filled with grey.
        side: of each cell, in pixels.

    Returns:
        [H, W, 3] uint8, RGB.

    Raises:
        ShapeError: no pictures, or one that is neither picture nor mask.
    """
    width = max((len(row) for row in rows), default=0)
    if width == 0:
        raise ShapeError("tiles", "at least one picture", len(rows))
    step = side + _GAP
    out = np.full((len(rows) * step - _GAP, width * step - _GAP, 3), 128, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            out[y * step : y * step + side, x * step : x * step + side] = _cell(picture, side)
    return out


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write a picture [H, W, 3] uint8 RGB as PNG.

    Raises:
        MediaError: it cannot be written.
    """
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not done:
        raise MediaError(path, "PNG coding failed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as err:
        raise MediaError(path, f"cannot be written: {err.strerror}") from err


class Progress:
    """A bar on stderr where that is a terminal and rich is installed; elsewhere a line now and then.

    Args:
        quiet: show nothing (all processes but the first).
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        if not quiet and sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
            console = importlib.import_module("rich.console").Console(stderr=True)
            module = importlib.import_module("rich.progress")
            self._bar = module.Progress(
                module.TextColumn("{task.description}"),
                module.BarColumn(),
                module.TaskProgressColumn(),
                module.TimeElapsedColumn(),
                console=console,
            )
            self._task = self._bar.add_task("training", total=1.0)

    def __enter__(self) -> Progress:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    @property
    def shows_bar(self) -> bool:
        """There is a bar."""
        return self._bar is not None

    def advance(self, done: float, text: str) -> None:
        """Move the bar.

        Args:
            done: 0 to 1.
            text: what stands before it.
        """
        if self._bar is not None:
            self._bar.update(self._task, completed=min(1.0, done), description=text)

    def line(self, text: str) -> None:
        """Show a line that stays; above the bar where there is one."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            sys.stderr.flush()
