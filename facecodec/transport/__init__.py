"""From units to datagrams and back: bundles, fragments, feedback, pacing, jitter, rate."""

from facecodec.transport.bundle import Bundle, MotionPart, SoundPart
from facecodec.transport.datagram import DATAGRAM_MAX, Channel, Datagram
from facecodec.transport.depacketise import Depacketiser, Message
from facecodec.transport.feedback import Feedback
from facecodec.transport.overhead import SCTP, SRTP, Overhead
from facecodec.transport.packetise import Packetiser

__all__ = [
    "DATAGRAM_MAX",
    "SCTP",
    "SRTP",
    "Bundle",
    "Channel",
    "Datagram",
    "Depacketiser",
    "Feedback",
    "Message",
    "MotionPart",
    "Overhead",
    "Packetiser",
    "SoundPart",
]
