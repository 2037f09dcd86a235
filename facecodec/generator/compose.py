"""Stage 6, compose: the mask-weighted sum of all hypotheses."""

from __future__ import annotations

import torch
from torch import Tensor

_NOTHING = 1e-9
"""Least validity: its logarithm is what a hypothesis loses where it has nothing to show."""


def masks(logits: Tensor, previous_valid: Tensor, patch_valid: Tensor) -> Tensor:
    """Weights of the hypotheses.

    Args:
        logits: [B, 5, H, W], in the order of :data:`facecodec.generator.hallucinate.HYPOTHESES`.
        previous_valid: [B, 1, H, W] in [0, 1], where there is a previous output.
        patch_valid: [B, 1, H, W] in [0, 1], where there is a region patch.

    Returns:
        [B, 5, H, W], sum 1. The first is the occlusion mask in the usual sense: 1 = trust the warp.
    """
    loss = torch.cat([previous_valid, patch_valid], 1).float().clamp(min=_NOTHING).log()
    logits = logits.float()
    return torch.softmax(torch.cat([logits[:, :2], logits[:, 2:4] + loss, logits[:, 4:]], 1), 1)


def blend(weights: Tensor, hypotheses: list[Tensor]) -> Tensor:
    """Weighted sum of pictures [B, 3, H, W] by weights [B, M, H, W]: [B, 3, H, W]."""
    total = weights[:, :1] * hypotheses[0]
    for i, picture in enumerate(hypotheses[1:], 1):
        total = total + weights[:, i : i + 1] * picture
    return total
