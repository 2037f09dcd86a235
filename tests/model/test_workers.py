"""Threads that run frames side by side."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from types import FrameType

import pytest
import torch

from facecodec.generator.workers import Workers, workers


def test_results_come_in_order_from_threads_of_one_core_each():
    before = torch.get_num_threads()
    both = threading.Barrier(2)

    def job(index: int):
        both.wait(timeout=20)  # passes only while two jobs run side by side
        return index, torch.get_num_threads(), threading.current_thread().name

    first, second = workers(2).map([lambda: job(0), lambda: job(1)])
    assert (first[:2], second[:2]) == ((0, 1), (1, 1))
    assert first[2] != second[2]
    assert torch.get_num_threads() == before


def test_threads_are_kept_from_one_use_to_the_next():
    # A thread that has called MKL and ends can hang another one; see the module.
    def name() -> int:
        return threading.get_ident()

    assert workers(1).map([name]) == workers(1).map([name])
    assert workers(1) is workers(1)


def test_a_failure_is_the_callers_and_the_threads_live_on():
    def fail() -> int:
        raise ValueError("no such frame")

    pool = workers(2)
    with pytest.raises(ValueError, match="no such frame"):
        pool.map([fail, lambda: 1])
    assert pool.map([lambda: 2]) == [2]


def test_nothing_runs_on_after_an_interruption():
    pool, entered, done = Workers(1), threading.Event(), []

    def slow() -> None:
        entered.set()
        time.sleep(0.3)
        done.append("slow")

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            pool.map([slow, lambda: done.append("never")])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert entered.is_set()
    assert pool.map([lambda: list(done)]) == [["slow"]]


def _in_child(queue) -> None:
    queue.put(workers(2).map([lambda: 5]))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    assert workers(2).map([lambda: 4]) == [4]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == [5]
    child.join(timeout=30)
    assert child.exitcode == 0
