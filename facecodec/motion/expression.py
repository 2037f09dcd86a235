"""Likeness of expressions by region, how far palette entries are shown, and what lids and lips weigh."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facecodec.motion.face import POSE_CHANNELS, FaceMotion, load_face_model, radius
from facecodec.motion.openings import LEFT_EYE, MOUTH, RIGHT_EYE, Opening
from facecodec.types import F64Array

_LIPS = (0, 17, 61, 291, 37, 267, 84, 314, 40, 270, 91, 321)
_IRISES = ((468,), (473,))
_GAZE_WEIGHT = 1.0
_CORNER_WEIGHT = 2.0
_LIP_WEIGHT = 0.5
_UNDER = (2.0, 2.0, 1.0)
"""What it costs that an entry's opening is the smaller one: nothing can be shown that it does not hold.
Closing a wide one is easier. Right eye, left eye, mouth."""
SHARPNESS = 4.0
"""Power of the distance by which the weight of an entry falls."""
_FLOOR = 1e-3
MESH_WEIGHT = 0.8
"""Weight in quantisation of every channel's own error, as a part of the scene points'."""
_FORM_WEIGHT = 3.0
"""Weight of an opening's error besides, in squares of the channel that moves it most. Measured with the finer
smoothing of lids and lips (``analysis/window.py``) on validation clips, QP 18, correlation of the coded
openings with the tracked ones: eyes .942 -> .977, mouth .945 -> .972, for 1 bit a frame."""


class _Part(NamedTuple):
    """Points of a region and their weights, which sum to 1."""

    points: npt.NDArray[np.intp]
    weights: F64Array


@cache
def _parts() -> tuple[_Part, ...]:
    parts = []
    for opening, iris in zip((RIGHT_EYE, LEFT_EYE), _IRISES, strict=True):
        parts.append(_part(opening, 1.0, iris, _GAZE_WEIGHT))
    parts.append(_part(MOUTH, _CORNER_WEIGHT, _LIPS, _LIP_WEIGHT))
    return tuple(parts)


def _part(opening: Opening, corner: float, others: tuple[int, ...], other: float) -> _Part:
    weight = {point: 1.0 for pair in opening.pairs for point in pair}
    weight |= dict.fromkeys(opening.corners, corner)
    weight |= dict.fromkeys(others, other)
    values = np.array(list(weight.values()))
    return _Part(np.array(list(weight)), values / values.sum())


@cache
def opening_forms() -> F64Array:
    """Eyes and mouth as linear forms of the face channels, [3, 6 + K]: how far each stands open.

    A viewer sees a closed mouth open by less than a step of any channel, so quantisation holds the sums that
    open them, not only the channels. The weight of their squared error is in them.
    """
    basis = load_face_model().basis
    forms = np.zeros((3, POSE_CHANNELS + len(basis)))
    for form, opening in zip(forms, (RIGHT_EYE, LEFT_EYE, MOUTH), strict=True):
        upper, lower = (list(points) for points in zip(*opening.pairs[:3], strict=True))
        form[POSE_CHANNELS:] = (basis[:, lower, 1] - basis[:, upper, 1]).mean(1)
        form *= np.sqrt(_FORM_WEIGHT / MESH_WEIGHT) / np.abs(form).max()
    return forms


@cache
def opening_nearness(reach: float) -> F64Array:
    """How near points of the mesh lie to eyes and mouth: 1 at an edge, 0 from ``reach`` widths on, [478]."""
    mean = load_face_model().mean
    near = [opening.nearness(mean, reach) for opening in (RIGHT_EYE, LEFT_EYE, MOUTH)]
    return np.asarray(np.max(near, axis=0))


def plain_shapes(motion: FaceMotion, amplitudes: F64Array) -> F64Array:
    """Faces with the expressions of frames in the reference picture's pose.

    Args:
        motion: the reference picture's.
        amplitudes: [T, 6 + K].

    Returns:
        [T, 478, 3] crop units.
    """
    still = amplitudes.copy()
    still[:, :POSE_CHANNELS] = 0
    return motion.apply(still)


def features(shapes: F64Array, region: int, scale: float) -> F64Array:
    """What is compared of a region: its points in the picture about their middle, weighted.

    Args:
        shapes: [T, 478, 3], all in one pose.
        region: 0 right eye, 1 left eye, 2 mouth.
        scale: size of the face, see :func:`facecodec.motion.face.radius`.

    Returns:
        [T, D]; Euclidean distance of two lines is RMS distance of the points in face radii.
    """
    points, weights = _parts()[region]
    flat = shapes[:, points, :2] / scale
    flat = flat - (flat * weights[:, None]).sum(1, keepdims=True)
    return np.asarray((flat * np.sqrt(weights)[:, None]).reshape(len(shapes), -1))


def distances(shapes: F64Array, entries: F64Array, region: int) -> F64Array:
    """Distance of a region in frames [T, 478, 3] from entries [E, 478, 3]: [T, E], face radii."""
    scale = max(float(radius(entries[0])), 1e-6)
    a, b = features(shapes, region, scale), features(entries, region, scale)
    squares = ((a[:, None] - b[None]) ** 2).sum(-1)
    gaps, there = (_gap(s, region) / scale for s in (shapes, entries))
    missing = np.maximum(gaps[:, None] - there[None], 0.0)
    return np.asarray(np.sqrt(squares + (_UNDER[region] * missing) ** 2))


def _gap(shapes: F64Array, region: int) -> F64Array:
    """How far a region stands open, [T], in the unit of the points."""
    opening = (RIGHT_EYE, LEFT_EYE, MOUTH)[region]
    return opening.gap(shapes) * opening.width(shapes)


def entry_weights(distance: F64Array) -> F64Array:
    """How much of each entry a frame shows: the two nearest, without a jump when the second changes.

    The third nearest has no weight, and sets the scale for the others (after Franke and Little's local
    inverse distances).

    Args:
        distance: [T, E].

    Returns:
        [T, E], lines sum to 1.
    """
    away = distance + _FLOOR
    order = np.sort(away, axis=1)
    if away.shape[1] > 2:
        limit = np.maximum(order[:, 2:3], _FLOOR)
        raw = np.maximum(limit - away, 0.0) / (limit * away)
    else:
        raw = 1.0 / away
    raw = raw**SHARPNESS
    total = raw.sum(1, keepdims=True)
    nearest = np.zeros_like(raw)
    nearest[np.arange(len(raw)), away.argmin(1)] = 1.0
    return np.asarray(np.where(total > 1e-12, raw / np.maximum(total, 1e-12), nearest))


def show_weights(shapes: F64Array, reference: F64Array, entries: Sequence[tuple[int, F64Array]]) -> F64Array:
    """How much of each entry of a palette frames show; the reference picture is an entry of every region.

    Args:
        shapes: [T, 478, 3], the frames' faces in the reference picture's pose.
        reference: [478, 3], the reference picture's own.
        entries: region and face [478, 3] of E entries.

    Returns:
        [T, E]; those of a region sum to 1 at most, the rest is the reference picture's.
    """
    out = np.zeros((len(shapes), len(entries)))
    for region in range(len(_parts())):
        own = [e for e, (shown, _) in enumerate(entries) if shown == region]
        if own:
            there = np.stack([reference, *(entries[e][1] for e in own)])
            out[:, own] = entry_weights(distances(shapes, there, region))[:, 1:]
    return out
