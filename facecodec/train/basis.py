"""Learn the canonical face, its deformation basis and the mesh basis from a folder of videos.

    python -m facecodec.train.basis VIDEOS --tracks CACHE --out facecodec/motion/data/basis_1.npz

Every clip is tracked once (tracks are cached as npz, so that the work can be stopped and resumed), brought
to the attitude of the mean face, and reduced to principal deformations: within clips for motion, over all
frames for the shape of reference meshes. Clips of one speaker share one weight (the part of the file name
before the last underscore names the speaker), so that no speaker rules the basis.

The shipped ``basis_1.npz`` came from :func:`learn` on up to 620 smoothed frames of each clip, before the
smoothing of tracks took its present form: learning again gives tables within 0.014 of it, not the same bytes,
and so belongs to a new basis id.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track as progress

from facecodec.errors import MediaError
from facecodec.media.reader import VideoReader
from facecodec.motion.face import POINTS, align, radius, rotation_matrix
from facecodec.track.smooth import smooth_zero_phase
from facecodec.track.tracker import MeshTracker
from facecodec.types import F64Array

VIDEO_SUFFIXES = (".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi")
SCALE = 1 << 13
_MAX_FRAMES = 600
_DEPTH_WEIGHT = 0.3
_EYES = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
_OTHER_EYES = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409)
_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415)


def point_weights(eyes: float = 2.5, lips: float = 2.0) -> F64Array:
    """[478] weights, mean one: lids, irises and lips carry most of what people see."""
    weights = np.ones(POINTS)
    weights[list(_EYES + _OTHER_EYES)] = eyes
    weights[468:] = eyes
    weights[list(_LIPS + _INNER_LIPS)] = lips
    return np.asarray(weights / weights.mean())


def track_clip(path: Path, cache: Path) -> tuple[F64Array, F64Array]:
    """Smoothed track of a clip, from the cache where it is there.

    Returns:
        Points [T, 478, 3] in picture pixels and validity [T].
    """
    kept = cache / f"{path.stem}.npz"
    if not kept.exists():
        tracker, points, valid = MeshTracker(), [], []
        with VideoReader(path) as reader:
            for number, frame in enumerate(reader.frames()):
                if number == _MAX_FRAMES:
                    break
                found = tracker.track(frame.pixels)
                valid.append(found is not None)
                points.append(found.points if found else np.zeros((POINTS, 3), np.float32))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, points=np.array(points), valid=np.array(valid))
    with np.load(kept) as data:
        points, valid = data["points"], data["valid"]
    return smooth_zero_phase(points, valid).astype(np.float64), valid


def canonical_mean(clips: list[F64Array], shares: F64Array, weights: F64Array, rounds: int = 4) -> F64Array:
    """Generalised Procrustes mean of the clips' mean shapes, frontal, centred, radius one: [478, 3]."""
    mean = clips[0][0] - clips[0][0].mean(0)
    mean /= radius(mean)
    for _ in range(rounds):
        total = np.zeros((POINTS, 3))
        for clip, share in zip(clips, shares, strict=True):
            total += share * to_canonical(clip, mean, weights).mean(0)
        mean = total / shares.sum()
        mean -= mean.mean(0)
        mean /= radius(mean)
    return _frontal(mean)


def _frontal(mean: F64Array) -> F64Array:
    """Turn the mean so that it is its own mirror image as nearly as can be and the eyes are level.

    Points are paired with the nearest mirrored point, so the mean must already face the camera within about
    15 degrees, as the mean over many clips does.
    """
    mirrored = mean * np.array([-1.0, 1.0, 1.0])
    order = np.array([int(((mirrored - p) ** 2).sum(1).argmin()) for p in mean])
    _, rotation, _, _ = align(mean, mirrored[order], np.ones(POINTS))
    values, vectors = np.linalg.eig(rotation)
    axis = np.real(vectors[:, int(np.argmin(np.abs(values - 1)))])
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)) / 2
    best = min(
        (rotation_matrix(axis * a) for a in (angle, -angle)), key=lambda r: _asymmetry(mean @ r.T, order)
    )
    out = mean @ best.T
    return np.asarray(out / radius(out))


def _asymmetry(mesh: F64Array, order: F64Array) -> float:
    mirrored = mesh * np.array([-1.0, 1.0, 1.0])
    return float(((mirrored[order.astype(int)] - mesh) ** 2).sum())


def to_canonical(clip: F64Array, mean: F64Array, weights: F64Array) -> F64Array:
    """Every frame of [T, 478, 3] in the attitude, place and size of the mean."""
    scale, rotation, cs, _ = align(clip, np.broadcast_to(mean, clip.shape), weights)
    centred = clip - cs[:, None]
    return np.asarray(scale[:, None, None] * (centred @ np.swapaxes(rotation, -1, -2)))


def principal(samples: F64Array, share: F64Array, weights: F64Array, count: int) -> tuple[F64Array, F64Array]:
    """Weighted principal components.

    Args:
        samples: [S, 478, 3], mean removed.
        share: [S] weight of each sample.
        weights: [478] weight of each point.
        count: components to keep.

    Returns:
        Basis [count, 478, 3], orthonormal under the point weights in x and y, and standard deviations.
    """
    axis = np.sqrt(weights[:, None] * np.array([1.0, 1.0, _DEPTH_WEIGHT]))
    flat = (samples * axis).reshape(len(samples), -1) * np.sqrt(share / share.sum())[:, None]
    values, vectors = np.linalg.eigh(flat.T @ flat)
    order = np.argsort(values)[::-1][:count]
    basis = vectors[:, order].T.reshape(count, POINTS, 3) / axis
    norm = np.sqrt((basis[..., :2] ** 2 * weights[:, None]).sum((1, 2)))
    return basis / norm[:, None, None], np.sqrt(np.maximum(values[order], 0)) * norm


def learn(clips: list[F64Array], speakers: list[str], motions: int, shapes: int) -> dict[str, Any]:
    """All tables of ``basis_1.npz``.

    Args:
        clips: smoothed tracks, [T, 478, 3] picture pixels each.
        speakers: name of the speaker of each clip.
        motions: deformations to keep.
        shapes: components of reference meshes to keep.

    Returns:
        Integer arrays in units of 1/``scale``, by name.
    """
    counts = Counter(speakers)
    shares = np.array([1.0 / counts[s] for s in speakers])
    weights = point_weights()
    mean = canonical_mean(clips, shares, weights)
    canon = [to_canonical(c, mean, weights) for c in clips]
    share = np.concatenate([np.full(len(c), s / len(c)) for c, s in zip(canon, shares, strict=True)])
    within = np.concatenate([c - c.mean(0) for c in canon])
    basis, sigma = principal(within, share, weights, motions)
    flat = np.ones(POINTS)
    shape_basis, shape_sigma = principal(np.concatenate(canon) - mean, share, flat, shapes)
    tables = {
        "mean": mean, "basis": basis, "sigma": sigma, "weights": weights,
        "shape_basis": shape_basis, "shape_sigma": shape_sigma,
    }  # fmt: skip
    out: dict[str, Any] = {name: np.round(table * SCALE).astype(np.int16) for name, table in tables.items()}
    out["sigma"] = np.round(sigma * SCALE).astype(np.int32)
    out["shape_sigma"] = np.round(shape_sigma * SCALE).astype(np.int32)
    out["scale"] = np.int32(SCALE)
    return out


def main(
    videos: Annotated[Path, typer.Argument(help="folder of training videos")],
    tracks: Annotated[Path, typer.Option(help="folder that keeps the tracks")],
    out: Annotated[Path, typer.Option(help="npz to write")],
    motions: Annotated[int, typer.Option(help="deformations per frame")] = 40,
    shapes: Annotated[int, typer.Option(help="components of reference meshes")] = 96,
) -> None:
    """Learn the tables of basis 1; the same tracks give the same tables."""
    paths = sorted(p for p in videos.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise MediaError(videos, "no videos in this folder")
    clips, speakers = [], []
    for path in progress(paths, "tracking"):
        points, valid = track_clip(path, tracks)
        if valid.sum() >= 10:
            clips.append(points[valid.astype(bool)])
            speakers.append(path.stem.rsplit("_", 1)[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **learn(clips, speakers, motions, shapes))


if __name__ == "__main__":
    typer.run(main)
