"""The face of a clip, frame by frame: landmarks, and how far eyes and mouth are open."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facecodec.track.quality import eye_openness, mouth_openness
from facecodec.track.tracker import MeshTracker
from facecodec.types import F32Array, F64Array, U8Array


def track_clip(frames: Iterable[U8Array]) -> F32Array:
    """Follow the face of a clip.

    Args:
        frames: RGB pictures, [H, W, 3] uint8.

    Returns:
        [T, 478, 3] in units of the picture's width (x, z) and height (y); NaN where no face is seen.
    """
    tracker = MeshTracker(threads=1)
    out = []
    for pixels in frames:
        face = tracker.track(pixels)
        height, width = pixels.shape[:2]
        if face is None:
            out.append(np.full((478, 3), np.nan, np.float32))
        else:
            unit = np.array([width, height, width], np.float32)
            out.append(np.asarray(face.points / unit, np.float32))
    return np.stack(out)


def openness(track: F32Array) -> tuple[F64Array, F64Array]:
    """Openness of eyes (mean of both) and mouth of each frame of a track.

    Args:
        track: [T, 478, 3]; frames with NaN give NaN.

    Returns:
        Eyes [T] and mouth [T], see ``facecodec.track.quality``.
    """
    seen = np.isfinite(track).all(axis=(1, 2))
    eyes, mouth = np.full(len(track), np.nan), np.full(len(track), np.nan)
    for i in np.flatnonzero(seen):
        eyes[i], mouth[i] = eye_openness(track[i]), mouth_openness(track[i])
    return eyes, mouth
