"""What the page shows of a call, once a second."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["waiting", "connecting", "connected", "lost", "ended"]
Identity = Literal["unknown", "pinned", "changed"]
IdentityBy = Literal["", "face", "form"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes out, kbit/s of the last seconds; together they are everything on the wire.

    Attributes:
        total: with IP and UDP headers.
        motion: facial and scene motion.
        sound: Opus.
        reference: reference pictures and parameters.
        feedback: reports about what came in.
        headers: everything else: IP, UDP, DTLS, SCTP, its acknowledgements, ICE.
    """

    total: float
    motion: float
    sound: float
    reference: float
    feedback: float
    headers: float


@dataclass(frozen=True, slots=True)
class CallStatus:
    """How the call is. None where it is not known yet.

    Attributes:
        state: of the connection.
        room: its name.
        invite: command for the other person, while nobody has come.
        message: something to say to the person, or empty.
        out: see :class:`Sent`.
        in_kbps: everything that comes in, headers included.
        loss_out: percent of what was sent that did not arrive, as the other side reports it.
        loss_in: percent of what the other side sent that did not arrive, over the last ten seconds.
        rtt_ms: round trip.
        age_ms: from the capture of a picture there to its show here, as estimated: gathering, coding, path,
            buffer and making; a browser's own ways are not in it.
        fps: pictures shown a second.
        picture: what the shown picture is made of: ``live``, ``interpolated``, ``idle``, ``lost``,
            ``waiting``; ``lost`` also while the last picture of an earlier connection stays.
        identity: whether the face is that which the call began with.
        identity_by: what that is judged by: ``face`` with SFace, else the ``form`` of the head, which tells
            only wholly different heads; empty before it is known.
        peer_camera: the other side's camera is on.
        h264_kbps: rate of the comparison with H.264, while it runs.
    """

    state: State
    room: str
    invite: str = ""
    message: str = ""
    out: Sent | None = None
    in_kbps: float | None = None
    loss_out: float | None = None
    loss_in: float | None = None
    rtt_ms: float | None = None
    age_ms: float | None = None
    fps: float | None = None
    picture: str = "waiting"
    identity: Identity = "unknown"
    identity_by: IdentityBy = ""
    peer_camera: bool | None = None
    h264_kbps: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Make what the page's script reads."""
        return asdict(self)
