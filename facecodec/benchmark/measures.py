"""The measures of a report: what they are called, and which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from facecodec.benchmark.quality import Quality

Group = Literal["Perception", "Face", "Fidelity", "Time and worst frames"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of quality that is drawn over rate.

    Attributes:
        field: of :class:`facecodec.benchmark.quality.Quality`.
        title: what people call it, with its unit.
        short: the same for narrow columns.
        digits: after the point.
        higher_is_better: as for PSNR.
        group: what it is listed under.
    """

    field: str
    title: str
    short: str
    digits: int
    higher_is_better: bool
    group: Group

    def of(self, quality: Quality) -> float:
        """Its value; NaN where it was not measured."""
        value = getattr(quality, self.field)
        return math.nan if value is None else float(value)

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one > other if self.higher_is_better else one < other


SHOWN = (
    Measure("lpips", "LPIPS-alex", "LPIPS", 3, False, "Perception"),
    Measure("lpips_vgg", "LPIPS-vgg", "LPIPS-vgg", 3, False, "Perception"),
    Measure("dists", "DISTS", "DISTS", 3, False, "Perception"),
    Measure("vmaf", "VMAF (not enlarged)", "VMAF", 1, True, "Perception"),
    Measure("lpips_eyes", "LPIPS-alex around the eyes", "LPIPS eyes", 3, False, "Face"),
    Measure("lpips_mouth", "LPIPS-alex around the mouth", "LPIPS mouth", 3, False, "Face"),
    Measure("landmark_px", "landmark distance, px at 256", "landmarks", 2, False, "Face"),
    Measure("eyes", "eye openness, correlation", "eyes open", 2, True, "Face"),
    Measure("mouth", "mouth openness, correlation", "mouth open", 2, True, "Face"),
    Measure("identity", "identity, cosine", "identity", 3, True, "Face"),
    Measure("psnr", "PSNR of RGB, dB", "PSNR", 2, True, "Fidelity"),
    Measure("psnr_y", "PSNR of luma, dB", "PSNR-Y", 2, True, "Fidelity"),
    Measure("ssim_y", "SSIM of luma", "SSIM-Y", 3, True, "Fidelity"),
    Measure("ssim_rgb", "SSIM of RGB", "SSIM", 3, True, "Fidelity"),
    Measure("ms_ssim", "MS-SSIM of luma", "MS-SSIM", 3, True, "Fidelity"),
    Measure("temporal", "temporal error, grey levels", "temporal", 2, False, "Time and worst frames"),
    Measure("flicker", "flicker in static regions, levels", "flicker", 2, False, "Time and worst frames"),
    Measure(
        "lpips_worst5", "LPIPS-alex, worst 5 % of frames", "LPIPS 5 %", 3, False, "Time and worst frames"
    ),
    Measure("psnr_worst5", "PSNR, worst 5 % of frames, dB", "PSNR 5 %", 2, True, "Time and worst frames"),
)
"""What is drawn and compared; the share of tracked faces, which has a ceiling, is in the CSV alone."""


def measure_of(field: str) -> Measure:
    """The measure of a field.

    Raises:
        KeyError: it is not shown.
    """
    return {measure.field: measure for measure in SHOWN}[field]
