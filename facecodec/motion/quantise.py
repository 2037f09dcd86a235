"""Quantisation of motion: amplitudes to residuals, chosen for rate and distortion, and back.

One QP sets one step for all channels, since amplitudes are scaled so that a step moves the picture equally
far in any of them: ``step(qp) = STEP_TABLE[qp] / 256`` points, doubled every six QP. Values are integers in
1/16 of a step (see ``motion/predict.py``).

The encoder searches a group's residuals by coordinate descent on ``D + lambda R``: a change of one residual
changes the frames that are interpolated from it by a known triangle, so every residual's best value follows
in closed form, for all channels at once. Where linear forms of the error count as well (how far a lid is
from where it should be is a sum over channels), a last round goes channel by channel, each one making good
what the others before it have left.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from facecodec.errors import LimitError
from facecodec.motion.predict import ONE, RESIDUAL_LIMIT, VALUE_LIMIT, predict, reconstruct, schedule
from facecodec.types import F64Array, I32Array

QP_COUNT = 52
STEP_TABLE: tuple[int, ...] = tuple(round(64 * 2 ** (qp / 6)) for qp in range(QP_COUNT))
"""Quantisation steps in 1/256 point, by QP."""

LAMBDA = 0.45
"""Lagrange multiplier in squared steps a bit. It lies above the high-rate value, ln(2) / 6 = 0.116: most
residuals are zero, where a finer step with a larger multiplier needs fewer bits for the same error."""

_RATE_ZERO = (1.58, 0.99, 0.67, 0.29, 0.05, 0.03)
_RATE_ONE = (3.0, 3.0, 3.2, 3.6, 5.0, 6.0)
_RATE_OCTAVE = 1.6
"""Bits of a residual of zero and of one by depth, and of each doubling: means over training clips."""


def quantisation_step(qp: int) -> float:
    """Step in points for a QP of 0 to 51."""
    if not 0 <= qp < QP_COUNT:
        raise LimitError("qp", qp, f"0..{QP_COUNT - 1}")
    return STEP_TABLE[qp] / 256.0


def dequantise(values: I32Array, qp: int) -> F64Array:
    """Values in 1/16 steps to amplitudes in points."""
    return np.asarray(values * (quantisation_step(qp) / ONE))


def rescale(values: I32Array, qp_from: int, qp_to: int) -> I32Array:
    """Values at one QP as values at another, in integers: used when the QP changes between groups."""
    if qp_from == qp_to:
        return values
    a, b = STEP_TABLE[qp_from], STEP_TABLE[qp_to]
    out = (values.astype(np.int64) * a + b // 2) // b
    return np.clip(out, -VALUE_LIMIT, VALUE_LIMIT).astype(np.int32)


def quantise(
    amplitudes: F64Array,
    qp: int,
    history: I32Array,
    reset: bool,
    weights: npt.NDArray[np.floating] | None = None,
    forms: F64Array | None = None,
    lagrange: float = LAMBDA,
    sweeps: int = 2,
) -> I32Array:
    """Choose the residuals of a group.

    Args:
        amplitudes: [n, C] points.
        qp: quantisation parameter.
        history: [2, C] values of the two frames before the group, at this QP.
        reset: the group starts anew.
        weights: [n, C] or [C] weight of squared error, one by default; zero means that it does not matter.
        forms: [R, C], sums over channels whose squared error counts too, with the mean weight of their frame.
        lagrange: multiplier in squared steps a bit.
        sweeps: rounds of coordinate descent after the closed-loop start.

    Returns:
        [n, C] int32 residuals.
    """
    target = amplitudes / quantisation_step(qp)
    n, channels = target.shape
    weight = np.ones((n, channels))
    if weights is not None:
        weight *= weights
    weight[n - 1] *= 1.0 + n / 8.0
    residuals = _closed_loop(target, history, reset)
    influence = _influence(n, reset)
    for _ in range(sweeps):
        error = target - reconstruct(residuals, history, reset) / ONE
        for step in schedule(n, reset):
            shape = influence[step.t][:, None]
            energy = (weight * shape**2).sum(0)
            best = (weight * shape * error).sum(0) / np.maximum(energy, 1e-9)
            old = residuals[step.t]
            new = _decide(old + best, energy, lagrange, min(step.depth, len(_RATE_ONE) - 1))
            error -= shape * (new - old)
            residuals[step.t] = new
    if forms is not None:
        _settle(target, residuals, history, reset, weight, forms, lagrange)
    return residuals


def _settle(
    target: F64Array,
    residuals: I32Array,
    history: I32Array,
    reset: bool,
    weight: F64Array,
    forms: F64Array,
    lagrange: float,
) -> None:
    """A round of coordinate descent that sees the forms; changes ``residuals``."""
    n = len(target)
    error = target - reconstruct(residuals, history, reset) / ONE
    frame_weight = weight.mean(1)
    for step in schedule(n, reset):
        shape = _influence(n, reset)[step.t]
        mass = float((frame_weight * shape**2).sum())
        energy = shape**2 @ weight + mass * (forms**2).sum(0)
        pull = (shape[:, None] * weight * error).sum(0)
        off = (forms @ (error.T @ (frame_weight * shape))).tolist()
        old = residuals[step.t].tolist()
        depth = min(step.depth, len(_RATE_ONE) - 1)
        columns = [*zip(old, energy.tolist(), pull.tolist(), forms.T.tolist(), strict=True)]
        for c, (level, stiffness, direct, column) in enumerate(columns):
            if stiffness <= 0:
                continue
            through_forms = sum(f * o for f, o in zip(column, off, strict=True))
            wanted = level + (direct + through_forms) / stiffness
            new = _decide_one(wanted, stiffness, lagrange, depth)
            if new != level:
                residuals[step.t, c] = new
                off = [o - f * (new - level) * mass for f, o in zip(column, off, strict=True)]
        error -= shape[:, None] * (residuals[step.t] - np.array(old))


def _decide_one(wanted: float, energy: float, lagrange: float, depth: int) -> int:
    """What :func:`_decide` does, for one number: a third of its time when they come one by one."""
    nearest = round(max(-RESIDUAL_LIMIT, min(RESIDUAL_LIMIT, wanted)))
    best, least = 0, energy * wanted**2 + lagrange * _RATE_ZERO[depth]
    for candidate in {nearest, nearest - (nearest > 0) + (nearest < 0)} - {0}:
        coded = _RATE_ONE[depth] + _RATE_OCTAVE * math.log2(abs(candidate))
        cost = energy * (candidate - wanted) ** 2 + lagrange * coded
        if cost < least:
            best, least = candidate, cost
    return best


def _decide(wanted: F64Array, energy: F64Array, lagrange: float, depth: int) -> I32Array:
    """The integer next to ``wanted``, the one below it in size, or zero: whichever costs least."""
    wanted = np.clip(wanted, -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
    nearest = np.rint(wanted)
    candidates = np.stack([nearest, nearest - np.sign(nearest), np.zeros_like(nearest)])
    size = np.abs(candidates)
    coded = _RATE_ONE[depth] + _RATE_OCTAVE * np.log2(np.maximum(size, 1.0))
    cost = energy * (candidates - wanted) ** 2 + lagrange * np.where(size > 0, coded, _RATE_ZERO[depth])
    return np.asarray(np.take_along_axis(candidates, cost.argmin(0)[None], 0)[0].astype(np.int32))


def _closed_loop(target: F64Array, history: I32Array, reset: bool) -> I32Array:
    n, channels = target.shape
    values = np.concatenate([history, np.zeros((n, channels), np.int32)])
    residuals = np.zeros((n, channels), np.int32)
    for step in schedule(n, reset):
        base = predict(values, step, reset)
        off = target[step.t] - base / ONE
        level = np.clip(np.sign(off) * np.floor(np.abs(off) + 0.4), -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        residuals[step.t] = level
        values[step.t + 2] = np.clip(base + residuals[step.t] * ONE, -VALUE_LIMIT, VALUE_LIMIT)
    return residuals


@lru_cache(maxsize=128)
def _influence(n: int, reset: bool) -> F64Array:
    """[n, n]: row ``t`` is what a residual of one at frame ``t`` adds to every frame."""
    large = 1 << 16
    answer = reconstruct(np.eye(n, dtype=np.int32) * large, np.zeros((2, n), np.int32), reset)
    return np.asarray(answer.T / (large * ONE))
