"""Binary range coder with byte-wise renormalisation and exact carry.

After G. N. N. Martin, "Range encoding", 1979, in the binary form of LZMA. The encoder holds an
interval ``[low, low + range)`` of the numbers that begin with the bytes written so far; a 0 keeps
the lower ``(range * p) >> 16`` of it, a 1 the rest.

Invariants between calls, on both sides:

* ``2**24 <= range <= 2**32``. So a 0 and a 1 both keep at least ``2**24 >> 16 = 256``, and two
  shifts by a byte always restore the bound.
* Encoder: ``low < 2**32`` after a shift, and every later interval lies inside the one after that
  shift, so ``low < 2**33``: a carry is one bit, and it reaches bytes already written at most once a
  shift. The first interval ends at 2**32, so a carry never runs out of the first byte.
* Decoder: ``0 <= code < range``, with ``code`` the number read minus the encoder's ``low``. It holds
  for *any* bytes, as ``code < 2**32`` at the start and each step keeps it.
* After m shifts the encoder has written m bytes and the decoder has read m + 4. ``range >= 2**24``
  at the end means that one more byte picks a number inside the interval: the flush costs at most a byte.

The decoder takes zero bytes behind the end, so the encoder drops zero bytes from its end, as long as
the decoder need not read more than ``MAX_OVERREAD`` bytes that are not there.
"""

from __future__ import annotations

from facecodec.entropy.models import COST_ONE_BIT, RATES, BitModels
from facecodec.errors import LimitError, TruncatedError

MAX_OVERREAD = 16
"""Bytes that a decoder may read behind the end, as zeros."""

_TOP = 1 << 24
_FULL = 1 << 32
_MASK = _TOP - 1
_RAW_CHUNK = 16


class RangeEncoder:
    """Codes bits into bytes. One encoder makes one string."""

    __slots__ = ("_low", "_out", "_range")

    def __init__(self) -> None:
        self._low = 0
        self._range = _FULL
        self._out = bytearray()

    def encode(self, models: BitModels, index: int, bit: int) -> None:
        """Code ``bit`` (0 or 1) with model ``index``, and adapt the model."""
        fasts = models.fast
        slows = models.slow
        ages = models.ages
        fast = fasts[index]
        slow = slows[index]
        width = self._range
        bound = (width * ((fast + slow) >> 1)) >> 16
        fast_weight, slow_weight, ages[index] = RATES[ages[index]]
        if bit:
            self._low += bound
            width -= bound
            fasts[index] = fast - ((fast * fast_weight) >> 16)
            slows[index] = slow - ((slow * slow_weight) >> 16)
        else:
            width = bound
            fasts[index] = fast + (((65536 - fast) * fast_weight) >> 16)
            slows[index] = slow + (((65536 - slow) * slow_weight) >> 16)
        if width < 16777216:
            self._shift(width)
        else:
            self._range = width

    def encode_raw(self, value: int, bits: int) -> None:
        """Code ``bits`` equiprobable bits, the highest first.

        Args:
            value: 0..2**bits - 1.
            bits: number of bits, at least 0.
        """
        while bits:
            chunk = min(bits, _RAW_CHUNK)
            bits -= chunk
            width = self._range >> chunk
            self._low += width * ((value >> bits) & ((1 << chunk) - 1))
            if width < _TOP:
                self._shift(width)
            else:
                self._range = width

    def _shift(self, width: int) -> None:
        """Write the highest bytes of ``low`` until the width is at least 2**24."""
        low = self._low
        out = self._out
        while width < _TOP:
            byte = low >> 24
            if byte > 255:
                _carry(out)
            out.append(byte & 255)
            low = (low & _MASK) << 8
            width <<= 8
        self._low = low
        self._range = width

    def finish(self) -> bytes:
        """Return the shortest string that decodes to the bits coded so far.

        The encoder must not be used afterwards.
        """
        out = self._out
        read = len(out) + 4
        low = self._low
        end = low + self._range
        if end > _FULL:
            _carry(out)
            low = max(low - _FULL, 0)
        if low:
            out.append((low + _MASK) >> 24)
        keep = max(read - MAX_OVERREAD, 0)
        while len(out) > keep and not out[-1]:
            out.pop()
        return bytes(out)


def _carry(out: bytearray) -> None:
    """Add one to the number in ``out``."""
    place = len(out) - 1
    while out[place] == 255:
        out[place] = 0
        place -= 1
    out[place] += 1


class RangeDecoder:
    """Reads the bits that a :class:`RangeEncoder` coded, given the same models in the same order.

    Any bytes decode to some bits, up to a bounded number.

    Args:
        data: the encoder's bytes, all of them.
    """

    __slots__ = ("_code", "_data", "_place", "_range")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._range = _FULL
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._place = 4

    def decode(self, models: BitModels, index: int) -> int:
        """Decode a bit with model ``index``, and adapt the model.

        Returns:
            0 or 1.

        Raises:
            TruncatedError: more than ``MAX_OVERREAD`` bytes behind the end were needed.
        """
        fasts = models.fast
        slows = models.slow
        ages = models.ages
        fast = fasts[index]
        slow = slows[index]
        width = self._range
        bound = (width * ((fast + slow) >> 1)) >> 16
        fast_weight, slow_weight, ages[index] = RATES[ages[index]]
        if self._code < bound:
            bit = 0
            width = bound
            fasts[index] = fast + (((65536 - fast) * fast_weight) >> 16)
            slows[index] = slow + (((65536 - slow) * slow_weight) >> 16)
        else:
            bit = 1
            self._code -= bound
            width -= bound
            fasts[index] = fast - ((fast * fast_weight) >> 16)
            slows[index] = slow - ((slow * slow_weight) >> 16)
        if width < 16777216:
            self._shift(width)
        else:
            self._range = width
        return bit

    def decode_raw(self, bits: int) -> int:
        """Decode ``bits`` equiprobable bits, the highest first.

        Raises:
            LimitError: no encoder writes such bytes.
            TruncatedError: as :meth:`decode`.
        """
        value = 0
        while bits:
            chunk = min(bits, _RAW_CHUNK)
            bits -= chunk
            width = self._range >> chunk
            part = self._code // width
            if part >> chunk:
                raise LimitError("range coder raw value", part, f"below {1 << chunk}")
            self._code -= part * width
            value = (value << chunk) | part
            if width < _TOP:
                self._shift(width)
            else:
                self._range = width
        return value

    def _shift(self, width: int) -> None:
        """Read bytes until the width is at least 2**24."""
        data = self._data
        size = len(data)
        place = self._place
        code = self._code
        while width < _TOP:
            code <<= 8
            if place < size:
                code |= data[place]
            elif place >= size + MAX_OVERREAD:
                raise TruncatedError(place + 1, size, unit="range coder")
            place += 1
            width <<= 8
        self._place = place
        self._code = code
        self._range = width

    def finish(self) -> None:
        """Check that the data are the encoder's own, once every bit has been decoded.

        Many strings decode to the same bits; the encoder writes one of them. As ``code`` is the number read
        minus the encoder's ``low``, the decoder knows ``low`` too, and with it what the encoder flushed.

        Raises:
            LimitError: an encoder would have written other bytes.
        """
        data, place = self._data, self._place
        spare = len(data) - (place - 3)
        if spare > 0:
            raise LimitError("bytes behind the range coder's end", spare, "0")
        read = int.from_bytes(data[place - 4 : place].ljust(4, b"\0"), "big")
        low = (read - self._code) % _FULL
        flushed = 0 if low + self._range > _FULL else (low + _MASK) & ~_MASK
        if read != flushed:
            raise LimitError("end of the range coder's bytes", read, f"{flushed}")
        if len(data) > max(place - MAX_OVERREAD, 0) and not data[-1]:
            raise LimitError("last byte of the range coder", 0, "not 0")


class BitCounter:
    """Takes the place of a :class:`RangeEncoder` where only the cost is wanted.

    Models adapt as they would in the encoder; give it a copy of them.

    Attributes:
        cost: bits so far, in 1/256 bit.
    """

    __slots__ = ("cost",)

    def __init__(self) -> None:
        self.cost = 0

    def encode(self, models: BitModels, index: int, bit: int) -> None:
        """Count ``bit`` with model ``index``, and adapt the model."""
        self.cost += models.cost(index, bit)
        models.update(index, bit)

    def encode_raw(self, value: int, bits: int) -> None:
        """Count ``bits`` equiprobable bits; ``value`` does not matter."""
        del value
        self.cost += bits * COST_ONE_BIT
