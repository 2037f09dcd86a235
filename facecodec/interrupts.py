"""Ctrl-C in the worker processes of a command: a terminal sends it to all of them at once.

Between jobs it is the parent's affair alone, and a worker that took it there would print a traceback. In a
job it is raised, so that the job cleans up behind itself; the executor hands it to the parent.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def ignore_between_jobs() -> None:
    """Begin a worker process: from now on an interrupt is heard in :func:`interruptible` jobs alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def interruptible(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Do a job of a worker process. Raises KeyboardInterrupt at Ctrl-C, and whatever ``work`` raises."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return work(*args, **kwargs)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
