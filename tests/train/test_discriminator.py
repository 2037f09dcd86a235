"""Discriminators: shapes, what they look at, that they learn, what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecodec.errors import ConfigError, ShapeError
from facecodec.train.discriminator import (
    Judgement,
    PatchDiscriminator,
    PictureDiscriminator,
    TemporalDiscriminator,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
)

LABELS = 5


def label(batch: int, size: int = 32) -> Tensor:
    return torch.rand(batch, LABELS, size, size)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(2)


def test_each_scale_gives_scores_and_features() -> None:
    judgements = PictureDiscriminator(LABELS, width=8)(torch.rand(2, 3, 64, 64), label(2))
    assert [tuple(j.score.shape) for j in judgements] == [(2, 1, 8, 8), (2, 1, 4, 4)]
    assert [f.shape[1] for f in judgements[0].features] == [8, 16, 32, 32]
    assert len(judgements[0].features) == len(judgements[1].features)


def test_the_label_map_counts() -> None:
    critic = PictureDiscriminator(LABELS, width=8)
    picture, one, other = torch.rand(1, 3, 64, 64), label(1), label(1)
    assert not critic(picture, one)[0].score.allclose(critic(picture, other)[0].score)


def test_patches_see_a_part_of_the_picture() -> None:
    critic = PatchDiscriminator(3, LABELS, width=4).eval()
    picture, told = torch.rand(1, 3, 128, 128), label(1, 64)
    before = critic(picture, told).score
    picture[..., :8, :8] = 0
    changed = (critic(picture, told).score != before)[0, 0]
    assert bool(changed[0, 0])
    assert not bool(changed[8:, :].any())
    assert not bool(changed[:, 8:].any())


def test_spectral_norm_keeps_layers_in_bounds() -> None:
    critic = PatchDiscriminator(3, LABELS, width=8)
    for _ in range(20):
        critic(torch.rand(1, 3, 64, 64), label(1))
    for name, weight in critic.state_dict().items():
        assert bool(weight.isfinite().all()), name
    first = critic.first.weight.detach().flatten(1)
    assert torch.linalg.matrix_norm(first, 2).item() == pytest.approx(1, abs=0.1)


def learn(critic: torch.nn.Module, real: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]) -> list[float]:
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.9))
    losses = []
    for _ in range(12):
        loss = discriminator_hinge(critic(*real), critic(*made))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_it_learns_to_tell_blurred_pictures() -> None:
    sharp, told = torch.rand(4, 3, 32, 32), label(4, 16)
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    losses = learn(PictureDiscriminator(LABELS, width=8, layers=2), (sharp, told), (blurred, told))
    assert losses[0] == pytest.approx(2, abs=0.5)
    assert losses[-1] < losses[0] - 0.5


def test_the_temporal_one_learns_to_tell_flicker() -> None:
    still = torch.rand(2, 1, 3, 64, 64).expand(2, 4, 3, 64, 64)
    flicker = still + 0.2 * (torch.arange(4) % 2 - 0.5).view(1, 4, 1, 1, 1)
    told = label(8).reshape(2, 4, LABELS, 32, 32)
    losses = learn(TemporalDiscriminator(LABELS, frames=2, width=8), (still, told), (flicker, told))
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize(("frames", "runs"), [(2, 3), (3, 2), (4, 1)])
def test_every_run_of_a_clip_is_judged(frames: int, runs: int) -> None:
    clip, told = torch.rand(2, 4, 3, 64, 64), torch.rand(2, 4, LABELS, 32, 32)
    critic = TemporalDiscriminator(LABELS, frames, width=4).eval()
    (whole,) = critic(clip, told)
    assert whole.score.shape[:2] == (2 * runs, 1)
    (last,) = critic(clip[:, -frames:], told[:, -frames:])
    assert torch.allclose(whole.score[-2:], last.score, atol=1e-5)


def test_gradients_reach_the_picture_under_autocast() -> None:
    critic = PictureDiscriminator(LABELS, width=8)
    picture, told = torch.rand(1, 3, 64, 64, requires_grad=True), label(1)
    with torch.autocast("cpu", torch.bfloat16):
        made: list[Judgement] = critic(picture, told)
        real = critic(torch.rand(1, 3, 64, 64), told)
        loss = generator_hinge(made) + feature_matching(real, made)
    assert loss.dtype == torch.float32
    loss.backward()
    assert picture.grad is not None
    assert bool(picture.grad.isfinite().all())
    assert float(picture.grad.abs().sum()) > 0


def test_wrong_shapes_and_settings_are_refused() -> None:
    critic = PictureDiscriminator(LABELS, width=4)
    with pytest.raises(ShapeError, match="label map"):
        critic(torch.rand(1, 3, 64, 64), label(1, 64))
    temporal = TemporalDiscriminator(LABELS, frames=3, width=4)
    with pytest.raises(ShapeError, match="frames"):
        temporal(torch.rand(1, 2, 3, 64, 64), torch.rand(1, 2, LABELS, 32, 32))
    with pytest.raises(ShapeError, match="label maps"):
        temporal(torch.rand(1, 3, 3, 64, 64), torch.rand(1, 2, LABELS, 32, 32))
    for settings in ({"width": 0}, {"scales": 0}, {"layers": 1}):
        with pytest.raises(ConfigError):
            PictureDiscriminator(LABELS, **settings)
    with pytest.raises(ConfigError, match="frames"):
        TemporalDiscriminator(LABELS, frames=5)
