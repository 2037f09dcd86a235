"""Limits and shapes of levels; what the contexts are worth."""

import numpy as np
import pytest

from facecodec.bitstream.level_contexts import (
    CONTEXTS,
    HOLD,
    MAGNITUDE,
    MOVES,
    SIGN,
    ChannelLayout,
    LevelState,
    initial_probabilities,
)
from facecodec.bitstream.levels import count_levels, decode_levels, encode_levels
from facecodec.bitstream.mesh import decode_mesh, encode_mesh
from facecodec.errors import BitstreamError, LimitError, ShapeError

LAYOUT = ChannelLayout(deformations=40, scene_grid=7)


def group(n: int, layout: ChannelLayout = LAYOUT) -> np.ndarray:
    return np.zeros((n, layout.count), np.int32)


def test_layout_names_every_channel() -> None:
    assert (LAYOUT.face, LAYOUT.count) == (46, 46 + 98)
    classes = [LAYOUT.channel_class(c) for c in range(LAYOUT.count)]
    assert classes[:6] == [0, 1, 2, 3, 4, 5]
    assert classes[6:14] == [6, 6, 7, 7, 8, 8, 8, 8]
    assert classes[14:46] == [9] * 8 + [10] * 16 + [11] * 8
    assert classes[46:] == [12, 13] * 49


def test_contexts_do_not_overlap() -> None:
    state = LevelState(LAYOUT)
    zeros, signs, sizes = zip(*(state.bases(c) for c in range(LAYOUT.count)), strict=True)
    assert max(zeros) + 6 * 9 <= SIGN
    assert min(signs) == SIGN
    assert max(signs) + 3 == MAGNITUDE
    assert max(sizes) + 6 * 6 == MOVES
    assert MOVES <= min(state.moves_context(c) for c in range(LAYOUT.count))
    state._moved = [3] * LAYOUT.count
    assert max(state.moves_context(c) for c in range(LAYOUT.count)) == HOLD - 1
    assert CONTEXTS == HOLD + 4


def test_the_shipped_table_fits() -> None:
    table = initial_probabilities()
    assert len(table) == CONTEXTS
    assert all(1 <= p <= 65535 for p in table)


def test_a_still_face_costs_next_to_nothing() -> None:
    state = LevelState(LAYOUT)
    sizes = [len(encode_levels(state, group(16), [False] * 16, i == 0)) for i in range(12)]
    assert sizes[-1] <= 3


@pytest.mark.parametrize("value", [65537, -65537, -(2**31)])
def test_residual_out_of_range(value: int) -> None:
    state, residuals = LevelState(LAYOUT), group(3)
    residuals[1, 5] = value
    with pytest.raises(LimitError, match="motion unit: residual"):
        encode_levels(state, residuals, [False] * 3, False)
    assert state == LevelState(LAYOUT)


@pytest.mark.parametrize("n", [0, 65])
def test_group_out_of_range(n: int) -> None:
    with pytest.raises(LimitError, match="frames of a group"):
        encode_levels(LevelState(LAYOUT), group(n), [False] * n, False)
    with pytest.raises(LimitError, match="frames of a group"):
        decode_levels(LevelState(LAYOUT), b"", n, False)


def test_wrong_shapes() -> None:
    with pytest.raises(ShapeError, match="residuals"):
        encode_levels(LevelState(LAYOUT), group(3)[:, :-1], [False] * 3, False)
    with pytest.raises(ShapeError, match="residuals"):
        count_levels(LevelState(LAYOUT), group(3), [False] * 2, False)
    with pytest.raises(ShapeError, match="mesh levels"):
        encode_mesh(np.zeros(5, np.int32))


def test_a_copy_is_independent_and_reset_forgets() -> None:
    state = LevelState(LAYOUT)
    twin, residuals = state.copy(), group(4)
    residuals[:, :9] = 3
    encode_levels(state, residuals, [True] * 4, False)
    assert twin == LevelState(LAYOUT)
    assert state != twin
    state.reset()
    assert state == twin


def test_counts_tell_face_and_scene_apart() -> None:
    residuals = group(8)
    residuals[:, 50:60] = 2
    quiet, _ = count_levels(LevelState(LAYOUT), group(8), [False] * 8, True)
    face, scene = count_levels(LevelState(LAYOUT), residuals, [False] * 8, True)
    assert face == quiet
    assert scene > 80 * 256


def test_trailing_and_missing_bytes() -> None:
    residuals = group(16)
    residuals[::3, ::2] = 40
    data = encode_levels(LevelState(LAYOUT), residuals, [False] * 16, True)
    with pytest.raises(BitstreamError, match="motion unit"):
        decode_levels(LevelState(LAYOUT), data + bytes(20), 16, True)
    with pytest.raises(BitstreamError, match="motion unit"):
        decode_levels(LevelState(LAYOUT), data[:20], 16, True)


@pytest.mark.parametrize(("place", "value"), [(0, 32768), (5, -32769), (6, 16385), (101, -16385)])
def test_mesh_level_out_of_range(place: int, value: int) -> None:
    levels = np.zeros(102, np.int32)
    levels[place] = value
    with pytest.raises(LimitError, match="reference unit: mesh"):
        encode_mesh(levels)


def test_a_byte_that_the_encoder_would_have_dropped() -> None:
    assert encode_mesh(np.array([-32768] * 6, np.int32)) == b""
    assert decode_mesh(b"", 6).tolist() == [-32768] * 6
    with pytest.raises(BitstreamError, match="reference unit: last byte"):
        decode_mesh(b"\0", 6)
    with pytest.raises(BitstreamError, match="reference unit"):
        decode_mesh(b"\xff" * 400, 102)
