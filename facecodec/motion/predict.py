"""Integer prediction of motion values within a group, and back (exact zone).

A *channel* is one number per frame: a pose parameter, a deformation coefficient or a coordinate of a
scene point. A channel's *value* is held in 1/16 of its quantisation step (``FRACTION_BITS``), so that
interpolation between decoded frames is smooth although residuals are whole steps:

    value[t] = prediction[t] + 16 * residual[t]

A group of ``n`` frames is coded in the order of :func:`schedule`: an anchor first (its last frame, from the
last frame of the group before), then the middles, each interpolated between its decoded neighbours, as in
hierarchical B pictures (Schwarz, Marpe, Wiegand, ICME 2006). Interpolation is cubic where a further decoded
frame lies on both sides (the four-point scheme of Dyn, Levin and Gregory, CAGD 1987), half way from linear
to quadratic where there is one on one side only, else linear. All arithmetic is on integers; the same
function serves encoder and decoder, so both always hold the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from facecodec.errors import LimitError
from facecodec.types import I32Array

FRACTION_BITS = 4
ONE = 1 << FRACTION_BITS
MAX_GROUP = 64
RESIDUAL_LIMIT = 1 << 16
"""Residuals are within +-RESIDUAL_LIMIT."""
VALUE_LIMIT = 1 << 24
"""Values are clipped to +-VALUE_LIMIT, far outside what a picture can need."""

_EXTRAPOLATION = (0, 4, 4)
"""Sixteenths of the last difference that are added when an anchor lies this many frames ahead."""


@dataclass(frozen=True, slots=True)
class Step:
    """How one frame of a group is predicted. Indices are frames of the group.

    Attributes:
        t: the frame.
        lo: the decoded frame before it; -1 is the last frame of the group before.
        hi: the decoded frame after it, or None for an anchor.
        depth: 0 for anchors, then 1, 2, ... as the intervals are halved.
        before: start of the interval before ``lo .. hi``, or None.
        after: end of the interval after it, or None.
    """

    t: int
    lo: int
    hi: int | None
    depth: int
    before: int | None = None
    after: int | None = None


@lru_cache(maxsize=256)
def schedule(n: int, reset: bool) -> tuple[Step, ...]:
    """Coding order of a group.

    Args:
        n: frames, 1 to 64.
        reset: the group starts anew: its first frame is an anchor predicted from zero, the reference
            picture's own pose.

    Raises:
        LimitError: ``n`` is out of range.
    """
    if not 1 <= n <= MAX_GROUP:
        raise LimitError("frames of a group", n, f"1..{MAX_GROUP}", unit="motion")
    steps: list[Step] = []
    knots = [-1]
    if reset:
        steps.append(Step(0, -1, None, 0))
        knots = [0]
    if n - 1 > knots[0]:
        steps.append(Step(n - 1, knots[0], None, 0))
        knots.append(n - 1)
    depth = 1
    while len(knots) < n + (not reset):
        finer = knots[:1]
        for i, (lo, hi) in enumerate(pairwise(knots)):
            if hi - lo > 1:
                before = knots[i - 1] if i else None
                after = knots[i + 2] if i + 2 < len(knots) else None
                steps.append(Step((lo + hi) // 2, lo, hi, depth, before, after))
                finer.append((lo + hi) // 2)
            finer.append(hi)
        knots = finer
        depth += 1
    return tuple(steps)


def predict(values: I32Array, step: Step, reset: bool) -> I32Array:
    """Prediction of one frame.

    Args:
        values: [n + 2, C] int32 within +-``VALUE_LIMIT``; rows 0 and 1 are the last two frames of the group
            before, row ``t + 2`` is frame ``t``.
        step: which frame, and from what.
        reset: the group starts anew: rows 0 and 1 are not used.

    Returns:
        [C] int32.
    """
    if step.hi is None:
        return _predict_anchor(values, step, reset)
    low, high = values[step.lo + 2], values[step.hi + 2]
    span = step.hi - step.lo
    linear = (low * (step.hi - step.t) + high * (step.t - step.lo) + span // 2) // span
    if step.before is not None and step.after is not None:
        bend = low + high - values[step.before + 2] - values[step.after + 2]
    elif step.after is not None:
        bend = 2 * high - low - values[step.after + 2]
    elif step.before is not None:
        bend = 2 * low - high - values[step.before + 2]
    else:
        return np.asarray(linear)
    return np.asarray(linear + ((bend + 8) >> 4))


def _predict_anchor(values: I32Array, step: Step, reset: bool) -> I32Array:
    """The frame that ``lo`` is, and part of the way on if the anchor lies near."""
    if step.lo < 0 and reset:
        return np.zeros(values.shape[1], np.int32)
    last = values[step.lo + 2]
    ahead = step.t - step.lo
    if step.lo < 0 and ahead < len(_EXTRAPOLATION):
        return np.asarray(last + (((last - values[step.lo + 1]) * _EXTRAPOLATION[ahead] + 8) >> 4))
    return np.asarray(last)


def reconstruct(residuals: I32Array, history: I32Array, reset: bool) -> I32Array:
    """Values of a group from its residuals.

    Args:
        residuals: [n, C] int32, in whole steps, within +-65536.
        history: [2, C] int32, values of the last two frames before the group, at the group's QP.
        reset: the group starts from the reference picture alone.

    Returns:
        [n, C] int32, in 1/16 steps.

    Raises:
        LimitError: ``n`` is out of range.
    """
    values = np.concatenate([history, np.zeros_like(residuals)])
    for step in schedule(residuals.shape[0], reset):
        value = predict(values, step, reset) + (residuals[step.t] << FRACTION_BITS)
        values[step.t + 2] = np.clip(value, -VALUE_LIMIT, VALUE_LIMIT)
    return np.asarray(values[2:])
