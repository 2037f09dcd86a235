"""What one end of a call is told to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from facecodec.call.config import CallConfig
from facecodec.call.peer import IceServer
from facecodec.call.voice import VoiceConfig
from facecodec.errors import ConfigError
from facecodec.transport import Overhead

WIRE = Overhead(packet=90, word=4)
"""A data channel of this program: 85 bytes, as records are short (``dtls.py``), and a third of an
acknowledgement, which travels with data (``sctp.py``)."""


@dataclass(frozen=True, slots=True)
class CallSettings:
    """One end of a call.

    Attributes:
        server: address of the signalling server.
        room: name of the room.
        token: shared with the other person.
        ice_servers: STUN and TURN servers; none by default.
        loopback: both ends are on this machine: use 127.0.0.1 alone.
        show_fps: pictures a second on the screen.
        engine: how picture and sound are coded and sent.
        voice: how speech is coded.
    """

    server: str
    room: str
    token: str
    ice_servers: tuple[IceServer, ...] = ()
    loopback: bool = False
    show_fps: float = 20.0
    engine: CallConfig = field(default_factory=lambda: CallConfig(overhead=WIRE))
    voice: VoiceConfig = field(default_factory=VoiceConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.show_fps <= 60:
            raise ConfigError("show_fps", self.show_fps, "1 to 60")
