"""Faces and pictures for the tests of generators."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from facecodec.generator import load_topology

MakeFace = Callable[..., Tensor]

CUDA_TOLERANCE = 2e-3
"""Largest mean absolute difference of pictures in [0, 1] made by CPU and CUDA."""


@pytest.fixture(scope="session")
def face() -> MakeFace:
    """Builds a mesh [478, 3]: the mean face, 0.5 wide, turned by ``yaw`` (radians) and moved."""
    mean = torch.from_numpy(load_topology().mean_mesh)

    def make(yaw: float = 0.0, x: float = 0.0, y: float = 0.0, width: float = 0.5) -> Tensor:
        c, s = math.cos(yaw), math.sin(yaw)
        turn = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        return mean @ turn.T * width + torch.tensor([0.5 + x, 0.5 + y, 0.0])

    return make


@pytest.fixture(scope="session")
def picture() -> Tensor:
    """A smooth random picture, [3, 128, 128] in [0, 1], whose detail tells places apart."""
    noise = torch.from_numpy(np.random.default_rng(5).random((1, 3, 16, 16), dtype=np.float32))
    return torch.nn.functional.interpolate(noise, (128, 128), mode="bicubic").clamp(0, 1)[0]
