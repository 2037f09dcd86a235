"""The script that compares further reference pictures with one better picture."""

import importlib
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("equal_bytes")


def figures(size: int, lpips: float, boxes: float = 0.1) -> dict[str, Any]:
    return {
        "kbps": size * 8 / 10000,
        "references": 1,
        "bytes": size,
        "lpips": lpips,
        "lpips_eyes": boxes,
        "lpips_mouth": boxes,
    }


def line(name: str, size: int, lpips: float) -> dict[str, Any]:
    """A clip whose single pictures halve LPIPS when their bytes double."""
    single = [figures(4000, 0.08), figures(8000, 0.04), figures(16000, 0.02)]
    return {"clip": name, "default": figures(size, lpips, 0.07), "single": single}


@pytest.mark.parametrize(
    ("size", "lpips"), [(4000, 0.08), (5657, 0.0566), (8000, 0.04), (2000, 0.16), (32000, 0.01)]
)
def test_lpips_at_equal_bytes_follows_the_single_pictures(script, size, lpips):
    assert script.at_equal_bytes(line("a", size, 0.5)) == pytest.approx(lpips, rel=1e-3)


def test_clips_that_lose_at_equal_bytes_are_named(script):
    found = script.summary([line("good", 8000, 0.039), line("bad", 8000, 0.041)])
    assert found["worse_at_equal_bytes"] == ["bad"]
    assert found["kbps_more"] == pytest.approx(3.2)
    assert found["boxes"] == pytest.approx(0.7)
    assert found["lpips"] == pytest.approx(0.5)


def test_the_tables_say_it(script):
    lines = [line("good", 8000, 0.039), line("bad", 8000, 0.041)]
    text = script.tables(lines, script.summary(lines), "lite")
    assert "shown by lite" in text
    assert "3.20 kbit/s more" in text
    assert "same bytes: bad." in text
    assert "| good |" in text
