"""DISTS: values once its weights are there, what is refused."""

import sys

import pytest
import torch

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics.dists import WEIGHTS, Dists
from facecodec.metrics.perceptual import find_lpips_weights
from tests import optional
from tests.unit.metrics.pictures import picture

needs_weights = optional.needs_weights(
    lambda: find_lpips_weights("vgg"), WEIGHTS.find, install=WEIGHTS.install
)


@pytest.fixture(scope="module")
def dists() -> Dists:
    return Dists()


@needs_weights
def test_values(dists):
    assert dists.distance(picture(0), picture(0)) == pytest.approx(0.0, abs=1e-5)
    # The authors' code (dists-pytorch 0.1) on the same pictures and VGG16.
    assert dists.distance(picture(0), picture(8)) == pytest.approx(0.24858, abs=2e-4)
    assert dists.distance(picture(0), picture(40)) == pytest.approx(0.35717, abs=2e-4)
    assert dists.distance(picture(40), picture(0)) == pytest.approx(0.35717, abs=2e-4)


@needs_weights
def test_batches_and_gradients(dists):
    torch.manual_seed(0)
    source = torch.rand(2, 3, 48, 48)
    decoded = torch.rand(2, 3, 48, 48, requires_grad=True)
    distance = dists(source, decoded)
    assert distance.shape == (2,)
    assert torch.allclose(distance[1:], dists(source[1:], decoded[1:]), atol=1e-5)
    distance.sum().backward()
    assert float(decoded.grad.abs().sum()) > 0
    assert torch.isfinite(decoded.grad).all()
    assert not any(p.requires_grad for p in dists.parameters())


@needs_weights
def test_pictures_that_do_not_match_are_refused(dists):
    with pytest.raises(ShapeError):
        dists(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 48))
    with pytest.raises(ShapeError, match="32"):
        dists.distance(picture(0)[:31], picture(0)[:31])


@needs_weights
def test_the_package_of_the_weights_is_not_imported(dists):
    assert "DISTS_pytorch" not in sys.modules


def test_absent_weights_name_the_line_that_brings_them(tmp_path):
    with pytest.raises(WeightsError, match="pip install --no-deps"):
        Dists(tmp_path, tmp_path)


@needs_weights
def test_damaged_weights_are_refused(tmp_path):
    (tmp_path / WEIGHTS.name).write_bytes(b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        Dists(tmp_path)
