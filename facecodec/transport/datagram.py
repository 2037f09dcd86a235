"""What goes to the network: a channel and at most 1150 bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from facecodec.errors import TransportError

DATAGRAM_MAX = 1150
"""Most bytes of a datagram: with all headers it stays below 1280, the least MTU of IPv6 (RFC 8200)."""


class Channel(Enum):
    """The two data channels of a call."""

    RELIABLE = "reliable"
    """Fragments of pictures and parameters; ordered or not."""
    MOTION = "motion"
    """Bundles of motion, sound and feedback; unordered, never sent again (RFC 8831: maxRetransmits 0)."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One message of a data channel.

    Attributes:
        channel: which one.
        data: 1 to 1150 bytes.
    """

    channel: Channel
    data: bytes


def check_size(data: bytes) -> None:
    """Raise TransportError unless the bytes can be a datagram."""
    if not 1 <= len(data) <= DATAGRAM_MAX:
        raise TransportError(f"a datagram of {len(data)} bytes; allowed: 1 to {DATAGRAM_MAX}")
