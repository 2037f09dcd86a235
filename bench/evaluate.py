"""All measures of one decoded clip against its source."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import numpy as np
from clips import F32Array, U8Array, openness, track_clip

from facecodec.metrics.landmark import expression_boxes, expression_correlation, landmark_distance
from facecodec.metrics.perceptual import Lpips
from facecodec.metrics.psnr import psnr, psnr_y
from facecodec.metrics.ssim import ssim_rgb, ssim_y
from facecodec.metrics.temporal import temporal_error

PSNR_CAP = 100.0
"""PSNR of a frame that is equal to its source, where frames are averaged."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the frames of a clip.

    Attributes:
        psnr: dB over RGB.
        psnr_y: dB of luma.
        ssim_y: SSIM of luma.
        ssim_rgb: mean SSIM of the channels.
        lpips: LPIPS-alex of every nth frame; None without weights.
        lpips_worst5: the same, mean of its worst 5 % (at least one frame).
        lpips_eyes: LPIPS-alex in the box around both eyes.
        lpips_mouth: LPIPS-alex in the box around the mouth.
        landmark_px: distance of re-tracked landmarks, pixels at 256.
        eyes: correlation of eye openness with the source.
        mouth: correlation of mouth openness with the source.
        temporal: temporal error, grey levels.
        faces: share of frames in which a face was tracked.
    """

    psnr: float
    psnr_y: float
    ssim_y: float
    ssim_rgb: float
    lpips: float | None
    lpips_worst5: float | None
    lpips_eyes: float | None
    lpips_mouth: float | None
    landmark_px: float
    eyes: float
    mouth: float
    temporal: float
    faces: float

    def as_dict(self) -> dict[str, float | None]:
        """Name to value."""
        return asdict(self)


MEASURES = tuple(field.name for field in fields(Quality))


@dataclass(frozen=True, slots=True)
class Judge:
    """Measures decoded clips against one source, whose track is made once.

    Attributes:
        source: RGB, [T, H, W, 3] uint8.
        track: the source's landmarks, see :func:`clips.track_clip`.
        lpips: the network, or None to leave LPIPS out.
        lpips_every: LPIPS is taken of every nth frame.
    """

    source: U8Array
    track: F32Array
    lpips: Lpips | None
    lpips_every: int

    def measure(self, decoded: U8Array, on_frame: Callable[[], None] = lambda: None) -> Quality:
        """Measure a decoded clip.

        Args:
            decoded: the source's shape.
            on_frame: called after each frame.

        Raises:
            ShapeError: the shapes differ.
        """
        fidelity = []
        perceptual: list[tuple[float, float, float]] = []
        for i, (x, y) in enumerate(zip(self.source, decoded, strict=True)):
            fidelity.append(
                (
                    min(psnr(x, y), PSNR_CAP),
                    min(psnr_y(x, y), PSNR_CAP),
                    ssim_y(x, y),
                    ssim_rgb(x, y),
                )
            )
            if self.lpips is not None and i % self.lpips_every == 0:
                perceptual.append(self._lpips(self.lpips, i, x, y))
            on_frame()
        track = track_clip(decoded)
        eyes, mouth = openness(self.track)
        decoded_eyes, decoded_mouth = openness(track)
        whole, in_eyes, in_mouth = zip(*perceptual, strict=True) if perceptual else ((), (), ())
        worst = sorted(whole, reverse=True)[: max(1, math.ceil(0.05 * len(whole)))]
        means = np.mean(fidelity, axis=0)
        return Quality(
            psnr=float(means[0]),
            psnr_y=float(means[1]),
            ssim_y=float(means[2]),
            ssim_rgb=float(means[3]),
            lpips=_mean(whole),
            lpips_worst5=_mean(worst),
            lpips_eyes=_mean(in_eyes),
            lpips_mouth=_mean(in_mouth),
            landmark_px=landmark_distance(self.track, track),
            eyes=expression_correlation(eyes, decoded_eyes),
            mouth=expression_correlation(mouth, decoded_mouth),
            temporal=temporal_error(self.source, decoded) if len(decoded) > 1 else math.nan,
            faces=float(np.isfinite(track).all(axis=(1, 2)).mean()),
        )

    def _lpips(self, network: Lpips, index: int, x: U8Array, y: U8Array) -> tuple[float, float, float]:
        """LPIPS of the frame, of its eyes and of its mouth (NaN where the source shows no face)."""
        whole = network.distance(x, y)
        points = self.track[index]
        if not np.isfinite(points).all():
            return whole, math.nan, math.nan
        boxes = expression_boxes(points, x.shape[1], x.shape[0])
        in_eyes, in_mouth = (network.distance(box.cut(x), box.cut(y)) for box in boxes)
        return whole, in_eyes, in_mouth


def _mean(values: tuple[float, ...] | list[float]) -> float | None:
    there = [v for v in values if math.isfinite(v)]
    return float(np.mean(there)) if there else None
