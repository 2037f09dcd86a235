"""The few-shot adaptive vid2vid generator: its stages in order, for training and for decoding.

Wang, Liu, Tao, Liu, Kautz, Catanzaro, "Few-shot Video-to-Video Synthesis", NeurIPS 2019. The geometry that
the keypoints determine (label maps, motion field) is given to it; it learns what keypoints do not tell.
:mod:`facecodec.generator.streaming` is how the decoder calls it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.errors import ShapeError
from facecodec.generator import compose, flow, refine
from facecodec.generator.adapt import Adapt, Adaptation, attention
from facecodec.generator.embed import LABELS, Label
from facecodec.generator.hallucinate import HYPOTHESES, Hallucinate
from facecodec.generator.layers import split
from facecodec.generator.patches import lay_over
from facecodec.generator.profile import Profile
from facecodec.generator.restore import Restorer
from facecodec.generator.warp import warp

REACH_OUTSIDE = 0.05
"""Largest change that the networks may make to the warp outside the face, in parts of full scale."""
SIZE_MULTIPLE = 16
"""Pictures must be a multiple of this wide."""


class References(NamedTuple):
    """K reference pictures for each of B samples.

    Attributes:
        pictures: [B, K, 3, S, S] in [0, 1], after the post filter.
        labels: [B, K, LABELS, S/2, S/2].
        meshes: [B, K, 478, 3], crop units.
    """

    pictures: Tensor
    labels: Tensor
    meshes: Tensor


class FrameInputs(NamedTuple):
    """What is known of B frames.

    Attributes:
        mesh: [B, 478, 3], crop units.
        label: [B, LABELS, S/2, S/2].
        fields: motion field into each reference, [B, K, S, S, 2], crop units.
        previous: previous output, [B, 3, S, S]; None for none.
        previous_field: where each pixel looks in it, [B, S, S, 2], crop units.
        previous_valid: [B], 1 where there is a previous output made from the same reference, else 0.
        patches: region patches in their places, [B, 4, S, S]: RGB times mask, and the mask; None for none.
        laid: they are laid over the warped reference, too, so that it is changed from there.
    """

    mesh: Tensor
    label: Tensor
    fields: Tensor
    previous: Tensor | None = None
    previous_field: Tensor | None = None
    previous_valid: Tensor | None = None
    patches: Tensor | None = None
    laid: bool = False


class Synthesis(NamedTuple):
    """What the generator makes of B frames, or of windows of them.

    Attributes:
        picture: [B, 3, h, w], about [0, 1]: not clamped.
        hallucinated: [B, 3, h, w].
        warped: [B, 3, h, w], the warped reference, without patches.
        masks: [B, 5, h, w], weights of the hypotheses, sum 1.
        residual: [B K, 2, S/8, S/8], correction of the motion fields, crop units.
    """

    picture: Tensor
    hallucinated: Tensor
    warped: Tensor
    masks: Tensor
    residual: Tensor


class _Window(NamedTuple):
    """A square of each picture: top left corners [B, 2] (y, x) and side, in pixels."""

    corners: list[tuple[int, int]]
    size: int

    def cut(self, planes: Tensor, scale: int = 1) -> Tensor:
        """The windows of planes [B, C, S / scale, S / scale]: [B, C, size / scale, size / scale]."""
        side = self.size // scale
        parts = []
        for plane, (top, left) in zip(planes, self.corners, strict=True):
            y, x = top // scale, left // scale
            parts.append(plane[:, y : y + side, x : x + side])
        return torch.stack(parts)


class AdaptiveGenerator(nn.Module):
    """embed (outside) -> adapt -> flow and refine -> warp -> hallucinate -> compose.

    Args:
        profile: widths; see :data:`facecodec.generator.profile.PROFILES`.

    Attributes:
        restorer: the post filter of reference pictures, see :class:`Restorer`.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.profile = profile
        self.restorer = Restorer(profile.restore, profile.restore_blocks)
        self.refine = refine.Refine(profile.features, profile.refine)
        self.hallucinate = Hallucinate(profile)
        sizes = tuple(spade.kernel_size for spade in self.hallucinate.spades())
        self.weight_generator = Adapt(profile, sizes)

    def adapt(self, references: References) -> Adaptation:
        """Run the per-reference part.

        Raises:
            ShapeError: the pictures are not square or their side is no multiple of 16.
        """
        side = references.pictures.shape[-1]
        if references.pictures.ndim != 5 or side % SIZE_MULTIPLE or references.pictures.shape[-2] != side:
            raise ShapeError("references", "[B, K, 3, S, S], S % 16 = 0", tuple(references.pictures.shape))
        adaptation: Adaptation = self.weight_generator(*references)
        return adaptation

    def synthesise(
        self,
        adaptation: Adaptation,
        references: References,
        frame: FrameInputs,
        windows: Tensor | None = None,
        window_size: int = 128,
    ) -> Synthesis:
        """Make frames.

        Args:
            adaptation: of ``references``.
            references: the reference pictures.
            frame: what is known of the frames.
            windows: top left corners (y, x) of training windows, [B, 2] int64, multiples of 16; None makes
                whole frames.
            window_size: side of the windows, a multiple of 16.
        """
        window = None
        if windows is not None:
            window = _Window([(int(y), int(x)) for y, x in windows.tolist()], window_size)
        share = attention(adaptation.keys, frame.mesh)
        fields, features, residual = self._flow(adaptation, references, frame, share)
        planes = fields.permute(0, 1, 4, 2, 3).flatten(1, 2)
        if window is not None:
            planes, features = window.cut(planes), window.cut(features, 4)
        planes = planes.reshape(-1, 2, *planes.shape[2:])
        warped = _mix(warp(references.pictures.flatten(0, 1), planes.permute(0, 2, 3, 1)), share)
        plain = warped
        if frame.laid and frame.patches is not None:
            warped = lay_over(plain, frame.patches if window is None else window.cut(frame.patches))
        half = functional.avg_pool2d(planes, 2)
        seen = _mix(_look(references.labels.flatten(0, 1), half), share)
        bent = _mix(flow.stretch(half), share)
        label = frame.label if window is None else window.cut(frame.label, 2)
        hypotheses, validity = _others(references, frame, share, window)
        pictures = [functional.pixel_unshuffle(p - 0.5, 2) for p in (warped, *hypotheses)]
        halves = functional.avg_pool2d(validity, 2)
        kernels = [(share[..., None] * kernel).sum(1) for kernel in adaptation.kernels]
        correction, logits = self.hallucinate(
            torch.cat([*pictures, halves], 1), torch.cat([label, seen, bent], 1), features, kernels
        )
        hallucinated = warped + _within_reach(correction.float(), label)
        weights = compose.masks(logits, validity[:, :1], validity[:, 1:])
        picture = compose.blend(weights, [warped, *hypotheses, hallucinated])
        return Synthesis(picture, hallucinated, plain, weights, residual)

    def _flow(
        self, adaptation: Adaptation, references: References, frame: FrameInputs, share: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refined fields [B, K, S, S, 2], warped features [B, F, S/4, S/4], residual."""
        count, size = frame.fields.shape[1:3]
        fields = frame.fields.flatten(0, 1)
        quarter = functional.avg_pool2d(fields.permute(0, 3, 1, 2), 4)
        features = _look(adaptation.features.flatten(0, 1), quarter)
        seen = _look(functional.avg_pool2d(references.labels.flatten(0, 1), 2), quarter)
        label = functional.avg_pool2d(frame.label, 2).repeat_interleave(count, 0)
        shift = quarter - _places(quarter)
        residual = self.refine(features, label, seen, shift)
        moved = fields + refine.enlarge(residual, size)
        return split(moved, count), _mix(features, share), residual


def _within_reach(correction: Tensor, label: Tensor) -> Tensor:
    """Hold a correction [B, 3, h, w] down outside the face, given the label map [B, LABELS, h/2, w/2].

    Eyes and mouths are alike in all people; what lies around a face is not, and must not be made up.
    """
    face = functional.interpolate(label[:, Label.FACE, None], scale_factor=2.0, mode="bilinear")
    limit = face + REACH_OUTSIDE
    return torch.minimum(torch.maximum(correction, -limit), limit)


def _places(planes: Tensor) -> Tensor:
    """Pixel centres (x, y) of planes [B, C, h, w] in crop units: [1, 2, h, w]."""
    height, width = planes.shape[2:]
    y = (torch.arange(height, device=planes.device) + 0.5) / height
    x = (torch.arange(width, device=planes.device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


def _look(planes: Tensor, field: Tensor) -> Tensor:
    """Planes [N, C, h, w] along a field [N, 2, h', w'], bilinearly, in float32."""
    grid = field.float().permute(0, 2, 3, 1) * 2 - 1
    return functional.grid_sample(planes.float(), grid, "bilinear", "border", align_corners=False)


def _mix(planes: Tensor, share: Tensor) -> Tensor:
    """Planes [B K, C, h, w] of K references by their shares [B, K]: [B, C, h, w]."""
    if share.shape[1] == 1:
        return planes
    total: Tensor = (split(planes, share.shape[1]) * share[..., None, None, None]).sum(1)
    return total


def _others(
    references: References, frame: FrameInputs, share: Tensor, window: _Window | None
) -> tuple[list[Tensor], Tensor]:
    """Reference unmoved, previous output and patches, [B, 3, h, w] each; validity of the last two."""
    still = _mix(references.pictures.flatten(0, 1), share)
    still = still if window is None else window.cut(still)
    nothing = torch.zeros_like(still[:, :1])
    previous, previous_valid = still, nothing
    if frame.previous is not None and frame.previous_field is not None and frame.previous_valid is not None:
        field = frame.previous_field.permute(0, 3, 1, 2)
        field = field if window is None else window.cut(field)
        valid = frame.previous_valid.reshape(-1, 1, 1, 1).to(still.dtype)
        seen = warp(frame.previous, field.permute(0, 2, 3, 1))
        previous, previous_valid = valid * seen + (1 - valid) * still, nothing + valid
    patch, patch_valid = still, nothing
    if frame.patches is not None:
        shown = frame.patches if window is None else window.cut(frame.patches)
        patch_valid = shown[:, 3:]
        patch = torch.where(patch_valid > 0, shown[:, :3] / patch_valid.clamp(min=1e-3), still)
    return [still, previous, patch], torch.cat([previous_valid, patch_valid], 1)


__all__ = [
    "HYPOTHESES",
    "LABELS",
    "AdaptiveGenerator",
    "FrameInputs",
    "References",
    "Synthesis",
]
