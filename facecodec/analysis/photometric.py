"""Least squares on picture differences: what a small change of the scene points does to the picture.

With a displacement field ``d(x) = d0(x) + B(x) s``, linear in the scene points ``s``, the squared difference
between the source picture and the bent reference is, near the current field, quadratic in ``s`` (Lucas and
Kanade, IJCAI 1981; here in the spline's basis instead of patches). Its matrix is built from the structure
tensor, averaged over cells, so straight edges bind the field across their direction only.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch

from facecodec.types import F32Array, U8Array

ANALYSIS_SIZE = 128
"""Width and height of the pictures that motion is fitted on."""
CELLS = 32
"""Cells a side over which differences are summed."""
_POINTS_PER_PIXEL = 256.0 / ANALYSIS_SIZE
_NOISE = 40.0
"""Difference in gray levels at which a pixel's weight has fallen to a half."""
_STILL = 0.05
"""Squared gray levels per squared point that hold every cell at its field so far, against noise."""
_PULL = 0.6
"""The same, that hold every scene point at its start, per scene point."""


class Tensors(NamedTuple):
    """What the pixels of each cell say, sums over the cell's pixels divided by their number.

    Attributes:
        structure: [C * C, 3], xx, xy, yy of the structure tensor, squared gray levels per squared point.
        pressure: [C * C, 2], structure tensor times the displacement that is wanted.
    """

    structure: F32Array
    pressure: F32Array


def luma(rgb: U8Array) -> U8Array:
    """Gray picture [128, 128] of [S, S, 3] RGB."""
    small = cv2.resize(rgb, (ANALYSIS_SIZE, ANALYSIS_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def places(size: int) -> F32Array:
    """Pixel centres in crop units, [size, size, 2]."""
    step = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return np.stack(np.meshgrid(step, step), -1)


def look(values: np.ndarray, field: F32Array) -> np.ndarray:
    """Read a picture or field [128, 128, ...] at [128, 128, 2] places in crop units, its border repeated."""
    at = field * np.float32(ANALYSIS_SIZE) - np.float32(0.5)
    return np.asarray(cv2.remap(values, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def enlarge(cells: F32Array) -> F32Array:
    """[C, C, 2] at cell centres to [128, 128, 2] at pixel centres."""
    return np.asarray(cv2.resize(cells, (ANALYSIS_SIZE, ANALYSIS_SIZE), interpolation=cv2.INTER_LINEAR))


def from_flow(current: U8Array, flowed: U8Array, wanted: F32Array) -> Tensors:
    """Tensors of a dense flow.

    Args:
        current: the source, [128, 128].
        flowed: the reference, bent by the flow; pixels where it is unlike the source count less.
        wanted: change of displacement that the flow asks for, [128, 128, 2] points.
    """
    gx, gy = _gradient(current)
    difference = current.astype(np.float32) - flowed
    along = gx * wanted[..., 0] + gy * wanted[..., 1]
    return _tensors(gx, gy, along, difference)


def from_difference(current: U8Array, bent: U8Array) -> Tensors:
    """Tensors of a Gauss-Newton step from the picture ``bent`` [128, 128] towards ``current``."""
    now, then = _gradient(current), _gradient(bent)
    difference = current.astype(np.float32) - bent
    gx, gy = (np.asarray((a + b) / 2, np.float32) for a, b in zip(now, then, strict=True))
    return _tensors(gx, gy, difference, difference)


def _tensors(gx: F32Array, gy: F32Array, wanted: F32Array, difference: F32Array) -> Tensors:
    trust = 1.0 / (1.0 + (difference / _NOISE) ** 2)
    tx, ty = trust * gx, trust * gy
    structure = _cells(np.stack([tx * gx, tx * gy, ty * gy], -1))
    return Tensors(structure, _cells(np.stack([tx * wanted, ty * wanted], -1)))


def _cells(values: F32Array) -> F32Array:
    small = cv2.resize(values, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(small.reshape(CELLS * CELLS, -1))


def _gradient(gray: U8Array) -> tuple[F32Array, F32Array]:
    """Gray levels per point along x and y, [128, 128] each."""
    scale = 1.0 / (8.0 * _POINTS_PER_PIXEL)
    gx = cv2.Sobel(gray, cv2.CV_32F, 1, 0, scale=scale)
    return np.asarray(gx), np.asarray(cv2.Sobel(gray, cv2.CV_32F, 0, 1, scale=scale))


def solve(
    basis: torch.Tensor, tensors: Tensors, clear: F32Array, field: F32Array, base: F32Array
) -> tuple[F32Array, F32Array]:
    """Scene points that the pixels ask for.

    Args:
        basis: [C * C, n], displacement of the cells by each scene point.
        tensors: what the pixels ask for, as a change from ``base``.
        clear: [C * C], 0 where the face covers a cell.
        field: [C * C, 2] points, change of displacement that cells without structure fall back to.
        base: [C * C, 2] points, change of displacement at which ``tensors`` was taken.

    Returns:
        Change of the scene points [n, 2] in points, and the curvature [n, 2]: the rise of squared
        difference, summed over cells, for a squared point of each.
    """
    n = basis.shape[1]
    structure = torch.from_numpy(tensors.structure * clear[:, None])
    still = torch.from_numpy(_STILL * clear)
    wanted = torch.from_numpy(_pressure(tensors, base) * clear[:, None])
    wanted += still[:, None] * torch.from_numpy(field)
    xx, xy, yy = (basis.T @ (basis * structure[:, k, None]) for k in range(3))
    hold = basis.T @ (basis * still[:, None]) + _PULL * torch.eye(n)
    matrix = torch.cat([torch.cat([xx + hold, xy], 1), torch.cat([xy, yy + hold], 1)])
    right = (basis.T @ wanted).T.reshape(-1)
    solution = torch.linalg.solve(matrix.double(), right.double()).float()
    return solution.reshape(2, n).T.numpy(), torch.stack([xx.diagonal(), yy.diagonal()], -1).numpy()


def _pressure(tensors: Tensors, base: F32Array) -> F32Array:
    xx, xy, yy = tensors.structure.T
    extra = np.stack([xx * base[:, 0] + xy * base[:, 1], xy * base[:, 0] + yy * base[:, 1]], -1)
    return np.asarray(tensors.pressure + extra)
