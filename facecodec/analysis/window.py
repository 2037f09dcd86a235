"""The encoder's window: frames that have been tracked and wait to be coded.

Tracking runs in a worker thread, one frame after the other, while the caller codes earlier frames.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from facecodec.motion.expression import opening_nearness
from facecodec.refpic.appearance import face_patch
from facecodec.track.smooth import OneEuroFilter, context_frames, cut_segments, smooth_zero_phase
from facecodec.track.tracker import FaceTracker
from facecodec.types import F32Array, Frame, Landmarks, U8Array

SIGMA_FRAMES = 1.0
"""Standard deviation of the zero-phase filter over the track."""
_OPENING_SIGMA_FRAMES = 0.65
_OPENING_REACH = 0.25
"""The same for lids and lips, and how far around them it holds, in widths of the eye or mouth: a blink is
over in four frames, and the wider filter takes a sixth of it."""
_THUMBNAIL = (32, 18)
_CUT = 40.0
"""Mean absolute difference of thumbnails, of 255, that counts as a cut."""
_POINTS = 478


@dataclass(slots=True)
class Tracked:
    """A frame of the window.

    Attributes:
        frame: the picture.
        landmarks: its face, or None.
        is_cut: the picture has nothing to do with the one before.
        patch: how the face looks, [48, 48], or None.
    """

    frame: Frame
    landmarks: Landmarks | None
    is_cut: bool
    patch: F32Array | None


class TrackWindow:
    """A queue of frames with their tracks.

    Args:
        tracker: finds the face.
        causal: smooth without looking ahead, frame by frame as they come.
        timings: seconds of each tracker call are added to its list ``track``.
    """

    def __init__(self, tracker: FaceTracker, causal: bool, timings: dict[str, list[float]]) -> None:
        self._tracker = tracker
        self._causal = OneEuroFilter() if causal else None
        self._timings = timings.setdefault("track", [])
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="facecodec-track")
        self._queue: deque[Future[Tracked]] = deque()
        self._context = context_frames(SIGMA_FRAMES)
        self._past: deque[tuple[F32Array, bool]] = deque(maxlen=self._context)
        self._thumbnail: U8Array | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, frame: Frame) -> None:
        """Add a frame; its face is looked for in the background."""
        self._queue.append(self._worker.submit(self._track, frame))

    def close(self) -> None:
        """Stop the worker."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def frames(self, count: int | None = None) -> list[Tracked]:
        """Return the first ``count`` frames of the window (all by default); waits for their tracks."""
        picked = list(self._queue)[:count]
        return [future.result() for future in picked]

    def drop(self, count: int) -> None:
        """Remove frames from the start; they stay known as context of the smoothing."""
        for _ in range(count):
            item = self._queue.popleft().result()
            if item.is_cut:
                self._past.clear()
            self._past.append(_points_of(item))

    def smoothed(self, count: int) -> tuple[F32Array, np.ndarray]:
        """Smoothed points of the first ``count`` frames.

        Returns:
            Points [count, 478, 3] in picture pixels, lost frames filled from their neighbours, and
            validity [count].
        """
        items = self.frames(count + self._context)
        ahead = next((i for i, item in enumerate(items) if item.is_cut and i >= count), len(items))
        past = [] if items[0].is_cut else list(self._past)
        rows = [*past, *(_points_of(item) for item in items[:ahead])]
        points = np.stack([row[0] for row in rows])
        valid = np.array([row[1] for row in rows])
        left, right = len(past), len(rows) - len(past) - count
        if self._causal is None:
            near = opening_nearness(_OPENING_REACH)
            sigmas = SIGMA_FRAMES + near * (_OPENING_SIGMA_FRAMES - SIGMA_FRAMES)
            points = smooth_zero_phase(points, valid, sigmas)
        return _fill(points, valid)[left : len(rows) - right], valid[left : len(rows) - right]

    def first_cut(self, count: int) -> int:
        """Frames before the first cut behind frame 0, ``count`` at most."""
        items = self.frames(count)
        points = np.stack([_points_of(item)[0] for item in items])
        valid = np.array([item.landmarks is not None for item in items])
        jumps = np.flatnonzero(np.diff(cut_segments(points, valid)) > 0) + 1
        cuts = [i for i, item in enumerate(items) if item.is_cut and i > 0]
        return int(min([*jumps.tolist(), *cuts, len(items)]))

    def _track(self, frame: Frame) -> Tracked:
        start = time.perf_counter()
        thumbnail = cv2.resize(frame.pixels, _THUMBNAIL, interpolation=cv2.INTER_AREA)
        cut = self._thumbnail is not None and float(cv2.absdiff(thumbnail, self._thumbnail).mean()) > _CUT
        self._thumbnail = np.asarray(thumbnail, np.uint8)
        if cut:
            self._tracker.reset()
            if self._causal is not None:
                self._causal.reset()
        landmarks = self._tracker.track(frame.pixels)
        if landmarks is not None and self._causal is not None:
            points = self._causal.filter(landmarks.points, frame.time_s)
            landmarks = Landmarks(points, landmarks.score, landmarks.keypoint_set)
        patch = None if landmarks is None else face_patch(frame.pixels, landmarks.points)
        self._timings.append(time.perf_counter() - start)
        return Tracked(frame, landmarks, cut, patch)


def _points_of(item: Tracked) -> tuple[F32Array, bool]:
    if item.landmarks is None:
        return np.zeros((_POINTS, 3), np.float32), False
    return item.landmarks.points, True


def _fill(points: F32Array, valid: np.ndarray) -> F32Array:
    """Put into lost frames what lies between their neighbours, or the nearest one at the ends."""
    known = np.flatnonzero(valid)
    if len(known) in (0, len(valid)):
        return points
    out = points.copy()
    for t in np.flatnonzero(~valid):
        after = int(np.searchsorted(known, t))
        low, high = known[max(after - 1, 0)], known[min(after, len(known) - 1)]
        share = (t - low) / (high - low) if low < t < high else 0.0
        base = low if low < t else high
        out[t] = points[base] if share == 0.0 else (1 - share) * points[low] + share * points[high]
    return out
