"""Discriminators of pictures at several scales and of short runs of frames, and the losses of both sides.

Both see the label map of the face beside the picture, as in vid2vid and SPADE (Wang et al. 2018, Park et
al. 2019), so that they judge whether the picture is what the keypoints say and not only whether it is a
face. The temporal one looks at low resolution, as in DVD-GAN (Clark et al. 2019): what flickers or lags
shows there. Spectral norm keeps them in bounds (Miyato et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from facecodec.errors import ConfigError, ShapeError
from facecodec.train.config import TrainConfig

_SLOPE = 0.2
_KERNEL = 4


class Judgement(NamedTuple):
    """What one discriminator says.

    Attributes:
        score: [B, 1, h, w], above 0 for real.
        features: inner layers, first to last.
    """

    score: Tensor
    features: list[Tensor]


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    conv: nn.Module = spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2))
    return conv


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of pictures, given a label map of half their size.

    The labels join after the first convolution, which halves the picture: nothing needs resizing.

    Args:
        channels: channels of the picture (3, or 3 for each frame of a run).
        labels: channels of the label map.
        width: channels of the first layer; doubled by each further one, up to eight times.
        layers: halving layers, 2 or more; each doubles the size of the patches.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, channels: int, labels: int, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        for name, value, least in (("channels", channels, 1), ("labels", labels, 0), ("width", width, 1)):
            if value < least:
                raise ConfigError(name, value, f"at least {least}")
        if layers < 2:
            raise ConfigError("layers", layers, "at least 2")
        widths = [width * min(2**i, 8) for i in range(layers)]
        self.first = _conv(channels, width, _KERNEL, 2)
        inner = [
            _conv(before + (labels if i == 0 else 0), after, _KERNEL, 2)
            for i, (before, after) in enumerate(pairwise(widths))
        ]
        self.inner = nn.ModuleList([*inner, _conv(widths[-1], widths[-1], 3, 1)])
        self.last = _conv(widths[-1], 1, 3, 1)

    def forward(self, picture: Tensor, label: Tensor) -> Judgement:
        """Judge pictures.

        Args:
            picture: [B, channels, h, w] in [0, 1], h and w divisible by ``2 ** layers``.
            label: [B, labels, h / 2, w / 2].

        Returns:
            Scores and the features of every layer but the last.

        Raises:
            ShapeError: the label map has not half the picture's size.
        """
        if label.shape[2] * 2 != picture.shape[2] or label.shape[3] * 2 != picture.shape[3]:
            expected = f"[B, L, {picture.shape[2] // 2}, {picture.shape[3] // 2}]"
            raise ShapeError("label map", expected, tuple(label.shape))
        x = functional.leaky_relu(self.first(picture * 2 - 1), _SLOPE)
        features = [x]
        x = torch.cat([x, label.to(x.dtype)], 1)
        for layer in self.inner:
            x = functional.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return Judgement(self.last(x), features)


class PictureDiscriminator(nn.Module):
    """Patch discriminators on the picture and on halved copies of it.

    Args:
        labels: channels of the label map.
        width: channels of the first layer of each.
        scales: how many discriminators; each sees half the size of the one before.
        layers: halving layers of each.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, labels: int, width: int = 32, scales: int = 2, layers: int = 3) -> None:
        super().__init__()
        if scales < 1:
            raise ConfigError("scales", scales, "at least 1")
        self.scales = nn.ModuleList(PatchDiscriminator(3, labels, width, layers) for _ in range(scales))

    def forward(self, picture: Tensor, label: Tensor) -> list[Judgement]:
        """Judge pictures [B, 3, h, w] in [0, 1] with label maps [B, labels, h / 2, w / 2].

        Returns:
            One judgement for each scale, the largest first.

        Raises:
            ShapeError: the label map has not half the picture's size.
        """
        judgements = []
        for i, scale in enumerate(self.scales):
            if i:
                picture, label = functional.avg_pool2d(picture, 2), functional.avg_pool2d(label, 2)
            judgements.append(scale(picture, label))
        return judgements


class TemporalDiscriminator(nn.Module):
    """Judges short runs of frames at half their size.

    It sees the frames and their differences stacked on the channels, and all their label maps.

    Args:
        labels: channels of a label map.
        frames: frames of a run, 2 to 4.
        width: channels of the first layer.
        layers: halving layers.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, labels: int, frames: int = 3, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        if not 2 <= frames <= 4:
            raise ConfigError("frames", frames, "2 to 4")
        self.frames = frames
        self.patches = PatchDiscriminator(3 * (2 * frames - 1), labels * frames, width, layers)

    def forward(self, pictures: Tensor, labels: Tensor) -> list[Judgement]:
        """Judge all runs of ``frames`` consecutive frames in clips.

        Args:
            pictures: [B, T, 3, h, w] in [0, 1], T of ``frames`` or more.
            labels: [B, T, labels, h / 2, w / 2].

        Returns:
            A list of one judgement, for B * (T - frames + 1) runs.

        Raises:
            ShapeError: too few frames, or label maps that do not belong to them.
        """
        if pictures.ndim != 5 or pictures.shape[1] < self.frames:
            raise ShapeError("frames", f"[B, {self.frames} or more, 3, h, w]", tuple(pictures.shape))
        if labels.ndim != 5 or labels.shape[:2] != pictures.shape[:2]:
            raise ShapeError("label maps", f"{tuple(pictures.shape[:2])} and 3 more", tuple(labels.shape))
        seen, told = self._runs(_halved(pictures)), self._runs(_halved(labels))
        # Half a difference about mid grey: it has the range of a picture.
        moved = 0.5 + 0.5 * (seen[:, 1:] - seen[:, :-1])
        stacked = torch.cat([seen.flatten(1, 2), moved.flatten(1, 2)], 1)
        return [self.patches(stacked, told.flatten(1, 2))]

    def _runs(self, clip: Tensor) -> Tensor:
        """[B, T, ...] to all runs, [B * (T - frames + 1), frames, ...]."""
        starts = range(clip.shape[1] - self.frames + 1)
        return torch.cat([clip[:, start : start + self.frames] for start in starts])


def _halved(clip: Tensor) -> Tensor:
    """[B, T, C, h, w] at half the size."""
    batch, frames, channels, height, width = clip.shape
    small = functional.avg_pool2d(clip.flatten(0, 1), 2)
    return small.reshape(batch, frames, channels, height // 2, width // 2)


class CriticsNet(nn.Module):
    """The discriminators of single pictures and, where wanted, of runs of frames.

    Args:
        config: of the run.
        labels: channels of the label maps.
    """

    def __init__(self, config: TrainConfig, labels: int) -> None:
        super().__init__()
        wanted = config.critics
        self.pictures = PictureDiscriminator(labels, wanted.width, wanted.scales, wanted.layers)
        self.runs = (
            TemporalDiscriminator(labels, wanted.frames, wanted.width, wanted.layers)
            if wanted.frames
            else None
        )

    def forward(self, clips: Tensor, labels: Tensor) -> tuple[list[Judgement], list[Judgement]]:
        """Judge clips.

        Args:
            clips: [B, T, 3, h, w].
            labels: [B, T, L, h / 2, w / 2].

        Returns:
            Judgements of the pictures and of the runs; none of runs where clips are too short for them.
        """
        of_pictures = self.pictures(clips.flatten(0, 1), labels.flatten(0, 1))
        if self.runs is None or clips.shape[1] < self.runs.frames:
            return of_pictures, []
        return of_pictures, self.runs(clips, labels)


def discriminator_hinge(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Hinge loss of discriminators: scores of real pictures above 1, of made ones below -1. Scalar."""
    losses = [
        functional.relu(1 - r.score.float()).mean() + functional.relu(1 + m.score.float()).mean()
        for r, m in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_hinge(made: Sequence[Judgement]) -> Tensor:
    """Hinge loss of the generator: the mean score of what it made, negated. Scalar, any sign."""
    return torch.stack([-judgement.score.float().mean() for judgement in made]).mean()


def feature_matching(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Mean absolute difference of discriminator features; those of real pictures take no gradient."""
    losses = [
        (m.float() - r.detach().float()).abs().mean()
        for of_real, of_made in zip(real, made, strict=True)
        for r, m in zip(of_real.features, of_made.features, strict=True)
    ]
    return torch.stack(losses).mean()
