"""Units to datagrams: bundles are numbered, pictures and parameters cut into fragments."""

from __future__ import annotations

from facecodec.errors import ConfigError
from facecodec.transport.bundle import FEEDBACK_ONLY, Bundle, MotionPart, SoundPart
from facecodec.transport.datagram import DATAGRAM_MAX, Channel, Datagram

FRAGMENT_HEAD = 3
FRAGMENTS_MAX = 256
FRAGMENT_MIN = 64
MESSAGE_BITS = 8
MESSAGE_MAX = FRAGMENTS_MAX * (DATAGRAM_MAX - FRAGMENT_HEAD)
"""Most bytes of a unit that a call can carry."""


class Packetiser:
    """Numbers what one side sends.

    Attributes:
        sequence: number of the next bundle.
        message: number of the next message on the reliable channel.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.message = 0

    def bundle(
        self, motion: MotionPart | None = None, sound: SoundPart | None = None, feedback: bytes = b""
    ) -> Datagram:
        """Pack what belongs together.

        Raises:
            ConfigError: a part cannot stand in a bundle.
            TransportError: together they are longer than a datagram; the number is not used up.
        """
        data = Bundle(self.sequence, motion, sound, feedback).pack()
        self.sequence += 1
        return Datagram(Channel.MOTION, data)

    def message_of(self, unit: bytes, size: int = DATAGRAM_MAX) -> list[Datagram]:
        """Cut a whole unit (FORMAT.md, section 3) into fragments.

        Args:
            unit: its bytes.
            size: bytes of a datagram, more where there would be over 256 of them.

        Raises:
            ConfigError: the unit is empty, or too long for a call.
        """
        if not 1 <= len(unit) <= MESSAGE_MAX:
            raise ConfigError("bytes of a unit", len(unit), f"1 to {MESSAGE_MAX}")
        step = max(min(size, DATAGRAM_MAX) - FRAGMENT_HEAD, FRAGMENT_MIN, -(-len(unit) // FRAGMENTS_MAX))
        parts = [unit[start : start + step] for start in range(0, len(unit), step)]
        number = self.message & ((1 << MESSAGE_BITS) - 1)
        self.message += 1
        return [
            Datagram(Channel.RELIABLE, bytes([number, index, len(parts) - 1]) + part)
            for index, part in enumerate(parts)
        ]


def feedback_datagram(feedback: bytes) -> Datagram:
    """Feedback that travels alone."""
    return Datagram(Channel.MOTION, bytes([FEEDBACK_ONLY]) + feedback)
