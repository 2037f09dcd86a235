"""Which frames of a take are worth keeping: whole, sharp, moving, spread over time and over expressions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facecodec.track.crop import face_box
from facecodec.track.quality import eye_openness_each, frontalness, mouth_openness, sharpness
from facecodec.track.smooth import cut_segments
from facecodec.types import F32Array, F64Array, U8Array

CUT = 40.0
"""Mean absolute difference of thumbnails, of 255, that counts as a cut."""
BLUR = 0.3
"""A frame under this share of the take's median sharpness is blurred."""
FROZEN = 0.2
"""Mean absolute difference, of 255, under which a picture repeats the one before."""
_THUMBNAIL = (32, 32)
_TRIES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What is known of the frames of a take.

    Attributes:
        segments: [T] number of the unbroken stretch that a frame lies in: one reference picture, no cut, no
            bad frame in between; -1 for a frame that is left out.
        lost: frames without a face.
        blurred: frames left out for blur.
        frozen: frames left out because they repeat the one before.
        cuts: breaks at cuts.
    """

    segments: npt.NDArray[np.int64]
    lost: int
    blurred: int
    frozen: int
    cuts: int


def judge(
    pictures: list[U8Array],
    meshes: npt.NDArray[np.floating],
    held: npt.NDArray[np.bool_],
    references: npt.NDArray[np.integer],
) -> Judged:
    """Judge every frame of a take.

    Args:
        pictures: T source crops, [S, S, 3] uint8.
        meshes: [T, 478, 3] crop units.
        held: [T], frames in which no face was seen.
        references: [T] number of the reference picture of each frame.
    """
    count = len(pictures)
    sharp = np.array([_face_sharpness(p, m) for p, m in zip(pictures, meshes, strict=True)])
    seen = sharp[~held]
    blurred = ~held & (sharp < BLUR * (float(np.median(seen)) if len(seen) else 0.0))
    apart, thumb = _differences(pictures)
    same = np.concatenate([[False], references[1:] == references[:-1]])
    frozen = ~held & ~blurred & same & (apart < FROZEN)
    points = np.asarray(meshes, np.float64).copy()
    jumps = np.concatenate([[0], np.diff(cut_segments(points, ~held))]) > 0
    cut = same & ((thumb > CUT) | jumps)
    segments, number, broken = np.full(count, -1, np.int64), -1, False
    for t in range(count):
        if held[t] or blurred[t]:
            broken = True
            continue
        if broken or cut[t] or not same[t]:
            number, broken = number + 1, False
        if not frozen[t]:
            segments[t] = number
    return Judged(segments, int(held.sum()), int(blurred.sum()), int(frozen.sum()), int(cut.sum()))


def _face_sharpness(picture: U8Array, mesh: npt.NDArray[np.floating]) -> float:
    return sharpness(picture, face_box(np.asarray(mesh * picture.shape[0], np.float32)))


def _differences(pictures: list[U8Array]) -> tuple[F64Array, F64Array]:
    """Mean absolute difference from the picture before, of pictures and thumbnails; infinite at first."""
    whole, small = np.full(len(pictures), np.inf), np.zeros(len(pictures))
    thumbs = [cv2.resize(p, _THUMBNAIL, interpolation=cv2.INTER_AREA) for p in pictures]
    for t in range(1, len(pictures)):
        whole[t] = cv2.absdiff(pictures[t], pictures[t - 1]).mean()
        small[t] = cv2.absdiff(thumbs[t], thumbs[t - 1]).mean()
    return whole, small


def extremes(meshes: npt.NDArray[np.floating]) -> F32Array:
    """How extreme frames are, larger for more: [T, 4], open mouth, closed eyes, wide eyes, turned head.

    Args:
        meshes: [T, 478, 3] crop units.
    """
    rows = np.zeros((len(meshes), 4), np.float32)
    angles = np.zeros((len(meshes), 3))
    for t, mesh in enumerate(meshes):
        left, right = eye_openness_each(mesh)
        head = frontalness(mesh)
        angles[t] = head.yaw, head.pitch, head.roll
        rows[t, :3] = mouth_openness(mesh), -min(left, right), left + right
    rows[:, 3] = np.linalg.norm(angles - np.median(angles, axis=0), axis=1)
    return rows


def choose_runs(
    segments: npt.NDArray[np.int64], scores: F32Array, length: int, frames: int, rng: np.random.Generator
) -> list[list[int]]:
    """Choose runs of consecutive frames, in turn around an extreme and at random.

    Which kind of extreme comes first is drawn, so that the first runs of many takes hold all kinds.

    Args:
        segments: [T], see :class:`Judged`.
        scores: [T, E], see :func:`extremes`.
        length: frames of a run; where no stretch is that long, runs are shorter.
        frames: frames to choose in all, about.
        rng: source of chance.

    Returns:
        Runs, the first ones the most useful; no frame is in two. Fewer where the take has no more.
    """
    free = segments.copy()
    runs: list[list[int]] = []
    first = int(rng.integers(scores.shape[1]))
    while sum(map(len, runs)) < frames:
        windows = _windows(free, min(length, frames - sum(map(len, runs))))
        if not windows:
            break
        turn, column = len(runs), (first + len(runs) // 2) % scores.shape[1]
        run = _far(windows, runs, rng) if turn % 2 else _peak(windows, scores[:, column])
        runs.append(run)
        tail = np.flatnonzero(free == free[run[-1]])
        free[tail[tail > run[-1]]] = free.max() + 1
        free[run] = -1
    return runs


def _windows(free: npt.NDArray[np.int64], length: int) -> list[list[int]]:
    """Every stretch of ``length`` frames of one segment; the longest there are where all are shorter."""
    stretches = [np.flatnonzero(free == number).tolist() for number in np.unique(free[free >= 0])]
    length = min(length, max(map(len, stretches), default=0))
    return [s[i : i + length] for s in stretches for i in range(len(s) - length + 1)]


def _peak(windows: list[list[int]], scores: F32Array) -> list[int]:
    """The window with the highest score in its middle half; the mean of the window decides between equals."""
    quarter = len(windows[0]) // 4

    def height(window: list[int]) -> tuple[float, float]:
        inner = window[quarter : len(window) - quarter]
        return float(scores[inner].max()), float(scores[window].mean())

    return max(windows, key=height)


def _far(windows: list[list[int]], runs: list[list[int]], rng: np.random.Generator) -> list[int]:
    """Of a few windows drawn at random the one that lies farthest from the runs chosen so far."""
    drawn = [windows[i] for i in rng.integers(0, len(windows), _TRIES)]
    starts = np.array([run[0] for run in runs] or [-1])
    return max(drawn, key=lambda window: int(np.abs(starts - window[0]).min()))
