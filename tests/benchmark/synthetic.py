"""A run as it might come out, made of formulae: no codec is called."""

from __future__ import annotations

import math
from dataclasses import replace

from facecodec.benchmark.quality import Quality
from facecodec.benchmark.results import Cost, LeftOut, Machine, PartBytes, RatePoint, Results

# name: kbit/s at its lowest quality, bits for the PSNR of AV1, resolutions, encode fps
ANCHORS = {
    "x264-ld": (11.0, 1.9, (1, 2, 4), 95.0),
    "x264": (6.4, 1.6, (1, 2, 4), 60.0),
    "x265": (5.6, 1.35, (1, 2, 4), 12.0),
    "svt-av1": (9.5, 1.0, (1, 2, 4), 30.0),
    "vvenc": (4.2, 0.85, (1, 2), 3.0),
}


def quality_at(bits: float, talent: float, expression: float) -> Quality:
    """Quality that a codec reaches with so many bits; talent and expression help perception."""
    level = math.log2(bits)
    lpips = 0.02 + 0.55 * math.exp(-0.62 * level - talent)
    opened = 1 / (1 + math.exp(3.2 - 1.1 * level - expression))
    return Quality(
        psnr=22.0 + 3.0 * level,
        psnr_y=22.6 + 3.1 * level,
        ssim_y=1 - 0.5 * math.exp(-0.55 * level),
        ssim_rgb=1 - 0.52 * math.exp(-0.55 * level),
        lpips=lpips,
        lpips_worst5=1.5 * lpips,
        lpips_eyes=1.2 * lpips,
        lpips_mouth=1.1 * lpips,
        lpips_vgg=0.08 + 0.9 * lpips,
        dists=0.04 + 0.5 * lpips,
        identity=1 - 0.8 * lpips,
        landmark_px=0.3 + 9 * math.exp(-0.9 * level - expression),
        eyes=opened,
        mouth=min(1.0, opened + 0.02),
        temporal=3.4 - 0.3 * level,
        faces=1.0,
        psnr_worst5=20.5 + 2.9 * level,
        ms_ssim=1 - 0.3 * math.exp(-0.6 * level),
        vmaf=min(99.0, 12 * level + 8 * talent),
        flicker=0.1 + 0.5 / level,
    )


def make_results(clips: int = 3, *, vgg: bool = True, seconds: float = 10.0) -> Results:
    """A run over clips of unlike difficulty.

    Args:
        clips: how many.
        vgg: whether LPIPS-vgg was measured.
        seconds: length of each.
    """
    points: list[RatePoint] = []
    for index in range(clips):
        hard = 1.0 + 0.25 * index
        for name, (floor, cost, scales, fps) in ANCHORS.items():
            for scale in scales:
                for step, crf in enumerate((51, 45, 39, 33, 27)):
                    kbps = hard * floor * 1.75**step / scale**1.1
                    bits = kbps / hard / cost * scale**0.7
                    bits = min(bits, 60 / scale**1.6)  # enlarging has a ceiling
                    likes = 0.25 * math.sin(7 * index + cost)  # a codec suits some clips better than others
                    point = _point(f"clip_{index}", name, kbps, quality_at(bits, likes, likes), seconds)
                    points.append(_with(point, scale, f"crf {crf}", fps * scale, 0.3 / (step + 1)))
        for step, level in enumerate((20, 40, 60, 80, 95)):
            kbps = hard * 4.4 * 1.22**step
            quality = quality_at(4.0 * 1.16**step, 1.6, 3.2)
            point = _point(f"clip_{index}", "facecodec", kbps, quality, seconds)
            points.append(_with(point, 1, f"quality {level}", 34.0, 0.62))
    left = (
        LeftOut("clip_9", "", "clip_9.mp4: SHA-256 is 12ab, expected 34cd"),
        LeftOut("", "libaom", "this ffmpeg has no encoder libaom-av1"),
    )
    machine = Machine("a processor", 2, 24_000, "Linux", "3.11.2", "2.13.0", "9.0.2", "0123456789ab")
    if not vgg:
        points = [_without_vgg(p) for p in points]
    return Results("test", "facecodec", tuple(points), left, machine, "2026-01-02T03:04:05+00:00")


def _point(clip: str, codec: str, kbps: float, quality: Quality, seconds: float) -> RatePoint:
    size = round(kbps * 1000 / 8 * seconds)
    cost = Cost(1.0, 240.0, 180.0)
    frames = round(25 * seconds)
    made = (f"{codec} --preset veryslow -i {clip}.y4m", f"{codec} 1.2", "00")
    return RatePoint(clip, codec, 1, "", size, kbps, frames, 256, 256, 25.0, quality, cost, *made)


def _with(point: RatePoint, scale: int, setting: str, fps: float, still: float) -> RatePoint:
    ours = point.codec == "facecodec"
    stages = (("track", 9.5), ("scene", 6.25), ("code", 1.5)) if ours else ()
    size = point.size_bytes
    parts = PartBytes(round(0.62 * size), 0, round(0.1 * size), round(0.2 * size), round(0.05 * size), 20)
    return replace(
        point,
        scale=scale,
        setting=setting,
        still_share=still,
        cost=Cost(fps, 8 * fps, 300.0 + fps, stages),
        parts=parts if ours else PartBytes(),
    )


def _without_vgg(point: RatePoint) -> RatePoint:
    return replace(point, quality=replace(point.quality, lpips_vgg=None))
