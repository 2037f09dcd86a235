"""Work spread over this process, over local processes, or over the workers of a Dask scheduler."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

import torch

from facecodec.errors import ConfigError, TransportError
from facecodec.interrupts import ignore_between_jobs, interruptible

_T = TypeVar("_T")
_R = TypeVar("_R")
_CONNECT_S = 15


class Workers(Protocol):
    """Applies a function to items, in any order of completion."""

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[tuple[_T, _R]]:
        """Yield (item, result) as they come. Leaving the iterator gives up what has not begun."""
        ...


class InProcess:
    """One after another, here."""

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[tuple[_T, _R]]:
        """As :meth:`Workers.map`."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for item in items:
                yield item, work(item)
        finally:
            torch.set_num_threads(before)


def _begin() -> None:
    torch.set_num_threads(1)
    ignore_between_jobs()


class LocalProcesses:
    """So many processes of this machine, torch on one thread each.

    Args:
        jobs: their number, 1 or more.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[tuple[_T, _R]]:
        """As :meth:`Workers.map`.

        Raises:
            TransportError: a process ended, for lack of memory as a rule.
        """
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(self._jobs, max(len(items), 1)), context, _begin)
        try:
            waiting = {pool.submit(interruptible, work, item): item for item in items}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool as err:
            raise TransportError(
                "a worker process was ended, for lack of memory perhaps; run again with fewer --jobs to go on"
            ) from err
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class DaskWorkers:
    """The workers of a Dask scheduler. All need this package, and the cache under the same path.

    Args:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises:
        ConfigError: ``dask.distributed`` is not installed, or no scheduler answers there.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError as err:
            raise ConfigError("scheduler", address, "pip install 'facecodec[bench]' first") from err
        self._distributed: Any = distributed
        try:
            self._client: Any = self._distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as err:
            raise ConfigError("scheduler", address, f"the address of a Dask scheduler ({err})") from err

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[tuple[_T, _R]]:
        """As :meth:`Workers.map`. Raises TransportError where workers are lost or a job fails there."""
        futures = self._client.map(_on_worker, [(work, item) for item in items], pure=False)
        waiting = dict(zip((future.key for future in futures), items, strict=True))
        try:
            for future in self._distributed.as_completed(futures, loop=self._client.loop):
                if future.status != "finished":
                    raise TransportError(f"a job failed on the cluster: {future.exception()!r}")
                yield waiting[future.key], future.result()
        finally:
            self._client.cancel(futures)

    def close(self) -> None:
        """Leave the scheduler; it and its workers go on."""
        self._client.close()


def _on_worker(task: tuple[Callable[[_T], _R], _T]) -> _R:
    torch.set_num_threads(1)
    work, item = task
    return work(item)
