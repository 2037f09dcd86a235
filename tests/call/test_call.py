"""Calls over bad networks."""

from __future__ import annotations

import pytest

from tests.call.network import Conditions
from tests.call.simulate import run_call


def test_a_clear_path(clip):
    call = run_call(clip(6), Conditions(delay_s=0.03))
    print(call.sender.stats(), call.receiver.stats(), call.path.bytes * 8 / 6000)
    from collections import Counter

    print(Counter(call.states(1)))
    assert 0
