"""Moving average of weights: what is shown, judged and shipped."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

_M = TypeVar("_M", bound=nn.Module)


class Ema(Generic[_M]):
    """A copy of a network whose weights follow those of the network slowly.

    The first updates follow faster, so that the random start is soon forgotten.

    Args:
        network: whose weights are averaged; copied.
        decay: share of the average that an update keeps, 0 to below 1.

    Attributes:
        network: the averaged copy, in evaluation mode, without gradients.
        updates: how often :meth:`update` was called.
    """

    def __init__(self, network: _M, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: _M) -> None:
        """Take in the weights of ``network``; buffers are copied."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine = [p.detach() for p in self.network.parameters()]
        new = [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(mine, new, 1 - keep)
        for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(other)
