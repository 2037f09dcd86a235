"""Sender and receiver of one end, with their threads beside the event loop."""

from __future__ import annotations

import threading

from facecodec.call.config import CallConfig
from facecodec.call.identity import FacePin
from facecodec.call.receiver import CallReceiver
from facecodec.call.sender import CallSender
from facecodec.call.threads import borrow


class Engine:
    """Sender and receiver with their threads; made by :meth:`load`, which takes a second or so.

    Attributes:
        sender: to be called on ``coding`` alone.
        receiver: to be called under ``lock``, but for the making of pictures.
        coding: thread of the sender.
        receiving: thread of the receiver, for what must not wait for a picture.
        decoding: thread that makes pictures, and takes in what they are made from.
        lock: the sender asks the receiver for feedback, and motion comes while a picture is made.
    """

    def __init__(self) -> None:
        self.coding, self.receiving, self.decoding = borrow(), borrow(), borrow()
        self.lock = threading.Lock()
        self.sender: CallSender
        self.receiver: CallReceiver

    @classmethod
    async def load(cls, config: CallConfig, pin: FacePin) -> Engine:
        """Load the models, and that of ``pin``.

        Raises:
            WeightsError: those that are asked for are absent or damaged.
        """
        engine = cls()
        engine.receiver = await engine.decoding.run(lambda: CallReceiver(config))
        await engine.decoding.run(pin.load)
        engine.sender = await engine.coding.run(lambda: CallSender(config))
        engine.sender.take_feedback_from(engine._piggyback)
        return engine

    async def close(self) -> None:
        """Stop the sender, and give the threads back."""
        await self.coding.run(self.sender.close)
        await self.decoding.run(lambda: None)  # a picture may still be in the making
        await self.receiving.run(lambda: None)
        for thread in (self.coding, self.receiving, self.decoding):
            thread.give_back()

    def _piggyback(self, now_s: float) -> bytes:
        with self.lock:
            return self.receiver.piggyback(now_s)
