"""Who is seen in a picture, and who moves in a video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from facecodec.analysis.window import TrackWindow
from facecodec.api.report import OnProgress, Progress, check_part
from facecodec.errors import MediaError, NoFaceError
from facecodec.generator.workers import single_threaded
from facecodec.media.reader import VideoReader
from facecodec.track.tracker import MeshTracker
from facecodec.types import F32Array, Frame, U8Array

MAX_SIDE = 1920
"""A larger reference picture is shrunk to this longer side."""
_MIN_SIDE = 16
_GROUP = 64
"""Frames that are smoothed together."""


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """The picture that is driven.

    Attributes:
        path: where it was read from.
        pixels: [H, W, 3].
        points: [478, 3], its face in picture pixels.
    """

    path: Path
    pixels: U8Array
    points: F32Array


@dataclass(frozen=True, slots=True, eq=False)
class DriverTrack:
    """The motion that drives.

    Attributes:
        path: where it was read from.
        points: [T, 478, 3], smoothed, picture pixels; a frame without a face holds what is near in time.
        valid: [T], frames that hold a face.
        pts: times of the frames in ticks.
        time_base: seconds a tick lasts.
        frame_rate: mean pictures a second.
        start_s: time of the first frame since the file's first picture.
        file_start_s: time of the file's first picture as the file counts.
        has_audio: there is a sound track.
        damage: why pictures are missing or wrong; None if all is well.
    """

    path: Path
    points: F32Array
    valid: npt.NDArray[np.bool_]
    pts: list[int]
    time_base: Fraction
    frame_rate: Fraction
    start_s: float
    file_start_s: float
    has_audio: bool
    damage: str | None


def read_portrait(path: str | Path) -> Portrait:
    """Read a picture file (or the first picture of a video) and find its face.

    Raises:
        MediaError: the file cannot be read, or its picture is too small.
        NoFaceError: there is no face in it.
    """
    with VideoReader(path) as reader:
        first = next(reader.frames(), None)
    if first is None or min(first.pixels.shape[:2]) < _MIN_SIDE:
        raise MediaError(path, f"no picture of {_MIN_SIDE} pixels a side or more")
    pixels = _bounded(first.pixels)
    face = MeshTracker(threads=1).track(pixels)
    if face is None:
        raise NoFaceError(path, "no face was found in the picture")
    return Portrait(Path(path), pixels, face.points)


def track_driver(
    path: str | Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> DriverTrack:
    """Track the face of a video.

    Args:
        path: any video that FFmpeg reads.
        start_s: seconds to leave out.
        duration_s: seconds to take; None takes all.
        on_progress: called now and then.

    Raises:
        ConfigError: ``start_s`` or ``duration_s`` is no stretch of time.
        MediaError: the file cannot be read, or has no pictures there.
        NoFaceError: no face in any of them.
    """
    check_part(start_s, duration_s)
    with VideoReader(path) as reader, single_threaded():
        rate, info = reader.info.frame_rate, reader.info
        total = info.frames if duration_s is None else round(duration_s * rate)
        run = _TrackRun(on_progress, total, float(rate))
        try:
            for frame in reader.frames(start_s, duration_s):
                run.take(frame)
            run.finish()
        finally:
            run.window.close()
        if not run.pts:
            raise MediaError(path, reader.damage or "no pictures in this part of the file")
        points, valid = np.concatenate(run.points), np.concatenate(run.valid)
        if not valid.any():
            raise NoFaceError(path, "no face was found in any frame")
        begin = float((run.pts[0] - info.start_pts) * info.time_base)
        return DriverTrack(
            path=Path(path),
            points=_held(points, valid),
            valid=valid,
            pts=run.pts,
            time_base=info.time_base,
            frame_rate=rate,
            start_s=begin,
            file_start_s=info.start_s,
            has_audio=info.has_audio,
            damage=reader.damage,
        )


class _TrackRun:
    """Tracks frame after frame and smooths them in groups, so that few pictures are in memory."""

    def __init__(self, on_progress: OnProgress | None, total: int | None, rate: float) -> None:
        self.window = TrackWindow(MeshTracker(threads=1), False, {})
        self.points: list[F32Array] = []
        self.valid: list[npt.NDArray[np.bool_]] = []
        self.pts: list[int] = []
        self._on_progress, self._total, self._rate = on_progress, total, rate

    def take(self, frame: Frame) -> None:
        """Take in a frame."""
        self.pts.append(frame.pts)
        self.window.push(frame)
        if len(self.window) >= 2 * _GROUP:
            self._advance(_GROUP)

    def finish(self) -> None:
        """Smooth what is left."""
        while len(self.window):
            self._advance(min(_GROUP, len(self.window)))

    def _advance(self, count: int) -> None:
        count = self.window.first_cut(count)
        points, valid = self.window.smoothed(count)
        self.window.drop(count)
        self.points.append(points)
        self.valid.append(valid)
        done = sum(map(len, self.valid))
        if self._on_progress is not None:
            self._on_progress(Progress(done, self._total, 0, done / self._rate))


def _bounded(pixels: U8Array) -> U8Array:
    """The picture, its longer side at most :data:`MAX_SIDE`."""
    height, width = pixels.shape[:2]
    share = MAX_SIDE / max(height, width)
    if share >= 1:
        return pixels
    size = (max(round(width * share), 1), max(round(height * share), 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _held(points: F32Array, valid: npt.NDArray[np.bool_]) -> F32Array:
    """Points whose lost frames hold the last face before them, or the first one."""
    empty = ~valid & ~points.any(axis=(1, 2))
    known = np.flatnonzero(~empty)
    nearest = known[np.clip(np.searchsorted(known, np.arange(len(points)), side="right") - 1, 0, None)]
    return np.asarray(points[nearest])
