"""VMAF through an ffmpeg with libvmaf.

Li, Aaron, Katsavounidis, Moorthy, Manohara, "Toward a practical perceptual video quality metric", Netflix
technology blog, 2016; the model ``vmaf_v0.6.1``, which libvmaf has built in.

The model was trained on pictures enlarged to 1080 lines and seen from three times their height. Pictures are
measured as they are here: a square of 256 pixels counts as cut out of such a picture, which gives higher
figures than enlarging it to 1080 lines does, and leaves differences at low rates, where figures of the
enlarged picture come near 0. Compare them with each other, not with figures of pictures of other sizes.
``lines`` enlarges both pictures (bicubic) for the model's own convention, at many times the cost.

An ffmpeg comes in the package ``imageio-ffmpeg``; ``FACECODEC_FFMPEG`` names another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics.psnr import require_same_pictures
from facecodec.types import F64Array, U8Array

VARIABLE = "FACECODEC_FFMPEG"
MODEL = "vmaf_v0.6.1"
MIN_SIDE = 32
"""Sides of a picture in pixels, at least; both are even."""

_ABSENT = "VMAF needs an ffmpeg with libvmaf: pip install imageio-ffmpeg, or set FACECODEC_FFMPEG to one"


@lru_cache(maxsize=4)
def _has_libvmaf(path: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - the caller's own ffmpeg
            [path, "-hide_banner", "-filters"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return " libvmaf " in done.stdout


def find_ffmpeg() -> Path:
    """An ffmpeg with libvmaf: what the variable names, else imageio-ffmpeg's, else the system's.

    Raises:
        WeightsError: there is none; the message says how to get one.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        if not _has_libvmaf(chosen):
            raise WeightsError(f"{VARIABLE}={chosen} is no ffmpeg with libvmaf")
        return Path(chosen)
    for path in _candidates():
        if _has_libvmaf(path):
            return Path(path)
    raise WeightsError(_ABSENT)


def _candidates() -> Iterator[str]:
    try:
        import imageio_ffmpeg

        yield imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        pass
    system = shutil.which("ffmpeg")
    if system is not None:
        yield system


@dataclass(frozen=True, slots=True)
class Vmaf:
    """VMAF of clips.

    Attributes:
        ffmpeg: see :func:`find_ffmpeg`.
        lines: height that pictures are enlarged to; None measures them as they are.
    """

    ffmpeg: Path
    lines: int | None = None

    def of_frames(self, source: U8Array, decoded: U8Array) -> F64Array:
        """VMAF of every frame of a clip.

        Args:
            source: RGB, [T, H, W, 3] uint8, at least 32 x 32, sides even.
            decoded: the same shape.

        Returns:
            [T], 0 to 100.

        Raises:
            ShapeError: not clips, or shapes differ.
            WeightsError: ffmpeg failed; the message holds its last line.
        """
        require_same_pictures(source, decoded, dims=(4,))
        height, width = source.shape[1:3]
        if height % 2 or width % 2 or min(height, width) < MIN_SIDE:
            raise ShapeError("clip for VMAF", f"even sides of at least {MIN_SIDE}", source.shape)
        with tempfile.TemporaryDirectory(prefix="facecodec-vmaf-") as folder:
            log = Path(folder, "vmaf.csv")
            size = f"{width}x{2 * height}"
            command = [str(self.ffmpeg), "-hide_banner", "-nostdin", "-v", "error"]
            command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", "-"]
            command += ["-lavfi", self._graph(width, height), "-f", "null", "-"]
            done = _run(command, _stacked(source, decoded), folder)
            if done.returncode or not log.is_file():
                said = done.stderr.decode("utf-8", "replace").strip().splitlines()
                raise WeightsError(f"VMAF: {self.ffmpeg}: {said[-1] if said else 'no result'}")
            found = np.genfromtxt(log, delimiter=",", names=True, ndmin=1)["vmaf"]
        if len(found) != len(source):
            raise WeightsError(f"VMAF: {self.ffmpeg} measured {len(found)} of {len(source)} frames")
        return np.asarray(found, np.float64)

    def _graph(self, width: int, height: int) -> str:
        """Both pictures come in one, the source on top; luma of BT.709, as the model wants it."""
        scale = "scale=out_color_matrix=bt709:out_range=tv"
        if self.lines is not None:
            scale += f":w={2 * round(self.lines * width / height / 2)}:h={self.lines}:flags=bicubic"
        part = f"{scale},format=yuv420p"
        return (
            f"split[s][d];[s]crop={width}:{height}:0:0,{part}[source];"
            f"[d]crop={width}:{height}:0:{height},{part}[decoded];"
            f"[decoded][source]libvmaf=model=version={MODEL}:n_threads=1:log_fmt=csv:log_path=vmaf.csv"
        )


def _stacked(source: U8Array, decoded: U8Array) -> Iterator[bytes]:
    for x, y in zip(source, decoded, strict=True):
        yield x.tobytes() + y.tobytes()


def _run(command: list[str], pieces: Iterator[bytes], folder: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a folder, with the pieces on its standard input."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - the caller's own ffmpeg
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, cwd=folder
        )
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            for piece in pieces:
                process.stdin.write(piece)
        except BrokenPipeError:  # it has ended early: its own words say why
            pass
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
        errors.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, b"", errors.read())
