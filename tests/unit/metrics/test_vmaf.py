"""VMAF through ffmpeg: the same as ffmpeg says on files, and what is said where there is none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics.ms_ssim import ms_ssim_y
from facecodec.metrics.vmaf import VARIABLE, Vmaf, find_ffmpeg


@pytest.fixture(scope="module")
def ffmpeg() -> Path:
    try:
        return find_ffmpeg()
    except WeightsError as err:
        pytest.skip(str(err))


def _clips() -> tuple[np.ndarray, np.ndarray]:
    """A pattern that moves, grey so that no conversion of colours rounds, and the same blurred by noise."""
    y, x = np.mgrid[0:192, 0:192]
    rng = np.random.default_rng(5)
    texture = rng.normal(0, 20, (192, 192))
    frames = [128 + 60 * np.sin((x + 2 * t) / 9) * np.cos(y / 7) + texture for t in range(6)]
    source = np.clip(np.stack(frames), 0, 255).astype(np.uint8)
    noisy = np.clip(source + rng.normal(0, 12, source.shape), 0, 255).astype(np.uint8)
    return np.repeat(source[..., None], 3, -1), np.repeat(noisy[..., None], 3, -1)


def test_frames_through_a_pipe_are_what_ffmpeg_says_of_two_files(ffmpeg: Path, tmp_path: Path) -> None:
    source, decoded = _clips()
    for name, clip in (("source", source), ("decoded", decoded)):
        (tmp_path / f"{name}.rgb").write_bytes(clip.tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "192x192", "-r", "25", "-i"]
    luma = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    graph = (
        f"[0]{luma}[d];[1]{luma}[s];[d][s]libvmaf=feature=name=float_ms_ssim:log_fmt=json:log_path=log.json"
    )
    command = [str(ffmpeg), "-v", "error", *raw, "decoded.rgb", *raw, "source.rgb", "-lavfi", graph]
    subprocess.run([*command, "-f", "null", "-"], cwd=tmp_path, check=True, timeout=60)
    frames = [f["metrics"] for f in json.loads((tmp_path / "log.json").read_text())["frames"]]

    found = Vmaf(ffmpeg).of_frames(source, decoded)

    assert found == pytest.approx([frame["vmaf"] for frame in frames], abs=1e-3)
    assert 5 < found.mean() < 95
    # libvmaf's MS-SSIM (another filter before halving, and luma in 16 to 235) beside ours.
    ours = np.mean([ms_ssim_y(x, y) for x, y in zip(source, decoded, strict=True)])
    assert ours == pytest.approx(np.mean([frame["float_ms_ssim"] for frame in frames]), abs=0.01)


def test_equal_clips_are_near_the_top_and_enlarging_lowers_the_others(ffmpeg: Path) -> None:
    source, decoded = _clips()
    assert Vmaf(ffmpeg).of_frames(source, source).mean() > 95
    enlarged = Vmaf(ffmpeg, lines=384).of_frames(source[:2], decoded[:2])
    assert enlarged.mean() < Vmaf(ffmpeg).of_frames(source[:2], decoded[:2]).mean()


def test_sizes_that_it_cannot_take(ffmpeg: Path) -> None:
    odd = np.zeros((2, 33, 64, 3), np.uint8)
    with pytest.raises(ShapeError, match="even sides"):
        Vmaf(ffmpeg).of_frames(odd, odd)


def test_no_libvmaf_is_said_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho 'no filters here'; echo 'it broke' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(fake))
    with pytest.raises(WeightsError, match="no ffmpeg with libvmaf"):
        find_ffmpeg()
    clip = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(WeightsError, match="it broke"):
        Vmaf(fake).of_frames(clip, clip)
