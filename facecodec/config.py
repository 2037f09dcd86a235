"""Settings, checked when they are made.

``EncoderConfig`` holds only what changes the bytes, ``DecoderConfig`` what changes the pictures,
``SpeedConfig`` what changes neither by more than rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facecodec.errors import ConfigError

Preset = Literal["realtime", "balanced", "best"]
QP_MIN, QP_MAX = 0, 51
QP_DEFAULT = 19
"""Default motion QP, chosen on validation clips; bench/results/motion_rd.json has the test clips."""
QUALITY_DEFAULT = 60
_QUALITY_PER_QP = 4
"""Steps of the lever that move QP by one: motion and reference pictures then pay alike for a byte."""
_QUALITY_PER_OCTAVE = 14.0
"""Steps of the lever that halve what a byte has to gain."""


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(name, value, f"an integer from {low} to {high}")


def _check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(name, value, ", ".join(str(a) for a in allowed))


@dataclass(frozen=True, slots=True)
class RatePoint:
    """What the lever ``quality`` sets together.

    Attributes:
        qp: quantisation parameter of motion.
        ref_quality: quality of reference pictures; patches and backdrops follow it.
        price: what a byte of palettes and of more reference pictures has to gain, 1 at the default: the
            encoder stops where none gains as much.
    """

    qp: int
    ref_quality: int
    price: float


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What changes the bytes.

    Attributes:
        quality: the lever of rate, 0 to 100: sets ``qp``, ``ref_quality`` and what more reference pictures
            and palette entries have to gain for a byte.
        size: largest coded size of the crop in pixels, 256 or 512. A smaller source is not enlarged.
        view: ``frame`` codes a backdrop so that the decoder can show the whole picture; ``crop``
            codes the face's surroundings alone.
        qp: quantisation parameter of motion, 0 (finest) to 51; 6 more doubles every step. None: from
            ``quality``.
        ref_quality: quality of reference pictures, 0 to 100. None: from ``quality``, and more for a picture
            that may serve long (:mod:`facecodec.refpic.lifetime`).
        scene_points: ``auto`` codes the motion of hair, shoulders and background too.
        palette: ``auto`` sends eyes and mouths that the reference picture does not show, where they pay;
            needs ``lookahead``.
        intra_period: frames between reference pictures at most; 0 leaves it to the encoder.
        lookahead: frames the encoder may look ahead; 0 gives packets that a call can use at once.
        picture_bps: bits a second that reference pictures of a call take: no picture follows before the one
            before it is through at that rate, and motion does not name it earlier, except behind a cut.
            Only without ``lookahead``, and where the receiver acknowledges none.
        tracker: ``mesh`` (FaceLandmarker) or ``face-alignment``.
        preset: how much work the encoder does. ``best`` decodes every frame and measures how good it is,
            ``balanced`` some of them; ``realtime`` only foretells it, sends no palette and codes stills fast.
        audio_bps: bits a second of the Opus track, 0 for none. Used by ``encode_file``.
        model_id: first 8 bytes of the SHA-256 of the weights that the stream is made for, such as those of a
            model fitted to one person; None lets any generator show it.
    """

    size: Literal[256, 512] = 256
    view: Literal["frame", "crop"] = "frame"
    quality: int = QUALITY_DEFAULT
    qp: int | None = None
    ref_quality: int | None = None
    scene_points: Literal["auto", "off"] = "auto"
    palette: Literal["auto", "off"] = "auto"
    intra_period: int = 0
    lookahead: int = 48
    picture_bps: int = 16000
    tracker: Literal["mesh", "face-alignment"] = "mesh"
    preset: Preset = "balanced"
    audio_bps: int = 16000
    model_id: bytes | None = None

    def __post_init__(self) -> None:
        _check_choice("size", self.size, (256, 512))
        _check_choice("view", self.view, ("frame", "crop"))
        _check_range("quality", self.quality, 0, 100)
        if self.qp is not None:
            _check_range("qp", self.qp, QP_MIN, QP_MAX)
        if self.ref_quality is not None:
            _check_range("ref_quality", self.ref_quality, 0, 100)
        _check_choice("scene_points", self.scene_points, ("auto", "off"))
        _check_choice("palette", self.palette, ("auto", "off"))
        _check_range("intra_period", self.intra_period, 0, 1_000_000)
        _check_range("lookahead", self.lookahead, 0, 256)
        _check_range("picture_bps", self.picture_bps, 1000, 100_000_000)
        _check_choice("tracker", self.tracker, ("mesh", "face-alignment"))
        _check_choice("preset", self.preset, ("realtime", "balanced", "best"))
        if self.audio_bps != 0:
            _check_range("audio_bps", self.audio_bps, 6000, 256000)
        if self.model_id is not None and not (isinstance(self.model_id, bytes) and len(self.model_id) == 8):
            raise ConfigError("model_id", self.model_id, "8 bytes, or None")

    @property
    def rate(self) -> RatePoint:
        """What the lever sets, with ``qp`` and ``ref_quality`` instead where they are given."""
        below = QUALITY_DEFAULT - self.quality
        qp = round(QP_DEFAULT + below / _QUALITY_PER_QP) if self.qp is None else self.qp
        still = self.quality if self.ref_quality is None else self.ref_quality
        return RatePoint(qp, still, 2.0 ** (below / _QUALITY_PER_OCTAVE))


@dataclass(frozen=True, slots=True)
class SpeedConfig:
    """What changes speed alone.

    Attributes:
        device: ``auto`` takes CUDA where there is one.
        threads: worker threads; 0 takes what the machine has.
        batch: frames generated at once.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        _check_choice("device", self.device, ("auto", "cpu", "cuda"))
        _check_range("threads", self.threads, 0, 1024)
        _check_range("batch", self.batch, 1, 256)


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """What changes the decoded pictures.

    Attributes:
        generator: ``warp-0``, ``lite`` or ``base``, whatever the stream was made for; or ``auto``: the model
            that the stream names, and where it names none the best that is installed and fast on the device.
        weights: weights file to take instead of the installed ones.
        references: reference pictures that a learned generator looks at, 1 to 4: the one that the stream
            names, and of the others at hand those whose keypoints are nearest to the frame's. With several,
            a lost one is missed for longer.
        view: ``auto`` shows what the stream holds, ``crop`` the coded square alone.
        composite: how the square is set into the backdrop.
        speed: see :class:`SpeedConfig`.
    """

    generator: Literal["auto", "lite", "base", "warp-0"] = "auto"
    weights: str | Path | None = None
    references: int = 1
    view: Literal["auto", "crop"] = "auto"
    composite: Literal["feather", "poisson"] = "feather"
    speed: SpeedConfig = field(default_factory=SpeedConfig)

    def __post_init__(self) -> None:
        _check_choice("generator", self.generator, ("auto", "lite", "base", "warp-0"))
        if self.weights is not None and self.generator == "warp-0":
            raise ConfigError("weights", str(self.weights), "none with generator warp-0")
        _check_range("references", self.references, 1, 4)
        _check_choice("view", self.view, ("auto", "crop"))
        _check_choice("composite", self.composite, ("feather", "poisson"))
