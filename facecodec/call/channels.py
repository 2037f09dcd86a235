"""The two data channels of a call, agreed on beforehand: both ends know their ids, nobody asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecodec.transport import Channel

if TYPE_CHECKING:
    from aiortc import RTCDataChannel, RTCPeerConnection

CHANNEL_IDS = {Channel.MOTION: 0, Channel.RELIABLE: 1}
"""The SCTP streams of a call."""


def open_channels(connection: RTCPeerConnection) -> dict[Channel, RTCDataChannel]:
    """Make the channels on a connection, before its offer or answer is made."""
    ids = CHANNEL_IDS
    fast = connection.createDataChannel(
        "motion", negotiated=True, id=ids[Channel.MOTION], ordered=False, maxRetransmits=0
    )
    reliable = connection.createDataChannel("reference", negotiated=True, id=ids[Channel.RELIABLE])
    return {Channel.MOTION: fast, Channel.RELIABLE: reliable}
