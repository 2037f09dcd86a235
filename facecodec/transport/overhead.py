"""Bytes that the network adds to a datagram: what is counted as the rate on the wire.

=====================  =====  ==================================================
IPv4 header               20  RFC 791, no options
UDP header                 8  RFC 768
DTLS 1.2 record           37  13 header, 8 explicit nonce, 16 tag (RFC 6347, 5288: AES-GCM)
SCTP common header        12  RFC 9260, section 3
SCTP DATA chunk           16  RFC 9260, section 3.3.1; the data are padded to whole words
SCTP SACK chunk           16  RFC 9260, section 3.3.4, no gap blocks
RTP header                12  RFC 3550
SRTP tag                  10  RFC 3711, HMAC-SHA1-80
=====================  =====  ==================================================

The link's own frame (Ethernet, radio) is not counted, as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass

IP, UDP, DTLS, SCTP_COMMON, SCTP_DATA, SCTP_SACK, RTP, SRTP_TAG = 20, 8, 37, 12, 16, 16, 12, 10


@dataclass(frozen=True, slots=True)
class Overhead:
    """How a datagram is carried.

    Attributes:
        packet: bytes around every datagram.
        word: the datagram is padded to a multiple of this.
        answer: bytes of the packet by which the other side's transport answers a datagram, 0 for none. aiortc
            answers every one; they travel against it.
    """

    packet: int
    word: int = 1
    answer: int = 0

    def on_wire(self, size: int) -> int:
        """Bytes on the wire of a datagram of ``size`` bytes."""
        return self.packet + -(-size // self.word) * self.word


SCTP = Overhead(
    IP + UDP + DTLS + SCTP_COMMON + SCTP_DATA, word=4, answer=IP + UDP + DTLS + SCTP_COMMON + SCTP_SACK
)
"""A data channel: 93 bytes and padding, answered by 93."""
SRTP = Overhead(IP + UDP + RTP + SRTP_TAG)
"""An RTP packet, no extensions: 50 bytes."""
