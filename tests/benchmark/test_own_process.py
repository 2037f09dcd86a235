"""The process that this codec is measured in: what it holds, what it adds up."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facecodec.benchmark import own, own_process
from facecodec.benchmark.own import OwnCost
from facecodec.errors import MediaError
from facecodec.types import Frame


class Pixels(np.ndarray):
    """An array that can be watched."""


class Reader:
    """A stream of so many units."""

    def __init__(self, path: Path) -> None:
        self.header = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def units(self) -> Iterator[Any]:
        for index in range(3):
            yield SimpleNamespace(unit=index)


class FakeDecoder:
    """Gives two pictures for a unit, and sees whether those before are gone."""

    sizes = (4, 4, 4)
    alive: list[int]

    def __init__(self, config: object) -> None:
        self.timings = {"generator": [0.25, 0.5], "composite": [0.0, 0.0, 0.6], "idle": []}
        self.seen: list[weakref.ref[Pixels]] = []
        type(self).alive = []

    def take(self, unit: int | None) -> list[Frame]:
        if unit is None:
            return []
        self.alive.append(sum(ref() is not None for ref in self.seen))
        made = []
        for place in range(2):
            side = self.sizes[unit]
            pixels = np.full((side, 4, 3), 10 * unit + place, np.uint8).view(Pixels)
            self.seen.append(weakref.ref(pixels))
            made.append(Frame(pixels, place, Fraction(1, 25)))
        return made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeDecoder]:
    monkeypatch.setattr(own_process, "FcvReader", Reader)
    monkeypatch.setattr(own_process, "Decoder", FakeDecoder)
    return FakeDecoder


def test_pictures_are_written_as_they_come(
    fake: type[FakeDecoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(arguments: list[str]) -> tuple[OwnCost, dict[str, Any]]:
        told = own_process.decode(Path(arguments[1]), Path(arguments[2]), arguments[3])
        return OwnCost(told["cpu_s"], 1.0, ()), told

    monkeypatch.setattr(own, "_run", run)
    frames, cost = own.decode(tmp_path / "x.fcv", own.WARP)
    assert frames.shape == (6, 4, 4, 3)
    assert [int(frame.max()) for frame in frames] == [0, 1, 10, 11, 20, 21]
    assert all(frame.min() == frame.max() for frame in frames)
    assert max(fake.alive) <= 2  # the last unit's at most, never all of them
    assert cost.cpu_s >= 0


def test_pictures_of_several_sizes_and_none_at_all_are_named(
    fake: type[FakeDecoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "sizes", (4, 4, 6))
    with pytest.raises(MediaError, match=r"\(4, 4, 3\) and of \(6, 4, 3\)"):
        own_process.decode(tmp_path / "x.fcv", tmp_path / "frames", "warp-0")
    monkeypatch.setattr(Reader, "units", lambda self: iter(()))
    with pytest.raises(MediaError, match="no picture"):
        own_process.decode(tmp_path / "x.fcv", tmp_path / "frames", "warp-0")


def test_stages_have_all_of_their_time(fake: type[FakeDecoder], tmp_path: Path) -> None:
    told = own_process.decode(tmp_path / "x.fcv", tmp_path / "frames", "warp-0")
    # A stage that is rare and long is not lost as it would be in a median.
    assert told["stages_ms"] == [
        ("decode generator", pytest.approx(750 / 6)),
        ("decode composite", pytest.approx(600 / 6)),
    ]
    assert told["shape"] == [6, 4, 4, 3]
