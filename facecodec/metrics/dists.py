"""DISTS: structure and texture of VGG16's features.

Ding, Ma, Wang, Simoncelli, "Image quality assessment: unifying structure and texture similarity", IEEE
TPAMI 2020.

The convolutions are those of LPIPS-vgg (:mod:`facecodec.metrics.perceptual`); the weights of the features
come from the package ``dists-pytorch`` 0.1, which is never imported. Each file's SHA-256 is checked before
it is read.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics.perceptual import MIN_SIDE, Lpips, picture_pair
from facecodec.metrics.weight_files import WeightFile
from facecodec.types import U8Array

WEIGHTS = WeightFile(
    what="DISTS",
    name="weights.pt",
    sha256="f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
    package="DISTS_pytorch",
    subfolder="",
    variable="FACECODEC_DISTS_WEIGHTS",
    install="pip install --no-deps dists-pytorch==0.1",
)
"""The weights of the features, 12 kB, MIT."""

_CHANNELS = (3, 64, 128, 256, 512, 512)
"""Channels of the picture itself and of the five features."""

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_SMALL = 1e-6


class _RootPool(nn.Module):
    """Root of the smoothed square at half the resolution, in place of the maximum."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.hann_window(5, periodic=False)[1:-1]
        kernel = line[:, None] * line[None]
        self.register_buffer("kernel", (kernel / kernel.sum())[None, None])

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.expand(x.shape[1], -1, -1, -1)
        smooth = functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
        return (smooth + 1e-12).sqrt()


def _read_heads(folder: str | Path | None) -> tuple[Tensor, Tensor]:
    """Weights of structure and of texture, [C] each; all of them sum to 1."""
    path = WEIGHTS.find(folder)
    data = WEIGHTS.read(path)
    try:
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        alpha, beta = held["alpha"].view(sum(_CHANNELS)), held["beta"].view(sum(_CHANNELS))
    except (pickle.UnpicklingError, KeyError, RuntimeError) as err:
        raise WeightsError(f"DISTS weights {path}: {err}") from err
    total = alpha.sum() + beta.sum()
    return (alpha / total).detach(), (beta / total).detach()


class Dists(nn.Module):
    """DISTS. Frozen: its weights take no gradient, its inputs do (it can be a loss).

    Args:
        folder: folder of ``weights.pt``; None looks as :meth:`WeightFile.find` does.
        vgg_folder: folder of ``vgg16.ckpt``; see :func:`facecodec.metrics.perceptual.find_lpips_weights`.

    Raises:
        WeightsError: weights absent, damaged or of another version.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, folder: str | Path | None = None, vgg_folder: str | Path | None = None) -> None:
        """Build the network and load its weights."""
        super().__init__()
        self.parts = nn.ModuleList()
        for part in Lpips("vgg", vgg_folder).backbone.parts:
            layers = [_RootPool() if isinstance(m, nn.MaxPool2d) else m for m in part.children()]
            self.parts.append(nn.Sequential(*layers))
        alpha, beta = _read_heads(folder)
        self.register_buffer("structure", beta)
        self.register_buffer("texture", alpha)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, source: Tensor, decoded: Tensor) -> Tensor:
        """Distance of each pair.

        Args:
            source: RGB, [B, 3, H, W] float32 in [0, 1], sides of at least 32 pixels. The authors' numbers
                are for a shorter side of 256.
            decoded: the same shape.

        Returns:
            [B], 0 for equal pictures, at most about 1.

        Raises:
            ShapeError: not pictures of one shape, or too small.
        """
        if source.ndim != 4 or source.shape[1] != 3 or min(source.shape[2:]) < MIN_SIDE:
            raise ShapeError("source picture", f"[B, 3, H, W] with H, W >= {MIN_SIDE}", tuple(source.shape))
        if source.shape != decoded.shape:
            raise ShapeError("decoded picture", str(tuple(source.shape)), tuple(decoded.shape))
        both = torch.cat((source, decoded))
        features, x = [both], (both - self.mean) / self.deviation
        for part in self.parts:
            x = part(x)
            features.append(x)
        means, spreads = [], []
        for held in features:
            one, two = held.chunk(2)
            m1, m2 = one.mean((2, 3)), two.mean((2, 3))
            v1, v2 = one.var((2, 3), correction=0), two.var((2, 3), correction=0)
            shared = (one * two).mean((2, 3)) - m1 * m2
            means.append((2 * m1 * m2 + _SMALL) / (m1.square() + m2.square() + _SMALL))
            spreads.append((2 * shared + _SMALL) / (v1 + v2 + _SMALL))
        texture = torch.cat(means, 1) @ self.get_buffer("texture")
        structure = torch.cat(spreads, 1) @ self.get_buffer("structure")
        return 1 - texture - structure

    @torch.no_grad()
    def distance(self, source: U8Array, decoded: U8Array) -> float:
        """Distance of two 8 bit pictures.

        Args:
            source: RGB, [H, W, 3] uint8, sides of at least 32 pixels.
            decoded: the same shape.

        Returns:
            DISTS, 0 for equal pictures.

        Raises:
            ShapeError: not one RGB uint8 picture each, too small, or shapes differ.
        """
        return float(self(*picture_pair(source, decoded, self.mean)))
