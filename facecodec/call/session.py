"""Both sides of one end of a call: its sender, its receiver, and feedback that rides on bundles."""

from __future__ import annotations

from facecodec.call.config import CallConfig
from facecodec.call.receiver import CallReceiver
from facecodec.call.sender import CallSender
from facecodec.config import SpeedConfig
from facecodec.errors import TransportError
from facecodec.transport import Channel, Datagram


class CallSession:
    """One end of a call.

    Args:
        config: settings.
        speed: of the encoder.

    Attributes:
        sender: takes this end's frames and sound.
        receiver: gives the other end's.
    """

    def __init__(self, config: CallConfig | None = None, speed: SpeedConfig | None = None) -> None:
        self.sender = CallSender(config, speed)
        self.receiver = CallReceiver(config)
        self.sender.take_feedback_from(self.receiver.piggyback)
        self.bad_feedback = 0

    def receive(self, channel: Channel, data: bytes, now_s: float) -> None:
        """Take a datagram of the other end; whatever it holds, nothing is raised."""
        self.receiver.receive(channel, data, now_s)
        for block in self.receiver.take_feedback():
            try:
                self.sender.receive(block, now_s)
            except TransportError:
                self.bad_feedback += 1

    def poll(self, now_s: float) -> list[Datagram]:
        """What is to be sent now; to be called at least every 20 ms."""
        out = self.sender.poll(now_s)
        for datagram in self.receiver.poll(now_s):
            self.sender.count_feedback(datagram, now_s)
            out.append(datagram)
        return out

    def close(self) -> None:
        """Stop the encoder's thread."""
        self.sender.close()
