"""Signals that end a command, as exceptions."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from facecodec.cli.exit_codes import EXIT_TERMINATED

_AGAIN_S = 0.02
_Handler = Callable[[int, FrameType | None], None]


class Terminated(SystemExit):
    """SIGTERM came. Ends worker processes, which inherit the handler, without a traceback."""


@contextmanager
def signals_as_exceptions() -> Iterator[set[int]]:
    """Let SIGTERM end the block like an exception, as Ctrl-C does, so that temporary files are removed.

    A second SIGTERM ends the process at once. What the caller has set for a signal stays as it is. A signal
    that comes while Python is in a finaliser or a callback from C, where exceptions are printed and
    forgotten, is raised again right after it.

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
    before = sys.unraisablehook
    sys.unraisablehook = _raising_again({number: handler for number, _, handler in ours}, before)
    try:
        yield came
    finally:
        sys.unraisablehook = before
        for number, usual, _ in ours:
            signal.signal(number, usual)


def _raising_again(ours: dict[int, _Handler], otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A ``sys.unraisablehook`` that lets the handlers ``ours`` raise once more what was forgotten."""
    numbers = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}

    def hook(unraisable: Any) -> None:
        number = numbers.get(unraisable.exc_type)
        if number not in ours:
            otherwise(unraisable)
            return
        signal.signal(number, ours[number])
        threading.Timer(_AGAIN_S, _thread.interrupt_main, (number,)).start()

    return hook
