"""Region patches as the encoder makes them: a frame in the reference picture's pose, less that picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from facecodec.bitstream.limits import PALETTE_SIDE_MAX
from facecodec.bitstream.palette import GRAIN
from facecodec.generator.model import WarpGenerator
from facecodec.generator.patches import patch_masks
from facecodec.generator.warp import warp
from facecodec.refpic.buffer import Reference
from facecodec.refpic.palette import Rect
from facecodec.types import F32Array, F64Array, U8Array

ALIGN = 8
"""Patches are made of blocks of so many pixels."""


class ShapedReference(NamedTuple):
    """The reference picture bent to a shape.

    Attributes:
        mesh: the shape, [1, 478, 3].
        picture: [3, S, S].
        masks: of the regions, [3, S, S].
        triangles: of each pixel that a mask holds, [1, S, S]; -1 for the others.
        rows, columns: where those pixels lie.
    """

    mesh: torch.Tensor
    picture: torch.Tensor
    masks: F32Array
    triangles: torch.Tensor
    rows: slice
    columns: slice


class PoseWarper:
    """Bends one reference picture to shapes, and frames into its pose, so that they can be compared.

    Args:
        warper: makes the motion fields.
        reference: the picture.
    """

    def __init__(self, warper: WarpGenerator, reference: Reference) -> None:
        self._warper, self._size = warper, reference.picture.shape[0]
        planes = torch.from_numpy(reference.picture).permute(2, 0, 1).float() / 255
        self._state = warper.prepare(planes, torch.from_numpy(np.asarray(reference.mesh, np.float32)))

    @torch.inference_mode()
    def shaped(self, shape: F64Array) -> ShapedReference:
        """The reference picture bent to a shape [478, 3]."""
        size = self._size
        mesh = torch.from_numpy(shape.astype(np.float32))[None]
        masks = patch_masks(self._warper, mesh, size)[0]
        triangles = torch.where(masks.amax(0) > 0, self._warper.winners(mesh, size), -1)
        field = self._warper.face_field(self._state, mesh, size, triangles)
        bent = warp(self._state.picture, field)[0].clamp(0, 1)
        rows, columns = (_span((triangles[0] >= 0).any(axis).numpy()) for axis in (1, 0))
        return ShapedReference(mesh, bent, masks.numpy(), triangles, rows, columns)

    @torch.inference_mode()
    def difference(
        self, picture: U8Array, points: F32Array, view: ShapedReference
    ) -> tuple[F32Array, F32Array]:
        """How a frame in the reference picture's pose differs from it.

        Args:
            picture: crop, [S, S, 3] uint8.
            points: [478, 3], its face in crop units.
            view: the reference picture with the frame's expression, or as it is.

        Returns:
            The difference, [S, S, 3], in shares of full scale, 0 away from the regions; the masks of the
            regions, [3, S, S].
        """
        planes = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        state = self._warper.prepare(planes, torch.from_numpy(np.asarray(points, np.float32)))
        field = self._warper.face_field(state, view.mesh, len(picture), view.triangles)
        rows, columns = view.rows, view.columns
        bent = warp(state.picture, field[:, rows, columns])[0].clamp(0, 1)
        miss = torch.zeros_like(view.picture)
        miss[:, rows, columns] = bent - view.picture[:, rows, columns]
        return miss.permute(1, 2, 0).numpy(), view.masks


def bounds(masks: Sequence[F32Array]) -> Rect:
    """Where a region lies in pictures with all these masks [S, S], in whole blocks."""
    shown = np.max(masks, 0) > 0.02
    spans = []
    for axis in (0, 1):
        there = _span(shown.any(axis))
        low, high = (there.start, there.stop) if there.stop else (0, ALIGN)
        length = min(-(-(high - low) // ALIGN) * ALIGN, GRAIN * PALETTE_SIDE_MAX)
        start = (low + high - length) // 2 // GRAIN * GRAIN
        if start + length < high:
            start += GRAIN
        spans.append((min(max(start, 0), 255 * GRAIN), length))
    (x, width), (y, height) = spans
    return Rect(x, y, width, height)


def coded_patch(miss: F32Array, mask: F32Array, rect: Rect) -> U8Array:
    """The patch that is coded, [height, width, 3]: half the difference plus 128."""
    return np.asarray(np.rint(np.clip(without_light(miss, mask, rect) * 127.5 + 128, 0, 255)), np.uint8)


def without_light(miss: F32Array, mask: F32Array, rect: Rect) -> F32Array:
    """A difference [S, S, 3] in a rectangle, less the plane that is nearest to its rim; faded out."""
    height, width = miss.shape[:2]
    ys = np.clip(np.arange(rect.y, rect.y + rect.height), 0, height - 1)
    xs = np.clip(np.arange(rect.x, rect.x + rect.width), 0, width - 1)
    patch, share = miss[np.ix_(ys, xs)], mask[np.ix_(ys, xs)]
    y, x = np.mgrid[: rect.height, : rect.width]
    axes = np.stack([np.ones_like(x), x / rect.width - 0.5, y / rect.height - 0.5], -1).reshape(-1, 3)
    rim = (share * (1 - share)).reshape(-1, 1)
    normal = (axes * rim).T @ axes + np.diag([1e-3, 1.0, 1.0]) * max(float(rim.sum()), 1e-3) * 0.02
    plane = np.linalg.solve(normal, (axes * rim).T @ patch.reshape(-1, 3))
    patch = (patch - (axes @ plane).reshape(patch.shape)) * np.clip(share / 0.25, 0, 1)[..., None]
    return np.asarray(patch, np.float32)


def _span(held: np.ndarray) -> slice:
    """From the first to the last place of [N] that is held; empty if none is."""
    there = np.flatnonzero(held)
    return slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)
