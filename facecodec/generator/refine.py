"""Stage 3, the learned part: a small correction to the motion field of the keypoints.

:mod:`facecodec.generator.flow` gives the field that mesh and scene points determine. Between them (necks,
cheeks, hair) a network at an eighth of the picture's size may move it a little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.generator.embed import LABELS
from facecodec.generator.layers import ResidualBlock, activate, conv, zero_conv

REACH = 0.03
"""The largest correction, in crop units."""


class Refine(nn.Module):
    """Predicts a residual motion field.

    Args:
        features: channels of the warped reference features.
        width: of the network.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.stem = conv(features + 2 * LABELS + 2, width, 3, 2)
        self.body = nn.Sequential(ResidualBlock(width), ResidualBlock(width))
        self.head = zero_conv(width, 2)

    def forward(self, warped: Tensor, label: Tensor, reference_label: Tensor, shift: Tensor) -> Tensor:
        """Predict.

        Args:
            warped: reference features along the field so far, [B, F, S/4, S/4].
            label: current label map, [B, LABELS, S/4, S/4].
            reference_label: the reference's label map along the field, likewise.
            shift: displacement of the field so far in crop units, [B, 2, S/4, S/4].

        Returns:
            [B, 2, S/8, S/8], crop units.
        """
        x = self.stem(torch.cat([warped, label, reference_label, shift * 10], 1))
        residual = self.head(activate(self.body(x)))
        return torch.tanh(residual) * REACH


def enlarge(residual: Tensor, size: int) -> Tensor:
    """A residual field [B, 2, r, r] at a picture's size: [B, size, size, 2] float32."""
    large = functional.interpolate(residual.float(), (size, size), mode="bilinear", align_corners=False)
    return large.permute(0, 2, 3, 1)
