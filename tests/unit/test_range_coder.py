"""The range coder against a second implementation of FORMAT.md that keeps its numbers whole."""

import math
import random

import pytest

from facecodec.entropy import BitCounter, BitModels, RangeDecoder, RangeEncoder
from facecodec.entropy.models import (
    EXP_GOLOMB_MAX,
    SLOW_LIMIT,
    decode_exp_golomb,
    encode_exp_golomb,
)
from facecodec.entropy.range_coder import MAX_OVERREAD
from facecodec.errors import LimitError, TruncatedError


class WholeNumberModel:
    """One model after FORMAT.md, written from the formulas."""

    def __init__(self, initial: int) -> None:
        self.fast = self.slow = initial
        self.age = 0

    def code(self, bit: int) -> int:
        prob = (self.fast + self.slow) // 2
        fast_weight, slow_weight = 65536 // (min(self.age, 14) + 2), 65536 // (self.age + 2)
        if bit:
            self.fast -= self.fast * fast_weight // 65536
            self.slow -= self.slow * slow_weight // 65536
        else:
            self.fast += (65536 - self.fast) * fast_weight // 65536
            self.slow += (65536 - self.slow) * slow_weight // 65536
        self.age = min(self.age + 1, 126)
        return prob


def whole_number_interval(steps: list[tuple[int, int]], initial: list[int]) -> tuple[int, int, int]:
    """Low end, width and number of shifts of the interval of all bits, without any carry logic."""
    models = [WholeNumberModel(p) for p in initial]
    low, width, shifts = 0, 1 << 32, 0
    for index, bit in steps:
        bound = width * models[index].code(bit) // 65536
        low, width = (low + bound, width - bound) if bit else (low, bound)
        while width < 1 << 24:
            low, width, shifts = low << 8, width << 8, shifts + 1
    return low, width, shifts


def random_steps(rng: random.Random, count: int, n_models: int) -> list[tuple[int, int]]:
    ones = [rng.random() ** 3 for _ in range(n_models)]
    indices = [rng.randrange(n_models) for _ in range(count)]
    return [(index, int(rng.random() < ones[index])) for index in indices]


def encode(steps: list[tuple[int, int]], models: BitModels) -> bytes:
    encoder = RangeEncoder()
    for index, bit in steps:
        encoder.encode(models, index, bit)
    return encoder.finish()


@pytest.mark.parametrize("seed", range(40))
def test_bytes_lie_in_the_interval_and_no_shorter_string_does(seed: int) -> None:
    rng = random.Random(seed)
    initial = [rng.randrange(1, 65536) for _ in range(6)]
    steps = random_steps(rng, rng.randrange(400), 6)
    data = encode(steps, BitModels(6, initial))
    low, width, shifts = whole_number_interval(steps, initial)
    total = shifts + 4

    def inside(size: int) -> bool:
        unit = 1 << 8 * (total - size)
        return -(-low // unit) * unit < low + width

    value = int.from_bytes(data.ljust(total, b"\0"), "big")
    assert low <= value < low + width
    assert len(data) <= shifts + 1
    shortest = next(size for size in range(total + 1) if inside(size))
    assert len(data) == max(shortest, total - MAX_OVERREAD)


def test_a_carry_runs_through_bytes_of_255() -> None:
    """Ones against models that expect zeros drive ``low`` up to long runs of 255 before a carry."""
    found = 0
    for seed in range(300):
        rng = random.Random(seed)
        encoder = RangeEncoder()
        values = [0xFFFF] * rng.randrange(1, 6) + [rng.getrandbits(16)]
        models = BitModels(1, [rng.randrange(1, 65536)])
        bits = [rng.getrandbits(1) for _ in range(40)]
        for value in values:
            encoder.encode_raw(value, 16)
        for bit in bits:
            encoder.encode(models, 0, bit)
        data = encoder.finish()
        found += b"\xff\xff" in data
        decoder, models = RangeDecoder(data), BitModels(1, models._initial)
        assert [decoder.decode_raw(16) for _ in values] == values
        assert [decoder.decode(models, 0) for _ in bits] == bits
        decoder.finish()
    assert found


def test_carry_passes_over_full_bytes() -> None:
    encoder = RangeEncoder()
    encoder._out = bytearray(b"\x01\xff\xff")
    encoder._low, encoder._range = 1 << 32, 1 << 24
    assert encoder.finish() == b"\x02"


def test_nothing_costs_nothing() -> None:
    assert RangeEncoder().finish() == b""
    RangeDecoder(b"").finish()


def test_all_zero_bits_are_almost_free_yet_bounded_in_overread() -> None:
    steps = [(0, 0)] * 3000
    data = encode(steps, BitModels(1, [60000]))
    assert len(data) <= 1
    models, decoder = BitModels(1, [60000]), RangeDecoder(data)
    assert not any(decoder.decode(models, 0) for _ in steps)
    encoder = RangeEncoder()
    encoder.encode_raw(0, 8 * 40)
    data = encoder.finish()
    assert len(data) == 39 + 4 - MAX_OVERREAD  # the last byte of 40 is still in the width
    assert RangeDecoder(data).decode_raw(320) == 0


def test_reading_behind_the_end_stops() -> None:
    decoder = RangeDecoder(b"\x12")
    with pytest.raises(TruncatedError):
        decoder.decode_raw(8 * (MAX_OVERREAD + 2))


def test_spare_bytes_are_refused() -> None:
    data = encode([(0, 1), (0, 0)] * 30, BitModels(1))
    models, decoder = BitModels(1), RangeDecoder(data + b"\0\0\0\0")
    for bit in (1, 0) * 30:
        assert decoder.decode(models, 0) == bit
    with pytest.raises(LimitError, match="behind the range coder's end"):
        decoder.finish()


def test_raw_value_that_no_encoder_writes() -> None:
    decoder, models = RangeDecoder(b"\xff" * 12), BitModels(1, [21845])
    assert [decoder.decode(models, 0) for _ in range(12)] == [1] * 12
    with pytest.raises(LimitError, match="raw value"):
        decoder.decode_raw(16)


def test_probabilities_stay_inside_for_ever() -> None:
    for initial in (1, 65535):
        for bit in (0, 1):
            models = BitModels(1, [initial])
            for _ in range(5000):
                models.update(0, bit)
                assert 1 <= models.fast[0] <= 65535
                assert 1 <= models.slow[0] <= 65535
    assert models.ages == [SLOW_LIMIT]


def test_copy_and_reset() -> None:
    models = BitModels(2, [100, 65000], trust=5)
    twin = models.copy()
    twin.update(0, 1)
    assert (models.probability(0), models.ages) == (100, [5, 5])
    assert twin.probability(0) < 100
    twin.reset()
    assert (twin.fast, twin.slow, twin.ages) == (models.fast, models.slow, models.ages)


BAD_TABLES = [(0, None, 0), (2, [1], 0), (1, [0], 0), (1, [65536], 0), (1, None, 127)]


@pytest.mark.parametrize(("count", "initial", "trust"), BAD_TABLES)
def test_models_refuse_bad_tables(count: int, initial: list[int] | None, trust: int) -> None:
    with pytest.raises(ValueError, match="initial"):
        BitModels(count, initial, trust)


def test_cost_is_the_code_length() -> None:
    for prob in (200, 3000, 20000, 32768, 50000, 65000):
        models = BitModels(1, [prob])
        assert models.cost(0, 0) == pytest.approx(-256 * math.log2(prob / 65536), rel=0.06, abs=2)
        assert models.cost(0, 1) == pytest.approx(-256 * math.log2(1 - prob / 65536), rel=0.06, abs=2)
    steps = random_steps(random.Random(5), 4000, 12)
    counter, models = BitCounter(), BitModels(12)
    for index, bit in steps:
        counter.encode(models, index, bit)
    assert counter.cost / 2048 == pytest.approx(len(encode(steps, BitModels(12))), rel=0.01)


@pytest.mark.parametrize("n_ctx", [1, 3, 8])
def test_exp_golomb_at_its_edges(n_ctx: int) -> None:
    values = [0, 1, 2, 3, 6, 7, 254, 255, 65535, EXP_GOLOMB_MAX - 1, EXP_GOLOMB_MAX]
    encoder, models = RangeEncoder(), BitModels(n_ctx + 2)
    for value in values:
        encode_exp_golomb(encoder, models, 2, n_ctx, value)
    decoder, models = RangeDecoder(encoder.finish()), BitModels(n_ctx + 2)
    assert [decode_exp_golomb(decoder, models, 2, n_ctx) for _ in values] == values
    assert models.ages[:2] == [0, 0]
    for value in (-1, EXP_GOLOMB_MAX + 1):
        with pytest.raises(LimitError):
            encode_exp_golomb(RangeEncoder(), models, 2, n_ctx, value)


def test_exp_golomb_prefix_is_bounded() -> None:
    encoder, models = RangeEncoder(), BitModels(1)
    for _ in range(40):
        encoder.encode(models, 0, 1)
    with pytest.raises(LimitError, match="prefix"):
        decode_exp_golomb(RangeDecoder(encoder.finish()), BitModels(1), 0, 1)
