"""Figures of a call, as they stand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WireBytes:
    """Bytes on the wire since the start, by what they carry.

    Attributes:
        headers: of the network and of bundles and fragments.
        sound: Opus packets.
        motion: motion units.
        pictures: reference pictures and parameters, those sent again included.
        feedback: what is told to the other side.
    """

    headers: int = 0
    sound: int = 0
    motion: int = 0
    pictures: int = 0
    feedback: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.headers + self.sound + self.motion + self.pictures + self.feedback


@dataclass(frozen=True, slots=True)
class SenderStats:
    """What a sender has sent, and how.

    Attributes:
        wire: bytes by part.
        wire_kbps: rate on the wire over the last 2 seconds.
        target_kbps: rate that is aimed at.
        fps: frames a second at most.
        audio_bps: bits a second that Opus should take,
        opus_ms: and how long its packets should be.
        bundle_s: seconds of sound and motion in a datagram.
        qp: quantisation parameter of motion.
        round_trip_s: smoothed round trip; None before the first report.
        round_trip_min_s: the shortest; likewise.
        loss: share of bundles lost, averaged over about 32.
        queue_s: queueing delay of the path.
        frames: frames sent.
        frames_dropped: frames given and not sent: beyond the frame rate, or before the first reference
            picture.
        references: reference pictures sent.
        keyframes_asked: requests of the other side for one.
    """

    wire: WireBytes
    wire_kbps: float
    target_kbps: float
    fps: float
    audio_bps: int
    opus_ms: int
    bundle_s: float
    qp: int
    round_trip_s: float | None
    round_trip_min_s: float | None
    loss: float
    queue_s: float
    frames: int
    frames_dropped: int
    references: int
    keyframes_asked: int


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """What a receiver has got, and shown.

    Attributes:
        bundles: datagrams of motion and sound that arrived.
        lost: those that are missing between the first and the newest.
        malformed: datagrams and units that broke the rules; each was dropped.
        undecodable: motion units that came without what they follow.
        frames: frames of motion received.
        references: reference pictures received.
        late: arrivals behind their time of play.
        delay_s: from capture to show, without the constant part of the path.
        jitter_s: how much longer the slow ones took than the fastest.
        behind_s: from capture to show, without coding, path and making: what is gathered for a datagram, and
            the buffer.
        live: pictures shown from received motion.
        interpolated: pictures shown between frames of which some are missing.
        idle: pictures shown by idle motion.
        lost_shown: pictures shown after the connection was given up.
        plis: requests for a reference picture.
    """

    bundles: int
    lost: int
    malformed: int
    undecodable: int
    frames: int
    references: int
    late: int
    delay_s: float
    jitter_s: float
    behind_s: float
    live: int
    interpolated: int
    idle: int
    lost_shown: int
    plis: int
