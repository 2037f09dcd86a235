"""Threads that each run torch on one core, for frames side by side.

Threads within an operation wait for each other whenever another program wants a core, which makes them many
times slower; frames side by side do not.

The threads live as long as the process. MKL keeps a list of threads for its memory; a thread that ends while
another one enters can leave that list a ring, on which both then turn for ever (seen under torch 2.13:
``dgetrf`` against ``mm_cleanup_thread_cbk``). So no thread that calls torch ends before the process.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

import torch
from threadpoolctl import ThreadpoolController

_T = TypeVar("_T")
_Job = tuple["Future[Any]", Callable[[], Any]]


_MOST = 8
"""Threads that are taken where the machine has more cores."""


class Workers:
    """A fixed number of threads that take jobs in order; made by :func:`workers`.

    Args:
        count: of threads.

    Attributes:
        count: of threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        before = torch.get_num_threads()
        started = threading.Barrier(count + 1)
        for index in range(count):
            name = f"facecodec-generate-{index}"
            threading.Thread(target=self._run, args=(started,), name=name, daemon=True).start()
        started.wait()
        torch.set_num_threads(before)

    def map(self, jobs: Iterable[Callable[[], _T]]) -> list[_T]:
        """Run jobs side by side; their results in order. A single job of a thread of one core runs there.

        Raises:
            Exception: what the first of them that failed has raised, once all have ended.
        """
        jobs = list(jobs)
        if len(jobs) == 1 and torch.get_num_threads() == 1:
            return [jobs[0]()]
        futures: list[Future[_T]] = []
        for job in jobs:
            futures.append(Future())
            self._jobs.put((futures[-1], job))
        try:
            wait(futures)
        finally:  # when it is interrupted too, nothing runs on behind the caller's back
            for future in futures:
                future.cancel()
            wait(futures)
        return [future.result() for future in futures]

    def _run(self, started: threading.Barrier) -> None:
        torch.get_num_threads()  # a thread's first question sets it to the process's number
        torch.set_num_threads(1)
        started.wait()
        serve(self._jobs)


@contextmanager
def single_threaded(blas: ThreadpoolController | None = None) -> Iterator[None]:
    """Run torch and BLAS on one thread inside.

    Encoder and decoder share their work out by stages and frames instead: threads within small operations
    wait for each other whenever another program wants a core.

    Args:
        blas: the process's BLAS libraries; looked for if None, which takes milliseconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (blas or ThreadpoolController()).limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def serve(jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> NoReturn:
    """Do jobs as they come, for ever; the thread ends with the process."""
    while True:
        future, job = jobs.get()
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(job())
        except BaseException as err:  # it is the caller's, who waits for it
            future.set_exception(err)
        del future, job  # or the last pictures would be kept until the next job


def workers(count: int = 0) -> Workers:
    """The process's own threads, ``count`` of them; a forked process gets its own.

    Args:
        count: of threads; 0 takes what the machine has, up to 8.
    """
    return _made(count or min(os.cpu_count() or 1, _MOST), os.getpid())


@functools.cache
def _made(count: int, process: int) -> Workers:
    return Workers(count)
