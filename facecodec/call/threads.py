"""Threads for the work of a call, beside the event loop.

They live as long as the process, and are used again by the next call: a thread that has called torch must not
end before the process does (``generator/workers.py`` says why). Torch runs on one core in each of them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_idle: list[CallThread] = []
_owner = os.getpid()
_lock = threading.Lock()


class CallThread:
    """One thread that does jobs in order; from :func:`borrow`, and given back with :meth:`give_back`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        threading.Thread(target=self._work, name="facecodec-call", daemon=True).start()

    async def run(self, job: Callable[[], _T]) -> _T:
        """Do a job and wait for it; its exception is raised here.

        A cancelled wait does not end a job that has begun.
        """
        future: Future[_T] = Future()
        self._jobs.put((future, job))
        return await asyncio.wrap_future(future)

    def give_back(self) -> None:
        """Let another call use the thread, behind what it still has to do."""
        with _lock:
            _idle.append(self)

    def _work(self) -> None:
        import torch

        from facecodec.generator.workers import serve

        torch.set_num_threads(1)
        serve(self._jobs)


_MALLOPT = ((-8, 1), (-3, 4 << 20), (-1, 64 << 20))
"""``M_ARENA_MAX``, ``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``mallopt``, and their values."""


def keep_memory() -> None:
    """Let the process keep the memory that it frees, in one arena: to be called before threads start.

    glibc gives the memory of a picture back when it is done, and the next picture faults it in again, page by
    page: 1300 to 1800 faults and a fifth of the time of a picture (``warp-0``, 256x256). An arena for every
    thread grows by what the others have free. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        return
    for option, value in _MALLOPT:
        mallopt(option, value)


def give_memory_back() -> None:
    """Give the memory that is free within the process's arena back to the system: about a millisecond.

    Coding a still takes and frees 20 MB in pieces, from threads that end with it. Small things that outlive
    them keep its pages apart from what comes next: the process grew by 1 % a minute. C libraries other than
    glibc are left alone.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, TypeError, OSError):
        return
    trim(0)


@contextmanager
def short_turns() -> Iterator[None]:
    """Let threads take turns in Python code every half millisecond instead of every five, inside the block.

    Event loop, encoder and decoder wait for each other otherwise: on a busy machine of two cores the time
    from glass to glass was 1.06 s with the usual turns, 0.63 to 0.83 s with these (``bench/call_live.py``).
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def borrow() -> CallThread:
    """Take an idle thread, or start one; a forked process starts its own."""
    global _owner
    with _lock:
        if _owner != os.getpid():
            _owner = os.getpid()
            _idle.clear()
        return _idle.pop() if _idle else CallThread()
