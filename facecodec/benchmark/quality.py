"""All measures of one decoded clip against its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecodec.errors import WeightsError
from facecodec.metrics import dists, identity
from facecodec.metrics.landmark import expression_boxes, expression_correlation, landmark_distance
from facecodec.metrics.perceptual import Lpips, find_lpips_weights
from facecodec.metrics.psnr import psnr, psnr_y
from facecodec.metrics.ssim import ssim_rgb, ssim_y
from facecodec.metrics.temporal import temporal_error
from facecodec.track.quality import eye_openness, mouth_openness
from facecodec.track.tracker import MeshTracker

U8Array = npt.NDArray[np.uint8]
F32Array = npt.NDArray[np.float32]
F64Array = npt.NDArray[np.float64]

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

    def as_dict(self) -> dict[str, float | None]:
        """Name to value."""
        return asdict(self)


MEASURES = tuple(field.name for field in fields(Quality))


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks that measure; None leaves a measure out.

    Attributes:
        lpips: LPIPS-alex.
        lpips_vgg: LPIPS-vgg.
        dists: DISTS.
        identity: SFace.
    """

    lpips: Lpips | None = None
    lpips_vgg: Lpips | None = None
    dists: dists.Dists | None = None
    identity: identity.SFace | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames the networks see.

    Attributes:
        every: LPIPS-alex and identity take every nth frame.
        deep_every: LPIPS-vgg and DISTS, which cost thirty times as much, take every nth frame; 0 for none.
    """

    every: int = 5
    deep_every: int = 25


def available(no_lpips: bool, folder: Path | None, deep: bool) -> dict[str, str]:
    """Which networks there are weights for.

    Args:
        no_lpips: none are wanted.
        folder: folder of LPIPS weights; None for where they are installed.
        deep: LPIPS-vgg and DISTS are wanted too.

    Returns:
        Field of :class:`Networks` to nothing, or to why its weights are absent.
    """
    finders: dict[str, Callable[[], object]] = {}
    if not no_lpips:
        finders = {"lpips": lambda: find_lpips_weights("alex", folder), "identity": identity.WEIGHTS.find}
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
    )


def track_clip(frames: Iterable[U8Array]) -> F32Array:
    """Follow the face of a clip.

    Args:
        frames: RGB pictures, [H, W, 3] uint8.

    Returns:
        [T, 478, 3] in units of the picture's width (x, z) and height (y); NaN where no face is seen.
    """
    tracker = MeshTracker(threads=1)
    out = []
    for pixels in frames:
        face = tracker.track(pixels)
        height, width = pixels.shape[:2]
        if face is None:
            out.append(np.full((478, 3), np.nan, np.float32))
        else:
            unit = np.array([width, height, width], np.float32)
            out.append(np.asarray(face.points / unit, np.float32))
    return np.stack(out)


def openness(track: F32Array) -> tuple[F64Array, F64Array]:
    """Openness of eyes (mean of both) and mouth of each frame of a track.

    Args:
        track: [T, 478, 3]; frames with NaN give NaN.

    Returns:
        Eyes [T] and mouth [T], see ``facecodec.track.quality``.
    """
    seen = np.isfinite(track).all(axis=(1, 2))
    eyes, mouth = np.full(len(track), np.nan), np.full(len(track), np.nan)
    for i in np.flatnonzero(seen):
        eyes[i], mouth[i] = eye_openness(track[i]), mouth_openness(track[i])
    return eyes, mouth


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
        worst = sorted(whole, reverse=True)[: max(1, math.ceil(0.05 * len(whole)))]
        means = np.mean(fidelity, axis=0)
        return Quality(
            psnr=float(means[0]),
            psnr_y=float(means[1]),
            ssim_y=float(means[2]),
            ssim_rgb=float(means[3]),
            lpips=_mean(whole),
            lpips_worst5=_mean(worst),
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
        )

    def _look(self, index: int, x: U8Array, y: U8Array, points: F32Array) -> dict[str, float]:
        """What the networks say about a frame; nothing of a region where the source shows no face."""
        found: dict[str, float] = {}
        networks, original = self.networks, self.track[index]
        face = bool(np.isfinite(original).all())
        if index % self.sampling.every == 0:
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
            if networks.lpips_vgg is not None:
                found["lpips_vgg"] = networks.lpips_vgg.distance(x, y)
            if networks.dists is not None:
                found["dists"] = networks.dists.distance(x, y)
        return found


def _mean(values: list[float]) -> float | None:
    there = [v for v in values if math.isfinite(v)]
    return float(np.mean(there)) if there else None
