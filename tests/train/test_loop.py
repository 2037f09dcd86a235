"""The training loop: losses fall, schedules, validation, signals, and what a run leaves behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

from facecodec.errors import ConfigError, MediaError
from facecodec.generator.streaming import Stream
from facecodec.train.config import Critics, Limits, Optimiser, Stage, TrainConfig
from facecodec.train.config_file import PRESETS, dump_config, load_config, parse_config
from facecodec.train.logs import Board, Value
from facecodec.train.loop import train
from facecodec.train.losses import LossWeights
from facecodec.train.pack import Pack
from facecodec.train.run import RunOptions, make_model, make_task, run_training
from facecodec.train.task import uses_bf16
from facecodec.train.trainer import DivergedError, Trainer, learning_rate
from facecodec.train.validate import planes, render, renderer_of, trials_of
from tests.train.synthetic import make_pack

PLAIN = LossWeights(vgg=0, lpips=0, region=0)
STAGE = Stage(size=64, window=48, frames=2, batch=2, learning_rate=2e-3, references=2)
DEBUG = TrainConfig(
    profile="toy",
    precision="f32",
    stages=(STAGE,),
    losses=PLAIN,
    optimiser=Optimiser(warmup_steps=0, decay="constant"),
    limits=Limits(steps=2, log_every=1, validation_frames=2, tiles=2),
    device="cpu",
)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny packed data set."""
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny.safetensors")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer_of(config: TrainConfig, pack: Path, out: Path, resume: bool = False) -> Trainer:
    model = make_model(config)
    opened = Pack.open(pack)
    return Trainer(config, make_task(config, model, [opened], opened), out, resume)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("part", ["generator", "restore"])
def test_pictures_of_any_size_are_judged(tmp_path: Path, part: str) -> None:
    odd = Pack.open(make_pack(tmp_path / "odd.safetensors", side=90))
    config = replace(DEBUG, part=part)
    task = make_task(config, make_model(config), [odd], odd)
    verdict = task.validate(task.model.eval(), 1)
    by_name = {value.name: value.value for value in verdict.values}
    one, two = ("warp0", "made") if part == "generator" else ("coded", "restored")
    assert by_name[f"{two}_psnr"] == pytest.approx(by_name[f"{one}_psnr"], abs=2.0)
    assert by_name[f"{one}_psnr"] > 15
    assert all(picture.shape[-1] in (90, 96) for picture in verdict.rows[0])


def test_validation_is_what_the_decoder_shows(pack: Path) -> None:
    model = make_model(DEBUG).eval()
    torch.nn.init.normal_(model.hallucinate.correction.weight, std=0.05)
    opened = Pack.open(pack)
    trial = trials_of(opened, 4)[0]
    for sequential in (False, True):
        stream, state = Stream(model, sequential=sequential), None
        with torch.no_grad():
            mesh = torch.from_numpy(trial.mesh)
            reference = stream.prepare(planes(trial.picture), mesh)
            state = stream.new_state()
            meshes = torch.from_numpy(np.stack([frame.mesh for frame in trial.frames]))
            scene = torch.from_numpy(
                np.stack([frame.scene for frame in trial.frames if frame.scene is not None])
            )
            expected = stream.render([reference], meshes, scene, state)
        made = render(renderer_of(model, sequential, torch.device("cpu"), 2), trial)
        for picture, wanted in zip(made, expected, strict=True):
            assert torch.allclose(planes(picture), wanted, atol=0.6 / 255)
    plain = [render(renderer_of(model, how, torch.device("cpu"), 1), trial) for how in (False, True)]
    assert any((a != b).any() for a, b in zip(*plain, strict=True))


def test_events_are_written_and_a_resumed_run_hides_what_it_takes_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done, steps in ((0, (1, 2, 3)), (1, (2, 3))):
        board = Board(tmp_path, done)
        for step in steps:
            board.write(step, "train", [Value("loss", 10.0 * done + step)])
        board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1), (2, 12), (3, 13)]


@pytest.mark.parametrize("part", ["generator", "restore"])
def test_the_loss_falls_on_a_fixed_batch(pack: Path, tmp_path: Path, part: str) -> None:
    trainer = trainer_of(replace(DEBUG, part=part), pack, tmp_path)
    batch = trainer.task.dataset(STAGE)[0]
    # Darker than the reference: something to learn.
    name = "targets" if part == "generator" else "original"
    batch = batch._replace(**{name: 0.7 * getattr(batch, name)})
    losses = [float(trainer.step(batch, STAGE, 0.0)[0].value) for _ in range(6)]
    assert losses[1] < losses[0]
    assert losses[-1] < 0.9 * losses[0]


def test_only_the_part_is_trained(pack: Path, tmp_path: Path) -> None:
    for part, prefix in (("restore", "restorer."), ("generator", "")):
        config = replace(DEBUG, part=part)
        trainer = trainer_of(config, pack, tmp_path / part)
        before = {k: v.clone() for k, v in trainer.task.model.state_dict().items()}
        for n in range(2):
            trainer.step(trainer.task.dataset(STAGE)[n], STAGE, 0.0)
        after = trainer.task.model.state_dict()
        moved = {k for k in before if not torch.equal(before[k], after[k])}
        assert moved
        assert all(k.startswith("restorer.") == (prefix != "") for k in moved)


def test_a_run_leaves_weights_logs_and_tiles(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config_file = tmp_path / "config.toml"
    config_file.write_text(dump_config(DEBUG))
    result = run_training(RunOptions(str(config_file), (pack,), pack, out))
    assert (result.step, result.interrupted) == (2, False)
    assert load_config(out / "config.toml") == DEBUG
    assert [row["step"] for row in rows(out / "log.csv")] == ["1", "2"]
    assert all(float(row["pixel"]) > 0 for row in rows(out / "log.csv"))
    judged = rows(out / "validation.csv")
    assert [row["step"] for row in judged] == ["0", "2"]
    assert judged[0]["warp0_psnr"] == judged[1]["warp0_psnr"]
    assert float(judged[0]["made_psnr"]) == pytest.approx(float(judged[0]["warp0_psnr"]), abs=1.0)
    tile = cv2.imread(str(out / "tiles" / "00000002.png"))
    assert tile is not None
    assert tile.shape[1] == 6 * 256 + 5 * 2
    with safe_open(out / "weights.safetensors", "pt") as file:
        metadata = file.metadata()
        assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118
    assert (metadata["profile"], metadata["part"], metadata["steps"]) == ("toy", "generator", "2")
    assert parse_config(metadata["config"]) == DEBUG
    with pytest.raises(MediaError, match="holds a run already"):
        run_training(RunOptions(str(config_file), (pack,), pack, out))


def test_restored_weights_begin_the_training_of_the_generator(pack: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    file = tmp_path / "restore.toml"
    file.write_text(dump_config(replace(DEBUG, part="restore")))
    run_training(RunOptions(str(file), (pack,), pack, one))
    file.write_text(dump_config(DEBUG))
    run_training(RunOptions(str(file), (pack,), None, two, init=one / "weights.safetensors"))
    with (
        safe_open(one / "weights.safetensors", "pt") as first,
        safe_open(two / "weights.safetensors", "pt") as then,
    ):
        assert all(name.startswith("restorer.") for name in first.keys())  # noqa: SIM118
        for name in first.keys():  # noqa: SIM118
            assert torch.equal(first.get_tensor(name), then.get_tensor(name))
        assert len(then.metadata()["parent"]) == 64


@pytest.mark.parametrize(
    ("part", "precision"), [("generator", "f32"), ("generator", "bf16"), ("restore", "bf16")]
)
def test_discriminators_play_in_their_stages(pack: Path, tmp_path: Path, part: str, precision: str) -> None:
    stages = (STAGE, replace(STAGE, frames=3, adversarial=True, batch=1))
    config = replace(
        DEBUG,
        part=part,
        precision=precision,
        stages=stages,
        critics=Critics(width=4, scales=2, layers=2, frames=2 if part == "generator" else 0),
        losses=replace(PLAIN, adversarial=0.1, temporal_adversarial=0.1, matching=1.0),
        limits=replace(DEBUG.limits, validation_frames=0),
    )
    trainer = trainer_of(config, pack, tmp_path / "run")
    assert trainer.critics is not None
    before = [p.detach().clone() for p in trainer.critics.parameters()]
    train(trainer)
    first, second = rows(tmp_path / "run" / "log.csv")
    assert not first["adversarial"]
    assert float(second["critics"]) > 0
    assert float(second["matching"]) > 0
    assert bool(second.get("temporal_adversarial")) == (part == "generator")
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.critics.parameters(), strict=True))


def test_a_frame_is_made_from_the_output_before_it(pack: Path, tmp_path: Path) -> None:
    trainer = trainer_of(DEBUG, pack, tmp_path)
    batch = trainer.task.dataset(STAGE)[0]
    made = trainer.task.network(batch, STAGE.window)
    changed = batch.frames[0]._replace(mesh=batch.frames[0].mesh, fields=batch.frames[0].fields + 0.05)
    other = trainer.task.network(batch._replace(frames=(changed, batch.frames[1])), STAGE.window)
    assert not torch.equal(made[1].picture, other[1].picture)
    alone = replace(DEBUG, sequential=False)
    task = make_task(alone, make_model(alone), [Pack.open(pack)], None)
    one = task.outcome(task.network, batch, STAGE).made
    two = task.outcome(task.network, batch._replace(frames=(changed, batch.frames[1])), STAGE).made
    assert not torch.equal(one[:, 0], two[:, 0])
    assert torch.equal(one[:, 1], two[:, 1])


def test_a_signal_ends_the_run_after_the_step(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(DEBUG, limits=replace(DEBUG.limits, steps=50, validation_frames=0))
    trainer = trainer_of(config, pack, tmp_path)
    usual = trainer.step

    def step(*arguments: object) -> object:
        figures = usual(*arguments)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return figures

    monkeypatch.setattr(trainer, "step", step)
    result = train(trainer)
    assert (result.step, result.interrupted) == (1, True)
    assert (tmp_path / "weights.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_gradient_that_is_no_number_is_left_out_and_then_an_error(pack: Path, tmp_path: Path) -> None:
    trainer = trainer_of(DEBUG, pack, tmp_path)
    batch = trainer.task.dataset(STAGE)[0]
    spoiled = batch._replace(targets=batch.targets * float("nan"))
    before = [p.detach().clone() for p in trainer.parameters]
    trainer.step(spoiled, STAGE, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True))
    for _ in range(19):
        trainer.step(spoiled, STAGE, 0.0)
    with pytest.raises(DivergedError, match="nan, 21 times in a row"):
        trainer.step(spoiled, STAGE, 0.0)


def test_windows_of_a_sample_share_its_references(pack: Path, tmp_path: Path) -> None:
    trainer = trainer_of(DEBUG, pack, tmp_path)
    stage = replace(STAGE, windows=3)
    batch = trainer.task.dataset(stage)[4]
    plain = trainer.task.dataset(STAGE)[4]
    assert batch.windows.shape == (3 * stage.batch, 2)
    assert torch.equal(batch.windows[: stage.batch], plain.windows)
    assert torch.equal(batch.windows, trainer.task.dataset(stage)[4].windows)
    with torch.no_grad():
        many = trainer.task.outcome(trainer.task.network, batch, stage)
        few = trainer.task.outcome(trainer.task.network, plain, STAGE)
        last = batch.windows[-stage.batch :]
        other = trainer.task.outcome(trainer.task.network, plain._replace(windows=last), STAGE)
    assert many.made.shape[0] == 3 * stage.batch
    assert torch.allclose(many.made[: stage.batch], few.made, atol=1e-5)
    assert torch.allclose(many.made[-stage.batch :], other.made, atol=1e-5)
    assert torch.equal(many.real[-stage.batch :], other.real)
    assert torch.equal(many.labels[-stage.batch :], other.labels)


def test_learning_rate_warms_up_and_falls() -> None:
    settings = Optimiser(warmup_steps=10, decay="cosine", final=0.1)
    stage = Stage(learning_rate=1.0 / 16)
    assert learning_rate(stage, settings, 0, 0.0) == pytest.approx(1 / 160)
    assert learning_rate(stage, settings, 100, 0.0) == pytest.approx(1 / 16)
    assert learning_rate(stage, settings, 100, 1.0) == pytest.approx(1 / 160)
    assert learning_rate(stage, replace(settings, decay="constant"), 100, 1.0) == pytest.approx(1 / 16)


def test_stages_follow_their_shares() -> None:
    stages = (Stage(share=1.0, batch=1), Stage(share=3.0, batch=2))
    config = TrainConfig(stages=stages)
    assert [config.stage_at(done).batch for done in (0.0, 0.24, 0.26, 1.0, 1.5)] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("name", sorted(path.name for path in PRESETS.glob("*.toml")))
def test_presets_are_read_and_written(name: str) -> None:
    config = load_config(name)
    assert load_config(name.removesuffix(".toml")) == config
    assert parse_config(dump_config(config)) == config
    assert config.limits.seconds or config.limits.steps


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("colour = 1", "colour"),
        ("seed = 'x'", "seed"),
        ("part = 'nose'", "part"),
        ("[optimiser]\nbeta1 = 1.5", "optimiser.beta1"),
        ("[[stages]]\nwindow = 100", "stages.window"),
        ("stages = 3", "stages"),
        ("losses = 3", "losses"),
        ("[losses]\nl7 = 3", "losses.l7"),
        ("part =", "TOML"),
    ],
)
def test_wrong_settings_are_named(text: str, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        parse_config(text)


def test_a_run_needs_no_media_library(pack: Path, tmp_path: Path) -> None:
    absent = ("av", "ai_edge_litert", "typer", "rich", "face_alignment", "scipy")
    program = (
        "import sys\n"
        f"for name in {absent}: sys.modules[name] = None\n"
        "from facecodec.train.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["run", "--config", "debug.toml", "--data", str(pack), "--val", str(pack)]
    arguments += ["--out", str(tmp_path / "run"), "--steps", "1", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "done after 1 steps" in done.stderr


@pytest.mark.parametrize(
    ("precision", "device", "told", "bf16"),
    [
        ("bf16", "cpu", {}, True),
        ("f32", "cuda", {"avx512_bf16": True}, False),
        ("auto", "cuda", {}, True),
        ("auto", "cpu", {"avx512_bf16": False, "amx_bf16": True}, True),
        ("auto", "cpu", {"avx512_bf16": False, "avx512_f": True}, False),
    ],
)
def test_bfloat16_is_for_devices_that_have_it(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: str, told: dict[str, bool], bf16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    assert uses_bf16(replace(DEBUG, precision=precision), torch.device(device)) == bf16
