"""All measures of one decoded clip against its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from facecodec.benchmark.tracking import openness, track_clip
from facecodec.errors import WeightsError
from facecodec.metrics import dists, identity
from facecodec.metrics.landmark import expression_boxes, expression_correlation, landmark_distance
from facecodec.metrics.ms_ssim import MIN_SIDE as MS_SSIM_MIN_SIDE
from facecodec.metrics.ms_ssim import ms_ssim_y
from facecodec.metrics.perceptual import Lpips, find_lpips_weights
from facecodec.metrics.psnr import psnr, psnr_y
from facecodec.metrics.ssim import ssim_rgb, ssim_y
from facecodec.metrics.temporal import static_flicker, temporal_error
from facecodec.metrics.vmaf import MIN_SIDE as VMAF_MIN_SIDE
from facecodec.metrics.vmaf import Vmaf, find_ffmpeg
from facecodec.types import F32Array, U8Array

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
        lpips_vgg: LPIPS-vgg of a few frames; None without weights.
        dists: DISTS of the same frames; None without weights.
        identity: cosine of SFace's embeddings with the source's, same frames as LPIPS; None without weights.
        landmark_px: distance of re-tracked landmarks, pixels at 256.
        eyes: correlation of eye openness with the source.
        mouth: correlation of mouth openness with the source.
        temporal: temporal error, grey levels.
        faces: share of frames in which a face was tracked.
        psnr_worst5: PSNR over RGB, mean of the worst 5 % of frames (at least one).
        ms_ssim: MS-SSIM of luma, same frames as LPIPS; None for pictures below 176 pixels.
        vmaf: VMAF (vmaf_v0.6.1) of pictures as they are, not enlarged; None without an ffmpeg with libvmaf.
        flicker: change from picture to picture where the source stands still, grey levels; None where nothing
            does.
    """

    psnr: float
    psnr_y: float
    ssim_y: float
    ssim_rgb: float
    lpips: float | None
    lpips_worst5: float | None
    lpips_eyes: float | None
    lpips_mouth: float | None
    lpips_vgg: float | None
    dists: float | None
    identity: float | None
    landmark_px: float
    eyes: float
    mouth: float
    temporal: float
    faces: float
    psnr_worst5: float | None = None
    ms_ssim: float | None = None
    vmaf: float | None = None
    flicker: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Name to value."""
        return asdict(self)


MEASURES = tuple(field.name for field in fields(Quality))
DEEP = ("lpips_vgg", "dists")
"""Measures, and the networks that make them, which cost most: they are kept by themselves."""


DEEP_RULE = 2
"""Which frames :func:`deep_frames` takes; raised when that changes, so that older values are not taken."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks that measure; None leaves a measure out.

    Attributes:
        lpips: LPIPS-alex.
        lpips_vgg: LPIPS-vgg.
        dists: DISTS.
        identity: SFace.
        vmaf: VMAF, by an ffmpeg.
    """

    lpips: Lpips | None = None
    lpips_vgg: Lpips | None = None
    dists: dists.Dists | None = None
    identity: identity.SFace | None = None
    vmaf: Vmaf | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames the networks see.

    Attributes:
        every: LPIPS-alex, MS-SSIM and identity take every nth frame.
        deep_every: LPIPS-vgg and DISTS, which cost thirty times as much, take every nth frame; 0 for none.
    """

    every: int = 5
    deep_every: int = 25


def deep_frames(count: int, every: int) -> range:
    """Frames of ``count`` that LPIPS-vgg and DISTS see: the middle of every stretch of ``every``, 0 for none.

    Of a clip that is shorter, its own middle. The first frame, which is an anchor's key frame and often this
    codec's reference picture, is not among them: of few frames it would be a large part.
    """
    return range(min(every, count) // 2, count, every) if every else range(0)


def available(no_lpips: bool, folder: Path | None, deep: bool) -> dict[str, str]:
    """Which networks there are weights for.

    Args:
        no_lpips: none are wanted.
        folder: folder of LPIPS weights; None for where they are installed.
        deep: LPIPS-vgg and DISTS are wanted too.

    Returns:
        Field of :class:`Networks` to nothing, or to why its weights (VMAF: its ffmpeg) are absent.
    """
    finders: dict[str, Callable[[], object]] = {}
    if not no_lpips:
        finders = {"lpips": lambda: find_lpips_weights("alex", folder), "identity": identity.WEIGHTS.find}
        finders["vmaf"] = find_ffmpeg
    if deep and not no_lpips:
        finders["lpips_vgg"] = lambda: find_lpips_weights("vgg", folder)
        finders["dists"] = lambda: (find_lpips_weights("vgg", folder), dists.WEIGHTS.find())
    found = {}
    for name, find in finders.items():
        try:
            find()
            found[name] = ""
        except WeightsError as err:
            found[name] = str(err)
    return found


def load_networks(names: Collection[str], folder: Path | None) -> Networks:
    """Load networks.

    Args:
        names: fields of :class:`Networks`.
        folder: folder of LPIPS weights; None for where they are installed.

    Raises:
        WeightsError: weights are absent or damaged.
    """
    return Networks(
        lpips=Lpips("alex", folder) if "lpips" in names else None,
        lpips_vgg=Lpips("vgg", folder) if "lpips_vgg" in names else None,
        dists=dists.Dists(vgg_folder=folder) if "dists" in names else None,
        identity=identity.SFace() if "identity" in names else None,
        vmaf=Vmaf(find_ffmpeg()) if "vmaf" in names else None,
    )


@dataclass(frozen=True, slots=True)
class Judge:
    """Measures decoded clips against one source, whose track is made once.

    Attributes:
        source: RGB, [T, H, W, 3] uint8.
        track: the source's landmarks, see :func:`track_clip`.
        networks: what measures besides arithmetic.
        sampling: which frames they see.
    """

    source: U8Array
    track: F32Array
    networks: Networks
    sampling: Sampling

    def measure(self, decoded: U8Array, on_frame: Callable[[], None] = lambda: None) -> Quality:
        """Measure a decoded clip.

        Args:
            decoded: the source's shape.
            on_frame: called after each frame.

        Raises:
            ShapeError: the shapes differ.
        """
        track = track_clip(decoded)
        fidelity = []
        seen: dict[str, list[float]] = {}
        for i, (x, y) in enumerate(zip(self.source, decoded, strict=True)):
            fidelity.append(
                (min(psnr(x, y), PSNR_CAP), min(psnr_y(x, y), PSNR_CAP), ssim_y(x, y), ssim_rgb(x, y))
            )
            for name, value in self._look(i, x, y, track[i]).items():
                seen.setdefault(name, []).append(value)
            on_frame()
        eyes, mouth = openness(self.track)
        decoded_eyes, decoded_mouth = openness(track)
        whole = seen.get("lpips", [])
        means = np.mean(fidelity, axis=0)
        return Quality(
            psnr=float(means[0]),
            psnr_y=float(means[1]),
            ssim_y=float(means[2]),
            ssim_rgb=float(means[3]),
            lpips=_mean(whole),
            lpips_worst5=_mean(_worst(whole, highest=True)),
            lpips_eyes=_mean(seen.get("lpips_eyes", [])),
            lpips_mouth=_mean(seen.get("lpips_mouth", [])),
            lpips_vgg=_mean(seen.get("lpips_vgg", [])),
            dists=_mean(seen.get("dists", [])),
            identity=_mean(seen.get("identity", [])),
            landmark_px=landmark_distance(self.track, track),
            eyes=expression_correlation(eyes, decoded_eyes),
            mouth=expression_correlation(mouth, decoded_mouth),
            temporal=temporal_error(self.source, decoded) if len(decoded) > 1 else math.nan,
            faces=float(np.isfinite(track).all(axis=(1, 2)).mean()),
            psnr_worst5=_mean(_worst([frame[0] for frame in fidelity], highest=False)),
            ms_ssim=_mean(seen.get("ms_ssim", [])),
            vmaf=self._vmaf(decoded),
            flicker=_mean([static_flicker(self.source, decoded)] if len(decoded) > 1 else []),
        )

    def measure_deep(self, decoded: U8Array) -> dict[str, float | None]:
        """Measure by the costly networks of :data:`DEEP` alone; as :meth:`measure`."""
        seen: dict[str, list[float]] = {name: [] for name in DEEP}
        for i in deep_frames(len(decoded), self.sampling.deep_every):
            for name, value in self._look_deep(self.source[i], decoded[i]).items():
                seen[name].append(value)
        return {name: _mean(values) for name, values in seen.items()}

    def _vmaf(self, decoded: U8Array) -> float | None:
        """Mean VMAF; None where it is left out, or pictures have a size that it cannot take."""
        height, width = decoded.shape[1:3]
        if self.networks.vmaf is None or height % 2 or width % 2 or min(height, width) < VMAF_MIN_SIDE:
            return None
        return float(self.networks.vmaf.of_frames(self.source, decoded).mean())

    def _look(self, index: int, x: U8Array, y: U8Array, points: F32Array) -> dict[str, float]:
        """What the networks say about a frame; nothing of a region where the source shows no face."""
        found: dict[str, float] = {}
        networks, original = self.networks, self.track[index]
        face = bool(np.isfinite(original).all())
        if index % self.sampling.every == 0:
            if min(x.shape[:2]) >= MS_SSIM_MIN_SIDE:
                found["ms_ssim"] = ms_ssim_y(x, y)
            if networks.lpips is not None:
                found["lpips"] = networks.lpips.distance(x, y)
                if face:
                    for name, box in zip(
                        ("lpips_eyes", "lpips_mouth"),
                        expression_boxes(original, x.shape[1], x.shape[0]),
                        strict=True,
                    ):
                        found[name] = networks.lpips.distance(box.cut(x), box.cut(y))
            if networks.identity is not None and face:
                here = points if np.isfinite(points).all() else original
                found["identity"] = networks.identity.similarity(x, y, original, here)
        if self.sampling.deep_every and index % self.sampling.deep_every == 0:
            found |= self._look_deep(x, y)
        return found

    def _look_deep(self, x: U8Array, y: U8Array) -> dict[str, float]:
        nets = {"lpips_vgg": self.networks.lpips_vgg, "dists": self.networks.dists}
        return {name: net.distance(x, y) for name, net in nets.items() if net is not None}


def _worst(values: list[float], *, highest: bool) -> list[float]:
    """The worst 5 %, at least one; ``highest``: large values are the bad ones."""
    return sorted(values, reverse=highest)[: max(1, math.ceil(0.05 * len(values)))]


def _mean(values: list[float]) -> float | None:
    there = [v for v in values if math.isfinite(v)]
    return float(np.mean(there)) if there else None
