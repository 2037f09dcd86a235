"""Datagrams to bundles and messages. Whatever bytes come, memory is bounded and errors are TransportError."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from facecodec.errors import TransportError
from facecodec.transport.bundle import FEEDBACK_MAX, FEEDBACK_ONLY, SEQUENCE_BITS, Bundle
from facecodec.transport.datagram import Channel, check_size
from facecodec.transport.packetise import FRAGMENT_HEAD, MESSAGE_BITS
from facecodec.transport.sequence import Unwrapper

ASSEMBLING_MAX = 4
"""Messages in assembly at once; the oldest is given up for a fifth."""
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Message:
    """A whole unit from the reliable channel.

    Attributes:
        number: the message's number, unwrapped.
        data: the unit's bytes, unchecked.
    """

    number: int
    data: bytes


@dataclass(slots=True)
class Assembly:
    """A message of which fragments are missing.

    Attributes:
        parts: each fragment's bytes, None where it is missing.
        touched_s: when the last new fragment came.
    """

    parts: list[bytes | None]
    touched_s: float

    def missing(self) -> list[int]:
        """Numbers of the missing fragments."""
        return [index for index, part in enumerate(self.parts) if part is None]


class Depacketiser:
    """Reads what the other side's :class:`~facecodec.transport.packetise.Packetiser` sent.

    Attributes:
        sequences: numbers of the bundles.
        messages: numbers of the messages.
        assembling: messages in assembly, by number.
    """

    def __init__(self) -> None:
        self.sequences = Unwrapper(SEQUENCE_BITS)
        self.messages = Unwrapper(MESSAGE_BITS)
        self.assembling: OrderedDict[int, Assembly] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._whole: OrderedDict[int, None] = OrderedDict()

    def take(self, channel: Channel, data: bytes, now_s: float = 0.0) -> Bundle | Message | bytes | None:
        """Read a datagram.

        Returns:
            A bundle, its number unwrapped; a message that this fragment completes; the bytes of feedback that
            came alone; or None where nothing new is there.

        Raises:
            TransportError: the bytes are not of this protocol.
        """
        check_size(data)
        if channel is Channel.RELIABLE:
            return self._fragment(data, now_s)
        if data[0] == FEEDBACK_ONLY:
            if not 2 <= len(data) <= FEEDBACK_MAX + 1:
                raise TransportError(f"feedback of {len(data) - 1} bytes; allowed: 1 to {FEEDBACK_MAX}")
            return data[1:]
        bundle = Bundle.parse(data)
        number = self.sequences.take(bundle.sequence)
        if number < 0 or not _first_time(self._seen, number):
            return None
        return Bundle(number, bundle.motion, bundle.sound, bundle.feedback)

    def _fragment(self, data: bytes, now_s: float) -> Message | None:
        if len(data) <= FRAGMENT_HEAD:
            raise TransportError("a fragment without content")
        low, index, last = data[:FRAGMENT_HEAD]
        if index > last:
            raise TransportError(f"fragment {index} of {last + 1}")
        number = self.messages.take(low)
        if number < 0 or number in self._whole:
            return None
        assembly = self.assembling.get(number)
        if assembly is None:
            assembly = self.assembling[number] = Assembly([None] * (last + 1), now_s)
            while len(self.assembling) > ASSEMBLING_MAX:
                self.assembling.pop(min(self.assembling))
        if len(assembly.parts) != last + 1:
            raise TransportError(f"message {number} has {len(assembly.parts)} fragments, not {last + 1}")
        if assembly.parts[index] is None:
            assembly.parts[index], assembly.touched_s = data[FRAGMENT_HEAD:], now_s
        if None in assembly.parts:
            return None
        self.assembling.pop(number, None)
        _first_time(self._whole, number)
        return Message(number, b"".join(part for part in assembly.parts if part is not None))


def _first_time(seen: OrderedDict[int, None], number: int) -> bool:
    """Whether a number is new; the newest 64 are remembered, and older ones are no news."""
    if number in seen or (len(seen) >= _REMEMBERED and number < min(seen)):
        return False
    seen[number] = None
    if len(seen) > _REMEMBERED:
        seen.pop(min(seen))
    return True
