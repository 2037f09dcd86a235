"""Face detection with BlazeFace, short range (Bazarevsky et al., CVPR workshop 2019).

The network sees 128 x 128 pixels and answers for 896 anchors. Anchors follow the SSD rule that
MediaPipe documents: two to a cell of 8 pixels, six to a cell of 16 pixels, all of size 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from facecodec.track.bundle import DETECTOR_MEMBER, TfliteNetwork, read_member, sigmoid
from facecodec.track.landmarks import check_rgb
from facecodec.types import F32Array, U8Array

INPUT_SIZE = 128
_CELLS = ((8, 2), (16, 6))
"""Stride in network pixels and anchors to a cell."""
_TILE_OVERLAP = 0.5
_MIN_TILE = 96
_TILE_SHARE = 4
"""Smallest tile: 96 pixels and a quarter of the picture's shorter side, which bounds the time."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found in a picture.

    Attributes:
        box: x, y, width, height, float32 [4], picture pixels; may reach over the border.
        keypoints: eyes (picture left, picture right), nose tip, mouth centre, ears: float32 [6, 2],
            picture pixels.
        score: 0 to 1.
    """

    box: F32Array
    keypoints: F32Array
    score: float

    @property
    def area(self) -> float:
        """Area of the box in picture pixels squared."""
        return float(self.box[2] * self.box[3])


def ssd_anchors(size: int = INPUT_SIZE) -> F32Array:
    """Centres of the anchors, float32 [N, 2] in [0, 1], (x, y), in the network's order."""
    parts = []
    for stride, count in _CELLS:
        cells = size // stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        parts.append(np.repeat(grid, count, axis=0))
    return np.concatenate(parts).astype(np.float32)


def iou(a: F32Array, b: F32Array) -> float:
    """Intersection over union of two boxes (x, y, width, height), 0 to 1."""
    overlap = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    if (overlap <= 0).any():
        return 0.0
    inner = float(overlap[0] * overlap[1])
    return inner / (float(a[2] * a[3] + b[2] * b[3]) - inner)


def non_maximum_suppression(found: list[Detection], threshold: float = 0.3) -> list[Detection]:
    """Merge detections of the same face.

    Args:
        found: detections in any order.
        threshold: boxes with a larger intersection over union are one face.

    Returns:
        One detection a face, best score first. Box and keypoints are the mean of the merged ones
        weighted by score (BlazeFace's blending), which jitters less than the best one alone.
    """
    rest = sorted(found, key=lambda d: -d.score)
    kept = []
    while rest:
        best = rest[0]
        same = [d for d in rest if d is best or iou(best.box, d.box) > threshold]
        rest = [d for d in rest if not any(d is s for s in same)]
        weights = np.array([d.score for d in same], np.float32)
        weights /= weights.sum()
        box = np.tensordot(weights, np.stack([d.box for d in same]), axes=1)
        keypoints = np.tensordot(weights, np.stack([d.keypoints for d in same]), axes=1)
        kept.append(Detection(box.astype(np.float32), keypoints.astype(np.float32), best.score))
    return kept


class FaceDetector:
    """Finds faces in a picture of any size.

    Args:
        threads: threads of one run; 0 leaves the number to LiteRT.
        min_score: detections under this score are dropped, 0 to 1.

    Raises:
        WeightsError: the model file is absent or damaged.
    """

    def __init__(self, threads: int = 0, min_score: float = 0.5) -> None:
        self._network = TfliteNetwork(read_member(DETECTOR_MEMBER), "face detector", threads)
        self._anchors = ssd_anchors()
        self._min_score = min_score

    def detect(self, rgb: U8Array, *, tiles: bool = True) -> list[Detection]:
        """Find the faces of a picture.

        Args:
            rgb: [H, W, 3] uint8.
            tiles: when the whole picture shows none, look again in overlapping square tiles, finer
                and finer, until some size of tile shows a face. Finds faces too small for the
                network's 128 pixels, at the price of many runs.

        Returns:
            Detections, best score first; empty where there is no face.

        Raises:
            ShapeError: ``rgb`` is not a picture.
        """
        check_rgb(rgb)
        height, width = rgb.shape[:2]
        found = self._detect_window(rgb, 0, 0, width, height)
        side = min(width, height) if width != height else min(width, height) // 2
        smallest = max(_MIN_TILE, min(width, height) // _TILE_SHARE)
        while tiles and not found and side >= smallest:
            for x, y in _tile_corners(width, height, side):
                found += self._detect_window(rgb, x, y, side, side)
            side //= 2
        return non_maximum_suppression(found)

    def _detect_window(self, rgb: U8Array, x0: int, y0: int, width: int, height: int) -> list[Detection]:
        """Raw detections in one window of the picture, in picture pixels."""
        scale = INPUT_SIZE / max(width, height)
        out_w, out_h = max(round(width * scale), 1), max(round(height * scale), 1)
        window = rgb[y0 : y0 + height, x0 : x0 + width]
        mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(window, (out_w, out_h), interpolation=mode)
        left, top = (INPUT_SIZE - out_w) // 2, (INPUT_SIZE - out_h) // 2
        values = np.full((1, INPUT_SIZE, INPUT_SIZE, 3), -1.0, np.float32)
        values[0, top : top + out_h, left : left + out_w] = small.astype(np.float32) / 127.5 - 1.0
        out = self._network.run(values)
        scores = sigmoid(out["classificators"][0, :, 0])
        picked = np.flatnonzero(scores >= self._min_score)
        raw = out["regressors"][0, picked].reshape(-1, 8, 2)
        raw[:, [0, *range(2, 8)]] += self._anchors[picked, None] * np.float32(INPUT_SIZE)
        zoom = np.array([width / out_w, height / out_h], np.float32)
        positions = (raw - np.array([left, top], np.float32)) * zoom + np.array([x0, y0], np.float32)
        sizes = np.abs(raw[:, 1]) * zoom
        return [
            Detection(np.concatenate([p[0] - s / 2, s]), p[2:], float(scores[i]))
            for i, p, s in zip(picked, positions, sizes, strict=True)
        ]


def _tile_corners(width: int, height: int, side: int) -> Iterator[tuple[int, int]]:
    """Corners of tiles that cover the picture, neighbours overlapping by at least half."""
    step = max(int(side * (1 - _TILE_OVERLAP)), 1)
    columns = -(-(width - side) // step) + 1
    rows = -(-(height - side) // step) + 1
    for row in range(rows):
        for column in range(columns):
            x = 0 if columns == 1 else round(column * (width - side) / (columns - 1))
            y = 0 if rows == 1 else round(row * (height - side) / (rows - 1))
            yield x, y
