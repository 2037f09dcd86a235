"""Stage 2, adapt: from reference pictures to features and to the kernels of the SPADE layers.

The weight generation module of Wang et al., "Few-shot Video-to-Video Synthesis", NeurIPS 2019. Everything
here depends on the reference alone and runs once for each; only the attention over several references
depends on the frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.generator.embed import LABELS
from facecodec.generator.layers import ResidualBlock, activate, conv, split
from facecodec.generator.profile import Profile
from facecodec.generator.topology import SURFACE_POINTS

_SHARPNESS = 400.0
"""How fast attention falls with the mean squared distance of two meshes, in face sizes."""


class Adaptation(NamedTuple):
    """What is made of K reference pictures for each of B samples.

    Attributes:
        features: [B, K, F, S/4, S/4], to be warped.
        kernels: one [B, K, 2 C E] for each SPADE layer.
        keys: [B, K, D], what attention compares.
    """

    features: Tensor
    kernels: tuple[Tensor, ...]
    keys: Tensor


def mesh_shape(mesh: Tensor) -> Tensor:
    """Meshes [..., 478, 3] as vectors [..., 1404] without place and size: the surface about its centre."""
    points = mesh[..., :SURFACE_POINTS, :]
    points = points - points.mean(-2, keepdim=True)
    size = points[..., :2].square().sum(-1).mean(-1).clamp(min=1e-8).sqrt()
    return (points / size[..., None, None]).flatten(-2)


class Adapt(nn.Module):
    """The weight generator.

    Args:
        profile: widths.
        kernel_sizes: numbers in the kernel of each SPADE layer.
    """

    def __init__(self, profile: Profile, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        first, second, third = profile.widths
        self.stem = conv(12 + LABELS, first)
        self.second = nn.Sequential(conv(first, second, 3, 2), ResidualBlock(second))
        self.features = conv(second, profile.features)
        self.third = nn.Sequential(conv(second, third, 3, 2), ResidualBlock(third))
        self.fourth = nn.Sequential(conv(third, third, 3, 2), ResidualBlock(third))
        self.style = nn.Linear(2 * third, profile.style)
        heads = [nn.Linear(profile.style, size) for size in kernel_sizes]
        for head in heads:
            nn.init.normal_(head.weight, std=0.1 / profile.style**0.5)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleList(heads)

    def forward(self, pictures: Tensor, labels: Tensor, meshes: Tensor) -> Adaptation:
        """Take in references.

        Args:
            pictures: [B, K, 3, S, S] in [0, 1], S a multiple of 16.
            labels: [B, K, LABELS, S/2, S/2].
            meshes: [B, K, 478, 3], crop units.
        """
        count = pictures.shape[1]
        halves = functional.pixel_unshuffle(pictures.flatten(0, 1) - 0.5, 2)
        x = activate(self.stem(torch.cat([halves, labels.flatten(0, 1)], 1)))
        x = self.second(x)
        features = self.features(activate(x))
        x = self.fourth(activate(self.third(activate(x))))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        style = activate(self.style(pooled))
        kernels = tuple(split(head(style), count) for head in self.heads)
        return Adaptation(split(features, count), kernels, mesh_shape(meshes))


def attention(keys: Tensor, mesh: Tensor) -> Tensor:
    """How much each of K references says about the current frame.

    Args:
        keys: [B, K, D], see :class:`Adaptation`.
        mesh: current meshes [B, 478, 3].

    Returns:
        [B, K], sum 1: nearer poses and expressions count for more.
    """
    distance = (keys - mesh_shape(mesh)[:, None]).square().mean(-1)
    return torch.softmax(-_SHARPNESS * distance, 1)
