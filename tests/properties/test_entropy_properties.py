"""Round trips and code lengths of the range coder for whatever hypothesis thinks of."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from facecodec.entropy import BitModels, RangeDecoder, RangeEncoder
from facecodec.entropy.models import EXP_GOLOMB_MAX, decode_exp_golomb, encode_exp_golomb
from facecodec.errors import BitstreamError

PROBS = st.lists(st.integers(1, 65535), min_size=4, max_size=4)
STEP = st.one_of(
    st.tuples(st.integers(0, 3), st.integers(0, 1)),
    st.integers(1, 40).flatmap(lambda bits: st.tuples(st.just(-bits), st.integers(0, 2**bits - 1))),
)


def ideal_bits(models: BitModels, index: int, bit: int) -> float:
    prob = models.probability(index)
    return -math.log2((65536 - prob if bit else prob) / 65536)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(initial=PROBS, trust=st.integers(0, 126), steps=st.lists(STEP, max_size=300))
def test_bits_survive_at_their_ideal_length(
    initial: list[int], trust: int, steps: list[tuple[int, int]]
) -> None:
    encoder, models, ideal = RangeEncoder(), BitModels(4, initial, trust), 0.0
    for index, value in steps:
        if index < 0:
            encoder.encode_raw(value, -index)
            ideal -= index
        else:
            ideal += ideal_bits(models, index, value)
            encoder.encode(models, index, value)
    data = encoder.finish()
    assert len(data) <= 1.02 * ideal / 8 + 2
    decoder, models = RangeDecoder(data), BitModels(4, initial, trust)
    for index, value in steps:
        assert (decoder.decode_raw(-index) if index < 0 else decoder.decode(models, index)) == value
    decoder.finish()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n_ctx=st.integers(1, 10), values=st.lists(st.integers(0, EXP_GOLOMB_MAX), max_size=40))
def test_exp_golomb_survives(n_ctx: int, values: list[int]) -> None:
    encoder, models = RangeEncoder(), BitModels(n_ctx)
    for value in values:
        encode_exp_golomb(encoder, models, 0, n_ctx, value)
    decoder, models = RangeDecoder(encoder.finish()), BitModels(n_ctx)
    assert [decode_exp_golomb(decoder, models, 0, n_ctx) for _ in values] == values
    decoder.finish()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.binary(max_size=64), initial=PROBS)
def test_any_bytes_decode_to_bounded_bits_or_a_named_error(data: bytes, initial: list[int]) -> None:
    decoder, models = RangeDecoder(data), BitModels(4, initial)
    try:
        for turn in range(400):
            assert decoder.decode(models, turn % 4) in (0, 1)
            assert 0 <= decode_exp_golomb(decoder, models, 0, 4) <= EXP_GOLOMB_MAX
            assert 0 <= decoder.decode_raw(7) < 128
        raise AssertionError("800 bytes of raw bits came out of 64 bytes")
    except BitstreamError:
        pass
