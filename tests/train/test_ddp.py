"""Two processes on the CPU train one network, and a run of theirs can be resumed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from facecodec.train import checkpoint
from facecodec.train.config import Critics, Limits, Optimiser, Stage, TrainConfig
from facecodec.train.config_file import dump_config
from facecodec.train.losses import LossWeights
from tests.train.synthetic import make_pack

REPOSITORY = Path(__file__).resolve().parents[2]
STAGE = Stage(size=64, window=48, frames=2, batch=1, learning_rate=1e-3, references=2, adversarial=True)
CONFIG = TrainConfig(
    profile="toy",
    precision="f32",
    stages=(STAGE,),
    losses=LossWeights(vgg=0, lpips=0, region=0, adversarial=0.1, matching=1.0),
    critics=Critics(width=4, scales=1, layers=2, frames=2),
    optimiser=Optimiser(warmup_steps=0, decay="constant"),
    limits=Limits(steps=2, log_every=1, validation_frames=0, save_every_s=0),
    device="cpu",
    threads=1,
)
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from facecodec.train.config_file import load_config
from facecodec.train.loop import train
from facecodec.train.pack import Pack
from facecodec.train.run import make_model, make_task
from facecodec.train.trainer import Trainer

config, pack, out = load_config(sys.argv[1]), Pack.open(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
for steps in (2, 3):
    config = replace(config, limits=replace(config.limits, steps=steps))
    trainer = Trainer(config, make_task(config, make_model(config), [pack], None), out, resume=True)
    assert trainer.processes.world == 2
    assert trainer.state.step == (0 if steps == 2 else 2)
    result = train(trainer)
    assert (result.step, trainer.state.samples) == (steps, 2 * steps)
    critics = {f"critics.{name}": value for name, value in trainer.critics.state_dict().items()}
    torch.save(trainer.task.model.state_dict() | critics, out / f"{steps}-{trainer.processes.rank}.pt")
trainer.processes.close()
"""


def run_two(config: Path, pack: Path, out: Path) -> None:
    """Run the program in two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        arguments = [sys.executable, "-c", PROGRAM, str(config), str(pack), str(out)]
        environment = {**os.environ, **place, "PYTHONPATH": str(REPOSITORY)}
        started.append(subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def ended(out: Path, steps: int, rank: int) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(out / f"{steps}-{rank}.pt", weights_only=True)
    return weights


# Some builds of torch (macOS, small wheels) hold no torch.distributed; the CPU build that CI has does.
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without processes")
def test_two_processes_end_with_the_same_weights_and_resume(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "tiny.safetensors")
    out = tmp_path / "run"
    out.mkdir()
    config = tmp_path / "config.toml"
    config.write_text(dump_config(CONFIG))
    run_two(config, pack, out)
    for steps in (2, 3):
        one, two = ended(out, steps, 0), ended(out, steps, 1)
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(value, ended(out, 2, 0)[name]) for name, value in ended(out, 3, 0).items())
    saved = checkpoint.load_state(out)
    assert saved is not None
    assert saved[0].step == 3
