"""What encoding, decoding and ``info`` report: where the bytes went."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import numpy as np

from facecodec.bitstream import MotionUnit, QualityUnit, Unit, UnitKind
from facecodec.bitstream.quality import STEPS
from facecodec.errors import ConfigError, MediaError

SECTIONS = ("header", "reference", "backdrop", "palette", "face", "scene", "audio", "index")
"""Parts of a file: ``header`` is magic, stream header and framing of motion; ``index`` has the trailer and
the quality unit."""

_SECTION_OF_KIND = {
    UnitKind.HEADER: "header",
    UnitKind.REFERENCE: "reference",
    UnitKind.BACKDROP: "backdrop",
    UnitKind.AUDIO: "audio",
    UnitKind.INDEX: "index",
    UnitKind.PALETTE: "palette",
    UnitKind.EXTENSION: "index",
}


@dataclass(frozen=True, slots=True)
class StreamQuality:
    """How good the pictures of a stream are, by the encoder's account: distances, 0 (equal) to 1.

    Attributes:
        frames: frames that the figures are of: those in which a face was seen.
        measured: how many of them were decoded and compared; the others were foretold.
        mean: mean distance of the whole crop.
        worst: distance that 95 % of the frames stay below.
        eyes: mean distance in the box around both eyes.
        mouth: mean distance in the box around the mouth.
    """

    frames: int
    measured: int
    mean: float
    worst: float
    eyes: float
    mouth: float

    @classmethod
    def of(cls, unit: QualityUnit) -> Self:
        """What a quality unit says."""
        figures = (value / STEPS for value in (unit.mean, unit.worst, unit.eyes, unit.mouth))
        return cls(unit.frames, unit.measured, *figures)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long call has come.

    Attributes:
        frames_done: frames coded or shown.
        frames_total: an estimate, where known.
        bytes_done: bytes of the stream written or read.
        seconds_done: seconds of the stream that these frames last.
    """

    frames_done: int
    frames_total: int | None
    bytes_done: int
    seconds_done: float


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Accounts:
    """Adds up where the bytes of a file went.

    Attributes:
        section_bytes: bytes of each of :data:`SECTIONS`; they sum to the file's size.
        group_bits: for each motion unit, its frames and the bits of their levels.
    """

    section_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SECTIONS, 0))
    group_bits: list[tuple[int, int]] = field(default_factory=list)

    def add(self, unit: Unit, size: int) -> None:
        """Count a unit of ``size`` bytes; a motion unit's levels are counted by :meth:`split`."""
        if isinstance(unit, MotionUnit):
            self.section_bytes["header"] += size - len(unit.levels)
            self.group_bits.append((unit.n_frames, 8 * len(unit.levels)))
        else:
            self.section_bytes[_SECTION_OF_KIND.get(unit.KIND, "header")] += size

    def split(self, face_cost: float, scene_cost: float) -> None:
        """Share the bytes of all levels between face and scene by their summed costs, in any unit."""
        total = sum(bits for _, bits in self.group_bits) // 8
        face = round(total * face_cost / (face_cost + scene_cost)) if face_cost + scene_cost > 0 else total
        self.section_bytes["face"], self.section_bytes["scene"] = face, total - face

    @property
    def frames(self) -> int:
        """Frames of all motion units."""
        return sum(n for n, _ in self.group_bits)

    def motion_bits(self) -> tuple[float, float]:
        """Bits of motion a frame: mean, and the 95th percentile over frames (each with its group's mean)."""
        if not self.group_bits:
            return 0.0, 0.0
        each = np.repeat([bits / n for n, bits in self.group_bits], [n for n, _ in self.group_bits])
        return float(each.mean()), float(np.quantile(each, 0.95))


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn the system's refusals (disk full, no permission) into a MediaError that names the file."""
    try:
        yield
    except OSError as err:
        raise MediaError(path, err.strerror or str(err)) from err


@contextmanager
def stats_lines(path: str | Path) -> Iterator[IO[str]]:
    """Open a file for lines of JSON; it is removed again if the block raises.

    Raises:
        MediaError: the file cannot be written.
    """
    with writing(path), open(path, "w", encoding="utf-8") as lines:
        try:
            yield lines
        except BaseException:
            if Path(path).is_file():
                Path(path).unlink()
            raise


def check_part(start_s: float, duration_s: float | None) -> None:
    """Refuse times that are no stretch of a film.

    Raises:
        ConfigError: ``start_s`` is negative or no number, or ``duration_s`` is not positive.
    """
    if not (math.isfinite(start_s) and start_s >= 0):
        raise ConfigError("start_s", start_s, "seconds, 0 or more")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise ConfigError("duration_s", duration_s, "more than 0 seconds")
