"""Times of the stages of encoder and decoder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(timings: dict[str, list[float]], stage: str) -> Iterator[None]:
    """Add the seconds that a block takes to the list of its stage; a block that fails is not counted.

    Args:
        timings: seconds of each call of each stage.
        stage: its name.
    """
    start = time.perf_counter()
    yield
    timings.setdefault(stage, []).append(time.perf_counter() - start)
