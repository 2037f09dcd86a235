"""Building blocks of the learned stages: residual blocks, SPADE with generated kernels.

SPADE: Park, Liu, Wang, Zhu, "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019.
Its kernels are made from the exemplar as in Wang et al., "Few-shot Video-to-Video Synthesis", NeurIPS 2019.
Normalisation is over the channels of each pixel, not over the picture: a window of a picture then gives
what the whole picture would give there, and no frame depends on another.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

_SLOPE = 0.1


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return functional.leaky_relu(x, _SLOPE)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (or divides it by its stride)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def zero_conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that gives 0 until it is trained."""
    layer = conv(inputs, outputs, kernel)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def normalise(x: Tensor) -> Tensor:
    """Scale the channels [B, C, H, W] of each pixel to a root mean square of 1."""
    scaled: Tensor = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)
    return scaled


def split(x: Tensor, count: int) -> Tensor:
    """[B K, ...] to [B, K, ...], K being ``count``."""
    parts: Tensor = x.reshape(-1, count, *x.shape[1:])
    return parts


class ResidualBlock(nn.Module):
    """Two convolutions beside a short cut.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        change: Tensor = self.second(activate(self.first(activate(x))))
        return x + change


class Spade(nn.Module):
    """Spatially adaptive normalisation whose 1x1 kernels come from outside, or are fixed.

    Args:
        channels: C, of what is normalised.
        labels: E, channels of the embedded label map.
    """

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.channels, self.labels = channels, labels
        self.fixed = nn.Parameter(torch.randn(2 * channels, labels) * 0.05)
        self.bias = nn.Parameter(torch.zeros(2 * channels))

    @property
    def kernel_size(self) -> int:
        """Numbers of one generated kernel."""
        return 2 * self.channels * self.labels

    def forward(self, x: Tensor, label: Tensor, kernel: Tensor) -> Tensor:
        """Normalise.

        Args:
            x: [B, C, H, W].
            label: embedded label map, [B, E, H, W].
            kernel: generated difference to the fixed kernel, [B, 2 C E].

        Returns:
            [B, C, H, W].
        """
        batch, _, height, width = x.shape
        weight = kernel.reshape(-1, 2 * self.channels, self.labels) + self.fixed
        flat = label.reshape(batch, self.labels, height * width)
        neutral = torch.cat([self.bias[: self.channels] + 1, self.bias[self.channels :]])
        maps = torch.matmul(weight.to(flat.dtype), flat) + neutral[:, None].to(flat.dtype)
        scale, shift = maps.reshape(batch, 2 * self.channels, height, width).chunk(2, 1)
        return torch.addcmul(shift, normalise(x), scale)


class SpadeBlock(nn.Module):
    """A residual block with SPADE before each convolution.

    Args:
        channels: of input and output.
        labels: channels of the embedded label map.
    """

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.spades = nn.ModuleList([Spade(channels, labels), Spade(channels, labels)])
        self.convs = nn.ModuleList([conv(channels, channels), conv(channels, channels)])

    def forward(self, x: Tensor, label: Tensor, kernels: list[Tensor]) -> Tensor:
        """[B, C, H, W] to the same; ``kernels`` are the two of its SPADE layers."""
        y = x
        for spade, layer, kernel in zip(self.spades, self.convs, kernels, strict=True):
            y = layer(activate(spade(y, label, kernel)))
        return x + y


class Enlarge(nn.Module):
    """Fewer channels at twice the size.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, D, 2 H, 2 W]."""
        return functional.interpolate(self.project(x), scale_factor=2.0, mode="nearest")
