"""Checkpoints: what is loaded is what was saved, and a resumed run is the run that was not stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from facecodec.errors import WeightsError
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.profile import PROFILES
from facecodec.train import checkpoint
from facecodec.train.config import Critics, Limits, Optimiser, Stage, TrainConfig
from facecodec.train.ema import Ema
from facecodec.train.loop import train
from facecodec.train.losses import LossWeights
from facecodec.train.pack import Pack
from facecodec.train.run import make_model, make_task
from facecodec.train.trainer import Trainer
from tests.train.synthetic import make_pack

STAGE = Stage(size=64, window=48, frames=2, batch=2, learning_rate=1e-3, references=2, adversarial=True)
CONFIG = TrainConfig(
    profile="toy",
    precision="bf16",
    stages=(STAGE,),
    losses=LossWeights(vgg=0, lpips=0, region=0, adversarial=0.1, matching=1.0),
    critics=Critics(width=4, scales=1, layers=2, frames=2),
    optimiser=Optimiser(warmup_steps=0, decay="constant"),
    limits=Limits(steps=4, log_every=1, validation_frames=0, save_every_s=0),
    device="cpu",
)
INFO = checkpoint.WeightsInfo("toy", "generator", 3, 1.5, 6, "", "part = 'x'")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny packed data set."""
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny.safetensors")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer_of(pack: Path, out: Path, config: TrainConfig = CONFIG, resume: bool = False) -> Trainer:
    model = make_model(config)
    return Trainer(config, make_task(config, model, [Pack.open(pack)], None), out, resume)


def same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def stopped_after(trainer: Trainer, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as if a signal had come after some steps."""
    usual = trainer.processes.agree

    def agree(plan: object) -> object:
        return usual(plan)._replace(stop=trainer.state.step >= steps)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.processes, "agree", agree)
    train(trainer)


def test_a_resumed_run_equals_one_that_was_not_stopped(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer_of(pack, tmp_path / "whole")
    train(whole)
    first = trainer_of(pack, tmp_path / "parts")
    stopped_after(first, 2, monkeypatch)
    assert first.state.step == 2
    second = trainer_of(pack, tmp_path / "parts", resume=True)
    assert second.state.step == 2
    assert second.state.samples == 4
    assert same(first.task.model, second.task.model)
    assert same(first.ema.network, second.ema.network)
    train(second)
    assert second.state.step == 4
    assert same(whole.task.model, second.task.model)
    assert same(whole.ema.network, second.ema.network)
    assert whole.critics is not None
    assert second.critics is not None
    assert same(whole.critics, second.critics)
    lines = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    assert len(lines[0]) == len(lines[1]) == 5
    columns = lines[0][0].split(",")
    for number in (columns.index("loss"), columns.index("critics"), columns.index("samples")):
        assert [x.split(",")[number] for x in lines[0]] == [x.split(",")[number] for x in lines[1]]


@pytest.mark.cuda
def test_a_run_is_resumed_on_a_gpu(cuda: torch.device, pack: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, device="cuda", limits=replace(CONFIG.limits, steps=1))
    train(trainer_of(pack, tmp_path, config))
    config = replace(config, limits=replace(CONFIG.limits, steps=2))
    assert train(trainer_of(pack, tmp_path, config, resume=True)).step == 2


def test_another_part_is_not_resumed(pack: Path, tmp_path: Path) -> None:
    train(trainer_of(pack, tmp_path, replace(CONFIG, limits=replace(CONFIG.limits, steps=1))))
    with pytest.raises(WeightsError, match="trains generator toy, not restore toy"):
        trainer_of(pack, tmp_path, replace(CONFIG, part="restore"), resume=True)
    with pytest.raises(WeightsError, match="not generator lite"):
        trainer_of(pack, tmp_path, replace(CONFIG, profile="lite"), resume=True)
    changed = replace(CONFIG, critics=replace(CONFIG.critics, width=8))
    with pytest.raises(WeightsError, match="critics: .* expected"):
        trainer_of(pack, tmp_path, changed, resume=True)


def test_nothing_to_resume_begins_at_the_start(pack: Path, tmp_path: Path) -> None:
    assert trainer_of(pack, tmp_path, resume=True).state.step == 0


def test_parts_are_small_and_old_ones_go(tmp_path: Path) -> None:
    tensors = {f"model/{n}": torch.full((1 << 20,), float(n)) for n in range(9)}
    checkpoint.save_state(tmp_path, checkpoint.RunState(step=1), tensors)
    checkpoint.save_state(tmp_path, checkpoint.RunState(step=2, samples=8), tensors)
    files = sorted((tmp_path / "resume").glob("*.safetensors"))
    assert [file.name for file in files] == [f"state-00000002-{n:03d}.safetensors" for n in range(3)]
    assert all(file.stat().st_size < 16e6 for file in files)
    found = checkpoint.load_state(tmp_path)
    assert found is not None
    state, read = found
    assert (state.step, state.samples) == (2, 8)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("damage", ["json", "missing", "cut"])
def test_a_damaged_state_says_so(tmp_path: Path, damage: str) -> None:
    checkpoint.save_state(tmp_path, checkpoint.RunState(step=1), {"model/a": torch.zeros(8)})
    part = tmp_path / "resume" / "state-00000001-000.safetensors"
    record = tmp_path / "resume" / "state.json"
    if damage == "json":
        record.write_text(json.dumps({"step": 1}))
    elif damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(WeightsError, match="cannot be resumed"):
        checkpoint.load_state(tmp_path)


def test_weights_come_back_as_fp16(tmp_path: Path) -> None:
    one, two = AdaptiveGenerator(PROFILES["toy"]), AdaptiveGenerator(PROFILES["toy"])
    checkpoint.save_weights(tmp_path / "w.safetensors", one, INFO)
    assert checkpoint.load_weights(tmp_path / "w.safetensors", two) == []
    for name, value in two.state_dict().items():
        assert torch.equal(value, one.state_dict()[name].half().float())
    assert (tmp_path / "w.safetensors").stat().st_size < 2.2 * sum(
        p.numel() for p in one.parameters()
    ) + 20000
    digest = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    assert checkpoint.file_sha256(tmp_path / "w.safetensors") == digest


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    checkpoint.save_weights(path, AdaptiveGenerator(PROFILES["lite"]), INFO)
    with pytest.raises(WeightsError, match="this profile has"):
        checkpoint.load_weights(path, AdaptiveGenerator(PROFILES["toy"]))
    checkpoint.save_weights(path, nn.Linear(2, 2), INFO)
    with pytest.raises(WeightsError, match="does not have"):
        checkpoint.load_weights(path, AdaptiveGenerator(PROFILES["toy"]))
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.load_weights(path, nn.Linear(2, 2))
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.load_weights(tmp_path / "none", nn.Linear(2, 2))


def test_a_part_of_the_weights_leaves_the_rest(tmp_path: Path) -> None:
    one, two = AdaptiveGenerator(PROFILES["toy"]), AdaptiveGenerator(PROFILES["toy"])
    with torch.no_grad():
        one.restorer.head.bias.fill_(0.5)
    names = [name for name in one.state_dict() if name.startswith("restorer.")]
    checkpoint.save_weights(tmp_path / "w.safetensors", one, INFO, names)
    left = checkpoint.load_weights(tmp_path / "w.safetensors", two)
    assert not any(name.startswith("restorer.") for name in left)
    assert len(left) + len(names) == len(two.state_dict())
    assert float(two.restorer.head.bias[0].detach()) == 0.5


def test_average_follows_the_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(0.0)
    average = Ema(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(1.0)
    average.update(network)
    assert average.network.weight.item() == pytest.approx(1 - 2 / 11)
    for _ in range(200):
        average.update(network)
    assert average.network.weight.item() == pytest.approx(1.0, abs=1e-4)
    assert not average.network.weight.requires_grad
