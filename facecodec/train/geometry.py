"""What the geometry of a training sample gives: label maps, motion fields and palette entries, on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facecodec.generator.embed import label_map
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.palette import palette_patches, prepare_source
from facecodec.train.augment import resized
from facecodec.train.palettes import FramePalette
from facecodec.types import F32Array, U8Array

_KEPT_STATES = 128


class View(NamedTuple):
    """How frames relate to one reference picture.

    Attributes:
        mesh: of the reference picture, [478, 3] float32, crop units.
        scene: scene points of each frame against it, [T, G, G, 2] float32 in crop units, or None.
    """

    mesh: F32Array
    scene: F32Array | None


class Geometry:
    """Label maps, motion fields and patches, with the work on reference pictures kept.

    Args:
        size: side of the pictures in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._warp = WarpGenerator().eval()
        self._blank = torch.zeros(1).expand(3, size, size)
        self._states: OrderedDict[bytes, ReferenceState] = OrderedDict()

    @torch.no_grad()
    def labels(self, meshes: F32Array) -> Tensor:
        """Label maps of meshes [N, 478, 3]: [N, LABELS, size / 2, size / 2]."""
        return label_map(torch.from_numpy(meshes), self.size // 2)

    @torch.no_grad()
    def fields(self, view: View, meshes: F32Array) -> Tensor:
        """Motion fields of frames into a reference picture.

        Args:
            view: the reference picture.
            meshes: of the frames, [T, 478, 3].

        Returns:
            [T, size, size, 2], crop units.
        """
        scene = None if view.scene is None else torch.from_numpy(view.scene)
        state = self._state(view.mesh)
        return self._warp.motion_field(state, torch.from_numpy(meshes), scene, self.size)

    def _state(self, mesh: F32Array) -> ReferenceState:
        key = mesh.tobytes()
        if key in self._states:
            self._states.move_to_end(key)
            return self._states[key]
        state = self._warp.prepare(self._blank, torch.from_numpy(np.ascontiguousarray(mesh)))
        self._states[key] = state
        if len(self._states) > _KEPT_STATES:
            self._states.popitem(last=False)
        return state

    @torch.no_grad()
    def patches(self, picture: U8Array, mesh: F32Array, palette: FramePalette, meshes: F32Array) -> Tensor:
        """Palette entries bent into place over the reference picture, as a decoder bends them.

        Args:
            picture: the reference picture as stored, [S, S, 3], in whose pixels the entries are placed.
            mesh: its mesh, [478, 3], crop units.
            palette: entries of the reference picture, and how much of them the frames show.
            meshes: of the frames, [T, 478, 3].

        Returns:
            [T, 4, size, size]: RGB times mask, and the mask.
        """
        if not len(palette.patches):
            return torch.zeros(len(meshes), 4, self.size, self.size)
        planes = torch.from_numpy(resized(picture, self.size)).permute(2, 0, 1)[None].float() / 255
        state = replace(self._state(mesh), picture=planes)
        sources = [prepare_source(self._warp, patch, len(picture)) for patch in palette.patches]
        weights = torch.from_numpy(palette.weights).float()
        return palette_patches(self._warp, state, sources, weights, torch.from_numpy(meshes), self.size)
