"""Losses of the training but those of the discriminators: pixels, deep features, flicker, regularisers.

Pictures are RGB [B, 3, h, w] in [0, 1]; predictions may overshoot. Every loss is a mean, so its size does
not depend on batch, picture or window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facecodec.errors import ConfigError, ShapeError
from facecodec.metrics.perceptual import Lpips

_CHARBONNIER = 1e-3
_VGG_SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0, 1.0)
"""Weight of each VGG level: features grow sparser and smaller with depth."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weight of each term in the total; a term of weight 0 need not be computed.

    Attributes:
        pixel: Charbonnier distance of the picture, weighted towards eyes and mouth.
        hallucinated: the same of the hallucinated hypothesis alone, so that it learns behind the mask.
        warped: the same of the warped hypothesis alone, so that the flow learns behind the mask.
        vgg: distance of VGG16 features.
        lpips: LPIPS-alex.
        region: LPIPS-alex and VGG features of boxes around eyes and mouth.
        region_lpips: LPIPS-alex of the same boxes, counted besides.
        mask: dislike of everything that is not the warped reference.
        entropy: dislike of undecided masks.
        flow: size and total variation of the residual flow.
        temporal: difference of frame differences.
        adversarial: hinge loss of the picture discriminators.
        temporal_adversarial: hinge loss of the temporal discriminator.
        matching: distance of discriminator features.
        identity: 1 - cosine of the identity network's features.

    Raises:
        ConfigError: a weight is negative or not finite.
    """

    pixel: float = 10.0
    hallucinated: float = 2.0
    warped: float = 1.0
    vgg: float = 1.0
    lpips: float = 2.0
    region: float = 1.0
    region_lpips: float = 0.0
    mask: float = 0.02
    entropy: float = 0.005
    flow: float = 1.0
    temporal: float = 2.0
    adversarial: float = 0.0
    temporal_adversarial: float = 0.0
    matching: float = 0.0
    identity: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(field.name, value, "finite, at least 0")


class LossTerms(NamedTuple):
    """Terms of the generator's loss, each a scalar before its weight; None: not computed."""

    pixel: Tensor | None = None
    hallucinated: Tensor | None = None
    warped: Tensor | None = None
    vgg: Tensor | None = None
    lpips: Tensor | None = None
    region: Tensor | None = None
    region_lpips: Tensor | None = None
    mask: Tensor | None = None
    entropy: Tensor | None = None
    flow: Tensor | None = None
    temporal: Tensor | None = None
    adversarial: Tensor | None = None
    temporal_adversarial: Tensor | None = None
    matching: Tensor | None = None
    identity: Tensor | None = None

    def total(self, weights: LossWeights) -> Tensor:
        """Weighted sum of the terms that were computed.

        Raises:
            ShapeError: there is no term at all.
        """
        parts = [
            getattr(weights, name) * value
            for name, value in zip(self._fields, self, strict=True)
            if value is not None
        ]
        if not parts:
            raise ShapeError("loss terms", "at least one", 0)
        return torch.stack(parts).sum()


def charbonnier(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of a smooth absolute difference.

    Args:
        prediction: [B, C, h, w].
        target: the same shape.
        weight: [B, 1, h, w], 0 or more, or None for one everywhere. The mean is over the weight.

    Returns:
        Scalar, float32.

    Raises:
        ShapeError: shapes differ.
    """
    _require_same(prediction, target)
    difference = prediction.float() - target.float()
    distance = (difference.square() + _CHARBONNIER**2).sqrt() - _CHARBONNIER
    if weight is None:
        return distance.mean()
    weight = weight.float()
    return (distance * weight).sum() / (weight.sum() * distance.shape[1]).clamp(min=1e-6)


class PerceptualLoss(nn.Module):
    """Distances in the features of VGG16 and in LPIPS-alex, differentiable in the prediction only.

    The networks are frozen and held in ``dtype``; bfloat16 halves their cost on processors that have it
    and leaves the direction of the gradient as it is. What is compared is compared in float32.

    Args:
        vgg_levels: how many VGG16 levels (relu1_2, relu2_2, relu3_3, relu4_3, relu5_3) to compare.
        dtype: float32 or bfloat16.
        vgg_share: share of each batch, from its start, that VGG16 sees: it costs the most.
        folder: folder of the weight files, see :func:`facecodec.metrics.perceptual.find_lpips_weights`.

    Raises:
        ConfigError: ``vgg_levels`` is not 1 to 5.
        WeightsError: weights absent, damaged or of another version.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        vgg_levels: int = 3,
        dtype: torch.dtype = torch.bfloat16,
        vgg_share: float = 1.0,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= vgg_levels <= len(_VGG_SHARES):
            raise ConfigError("vgg_levels", vgg_levels, f"1 to {len(_VGG_SHARES)}")
        alex, vgg = Lpips("alex", folder), Lpips("vgg", folder)
        self.alex_parts = alex.backbone.parts
        self.vgg_parts = vgg.backbone.parts[:vgg_levels]
        for i in range(len(self.alex_parts)):
            self.register_buffer(f"head{i}", alex.get_buffer(f"head{i}"))
        self.register_buffer("mean", 0.5 + alex.shift / 2)
        self.register_buffer("deviation", alex.scale / 2)
        for part in (self.alex_parts, self.vgg_parts):
            part.to(dtype)
            for weight in part.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.dtype, self._vgg_share = dtype, vgg_share
        self.eval().requires_grad_(False)

    def _features(self, parts: nn.ModuleList, picture: Tensor) -> list[Tensor]:
        x = (picture.float() - self.mean) / self.deviation
        x = x.to(dtype=self.dtype, memory_format=torch.channels_last)
        features = []
        with torch.autocast(x.device.type, enabled=False):
            for part in parts:
                x = part(x)
                features.append(x)
        return features

    def _both(self, parts: nn.ModuleList, prediction: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        _require_same(prediction, target)
        with torch.no_grad():
            wanted = self._features(parts, target)
        return list(zip(self._features(parts, prediction), wanted, strict=True))

    def vgg(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean absolute difference of VGG16 features over ``vgg_share`` of the batch, deeper levels heavier.

        Args:
            prediction: [B, 3, h, w], sides of at least 16 pixels.
            target: the same shape; takes no gradient.

        Returns:
            Scalar float32; about 0.1 to 0.5 for a talking head warped into place.

        Raises:
            ShapeError: shapes differ.
        """
        _require_same(prediction, target)
        count = math.ceil(len(prediction) * self._vgg_share)
        pairs = self._both(self.vgg_parts, prediction[:count], target[:count])
        total = prediction.new_zeros((), dtype=torch.float32)
        for weight, (x, y) in zip(_VGG_SHARES, pairs, strict=False):
            total = total + weight * (x.float() - y.float()).abs().mean()
        return total

    def lpips(self, prediction: Tensor, target: Tensor) -> Tensor:
        """LPIPS-alex of each pair.

        Args:
            prediction: [B, 3, h, w], sides of at least 32 pixels.
            target: the same shape; takes no gradient.

        Returns:
            [B] float32.

        Raises:
            ShapeError: shapes differ.
        """
        total = prediction.new_zeros(len(prediction), dtype=torch.float32)
        for i, (x, y) in enumerate(self._both(self.alex_parts, prediction, target)):
            apart = (_unit(x) - _unit(y)).square()
            total = total + (apart * self.get_buffer(f"head{i}")).sum(1).mean((1, 2))
        return total


def _unit(features: Tensor) -> Tensor:
    features = features.float()  # the small number stands under the root: no feature, no infinite gradient
    return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()


def temporal_difference(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Difference of frame differences.

    Args:
        prediction: consecutive frames, [B, T, 3, h, w] with T of 2 or more.
        target: the same shape.
        weight: [B, 1, h, w], or None.

    Returns:
        Scalar: mean of |(pred_t - pred_{t-1}) - (target_t - target_{t-1})|.

    Raises:
        ShapeError: shapes differ, or fewer than two frames.
    """
    _require_same(prediction, target)
    if prediction.ndim != 5 or prediction.shape[1] < 2:
        raise ShapeError("frames", "[B, T, 3, h, w] with T of 2 or more", tuple(prediction.shape))
    made = prediction[:, 1:].float() - prediction[:, :-1].float()
    true = target[:, 1:].float() - target[:, :-1].float()
    if weight is not None:
        weight = weight.repeat_interleave(made.shape[1], 0)
    return charbonnier(made.flatten(0, 1), true.flatten(0, 1), weight)


def mask_cost(masks: Tensor) -> Tensor:
    """How much is not taken from the warped reference: the mean of 1 - masks[:, 0]; masks [B, M, h, w]."""
    return 1 - masks[:, 0].float().mean()


def mask_entropy(masks: Tensor) -> Tensor:
    """How undecided masks [B, M, h, w] are: mean entropy over the hypotheses, 0 to 1."""
    share = masks.float().clamp(1e-6, 1)
    if masks.shape[1] < 2:
        return share.new_zeros(())
    return -(share * share.log()).sum(1).mean() / math.log(masks.shape[1])


def flow_cost(residual: Tensor) -> Tensor:
    """Size and total variation of a residual flow [B, 2, r, r] in crop units; scalar, in hundredths."""
    flow = residual.float() * 100
    across = (flow[..., 1:] - flow[..., :-1]).abs().mean()
    down = (flow[..., 1:, :] - flow[..., :-1, :]).abs().mean()
    return 0.1 * flow.square().mean() + across + down


def _require_same(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ShapeError("prediction", str(tuple(target.shape)), tuple(prediction.shape))
