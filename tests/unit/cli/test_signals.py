"""Signals that end a command."""

from __future__ import annotations

import signal
import time

import pytest

from facecodec.cli.signals import Terminated, signals_as_exceptions


class Finalised:
    """Something during whose finaliser a signal comes."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def finalise_and_work_on(number: int) -> None:
    Finalised(number)
    begin = time.monotonic()
    while time.monotonic() - begin < 20:
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def usual_handlers():
    """A run in the background may ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "exception"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_that_comes_in_a_finaliser_is_not_lost(number, exception, capsys):
    handler = signal.getsignal(number)
    with pytest.raises(exception), signals_as_exceptions() as came:
        finalise_and_work_on(number)
    assert came == {number}
    assert signal.getsignal(number) == handler
    assert "Traceback" not in capsys.readouterr().err


def test_other_exceptions_of_finalisers_are_reported_as_before(capsys, monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: reported.append(unraisable.exc_type))

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    with signals_as_exceptions():
        Broken()
    assert reported == [ValueError]
