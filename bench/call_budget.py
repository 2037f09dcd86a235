"""Where the time from glass to glass goes: times noted inside both ends of a live call, bundle by bundle.

Both ends run on one machine, so that their monotonic clocks are one. The times of a bundle follow each
other without a gap; with the buffer and the two stages of the picture they are the whole way.
"""

from __future__ import annotations

import time
from array import array
from hashlib import blake2b
from typing import Any

import numpy as np

from facecodec.call.receiver import SOUND_AFTER_S

STAGES = ("bundle", "code", "leave", "wire", "take", "buffer", "render", "screen")
"""``bundle``: from the time of the first thing in a bundle to its end; ``code``: its last picture is tracked,
and the group coded; ``leave``: to the socket; ``wire``: to the other end's event loop; ``take``: to its
receiver; ``buffer``: from its arrival until its time has come, ``take`` included; ``render``: the picture is
made; ``screen``: it is put on."""


class Probe:
    """Notes times inside one end.

    Attributes:
        pushed: time of every picture of the camera, and when it was given.
        coded: start and end of the coding of every bundle.
        sent: bundles with the last one coded before, and when they left.
        took: when messages came.
        observed: for every bundle: its first time and when it was taken, how long it then waits, whether
            its first thing is sound.
        rendered: start and end of every picture's making.
        apart: for every picture made from received motion: its time less that of what is heard with it.
    """

    def __init__(self) -> None:
        self.pushed = array("d")
        self.coded = array("d")
        self.sent: dict[int, tuple[int, float]] = {}
        self.took: dict[int, float] = {}
        self.observed: dict[int, tuple[float, float, float, bool]] = {}
        self.rendered = array("d")
        self.apart = array("d")
        self._now = 0
        self._sound_s: float | None = None

    def attach_call(self, call: Any) -> None:
        """Watch the camera, and sound beside the picture."""
        push, show = call.push_picture, call.screen.show

        def note_show(picture: Any) -> None:
            heard_s = call.screen.sound.heard_at(picture.shown_s)
            if heard_s is not None and picture.state == "live":
                self.apart.extend((picture.shown_s, picture.pts_s - heard_s))
            show(picture)

        call.screen.show = note_show

        def push_picture(pixels: Any, at_s: float) -> None:
            self.pushed.extend((at_s, time.monotonic()))
            push(pixels, at_s)

        call.push_picture = push_picture

    def attach(self, session: Any) -> None:
        """Watch a session from its begin."""
        self._watch_sender(session)
        self._watch_receiver(session)

    def _watch_sender(self, session: Any) -> None:
        sender, send = session._engine.sender, session._send_datagram
        end_bundle = sender._end_bundle

        def note_end(now_s: float) -> None:
            start = time.monotonic()
            end_bundle(now_s)
            self.coded.extend((start, time.monotonic()))

        def send_datagram(datagram: Any) -> None:
            send(datagram)
            self.sent[_key(datagram.data)] = (len(self.coded) // 2 - 1, time.monotonic())

        sender._end_bundle, session._send_datagram = note_end, send_datagram

    def _watch_receiver(self, session: Any) -> None:
        receiver = session._engine.receiver
        take, receive, make = session.take, receiver.receive, receiver.make
        take_sound, observe, clock = receiver._sound.insert, receiver._clock.observe, receiver._clock

        def note_take(reliable: bool, data: bytes, came_s: float | None = None) -> None:
            self.took[_key(data)] = time.monotonic()
            take(reliable, data, came_s)

        def note_receive(channel: Any, data: bytes, now_s: float) -> None:
            self._now, self._sound_s = _key(data), None
            receive(channel, data, now_s)

        def note_sound(sound: Any) -> tuple[float, float]:
            start_s, end_s = take_sound(sound)
            self._sound_s = start_s
            return start_s, end_s

        def note_observe(media_s: float, now_s: float, end_s: float) -> None:
            observe(media_s, now_s, end_s)
            at = time.monotonic()
            if self._now not in self.took:
                return  # came before the probe
            wait = clock._offset_at(at) - (self.took[self._now] - media_s)
            self.observed[self._now] = (
                media_s,
                at,
                wait,
                self._sound_s is not None and self._sound_s + SOUND_AFTER_S == media_s,
            )

        def note_make(due: Any) -> Any:
            start = time.monotonic()
            shown = make(due)
            self.rendered.extend((start, time.monotonic()))
            return shown

        session.take, receiver.receive, receiver.make = note_take, note_receive, note_make
        receiver._sound.insert, clock.observe = note_sound, note_observe

    def result(self) -> dict[str, Any]:
        """What was noted, for :func:`budget` in another process."""
        pairs = {name: _pairs(getattr(self, name)) for name in ("pushed", "coded", "rendered", "apart")}
        return {**pairs, "sent": self.sent, "took": self.took, "observed": self.observed}


def _key(data: bytes) -> int:
    """Tells messages apart; takes less memory than they do."""
    return int.from_bytes(blake2b(data, digest_size=7).digest(), "big")


def _pairs(values: array[float]) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2], strict=True))


def budget(mine: dict, other: dict, start_s: float, epoch_s: float) -> dict[str, list[float]]:
    """Milliseconds of every stage, median, mean and 95 %, of what ``mine`` showed of ``other``'s pictures.

    Args:
        mine: noted by the end that shows, with ``shown`` of the pictures.
        other: noted by the end that is seen.
        start_s: what was before is left out.
        epoch_s: time on the wire to the other end's time.
    """
    parts: dict[str, list[float]] = {name: [] for name in STAGES}
    sound_first = []
    for key, (media_s, took_s, wait_s, by_sound) in mine["observed"].items():
        if key not in other["sent"] or key not in mine["took"] or took_s < start_s:
            continue
        index, sent_s = other["sent"][key]
        begun_s, ended_s = other["coded"][index]
        times = [media_s + epoch_s, begun_s, ended_s, sent_s, mine["took"][key], took_s]
        for name, a, b in zip(STAGES, times, times[1:], strict=False):
            parts[name].append(b - a)
        parts["buffer"].append(wait_s)
        sound_first.append(by_sound)
    parts["camera"] = [b - a for a, b in other["pushed"] if b >= start_s]
    shown = iter(s[0] for s in mine["shown"])
    at = next(shown)
    for begun_s, ended_s in mine["rendered"]:
        while at < ended_s and (later := next(shown, None)) is not None:
            at = later
        if begun_s >= start_s and at >= ended_s:
            parts["render"].append(ended_s - begun_s)
            parts["screen"].append(at - ended_s)
    out = {name: _figures(values) for name, values in parts.items()}
    out["sound_first"] = [round(float(np.mean(sound_first)), 3)]
    return out


def _figures(values: list[float]) -> list[float]:
    array = 1000 * np.asarray(values)
    figures = (np.median(array), array.mean(), np.quantile(array, 0.95)) if len(array) else ()
    return [round(float(value), 1) for value in figures]
