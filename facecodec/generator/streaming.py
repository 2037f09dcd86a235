"""The learned generator as the decoder calls it: references prepared once, frames in order, open state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from facecodec.errors import ConfigError
from facecodec.generator import flow, raster, refine
from facecodec.generator.adapt import Adaptation
from facecodec.generator.adaptive import SIZE_MULTIPLE, AdaptiveGenerator, FrameInputs, References
from facecodec.generator.embed import label_map
from facecodec.generator.layers import split
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.restore import COARSEST
from facecodec.generator.warp import warp

MAX_REFERENCES = 4
"""Most reference pictures that a frame is made from."""
_NETWORK_SIZE = 256
"""Above this size the networks see a smaller picture, and their correction is enlarged."""


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveReference:
    """What is known of one reference picture; made by :meth:`Stream.prepare`.

    Attributes:
        geometry: the picture after the post filter, and its mesh, for motion fields.
        references: the same as the networks see it, [1, 1, ...].
        adaptation: features and kernels made from it.
    """

    geometry: ReferenceState
    references: References
    adaptation: Adaptation


class StreamState:
    """What goes from frame to frame: the last output, and where it looked.

    Attributes:
        previous: [1, 3, S, S], or None before the first frame.
        field: its motion field, [1, S, S, 2].
        reference: the reference that it was made from.
    """

    __slots__ = ("field", "previous", "reference")

    def __init__(self) -> None:
        self.previous: Tensor | None = None
        self.field: Tensor | None = None
        self.reference: AdaptiveReference | None = None

    def reset(self) -> None:
        """Forget: the next frame is made from its reference alone."""
        self.previous = self.field = self.reference = None


class Stream:
    """Shows frames with a learned generator.

    Args:
        model: the networks, in eval mode.
        sequential: feed each output to the next frame; frames then depend on the one before.

    Attributes:
        sequential: whether frames of a group must come in order.
    """

    def __init__(self, model: AdaptiveGenerator, *, sequential: bool) -> None:
        self.model, self.sequential = model, sequential
        device = next(model.parameters()).device
        self._warp = WarpGenerator().to(device)

    def prepare(self, picture: Tensor, mesh: Tensor, q_idx: int = COARSEST) -> AdaptiveReference:
        """Take in a reference picture.

        Args:
            picture: as decoded, [3, S, S] in [0, 1], S a multiple of 16.
            mesh: [478, 3], crop units.
            q_idx: how coarsely it was coded, 1 to 255; 0: not at all.

        Raises:
            ShapeError: the shapes are wrong.
        """
        state = self._warp.prepare(picture, mesh)
        coarse = torch.tensor([q_idx], device=state.picture.device)
        restored = self.model.restorer(state.picture, coarse).float().clamp(0, 1)
        small = _shrink(restored)
        label = label_map(state.mesh[None], small.shape[-1] // 2)
        references = References(small[None], label[None], state.mesh[None, None])
        adaptation = self.model.adapt(references)
        geometry = ReferenceState(restored, state.mesh, state.trust, state.eyes)
        return AdaptiveReference(geometry, references, adaptation)

    def geometry(self, reference: AdaptiveReference) -> ReferenceState:
        """The filtered picture of a reference, and its mesh: what patches shall fit."""
        return reference.geometry

    def patch_side(self, size: int) -> int:
        """Side of the region patches that go with reference pictures of a side, pixels."""
        return size // _shrinking(size)

    def new_state(self) -> StreamState:
        """The state before the first frame."""
        return StreamState()

    def render(
        self,
        references: Sequence[AdaptiveReference],
        mesh: Tensor,
        scene: Tensor | None,
        state: StreamState,
        patches: Tensor | None = None,
    ) -> Tensor:
        """Make consecutive frames.

        Args:
            references: 1 to 4, all of the same size; the first is the one that ``scene`` belongs to.
            mesh: [N, 478, 3], crop units.
            scene: offsets of the scene points, [N, G, G, 2], or None.
            state: of the stream; it is changed where the generator is sequential.
            patches: region patches in their places, [N, 4, S', S'] with S' at most 256, or None. They are
                laid over the warped reference, and a hypothesis besides.

        Returns:
            [N, 3, S, S] float32 in [0, 1].

        Raises:
            ConfigError: no references, or more than 4.
            ShapeError: ``mesh`` or ``scene`` has the wrong shape.
        """
        if not 1 <= len(references) <= MAX_REFERENCES:
            raise ConfigError("references", len(references), f"1 to {MAX_REFERENCES}")
        raster.check_mesh(mesh)
        mesh = mesh.float()
        ids = self._warp.winners(mesh, references[0].geometry.picture.shape[-1])
        fields = self._fields(references, mesh, scene, ids)
        frame = self._inputs(references, mesh, fields, ids, patches)
        # On a CPU one after another, too: a frame's feature maps then stay in the cache.
        step = 1 if self.sequential or not mesh.is_cuda else len(mesh)
        shown = []
        for i in range(0, len(mesh), step):
            part = slice(i, i + step)
            inputs = FrameInputs(
                frame.mesh[part],
                frame.label[part],
                frame.fields[part],
                patches=None if patches is None else patches[part],
                laid=True,
            )
            if self.sequential:
                inputs = self._with_previous(inputs, fields[part, 0], references[0], state)
            picture = self._show(references, inputs, fields[part])
            if self.sequential:
                state.previous, state.field, state.reference = picture, fields[part, 0], references[0]
            shown.append(picture)
        return torch.cat(shown)

    def _fields(
        self, references: Sequence[AdaptiveReference], mesh: Tensor, scene: Tensor | None, ids: Tensor
    ) -> Tensor:
        """Motion fields at the picture's size, [N, K, S, S, 2]."""
        size = references[0].geometry.picture.shape[-1]
        first = self._warp.motion_field(references[0].geometry, mesh, scene, size, ids)
        rest = [self._warp.motion_field(r.geometry, mesh, None, size, ids) for r in references[1:]]
        return torch.stack([first, *rest], 1)

    def _inputs(
        self,
        references: Sequence[AdaptiveReference],
        mesh: Tensor,
        fields: Tensor,
        ids: Tensor,
        patches: Tensor | None,
    ) -> FrameInputs:
        size = references[0].references.pictures.shape[-1]
        small, known = fields, ids if fields.shape[2] == size else None
        if fields.shape[2] != size:
            planes = fields.permute(0, 1, 4, 2, 3).flatten(0, 1)
            small = functional.avg_pool2d(planes, fields.shape[2] // size)
            small = split(small.permute(0, 2, 3, 1), fields.shape[1])
        return FrameInputs(mesh, label_map(mesh, size // 2, known), small, patches=patches)

    def _with_previous(
        self, frame: FrameInputs, field: Tensor, reference: AdaptiveReference, state: StreamState
    ) -> FrameInputs:
        if state.previous is None or state.field is None or state.reference is not reference:
            return frame
        where = flow.previous_field(field, state.field).permute(0, 3, 1, 2)
        previous, ratio = state.previous, field.shape[1] // frame.fields.shape[2]
        if ratio > 1:
            where, previous = functional.avg_pool2d(where, ratio), functional.avg_pool2d(previous, ratio)
        valid = torch.ones(len(field), device=field.device)
        return frame._replace(
            previous=previous, previous_field=where.permute(0, 2, 3, 1), previous_valid=valid
        )

    def _show(self, references: Sequence[AdaptiveReference], frame: FrameInputs, fields: Tensor) -> Tensor:
        count = len(frame.mesh)
        stacked = References(*(_gather([r.references[i] for r in references], count) for i in range(3)))
        adapted = [r.adaptation for r in references]
        kernels = zip(*(a.kernels for a in adapted), strict=True)
        adaptation = Adaptation(
            _gather([a.features for a in adapted], count),
            tuple(_gather(list(kernel), count) for kernel in kernels),
            _gather([a.keys for a in adapted], count),
        )
        made = self.model.synthesise(adaptation, stacked, frame)
        size = fields.shape[2]
        if size == made.picture.shape[-1]:
            return made.picture.clamp(0, 1)
        # The full-size warp, and what the networks changed about the small one.
        first = references[0].geometry.picture
        moved = fields[:, 0] + refine.enlarge(split(made.residual, len(references))[:, 0], size)
        full = warp(first, moved)
        change = functional.interpolate(
            made.picture - made.warped, (size, size), mode="bilinear", align_corners=False
        )
        return (full + change).clamp(0, 1)


def _shrink(picture: Tensor) -> Tensor:
    """The picture as the networks see it."""
    ratio = _shrinking(picture.shape[-1])
    return functional.avg_pool2d(picture, ratio) if ratio > 1 else picture


def _shrinking(size: int) -> int:
    """How many times smaller than a picture's side the networks see it."""
    ratio = size // _NETWORK_SIZE
    return ratio if ratio > 1 and size % (ratio * SIZE_MULTIPLE) == 0 else 1


def _gather(parts: list[Tensor], count: int) -> Tensor:
    """[1, 1, ...] of each of K references as [count, K, ...]."""
    joined = torch.cat(parts, 1)
    return joined.expand(count, *joined.shape[1:])


__all__ = ["MAX_REFERENCES", "AdaptiveReference", "Stream", "StreamState"]
