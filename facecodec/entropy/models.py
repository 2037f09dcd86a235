"""Adaptive models of single bits, and the binarisation of unsigned numbers on top of them.

A model holds two estimates of the probability of a 0, in units of 1/65536: a fast one that follows
changes and a slow one that is precise; their mean is used (as in VVC and AV1). While a model is
young both move by 1/(n + 2) of the error after n bits, the Krichevsky-Trofimov estimator in all but
name, so that they agree until the fast one reaches its final rate of 1/16 and the slow one goes on
to 1/128.

Invariant: 1 <= estimate <= 65535. A 0 moves an estimate ``e`` up by ``((65536 - e) * w) >> 16`` and a
1 moves it down by ``(e * w) >> 16``; as ``w < 65536``, neither step covers the whole distance to
65536 or to 0. So every bit always has a probability, and the coder never needs to clamp one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from facecodec.errors import LimitError

if TYPE_CHECKING:
    from facecodec.entropy.range_coder import BitCounter, RangeDecoder, RangeEncoder

PROB_ONE = 1 << 16
"""The probability of a certain event; never reached."""

FAST_LIMIT, SLOW_LIMIT = 14, 126
"""Bits after which the fast and the slow estimate keep their rate: 1/16 and 1/128."""

COST_ONE_BIT = 256
"""Unit of costs: 1/256 bit."""

EXP_GOLOMB_MAX_PREFIX = 20
EXP_GOLOMB_MAX = (1 << (EXP_GOLOMB_MAX_PREFIX + 1)) - 2
"""Largest value that :func:`encode_exp_golomb` takes."""

_COST_SHIFT = 5


def _rate(age: int) -> tuple[int, int, int]:
    """Fast weight, slow weight (both of 65536) and the next age of a model of this age."""
    fast = PROB_ONE // (min(age, FAST_LIMIT) + 2)
    return fast, PROB_ONE // (age + 2), min(age + 1, SLOW_LIMIT)


RATES: tuple[tuple[int, int, int], ...] = tuple(_rate(age) for age in range(SLOW_LIMIT + 1))
"""For every age: fast weight, slow weight, next age."""


def _cost(prob: int) -> int:
    """-log2(prob / 65536) in 1/256 bit, rounded down, by repeated squaring in integers."""
    shift = prob.bit_length() - 1
    mantissa = (prob << 16) >> shift
    fraction = 0
    for _ in range(8):
        mantissa = (mantissa * mantissa) >> 16
        fraction <<= 1
        if mantissa >= 2 * PROB_ONE:
            mantissa >>= 1
            fraction |= 1
    return max(16 * COST_ONE_BIT - (shift * COST_ONE_BIT + fraction) - 1, 0)


COSTS: tuple[int, ...] = tuple(
    _cost((i << _COST_SHIFT) + (1 << _COST_SHIFT) // 2) for i in range(PROB_ONE >> _COST_SHIFT)
)
"""Cost of a bit by its probability >> 5, in 1/256 bit. For an encoder's choices alone."""


class BitModels:
    """A table of adaptive bit models.

    Args:
        count: number of models, at least 1.
        initial: probability of a 0 for each model, 1..65535 (of 65536); 32768 where not given.
        trust: how many bits the initial probabilities stand for, 0..126. 0 lets the first bit
            move a model half of the way.

    Raises:
        ValueError: ``initial`` has another length or a value out of range, or ``trust`` is.
    """

    __slots__ = ("_initial", "_trust", "ages", "fast", "slow")

    def __init__(self, count: int, initial: Iterable[int] | None = None, trust: int = 0) -> None:
        start = [PROB_ONE // 2] * count if initial is None else [int(p) for p in initial]
        if count < 1 or len(start) != count:
            raise ValueError(f"{len(start)} initial probabilities for {count} models")
        if not all(1 <= p < PROB_ONE for p in start) or not 0 <= trust <= SLOW_LIMIT:
            raise ValueError(f"initial probabilities must be 1..65535 and trust 0..{SLOW_LIMIT}")
        self._initial = start
        self._trust = trust
        self.fast: list[int] = []
        self.slow: list[int] = []
        self.ages: list[int] = []
        self.reset()

    def __len__(self) -> int:
        return len(self._initial)

    def reset(self) -> None:
        """Return every model to its initial probability and age."""
        self.fast = self._initial.copy()
        self.slow = self._initial.copy()
        self.ages = [self._trust] * len(self._initial)

    def copy(self) -> BitModels:
        """Return an independent table in the same state."""
        other = BitModels.__new__(BitModels)
        other._initial = self._initial
        other._trust = self._trust
        other.fast = self.fast.copy()
        other.slow = self.slow.copy()
        other.ages = self.ages.copy()
        return other

    def probability(self, index: int) -> int:
        """Probability of a 0 at model ``index``, 1..65535 of 65536."""
        return (self.fast[index] + self.slow[index]) >> 1

    def update(self, index: int, bit: int) -> None:
        """Adapt model ``index`` to a coded bit. The coders do the same inline."""
        fast, slow = self.fast[index], self.slow[index]
        fast_weight, slow_weight, self.ages[index] = RATES[self.ages[index]]
        if bit:
            self.fast[index] = fast - ((fast * fast_weight) >> 16)
            self.slow[index] = slow - ((slow * slow_weight) >> 16)
        else:
            self.fast[index] = fast + (((PROB_ONE - fast) * fast_weight) >> 16)
            self.slow[index] = slow + (((PROB_ONE - slow) * slow_weight) >> 16)

    def cost(self, index: int, bit: int) -> int:
        """Estimated cost of coding ``bit`` with model ``index``, in 1/256 bit; nothing adapts."""
        prob = (self.fast[index] + self.slow[index]) >> 1
        return COSTS[(PROB_ONE - prob if bit else prob) >> _COST_SHIFT]


def encode_exp_golomb(
    encoder: RangeEncoder | BitCounter, models: BitModels, base: int, n_ctx: int, value: int
) -> None:
    """Code an unsigned number: adaptive exp-Golomb of order 0.

    With ``k = bit_length(value + 1) - 1``: k ones and a zero, the i-th of them in model
    ``base + min(i, n_ctx - 1)``, then the k low bits of ``value + 1`` as raw bits.

    Args:
        encoder: a :class:`RangeEncoder` or a :class:`BitCounter`.
        models: the table that holds the prefix models.
        base: index of the first prefix model.
        n_ctx: number of prefix models, at least 1.
        value: 0..``EXP_GOLOMB_MAX``.

    Raises:
        LimitError: ``value`` is out of range.
    """
    if not 0 <= value <= EXP_GOLOMB_MAX:
        raise LimitError("exp-Golomb value", value, f"0..{EXP_GOLOMB_MAX}")
    number = value + 1
    length = number.bit_length() - 1
    last = base + n_ctx - 1
    index = base
    for _ in range(length):
        encoder.encode(models, index, 1)
        if index < last:
            index += 1
    encoder.encode(models, index, 0)
    if length:
        encoder.encode_raw(number - (1 << length), length)


def decode_exp_golomb(decoder: RangeDecoder, models: BitModels, base: int, n_ctx: int) -> int:
    """Read what :func:`encode_exp_golomb` wrote.

    Returns:
        0..``EXP_GOLOMB_MAX``.

    Raises:
        LimitError: the prefix holds more than 20 ones.
        TruncatedError: the data are at their end.
    """
    length = 0
    last = base + n_ctx - 1
    index = base
    while decoder.decode(models, index):
        length += 1
        if length > EXP_GOLOMB_MAX_PREFIX:
            raise LimitError("exp-Golomb prefix", length, f"at most {EXP_GOLOMB_MAX_PREFIX}")
        if index < last:
            index += 1
    if not length:
        return 0
    return (1 << length) + decoder.decode_raw(length) - 1
