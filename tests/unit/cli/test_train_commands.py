"""``facecodec train``: options, exit codes, and the way from a run's weights to the decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facecodec.cli import main
from facecodec.errors import ConfigError, MediaError, WeightsError
from facecodec.generator.select import load_generator
from facecodec.train import prepare as prepare_module
from facecodec.train import run as run_module
from facecodec.train.loop import Result
from facecodec.train.run import RunOptions
from facecodec.weights import registry
from facecodec.weights.store import load_weights, save_weights


@pytest.fixture
def runs(monkeypatch) -> list[RunOptions]:
    """Stands in for training: keeps the options."""
    calls: list[RunOptions] = []

    def run_training(options: RunOptions) -> Result:
        calls.append(options)
        return Result(12, 3.4, options.resume)

    monkeypatch.setattr(run_module, "run_training", run_training)
    return calls


def test_run_passes_its_options_on(runs, capsys):
    line = "train run --config debug.toml --data a --data b --val c --out d --resume --init e --seconds 60"
    assert main([*line.split(), *"--steps 5 --workers 2 --threads 1".split()]) == 0
    expected = RunOptions(
        "debug.toml", (Path("a"), Path("b")), Path("c"), Path("d"), True, Path("e"), 60.0, 5, 2, 1
    )
    assert runs == [expected]
    assert "d: stopped after 12 steps" in capsys.readouterr().err
    assert main("train run --config debug.toml --data a --out d".split()) == 0
    assert runs[1] == RunOptions("debug.toml", (Path("a"),), None, Path("d"))


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("seed", -1, "0"), 2), (MediaError("a", "no"), 3), (WeightsError("w"), 5)]
)
def test_errors_of_a_run_have_exit_codes(monkeypatch, capsys, error, code):
    def run_training(options: RunOptions) -> Result:
        raise error

    monkeypatch.setattr(run_module, "run_training", run_training)
    assert main("train run --config debug.toml --data a --out d".split()) == code
    assert capsys.readouterr().err == f"facecodec: error: {error}\n"


def test_prepare_hands_everything_on(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr(prepare_module, "_prepare_shown", lambda *args, **named: seen.append((args, named)))
    args = ["train", "prepare", str(tmp_path), str(tmp_path / "out"), "--takes", "3", "--force"]
    assert main(args) == 0
    (((videos, out, settings), named),) = seen
    assert (videos, out, settings.takes, named["overwrite"]) == (tmp_path, tmp_path / "out", 3, True)
    assert main([*args, "--takes", "many"]) == 2
    assert "--takes" in capsys.readouterr().err
    assert main(["train", "prepare", "--help"]) == 0
    assert "--budget-mb" in capsys.readouterr().out
    assert len(seen) == 1


def test_prepare_without_videos_exits_with_3(tmp_path, capsys):
    assert main(["train", "prepare", str(tmp_path / "none"), str(tmp_path / "out")]) == 3
    assert "none" in capsys.readouterr().err


def test_exported_weights_are_found_by_the_decoder(toy_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(registry.ENVIRONMENT, str(tmp_path))
    run = tmp_path / "run" / "weights.safetensors"
    run.parent.mkdir()
    run.write_bytes(toy_weights.read_bytes())
    assert main(["train", "export", str(run), str(tmp_path), "--label", "anna"]) == 0
    (path,) = tmp_path.glob("anna-*.safetensors")
    assert path.name in capsys.readouterr().err
    loaded = load_generator("auto", torch.device("cpu"), stream=registry.file_id(path))
    assert loaded.model_id == registry.file_id(path)
    assert main(["train", "export", str(run), str(tmp_path)]) == 0
    assert registry.find_profile("toy") is not None


def test_half_a_network_is_not_exported(toy_weights, tmp_path, capsys):
    tensors = {n: t for n, t in load_weights(toy_weights).tensors.items() if n.startswith("restorer")}
    part = save_weights(tmp_path / "run", tensors, "toy")
    assert main(["train", "export", str(part), str(tmp_path / "out")]) == 5
    assert "is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
