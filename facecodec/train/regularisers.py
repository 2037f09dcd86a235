"""What keeps masks and flow plain where the pictures do not say otherwise."""

from __future__ import annotations

import math

from torch import Tensor


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
