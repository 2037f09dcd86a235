"""The threads of a session: what waits for a picture that is being made, and what does not."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

from facecodec.call.engine import Engine
from facecodec.call.ice import WireCount
from facecodec.call.media_session import MediaSession
from facecodec.call.screen import Screen
from facecodec.transport import Channel

MAKING_S = 0.4


class SlowReceiver:
    """Takes long to make a picture, and notes of every message whether one is being made then."""

    reference = None

    def __init__(self) -> None:
        self.is_making = threading.Event()
        self.came: list[bool] = []

    def receive(self, channel: Channel, data: bytes, now_s: float) -> None:
        self.came.append(self.is_making.is_set())

    def due(self, now_s: float) -> object:
        return object()

    def make(self, due: object) -> SimpleNamespace:
        self.is_making.set()
        time.sleep(MAKING_S)
        self.is_making.clear()
        return SimpleNamespace(pixels=None, pts_s=0.0, state=SimpleNamespace(value="live"))

    def take_feedback(self) -> list[bytes]:
        return []

    def poll(self, now_s: float) -> list[object]:
        return []

    def audio(self, now_s: float) -> list[object]:
        return []

    def media_time(self, now_s: float) -> float:
        return now_s

    def stats(self) -> None:
        return None


def taken_while_making(reliable: bool) -> bool:
    """Whether a message that comes while a picture is made is taken before that is done."""

    async def run() -> bool:
        engine, receiver = Engine(), SlowReceiver()
        sender = SimpleNamespace(
            poll=lambda now_s: [], stats=lambda: None, close=lambda: None, saw_wire=lambda total: None
        )
        engine.receiver, engine.sender = receiver, sender
        pin = SimpleNamespace(see=lambda reference: None, identity="unknown")
        session = MediaSession(SimpleNamespace(send=None, wire=WireCount()), engine, Screen(), 20.0, pin)
        try:
            for _ in range(2):  # the first one may find threads that only start
                while not receiver.is_making.is_set():
                    await asyncio.sleep(0.005)
                receiver.came.clear()
                session.take(reliable, b"message")
                while not receiver.came:
                    await asyncio.sleep(0.005)
        finally:
            await session.stop()
        return receiver.came[0]

    return asyncio.run(asyncio.wait_for(run(), 20.0))


def test_motion_does_not_wait_for_a_picture_that_is_being_made():
    assert taken_while_making(reliable=False)


def test_what_pictures_are_made_from_waits():
    assert not taken_while_making(reliable=True)
