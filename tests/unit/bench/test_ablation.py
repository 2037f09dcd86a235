"""The arms of the ablation and the learning curve."""

import json
import math

import numpy as np
import pytest
import torch

from facecodec.generator.adaptive import AdaptiveGenerator, FrameInputs, References
from facecodec.generator.embed import LABELS
from facecodec.generator.profile import PROFILES
from facecodec.train.config_file import load_config

SIDE = 32


def places(size):
    step = (torch.arange(size) + 0.5) / size
    return torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)


@pytest.fixture
def inputs():
    """References and a frame: a picture that moves by an eighth of its side."""
    torch.manual_seed(2)
    picture, mesh = torch.rand(1, 1, 3, SIDE, SIDE), torch.rand(1, 1, 478, 3)
    references = References(picture, torch.rand(1, 1, LABELS, SIDE // 2, SIDE // 2), mesh)
    field = (places(SIDE) + torch.tensor([0.125, 0.0])).expand(1, SIDE, SIDE, 2)
    label = torch.rand(1, LABELS, SIDE // 2, SIDE // 2)
    previous = torch.rand(1, 3, SIDE, SIDE)
    frame = FrameInputs(mesh[:, 0], label, field[:, None], previous, field, torch.ones(1))
    return references, frame


def arm_named(name):
    from arms import ARMS

    return next(arm for arm in ARMS if arm.name == name)


def make(name, inputs, trained=True):
    """What an arm makes with weights that have left their start."""
    from arms import ArmGenerator

    torch.manual_seed(3)
    model = ArmGenerator(PROFILES["toy"], arm_named(name)).eval()
    if trained:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    with torch.no_grad():
        references, frame = inputs
        return model, model.synthesise(model.adapt(references), references, frame)


def test_the_full_arm_is_the_generator(inputs):
    model, made = make("full", inputs)
    plain = AdaptiveGenerator(PROFILES["toy"]).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        references, frame = inputs
        expected = plain.synthesise(plain.adapt(references), references, frame)
    assert torch.equal(made.picture, expected.picture)


def test_without_warp_nothing_moves(inputs):
    _, made = make("no-warp", inputs)
    assert torch.allclose(made.warped, inputs[0].pictures[:, 0], atol=1e-4)
    assert not made.residual.any()
    _, full = make("full", inputs)
    assert not torch.allclose(full.warped, inputs[0].pictures[:, 0], atol=1e-2)


def test_without_hallucination_nothing_is_painted(inputs):
    _, made = make("no-hallucination", inputs)
    assert float(made.masks[:, -1].max()) < 1e-6
    assert torch.equal(made.hallucinated, made.warped)
    _, full = make("full", inputs)
    assert float(full.masks[:, -1].max()) > 1e-3


def test_fixed_kernels_do_not_follow_the_reference(inputs):
    model, _ = make("fixed", inputs)
    full, _ = make("full", inputs)
    references = inputs[0]
    with torch.no_grad():
        assert not any(kernel.any() for kernel in model.adapt(references).kernels)
        assert any(kernel.any() for kernel in full.adapt(references).kernels)


def test_settings_of_the_arms_differ_where_they_should():
    from ablate import DEFAULT_CONFIG
    from arms import ARMS

    base = load_config(DEFAULT_CONFIG)
    assert any(stage.adversarial and stage.frames >= base.critics.frames >= 2 for stage in base.stages)
    assert base.limits.steps > 0
    configs = {arm.name: arm.config(base) for arm in ARMS}
    assert configs["full"] == base
    assert not configs["frames"].sequential
    assert configs["no-temporal-critic"].critics.frames == 0
    assert configs["no-temporal-critic"].losses.temporal_adversarial == 0
    assert all(c.limits == base.limits and c.stages == base.stages for c in configs.values())


def test_an_arm_that_is_done_is_not_trained_again(tmp_path, monkeypatch):
    import ablate

    args = ablate.parse_args(
        [
            "--data",
            "d",
            "--val",
            "v",
            "--config",
            "debug.toml",
            "--frames",
            "8",
            "--out",
            str(tmp_path / "o.json"),
        ]
    )
    base = ablate.settings_of(args)
    monkeypatch.setattr(ablate, "GeneratorTask", None)
    kept = tmp_path / "cache" / "ablation" / "full" / "result.json"
    line = {"asked": {"config": ablate.dump_config(base), "init": "", "frames": 8}, "arm": "full"}
    ablate.write_json(kept, line)
    assert ablate.train_arm(arm_named("full"), base, args, [], None) == line
    ablate.write_json(kept, {**line, "asked": {}})
    with pytest.raises(TypeError):
        ablate.train_arm(arm_named("full"), base, args, [], None)


def test_the_table_starts_with_the_warp():
    from ablate import summary

    values = {"warp0_psnr": 25.0, "warp0_lpips": 0.1, "made_psnr": 26.5, "made_lpips": 0.08}
    text = summary([{"title": "all of it", "values": values, "steps": 800, "seconds": 99.6}])
    assert "| warp-0 | 25.00 | 0.1000 | - | - |" in text
    assert "| all of it | 26.50 | 0.0800 | 800 | 100 |" in text


@pytest.fixture
def run_folder(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.csv").write_text("step,seconds,loss\n1,10,3\n2,20,\n3,30,1\n")
    (run / "validation.csv").write_text(
        "step,seconds,warp0_lpips,made_lpips,made_psnr\n1,12,.1,.1,25\n3,31,.1,.09,26\n"
    )
    return run


def test_logs_are_read_with_gaps(run_folder):
    from learning_curve import panels, read_csv, smooth

    log, validation = read_csv(run_folder / "log.csv"), read_csv(run_folder / "validation.csv")
    assert log.hours * 3600 == pytest.approx([10, 20, 30])
    assert math.isnan(log.columns["loss"][1])
    assert smooth(log.columns["loss"], 2) == pytest.approx([3, 3, 1])
    assert panels({"r": log}, {"r": validation}) == ["loss", "made_lpips", "made_psnr"]


def test_the_curve_is_drawn(run_folder, tmp_path):
    from learning_curve import main

    out = tmp_path / "plots" / "curve.png"
    assert main([str(run_folder), str(run_folder), "--chain", "--out", str(out)]) == 0
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert main([str(tmp_path / "absent"), "--out", str(out)]) == 1
    (run_folder / "log.csv").write_text("a,b\n1,2\n")
    assert main([str(run_folder), "--out", str(out)]) == 1


def test_results_of_arms_are_plain_numbers(monkeypatch):
    import ablate

    class Judge:
        def __init__(self, pack, frames, sequential):
            assert (frames, sequential) == (8, False)

        def judge(self, model, tiles):
            from types import SimpleNamespace

            return SimpleNamespace(values=[SimpleNamespace(name="made_psnr", value=26.0)])

    monkeypatch.setattr(ablate, "ClipJudge", Judge)
    found = ablate.judge(None, None, 8, False)
    assert json.loads(json.dumps(found)) == {"made_psnr": 26.0}
    assert np.isfinite(found["made_psnr"])
