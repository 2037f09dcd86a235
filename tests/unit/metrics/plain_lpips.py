"""LPIPS v0.1 once more, in NumPy alone: what the module's values are checked against.

Written from the paper (Zhang et al., CVPR 2018, section 3: unit-normalised channels, squared differences,
weights, mean over places, sum over layers) and from the networks' own papers (Krizhevsky, "One weird trick",
2014; Simonyan, Zisserman, 2015, configuration D). It shares the weight file with facecodec, but no code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_MEAN = np.array([0.485, 0.456, 0.406])  # of ImageNet
_DEVIATION = np.array([0.229, 0.224, 0.225])


def _conv(x: np.ndarray, layer: dict[str, np.ndarray], stride: int, padding: int) -> np.ndarray:
    """Convolution and ReLU of [H, W, C] with a kernel of [h, w, C, O]."""
    kernel = layer["kernel"].astype(np.float64)
    wide = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    windows = sliding_window_view(wide, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
    out = np.einsum("ijchw,hwco->ijo", windows, kernel, optimize=True) + layer["bias"]
    return np.asarray(np.maximum(out, 0))


def _pool(x: np.ndarray, side: int) -> np.ndarray:
    """Largest of each window, every second one."""
    return np.asarray(sliding_window_view(x, (side, side), axis=(0, 1))[::2, ::2].max(axis=(3, 4)))


def _alex(x: np.ndarray, layers: Any) -> list[np.ndarray]:
    one = _conv(x, layers["Conv_0"], 4, 2)
    two = _conv(_pool(one, 3), layers["Conv_1"], 1, 2)
    three = _conv(_pool(two, 3), layers["Conv_2"], 1, 1)
    four = _conv(three, layers["Conv_3"], 1, 1)
    return [one, two, three, four, _conv(four, layers["Conv_4"], 1, 1)]


def _vgg(x: np.ndarray, layers: Any) -> list[np.ndarray]:
    out = []
    for index in range(13):
        x = _conv(x, layers[f"Conv_{index}"], 1, 1)
        if index in (1, 3, 6, 9, 12):  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
            out.append(x)
            x = _pool(x, 2)
    return out


def plain_lpips(one: np.ndarray, other: np.ndarray, weights: Any) -> float:
    """LPIPS of two pictures.

    Args:
        one: RGB, [H, W, 3] uint8.
        other: the same shape.
        weights: nested tables of the file: one network, five ``NetLinLayer``.
    """
    features = []
    for picture in (one, other):
        x = (picture / 255 - _MEAN) / _DEVIATION
        made = _alex(x, weights["AlexNet_0"]) if "AlexNet_0" in weights else _vgg(x, weights["VGG16_0"])
        features.append([f / np.linalg.norm(f, axis=2, keepdims=True).clip(1e-10) for f in made])
    total = 0.0
    for index, (x, y) in enumerate(zip(*features, strict=True)):
        head = weights[f"NetLinLayer_{index}"]["Conv_0"]["kernel"].reshape(-1).astype(np.float64)
        total += float((((x - y) ** 2) @ head).mean())
    return total
