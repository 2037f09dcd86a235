"""Levels of motion units and meshes: round trips, states in step, and any bytes."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from facecodec.bitstream.levels import ChannelLayout, LevelState, count_levels, decode_levels, encode_levels
from facecodec.bitstream.mesh import decode_mesh, encode_mesh
from facecodec.errors import BitstreamError
from facecodec.motion.predict import RESIDUAL_LIMIT, reconstruct
from facecodec.types import I32Array

LAYOUT = ChannelLayout(deformations=4, scene_grid=5)
SMALL = ChannelLayout(deformations=0, scene_grid=0)
SIZES = st.sampled_from([1, 2, 3, 5, 8, 16, 17, 31, 64])


def assert_named(err: BitstreamError, unit: str) -> None:
    assert err.unit == unit
    assert str(err).startswith(f"{unit} unit: ")


def sparse(seed: int, n: int, channels: int, share: float, largest: int) -> I32Array:
    rng = np.random.default_rng(seed)
    size = np.floor(largest ** rng.random((n, channels))).astype(np.int32)
    keep = (rng.random((n, channels)) < share) & (rng.random(channels) < 0.8)
    return np.asarray(np.where(keep, size * rng.choice([-1, 1], (n, channels)), 0).astype(np.int32))


GROUP = st.tuples(
    SIZES, st.booleans(), st.integers(0, 2**32), st.floats(0, 1), st.sampled_from([1, 3, 70, RESIDUAL_LIMIT])
)


@settings(max_examples=40)
@given(groups=st.lists(GROUP, min_size=1, max_size=4), layout=st.sampled_from([LAYOUT, SMALL]))
def test_groups_survive_and_the_states_stay_in_step(
    groups: list[tuple[int, bool, int, float, int]], layout: ChannelLayout
) -> None:
    encoding, decoding = LevelState(layout), LevelState(layout)
    for i, (n, reset, seed, share, largest) in enumerate(groups):
        reset = reset or i == 0
        residuals = sparse(seed, n, layout.count, share, largest)
        hold = [bool((seed >> (t % 32)) & 1) and seed % 3 == 0 for t in range(n)]
        data = encode_levels(encoding, residuals, hold, reset)
        got, got_hold = decode_levels(decoding, data, n, reset)
        assert np.array_equal(got, residuals)
        assert got_hold == hold
        assert decoding == encoding


@settings(max_examples=25)
@given(group=GROUP)
def test_counted_bits_are_those_written(group: tuple[int, bool, int, float, int]) -> None:
    n, reset, seed, share, largest = group
    residuals = sparse(seed, n, LAYOUT.count, share, largest)
    counting, encoding = LevelState(LAYOUT), LevelState(LAYOUT)
    face, scene = count_levels(counting, residuals, [False] * n, reset)
    data = encode_levels(encoding, residuals, [False] * n, reset)
    assert face >= 0
    assert scene >= 0
    assert counting == encoding
    # Trailing zero bytes are dropped and at most one is added.
    assert -4 <= len(data) - (face + scene) / 2048 <= 1.01 + 0.01 * len(data)


@settings(max_examples=150)
@given(data=st.binary(max_size=200), n=SIZES, reset=st.booleans())
def test_any_bytes_are_canonical_levels_or_a_named_error(data: bytes, n: int, reset: bool) -> None:
    state = LevelState(LAYOUT)
    before = state.copy()
    try:
        residuals, hold = decode_levels(state, data, n, reset)
    except BitstreamError as err:
        assert_named(err, "motion")
        changed = state != before
        assert not changed
        return
    assert residuals.shape == (n, LAYOUT.count)
    assert np.abs(residuals).max() <= RESIDUAL_LIMIT
    assert encode_levels(before, residuals, hold, reset) == data
    assert before == state


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), place=st.integers(0, 2000), bit=st.integers(0, 7), n=SIZES)
def test_damaged_levels_are_canonical_or_a_named_error(seed: int, place: int, bit: int, n: int) -> None:
    data = bytearray(
        encode_levels(LevelState(LAYOUT), sparse(seed, n, LAYOUT.count, 0.3, 8), [False] * n, True)
    )
    if data:
        data[place % len(data)] ^= 1 << bit
    state = LevelState(LAYOUT)
    try:
        residuals, hold = decode_levels(state, bytes(data), n, True)
    except BitstreamError as err:
        assert_named(err, "motion")
        return
    assert encode_levels(LevelState(LAYOUT), residuals, hold, True) == data


def test_encoder_and_decoder_hold_the_same_values_over_500_groups() -> None:
    layout = ChannelLayout(2, 0)
    encoding, decoding = LevelState(layout), LevelState(layout)
    ours = theirs = np.zeros((2, layout.count), np.int32)
    sizes = itertools.cycle([1, 16, 1, 2, 5, 1, 3, 8])
    for i, n in zip(range(500), sizes, strict=False):
        reset = i % 97 == 0
        residuals = sparse(i, n, layout.count, 0.4, 4)
        data = encode_levels(encoding, residuals, [False] * n, reset)
        got, _ = decode_levels(decoding, data, n, reset)
        ours, theirs = (
            np.concatenate([history, reconstruct(levels, history, reset)])[-2:]
            for history, levels in ((ours, residuals), (theirs, got))
        )
        assert np.array_equal(ours, theirs)
    assert encoding == decoding


@settings(max_examples=40)
@given(
    place=st.lists(st.integers(-32768, 32767), min_size=6, max_size=6),
    shape=st.lists(st.integers(-16384, 16384), max_size=100),
)
def test_mesh_levels_survive(place: list[int], shape: list[int]) -> None:
    levels = np.array(place + shape, np.int32)
    assert np.array_equal(decode_mesh(encode_mesh(levels), len(levels)), levels)


@settings(max_examples=100)
@given(data=st.binary(max_size=120), count=st.integers(6, 110))
def test_any_bytes_are_a_canonical_mesh_or_a_named_error(data: bytes, count: int) -> None:
    try:
        levels = decode_mesh(data, count)
    except BitstreamError as err:
        assert_named(err, "reference")
        return
    assert encode_mesh(levels) == data
