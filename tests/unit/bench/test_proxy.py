"""The script that compares the encoder's distance with LPIPS."""

import importlib
from types import ModuleType

import numpy as np
import pytest

from facecodec.analysis.quality import Departure, Distances
from facecodec.local_decoder import FrameQuality
from facecodec.monitor import FrameStats


@pytest.fixture
def proxy() -> ModuleType:
    return importlib.import_module("proxy")


def frames(weights: np.ndarray, seed: int, count: int = 40) -> list[FrameStats]:
    """Frames whose distances are exactly what the weights make of their departure."""
    rng, out = np.random.default_rng(seed), []
    for pts in range(count):
        still, gone = rng.uniform(0, 0.1, 3), rng.uniform(0, 0.05, len(Departure._fields))
        real = weights[:, 0] * still + weights[:, 1:] @ gone
        quality = FrameQuality(Distances(*real), True, Distances(*still), tuple(gone))
        out.append(FrameStats(pts, 0, 1.0, 1.0, 0.5, False, quality))
    return [*out, FrameStats(count, 0, 1.0, 1.0, 0.5, True, None)]


def test_the_fit_finds_the_weights_that_made_the_distances(proxy):
    weights = np.random.default_rng(3).uniform(0, 1, (3, 1 + len(Departure._fields)))
    weights[0, 2] = 0
    found = proxy.fit([frames(weights, 1), frames(weights, 2, 15)])
    np.testing.assert_allclose(found, weights, atol=1e-6)


def test_correlations_over_all_and_within_clips(proxy):
    rng = np.random.default_rng(5)
    y = rng.uniform(size=40)
    clips = ["a"] * 20 + ["b"] * 20
    same = proxy.correlation(3 * y + 1, y, clips)
    assert same == pytest.approx(dict.fromkeys(same, 1.0))
    shifted = proxy.correlation(np.where(np.arange(40) < 20, y + 10, y), y, clips)
    assert shifted["spearman_within_clips"] == pytest.approx(1.0)
    assert shifted["pearson"] < 0.5


def test_the_table_names_every_row(proxy):
    part = {"whole": {"spearman": 0.5, "pearson": 0.25, "spearman_within_clips": 1.0}}
    text = proxy.summary({"correlations": {"Foretold": part}, "balanced_measured": 0.125})
    assert "| whole | 0.500 | 0.250 | 1.000 |" in text
    assert "0.12" in text


def test_a_run_without_an_output_is_a_usage_error(proxy, capsys):
    with pytest.raises(SystemExit):
        proxy.parse_args(["--data", "x"])
    assert "--out" in capsys.readouterr().err
    assert proxy.parse_args(["--data", "x", "--fit"]).fit
