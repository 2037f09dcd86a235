"""The post filter of reference pictures: what the still coder took away, put back as far as can be known.

It runs once for each reference picture, so it may cost more than a frame. Part of stage 2 (adapt).
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.generator.layers import Enlarge, ResidualBlock, activate, conv, zero_conv

COARSEST = 255
"""Greatest ``base_q_idx`` of AV1; also of pictures of which nothing is known."""
_FINE = 16
"""Below this one less than the whole correction is applied, and none to a picture that was not coded (0)."""


class Restorer(nn.Module):
    """A U-Net on half the picture's size that adds a correction to a decoded still, told how coarse it is.

    Args:
        widths: channels at 1/2, 1/4 and 1/8 of the picture's size.
        blocks: residual blocks at each size, both on the way down and up.
    """

    def __init__(self, widths: tuple[int, int, int] = (48, 80, 96), blocks: int = 2) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = conv(13, first)
        self.down = nn.ModuleList([conv(first, second, 3, 2), conv(second, third, 3, 2)])
        self.before = nn.ModuleList([_stack(width, blocks) for width in widths])
        self.up = nn.ModuleList([Enlarge(third, second), Enlarge(second, first)])
        self.after = nn.ModuleList([_stack(second, blocks), _stack(first, blocks)])
        self.head = zero_conv(first, 12)

    def forward(self, picture: Tensor, q_idx: Tensor) -> Tensor:
        """Filter pictures.

        Args:
            picture: [N, 3, H, W] in [0, 1], H and W multiples of 8.
            q_idx: [N], how coarsely each was coded: ``base_q_idx`` of AV1, 1 to 255; 0 where it was not.

        Returns:
            [N, 3, H, W], about [0, 1]: not clamped.
        """
        halves = functional.pixel_unshuffle(picture - 0.5, 2)
        coarse = q_idx.to(halves.dtype).clamp(0, COARSEST)[:, None, None, None]
        told = (coarse / COARSEST).expand(-1, 1, *halves.shape[2:])
        x = self.stem(torch.cat([halves, told], 1))
        kept = []
        for layer, stack in zip(self.down, self.before, strict=False):
            x = stack(x)
            kept.append(x)
            x = layer(activate(x))
        x = self.before[-1](x)
        for layer, stack, skip in zip(self.up, self.after, reversed(kept), strict=True):
            x = stack(layer(x) + skip)
        correction = functional.pixel_shuffle(self.head(activate(x)), 2)
        return picture + (coarse / _FINE).clamp(max=1) * correction.to(picture.dtype)


def _stack(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
