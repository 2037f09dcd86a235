"""Signals that end a command, as exceptions."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from facecodec.cli.exit_codes import EXIT_TERMINATED


class Terminated(SystemExit):
    """SIGTERM came. Ends worker processes, which inherit the handler, without a traceback."""


@contextmanager
def signals_as_exceptions() -> Iterator[set[int]]:
    """Let SIGTERM end the block like an exception, as Ctrl-C does, so that temporary files are removed.

    A second SIGTERM ends the process at once. What the caller has set for a signal stays as it is.

    Yields:
        The signals that have come so far.
    """
    came: set[int] = set()

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.add(number)
        raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        came.add(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated(EXIT_TERMINATED)

    wanted = [
        (signal.SIGINT, signal.default_int_handler, interrupt),
        (signal.SIGTERM, signal.SIG_DFL, terminate),
    ]
    if threading.current_thread() is not threading.main_thread():
        wanted = []
    ours = [
        (number, usual, handler) for number, usual, handler in wanted if signal.getsignal(number) == usual
    ]
    for number, _, handler in ours:
        signal.signal(number, handler)
    try:
        yield came
    finally:
        for number, usual, _ in ours:
            signal.signal(number, usual)
