"""Weights files: their names, their hashes, and every way in which one can be wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from facecodec.errors import WeightsError
from facecodec.weights import registry
from facecodec.weights.store import fill, load_weights, save_weights


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture
def saved(tmp_path) -> Path:
    return save_weights(tmp_path / "new", network().state_dict(), "lite")


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An empty folder in place of the package's own."""
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(registry, "DATA", folder)
    monkeypatch.delenv(registry.ENVIRONMENT, raising=False)
    return folder


def test_what_is_saved_comes_back_as_floats(saved):
    weights = load_weights(saved)
    model = network()
    assert (weights.profile, weights.sequential, weights.parent) == ("lite", True, None)
    assert weights.tensors.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert weights.tensors[name].dtype == tensor.dtype
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        torch.testing.assert_close(weights.tensors[name], expected, rtol=0, atol=0)
    with safetensors.safe_open(saved, "pt") as file:
        assert file.get_tensor("0.weight").dtype is torch.float16


def test_the_name_holds_the_hash_and_the_same_tensors_give_the_same_file(saved, tmp_path):
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()[:16]
    assert saved.name == f"lite-{digest}.safetensors"
    assert registry.file_id(saved) == load_weights(saved).model_id == bytes.fromhex(digest)
    for i in range(4):
        again = save_weights(tmp_path / str(i), network().state_dict(), "lite")
        assert again.name == saved.name
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_facts_about_the_model_are_kept(tmp_path):
    tensors = network().state_dict()
    path = save_weights(tmp_path, tensors, "base", sequential=False, label="base-anna", parent=b"\1" * 8)
    weights = load_weights(path)
    assert path.name.startswith("base-anna-")
    assert (weights.profile, weights.sequential, weights.parent) == ("base", False, b"\1" * 8)


@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_values_that_halves_cannot_hold_are_not_saved(tmp_path, value):
    with pytest.raises(WeightsError, match="tensor w"):
        save_weights(tmp_path, {"w": torch.full((2,), value)}, "lite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=str(tmp_path)):
        load_weights(tmp_path)


def test_a_changed_byte_is_found_by_the_hash_in_the_name(saved):
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError, match=f"{saved.name}.*SHA-256"):
        load_weights(saved)


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\xff" * 40])
def test_what_is_no_safetensors_file_is_refused(tmp_path, data):
    (tmp_path / "odd.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"odd\.safetensors"):
        load_weights(tmp_path / "odd.safetensors")


FACTS = {"format": 1, "profile": "lite", "sequential": True}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "metadata"),
        ({"facecodec": "{"}, "metadata"),
        ({"facecodec": "[]"}, "metadata"),
        ({"facecodec": json.dumps({"format": 1})}, "metadata"),
        ({"facecodec": json.dumps({**FACTS, "format": 2})}, "format version 2"),
        ({"facecodec": json.dumps({**FACTS, "parent": "xyz"})}, "metadata"),
        ({"profile": "lite"}, "metadata"),
        ({"profile": "lite", "config": "= 1"}, "metadata"),
    ],
)
def test_files_of_other_kinds_and_versions_are_refused(tmp_path, metadata, words):
    path = tmp_path / "my.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, metadata)
    with pytest.raises(WeightsError, match=rf"my\.safetensors.*{words}"):
        load_weights(path)


def test_a_tensor_that_is_not_finite_is_refused(tmp_path):
    path = tmp_path / "my.safetensors"
    safetensors.torch.save_file({"w": torch.tensor([1.0, torch.inf])}, path, {"facecodec": json.dumps(FACTS)})
    with pytest.raises(WeightsError, match="tensor w is not finite"):
        load_weights(path)


@pytest.mark.parametrize(("config", "sequential"), [("seed = 1", True), ("sequential = false", False)])
def test_a_training_run_s_own_file_is_read(tmp_path, config, sequential):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(
        {"w": torch.zeros(2)}, path, {"profile": "base", "config": config, "steps": "9"}
    )
    weights = load_weights(path)
    assert (weights.profile, weights.sequential, weights.parent) == ("base", sequential, None)


def test_a_network_is_filled_whole_or_not_at_all(saved, tmp_path):
    model = network()
    nn.init.zeros_(model[0].weight)
    fill(model, load_weights(saved))
    assert model[0].weight.abs().sum() > 0
    tensors = network().state_dict()
    odd = [
        ({n: t for n, t in tensors.items() if n != "0.bias"}, "0.bias is missing"),
        ({**tensors, "2.weight": torch.zeros(1)}, "2.weight is not of profile lite"),
        ({**tensors, "1.bias": torch.zeros(3)}, r"1.bias has shape \[3\], expected \[2\]"),
    ]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for state, words in odd:
        path = save_weights(tmp_path, state, "lite")
        with pytest.raises(WeightsError, match=f"{path.name}.*{words}"):
            fill(model, load_weights(path))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_weights_are_found_by_profile_and_by_id(package, saved):
    assert registry.find_profile("lite") is None
    assert registry.find_model(registry.file_id(saved)) is None
    (package / "notes.safetensors").write_bytes(b"")
    path = package / saved.name
    path.write_bytes(saved.read_bytes())
    assert registry.find_profile("lite") == path
    assert registry.find_profile("base") is None
    assert registry.find_model(registry.file_id(saved)) == path


def test_the_users_folder_comes_first_and_fitted_models_are_no_profile(package, saved, tmp_path, monkeypatch):
    (package / saved.name).write_bytes(saved.read_bytes())
    mine = tmp_path / "mine"
    fitted = save_weights(mine, {"w": torch.zeros(1)}, "lite", label="lite-anna")
    monkeypatch.setenv(registry.ENVIRONMENT, str(mine))
    assert registry.find_profile("lite") == package / saved.name
    assert registry.find_model(registry.file_id(fitted)) == fitted
    general = save_weights(mine, {"w": torch.ones(1)}, "lite")
    assert registry.find_profile("lite") == general
    save_weights(mine, {"w": torch.ones(2)}, "lite")
    with pytest.raises(WeightsError, match="several lite weights"):
        registry.find_profile("lite")


def test_the_users_folder_may_be_the_package_s_own(package, saved, monkeypatch):
    (package / saved.name).write_bytes(saved.read_bytes())
    monkeypatch.setenv(registry.ENVIRONMENT, str(package))
    assert registry.find_profile("lite") == package / saved.name
    assert len(list(registry.entries())) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"file/lite-.*cannot be written"):
        save_weights(tmp_path / "file", network().state_dict(), "lite")


def test_a_folder_that_is_not_there_is_named(package, monkeypatch):
    monkeypatch.setenv(registry.ENVIRONMENT, "/no/such/folder")
    with pytest.raises(WeightsError, match="/no/such/folder"):
        registry.find_profile("lite")


def test_the_shipped_weights_are_whole_small_and_have_cards():
    sizes: dict[str, int] = {}
    for path in registry.DATA.glob("*"):
        entry = registry.parse_name(path)
        assert entry is not None, path
        assert registry.file_id(path) == entry.model_id
        assert entry.label not in sizes, "one file per profile"
        sizes[entry.label] = path.stat().st_size
    cards = {path.stem for path in (registry.DATA.parent / "cards").glob("*.md")} - {"README"}
    assert cards == {path.stem for path in registry.DATA.glob("*")}
    assert "lite" in sizes
    assert all(size <= 15_000_000 for size in sizes.values())
