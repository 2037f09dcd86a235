"""What the keypoints alone determine of a training sample: label maps and motion fields, on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facecodec.generator.embed import label_map
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.patches import region_patches
from facecodec.types import F32Array

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
    """Label maps and motion fields, with the work on reference pictures kept.

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
    def patches(self, sources: Sequence[tuple[Tensor, F32Array] | None], meshes: F32Array) -> Tensor:
        """Region patches bent into place.

        Args:
            sources: picture [3, size, size] and mesh that the right eye, the left eye and the mouth are taken
                from; None for no patch.
            meshes: of the frames, [T, 478, 3].

        Returns:
            [T, 4, size, size]: RGB times mask, and the mask.
        """
        if all(source is None for source in sources):
            return torch.zeros(len(meshes), 4, self.size, self.size)
        states = [
            None if source is None else replace(self._state(source[1]), picture=source[0][None])
            for source in sources
        ]
        return region_patches(self._warp, states, torch.from_numpy(meshes), self.size)
