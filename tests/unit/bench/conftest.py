"""The scripts of ``bench/`` are no package: they import each other from their own folder."""

from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "bench"


@pytest.fixture(autouse=True)
def bench_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests import the scripts of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCH))
