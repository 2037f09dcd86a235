"""Stage 5, hallucinate: what no warp can show, and how far each hypothesis is to be trusted.

A U-Net over the hypotheses whose decoder is normalised by SPADE with the exemplar's kernels. The picture that
it gives is the warped reference plus a correction, which is 0 before training: an untrained generator shows
what the warp shows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.generator.embed import LABELS
from facecodec.generator.layers import Enlarge, ResidualBlock, Spade, SpadeBlock, activate, conv, zero_conv
from facecodec.generator.profile import Profile

HYPOTHESES = 5
"""In this order: warped reference, reference unmoved, previous output, region patches, hallucinated."""
_START = (-3.0, -4.0, -3.0, 0.0, 3.0)
"""Logits of the masks before training."""
_PICTURES = 12 + 12 + 12 + 12 + 2
"""Channels of the four pictures at half size and the two validity maps."""


class Hallucinate(nn.Module):
    """The per-frame network.

    Args:
        profile: widths.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        first, second, third = profile.widths
        labels = profile.labels
        self.embed = nn.ModuleList([conv(LABELS, labels), conv(labels, labels), conv(labels, labels)])
        self.stem = nn.Sequential(conv(_PICTURES + 2 * LABELS + 1, first, 1), conv(first, first))
        self.to_second = conv(first, second, 3, 2)
        self.join = conv(second + profile.features, second, 1)
        self.second = ResidualBlock(second)
        self.to_third = conv(second, third, 3, 2)
        self.deep = nn.ModuleList([SpadeBlock(third, labels) for _ in range(profile.deep_blocks)])
        self.up_second = Enlarge(third, second)
        self.middle = SpadeBlock(second, labels)
        self.up_first = Enlarge(second, first)
        self.fine = SpadeBlock(first, labels)
        self.correction = zero_conv(first, 12)
        self.logits = zero_conv(first, 4 * HYPOTHESES)
        with torch.no_grad():
            assert self.logits.bias is not None  # noqa: S101  conv() makes one
            self.logits.bias.copy_(torch.tensor(_START).repeat_interleave(4))

    def spades(self) -> list[Spade]:
        """The SPADE layers, in the order of the kernels."""
        return [module for module in self.modules() if isinstance(module, Spade)]

    def forward(
        self, pictures: Tensor, labels: Tensor, features: Tensor, kernels: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            pictures: hypotheses at half size, [B, 50, h/2, w/2].
            labels: current label map, the reference's along the field, and the field's stretch,
                [B, 2 LABELS + 1, h/2, w/2].
            features: reference features along the field, [B, F, h/4, w/4].
            kernels: of the SPADE layers, [B, 2 C E] each.

        Returns:
            Correction to the warped reference [B, 3, h, w] and logits of the masks [B, HYPOTHESES, h, w].
        """
        fine = activate(self.embed[0](labels[:, :LABELS]))
        middle = activate(self.embed[1](functional.avg_pool2d(fine, 2)))
        coarse = activate(self.embed[2](functional.avg_pool2d(middle, 2)))
        first = self.stem(torch.cat([pictures, labels], 1))
        second = self.join(torch.cat([self.to_second(activate(first)), features], 1))
        second = self.second(second)
        x = self.to_third(activate(second))
        pairs = [list(kernels[i : i + 2]) for i in range(0, len(kernels), 2)]
        for block, pair in zip(self.deep, pairs, strict=False):
            x = block(x, coarse, pair)
        x = self.middle(self.up_second(x) + second, middle, pairs[-2])
        x = activate(self.fine(self.up_first(x) + first, fine, pairs[-1]))
        correction = functional.pixel_shuffle(self.correction(x), 2)
        return correction, functional.pixel_shuffle(self.logits(x), 2)
