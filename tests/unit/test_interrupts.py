"""Ctrl-C in worker processes: raised in jobs, unheard between them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from facecodec.interrupts import ignore_between_jobs, interruptible


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupted(when: str) -> str:
    if when == "in the job":
        os.kill(os.getpid(), signal.SIGINT)
        signal.getsignal(signal.SIGINT)  # Python raises between two of its instructions
    return when


def test_an_interrupt_is_raised_in_a_job_and_unheard_between_jobs():
    ignore_between_jobs()
    os.kill(os.getpid(), signal.SIGINT)
    assert interruptible(_interrupted, "never") == "never"
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interruptible(_interrupted, when="in the job")
    os.kill(os.getpid(), signal.SIGINT)
    assert interruptible(_interrupted, "again") == "again"
