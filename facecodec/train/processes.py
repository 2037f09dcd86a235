"""Several processes under ``torchrun``, and the signals that end a run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import torch
import torch.distributed as distributed

from facecodec.generator.select import pick_device

_AGAIN_S = 1.0
"""A signal that comes sooner after another is the same request."""


class Plan(NamedTuple):
    """What comes next.

    Attributes:
        done: how much of the run is done, 1 for all.
        stop: a signal asks for an end.
        save: a checkpoint is due.
    """

    done: float
    stop: bool
    save: bool


class Processes:
    """The processes of a run: one, or those that ``torchrun`` started.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: CUDA is asked for and not there.

    Attributes:
        rank: number of this process.
        world: number of processes.
        device: on which this process computes.
    """

    def __init__(self, device: str = "auto") -> None:
        cuda = pick_device(device).type == "cuda"
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(minutes=60))
        running = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if running else 0
        self.world = distributed.get_world_size() if running else 1

    def agree(self, plan: Plan) -> Plan:
        """The plan of the first process; any process may stop all."""
        if self.world == 1:
            return plan
        mine = [plan.done, plan.save] if self.rank == 0 else [-1.0, 0.0]
        said = torch.tensor([*mine, plan.stop], device=self.device, dtype=torch.float32)
        distributed.all_reduce(said, distributed.ReduceOp.MAX)
        done, save, stop = said.tolist()
        return Plan(done, stop > 0, save > 0)

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            distributed.barrier()

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1:
            distributed.destroy_process_group()


class StopSignal:
    """SIGINT and SIGTERM ask for an end after the step; a second SIGINT, later, interrupts at once.

    Outside the main thread it does nothing.

    Attributes:
        requested: a signal came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._before: dict[signal.Signals, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> StopSignal:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Processes started inside do not hear Ctrl-C: a terminal sends it to all, but this one ends them."""
        if signal.SIGINT not in self._before:
            yield
            return
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        # Some senders send twice at once (timeout(1), to the process and to its group): that is one request.
        again = self.requested and time.monotonic() - self._since > _AGAIN_S
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
