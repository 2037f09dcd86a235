"""Training batches of the generator, and how samples become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from facecodec.generator.adaptive import FrameInputs, References


class TrainingBatch(NamedTuple):
    """B samples of T frames with K reference pictures each.

    Attributes:
        references: as the decoder gets them, before the post filter.
        q_idx: [B, K], how coarsely each reference picture was coded, 1 to 255; 0 where it is an original.
        frames: T frames, in order. ``previous`` holds the true previous frame, of the first frame one that
            looks as if it was put out; training over several frames puts the generator's output in its place.
            ``patches`` fit the first reference picture before the post filter.
        targets: [B, T, 3, S, S] in [0, 1].
        windows: [W B, 2] int64, top row and left column of W training windows of each sample, the first
            window of every sample first; None for whole pictures.
    """

    references: References
    q_idx: Tensor
    frames: tuple[FrameInputs, ...]
    targets: Tensor
    windows: Tensor | None


class Sample(NamedTuple):
    """One sample; the tensors are those of a batch without its first dimension."""

    pictures: Tensor
    reference_labels: Tensor
    reference_meshes: Tensor
    q_idx: Tensor
    meshes: Tensor
    labels: Tensor
    fields: Tensor
    previous: Tensor
    previous_fields: Tensor
    previous_valid: Tensor
    patches: Tensor | None
    targets: Tensor
    window: Tensor


def collate(samples: Sequence[Sample], windows: bool) -> TrainingBatch:
    """Stack samples that have the same numbers of frames and references; keep their windows if wanted."""

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(sample, name) for sample in samples])

    meshes, labels, fields = stack("meshes"), stack("labels"), stack("fields")
    previous, steps, valid = stack("previous"), stack("previous_fields"), stack("previous_valid")
    patches = None if samples[0].patches is None else stack("patches")
    frames = tuple(
        FrameInputs(
            meshes[:, t],
            labels[:, t],
            fields[:, t],
            previous[:, t],
            steps[:, t],
            valid[:, t],
            None if patches is None else patches[:, t],
            laid=True,
        )
        for t in range(meshes.shape[1])
    )
    references = References(stack("pictures"), stack("reference_labels"), stack("reference_meshes"))
    where = stack("window") if windows else None
    return TrainingBatch(references, stack("q_idx"), frames, stack("targets"), where)
