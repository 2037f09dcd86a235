"""Fitting a model to a person: what is trained, what is kept, what is written."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facecodec.api import decode_file, encode_file
from facecodec.config import DecoderConfig, SpeedConfig
from facecodec.errors import ConfigError, MediaError, WeightsError
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.profile import PROFILES
from facecodec.train.finetune import finetune, improves
from facecodec.train.finetune_material import choose_parameters, is_stream
from facecodec.train.finetune_settings import FinetuneProgress, FinetuneSettings
from facecodec.train.finetune_stream import SelfPairs, bent, read_stills
from facecodec.train.validate import Scores
from facecodec.weights.store import load_weights, save_weights

SMALL = FinetuneSettings(size=64, window=64, batch=2, threads=1)


@pytest.fixture(autouse=True)
def _no_lpips(monkeypatch, tmp_path_factory):
    """Without the weights of deep features: the same on every machine, and quick."""
    monkeypatch.setenv("FACECODEC_LPIPS_WEIGHTS", str(tmp_path_factory.mktemp("empty")))


def toy(*, spoilt: bool = False) -> AdaptiveGenerator:
    """An untrained toy generator, which shows the warp; a spoilt one shows it too bright."""
    torch.manual_seed(1)
    model = AdaptiveGenerator(PROFILES["toy"])
    if spoilt:
        with torch.no_grad():
            model.hallucinate.correction.bias.fill_(0.15)
            model.hallucinate.logits.bias[16:].fill_(6.0)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return save_weights(folder, toy().state_dict(), "toy", sequential=False)


@pytest.fixture(scope="module")
def stream(short_clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stream") / "clip.fcv"
    encode_file(short_clip, path, speed=SpeedConfig(threads=1), duration_s=0.5)
    return path


def test_what_is_learned_from_many_people_stays():
    model = toy()
    names = {id(p): name for name, p in model.named_parameters()}
    decoder = {names[id(p)] for p in choose_parameters(model, "decoder")}
    heads = {names[id(p)] for p in choose_parameters(model, "heads")}
    assert heads < decoder
    assert all(name.startswith(("hallucinate.", "refine.head.")) for name in decoder)
    assert all(".spades." in name or name.startswith("hallucinate.correction.") for name in heads)
    assert {names[id(p)] for p in model.parameters() if p.requires_grad} == heads


def test_better_is_lower_lpips_that_costs_no_psnr():
    before = Scores(30.0, 0.10, 0.05, 0.05)
    assert improves(before, before._replace(lpips=0.09, psnr=29.96))
    assert not improves(before, before._replace(lpips=0.09, psnr=29.9))
    assert not improves(before, before._replace(lpips=0.0999, psnr=31.0))
    unknown = Scores(30.0, math.nan, math.nan, math.nan)
    assert improves(unknown, unknown._replace(psnr=30.1))
    assert not improves(unknown, unknown._replace(psnr=30.01))


def test_a_video_repairs_a_spoilt_model_and_the_decoder_takes_the_result(short_clip, stream, tmp_path):
    base = save_weights(tmp_path, toy(spoilt=True).state_dict(), "toy", sequential=False)
    seen: list[FinetuneProgress] = []
    settings = FinetuneSettings(
        size=64, window=64, batch=2, threads=1, iterations=24, learning_rate=2e-2, judge_every=8
    )
    out = tmp_path / "mine.safetensors"
    report = finetune(short_clip, base, out, settings, on_progress=seen.append)
    assert report.better
    assert report.after.psnr > report.before.psnr + 1
    assert report.frames >= 3
    assert {progress.stage for progress in seen} == {"preparing", "training", "judging"}
    made, general = load_weights(out), load_weights(base)
    assert (report.path, report.model_id, made.parent) == (out, made.model_id, general.model_id)
    for name, tensor in general.tensors.items():
        same = torch.equal(tensor, made.tensors[name])
        assert same or name.startswith(("hallucinate.", "refine.head.")), name
    config = DecoderConfig(weights=out, speed=SpeedConfig(threads=1))
    shown = decode_file(stream, tmp_path / "shown.mp4", config)
    assert shown.generator == f"toy-{made.model_id.hex()}"


def test_what_is_no_better_is_not_written(stream, weights, tmp_path):
    settings = FinetuneSettings(size=64, window=64, batch=2, threads=1, iterations=2, learning_rate=1e-9)
    out = tmp_path / "mine.safetensors"
    report = finetune(stream, weights, out, settings)
    assert not report.better
    assert report.path is None
    assert list(tmp_path.iterdir()) == []
    assert report.after.psnr == pytest.approx(report.before.psnr, abs=0.01)
    kept = finetune(stream, weights, tmp_path, settings, keep_anyway=True)
    assert kept.path is not None
    assert kept.model_id is not None
    assert kept.path.name == f"toy-personal-{kept.model_id.hex()}.safetensors"
    assert (kept.better, kept.steps) == (False, 2)


def test_the_same_seed_gives_the_same_file(stream, weights, tmp_path):
    settings = FinetuneSettings(size=64, window=32, batch=2, threads=1, iterations=2, learning_rate=1e-2)
    ids = [
        finetune(stream, weights, tmp_path, settings, keep_anyway=True, overwrite=True).model_id
        for _ in range(2)
    ]
    assert ids[0] == ids[1]


def test_a_signal_ends_the_training_and_its_result_can_be_fitted_further(stream, weights, tmp_path):
    def interrupt(progress: FinetuneProgress) -> None:
        if progress.stage == "training" and progress.done == 2:
            signal.raise_signal(signal.SIGINT)

    settings = FinetuneSettings(size=64, window=64, batch=2, threads=1, iterations=500)
    out = tmp_path / "mine.safetensors"
    report = finetune(stream, weights, out, settings, keep_anyway=True, on_progress=interrupt)
    assert report.interrupted
    assert report.steps <= 3
    assert out.exists()
    more = tmp_path / "more.safetensors"
    rest = finetune(stream, out, more, replace(settings, iterations=1), keep_anyway=True)
    assert not rest.interrupted
    assert rest.before == report.after
    assert load_weights(more).parent == load_weights(out).parent == load_weights(weights).model_id


def test_bent_copies_move_the_face_and_pairs_depend_on_the_seed(stream):
    model = toy().eval()
    still = read_stills(stream, model)[0]
    assert still.clean.shape == still.picture.shape
    planes = torch.from_numpy(still.clean).permute(2, 0, 1) / 255
    copy, mesh = bent(planes, still.mesh, np.random.default_rng(0))
    assert copy.shape == planes.shape
    moved = np.abs(mesh - still.mesh)[:, :2].mean() * 256
    assert 1 < moved < 60
    assert (copy - planes).abs().mean() > 0.005
    pairs = SelfPairs([still], 64, 32, 2, seed=4)
    one, same = pairs[3], SelfPairs([still], 64, 32, 2, seed=4)[3]
    assert torch.equal(one.targets, same.targets)
    assert torch.equal(one.references.pictures, same.references.pictures)
    assert not torch.equal(one.references.pictures, pairs[4].references.pictures)
    assert one.targets.shape == (2, 1, 3, 64, 64)


def test_wrong_files_are_refused_at_once(short_clip, stream, weights, tmp_path):
    assert is_stream(stream)
    assert not is_stream(short_clip)
    for name in ("mine.bin", "mine-0123456789abcdef.safetensors"):
        with pytest.raises(ConfigError, match="out"):
            finetune(stream, weights, tmp_path / name, SMALL)
    taken = tmp_path / "taken.safetensors"
    taken.write_bytes(b"")
    with pytest.raises(MediaError, match="exists"):
        finetune(stream, weights, taken, SMALL)
    with pytest.raises(WeightsError, match="absent"):
        finetune(stream, tmp_path / "absent.safetensors", tmp_path / "a.safetensors", SMALL)
    with pytest.raises(MediaError, match="no_video"):
        finetune(tmp_path / "no_video.mp4", weights, tmp_path / "a.safetensors", SMALL)
    with pytest.raises(ConfigError, match="iterations"):
        FinetuneSettings(iterations=0)


def test_a_picture_is_too_short_a_video(samples, weights, tmp_path):
    with pytest.raises(MediaError, match="too few"):
        finetune(samples / "astronaut.png", weights, tmp_path / "a.safetensors", SMALL)


def test_the_command_says_what_came_of_it(cli, stream, weights, tmp_path):
    out = tmp_path / "mine.safetensors"
    run = cli("finetune", stream, out, "--weights", weights, "--iterations", "1", "--threads", "1")
    assert run.returncode == 0, run.stderr.decode()
    assert b"PSNR" in run.stdout
    assert out.exists() == (b"nothing was written" not in run.stderr)
    out.write_bytes(b"before")
    refused = cli("finetune", stream, out, "--weights", weights)
    assert refused.returncode == 2
    assert out.read_bytes() == b"before"
