"""Levels of a motion unit: residuals of a group of frames to bytes, and back (exact zone).

Channel by channel, in coding order within each (see ``motion/predict.py``): a flag says whether the channel
moves at all in this group; then every residual is a zero flag, a sign and an adaptive exp-Golomb magnitude.
``bitstream/level_contexts.py`` says which model codes what.
"""

from __future__ import annotations

import numpy as np

from facecodec.bitstream.level_contexts import (
    CONTEXTS,
    HOLD,
    NEARS,
    PREFIX,
    ChannelLayout,
    LevelState,
    busy_after,
    busy_class,
    neighbourhood,
)
from facecodec.entropy.models import BitModels, decode_exp_golomb, encode_exp_golomb
from facecodec.entropy.range_coder import BitCounter, RangeDecoder, RangeEncoder
from facecodec.errors import BitstreamError, LimitError, ShapeError
from facecodec.motion.predict import RESIDUAL_LIMIT, Step, schedule
from facecodec.types import I32Array

__all__ = [
    "CONTEXTS",
    "ChannelLayout",
    "LevelState",
    "count_levels",
    "decode_group",
    "decode_levels",
    "encode_levels",
    "name_unit",
]


def encode_levels(state: LevelState, residuals: I32Array, hold: list[bool], reset: bool) -> bytes:
    """Code a group and move the state on.

    Args:
        state: the stream's state.
        residuals: [n, C] int32 within +-65536, n from 1 to 64.
        hold: [n], for each frame whether the face was lost there.
        reset: the group starts anew.

    Raises:
        LimitError: a residual or n is out of range; the state has not moved.
        ShapeError: there are not C columns or n flags; the state has not moved.
    """
    encoder = RangeEncoder()
    _encode(state, encoder, residuals, hold, reset)
    return encoder.finish()


def count_levels(state: LevelState, residuals: I32Array, hold: list[bool], reset: bool) -> tuple[int, int]:
    """Cost of a group in 1/256 bit, of face and of scene; the state moves on as in :func:`encode_levels`."""
    counter = BitCounter()
    face = _encode(state, counter, residuals, hold, reset)
    return face, counter.cost - face


def _encode(
    state: LevelState, encoder: RangeEncoder | BitCounter, residuals: I32Array, hold: list[bool], reset: bool
) -> int:
    """Code a group; returns the cost of the face's part if the encoder is a counter."""
    n, face = len(hold), state.layout.face
    if residuals.shape != (n, state.layout.count):
        raise ShapeError("residuals", f"[{n}, {state.layout.count}]", list(residuals.shape))
    steps = schedule(n, reset)
    worst = max(int(residuals.max()), -int(residuals.min()))
    if worst > RESIDUAL_LIMIT:
        raise LimitError("residual", worst, f"+-{RESIDUAL_LIMIT}", unit="motion")
    if reset:
        state.reset()
    _encode_hold(encoder, state.models, hold)
    columns = residuals.T.tolist()
    _encode_channels(state, encoder, columns[:face], 0, steps)
    face_cost = encoder.cost if isinstance(encoder, BitCounter) else 0
    _encode_channels(state, encoder, columns[face:], face, steps)
    return face_cost


def _encode_channels(
    state: LevelState,
    encoder: RangeEncoder | BitCounter,
    columns: list[list[int]],
    first: int,
    steps: tuple[Step, ...],
) -> None:
    busy = [0] * len(steps)
    for channel, column in enumerate(columns, first):
        moves = int(any(column))
        encoder.encode(state.models, state.moves_context(channel), moves)
        state.note_moves(channel, moves)
        if moves:
            _encode_channel(state, encoder, channel, column, steps, busy)


def _encode_channel(
    state: LevelState,
    encoder: RangeEncoder | BitCounter,
    channel: int,
    column: list[int],
    steps: tuple[Step, ...],
    busy: list[int],
) -> None:
    models = state.models
    zero_base, sign_base, size_base = state.bases(channel)
    done = [0] * len(steps)
    for step in steps:
        t = step.t
        value = column[t]
        depth, near, sign = neighbourhood(step, done)
        encoder.encode(models, zero_base + depth * 9 + near * 3 + busy_class(busy[t]), int(value != 0))
        if value:
            encoder.encode(models, sign_base + sign, int(value < 0))
            size = size_base + (NEARS * (depth > 0) + near) * PREFIX
            encode_exp_golomb(encoder, models, size, PREFIX, abs(value) - 1)
            done[t] = value
        busy[t] = busy_after(busy[t], value != 0)


def decode_levels(state: LevelState, data: bytes, n: int, reset: bool) -> tuple[I32Array, list[bool]]:
    """Read what :func:`encode_levels` wrote.

    Args:
        state: the stream's state; it moves on.
        data: the unit's range coder bytes.
        n: frames in the group, 1 to 64.
        reset: the group starts anew.

    Returns:
        Residuals [n, C] int32 and the hold flags.

    Raises:
        BitstreamError: the bytes are not what an encoder writes. The state has not moved then; the encoder's
            has, so the groups behind must not be decoded until one with ``reset``.
    """
    work = state.copy()
    try:
        out = decode_group(work, RangeDecoder(data), n, reset)
    except BitstreamError as err:
        raise name_unit(err, "motion") from None
    state.adopt(work)
    return out


def decode_group(
    state: LevelState, decoder: RangeDecoder, n: int, reset: bool
) -> tuple[I32Array, list[bool]]:
    """As :func:`decode_levels`, from a decoder at its start; on an error the state is lost."""
    steps = schedule(n, reset)
    if reset:
        state.reset()
    hold = _decode_hold(decoder, state.models, n)
    residuals = np.zeros((n, state.layout.count), np.int32)
    busy = [0] * n
    for channel in range(state.layout.count):
        if channel == state.layout.face:
            busy = [0] * n
        moves = decoder.decode(state.models, state.moves_context(channel))
        state.note_moves(channel, moves)
        if moves:
            residuals[:, channel] = _decode_channel(state, decoder, channel, steps, busy)
    decoder.finish()
    return residuals, hold


def _decode_channel(
    state: LevelState, decoder: RangeDecoder, channel: int, steps: tuple[Step, ...], busy: list[int]
) -> list[int]:
    models = state.models
    zero_base, sign_base, size_base = state.bases(channel)
    done = [0] * len(steps)
    for step in steps:
        t = step.t
        depth, near, sign = neighbourhood(step, done)
        nonzero = decoder.decode(models, zero_base + depth * 9 + near * 3 + busy_class(busy[t]))
        if nonzero:
            negative = decoder.decode(models, sign_base + sign)
            size = size_base + (NEARS * (depth > 0) + near) * PREFIX
            value = decode_exp_golomb(decoder, models, size, PREFIX) + 1
            if value > RESIDUAL_LIMIT:
                raise LimitError("residual", value, f"+-{RESIDUAL_LIMIT}")
            done[t] = -value if negative else value
        busy[t] = busy_after(busy[t], bool(nonzero))
    if not any(done):
        raise LimitError("residuals of a channel that moves", 0, "not all zero")
    return done


def _encode_hold(encoder: RangeEncoder | BitCounter, models: BitModels, hold: list[bool]) -> None:
    encoder.encode(models, HOLD, int(any(hold)))
    if any(hold):
        before = 0
        for held in hold:
            encoder.encode(models, HOLD + 1 + before, int(held))
            before = int(held)


def _decode_hold(decoder: RangeDecoder, models: BitModels, n: int) -> list[bool]:
    if not decoder.decode(models, HOLD):
        return [False] * n
    hold, before = [], 0
    for _ in range(n):
        before = decoder.decode(models, HOLD + 1 + before)
        hold.append(bool(before))
    if not any(hold):
        raise LimitError("hold flags", 0, "not all zero")
    return hold


def name_unit(err: BitstreamError, unit: str) -> BitstreamError:
    """Give an error from inside a unit's range coder bytes the name of that unit, and return it."""
    err.unit = unit
    err.args = (f"{unit} unit: {err.message}",)
    return err
