"""What tests need and facecodec does not install: weights of networks that only judge pictures.

They are other people's files (60 MB and more), which neither the package nor CI may fetch. Tests that check
their absence always run; those that need them run where a developer has installed them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from facecodec.errors import WeightsError


def needs_weights(*finders: Callable[[], object], install: str) -> pytest.MarkDecorator:
    """Marks tests that run only where every finder finds its weights."""
    absent = False
    for find in finders:
        try:
            find()
        except WeightsError:
            absent = True
    # Licences or sizes keep them out of the package; what can be computed by hand is tested without.
    return pytest.mark.skipif(absent, reason=f"weights that are not ours to install are absent: {install}")
