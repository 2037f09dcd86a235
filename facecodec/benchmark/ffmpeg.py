"""The FFmpeg program that the anchors run in, and what a run of it costs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from facecodec.errors import ConfigError, MediaError

VARIABLE = "FACECODEC_FFMPEG"
"""Environment variable that names another FFmpeg than the bundled one."""
_LIMIT_S = 3600.0

# ru_maxrss of a child includes what its parent held when it was forked: so a small process is the parent.
_LAUNCHER = """
import json, os, resource, subprocess, sys
done = subprocess.run(sys.argv[3:], stdin=subprocess.DEVNULL, timeout=float(sys.argv[2]))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
with open(sys.argv[1], "w") as file:
    json.dump([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 2**20], file)
"""


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a process took.

    Attributes:
        cpu_s: seconds of processor time, all its threads together.
        peak_mib: highest resident memory, MiB.
    """

    cpu_s: float
    peak_mib: float


def find_ffmpeg() -> Path:
    """The program: what :data:`VARIABLE` names, else the one in ``imageio-ffmpeg``.

    Raises:
        ConfigError: there is none; the message names the extra that brings it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(VARIABLE, named, "path of an FFmpeg program")
        return Path(named)
    try:
        import imageio_ffmpeg
    except ImportError as err:
        raise ConfigError("ffmpeg", None, "pip install 'facecodec[bench]', which brings one") from err
    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as err:
        raise ConfigError("ffmpeg", None, f"the one of imageio-ffmpeg, which says: {err}") from err


@lru_cache(maxsize=4)
def _ask(tool: Path, option: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  the program is the one that was chosen
            [str(tool), "-hide_banner", option], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise ConfigError("ffmpeg", str(tool), f"a program that runs here ({err})") from err
    return done.stdout


def has_encoder(tool: Path, encoder: str) -> bool:
    """Whether a build of FFmpeg has an encoder.

    Raises:
        ConfigError: the program does not run.
    """
    return any(line.split()[1:2] == [encoder] for line in _ask(tool, "-encoders").splitlines())


def ffmpeg_version(tool: Path) -> str:
    """Version of a build of FFmpeg, such as ``n9.0.2-17-g2a571b6068-20260930``.

    Raises:
        ConfigError: the program does not run.
    """
    words = _ask(tool, "-version").split()
    return words[2] if len(words) > 2 else "unknown"


_VERSIONS = {
    "libx264": rb"x264 - (core \d+(?: r\d+\S*(?: \w{7})?)?)",  # of the SEI in its stream
    "libx265": rb"HEVC encoder version (\S+)",
    "libsvtav1": rb"SVT-AV1 Encoder Lib (\S+)",
    "libaom-av1": rb"\[libaom-av1 @ \w+\] (v\d\S*)",
    "libvvenc": rb"libvvenc version: (\S+)",
    "libvpx-vp9": rb"\[libvpx-vp9 @ \w+\] (v\d\S*)",
}
"""How encoders say their own versions, in what FFmpeg prints or in what they write."""


@lru_cache(maxsize=16)
def library_version(tool: Path, encoder: str) -> str:
    """Version of an encoder's library in a build of FFmpeg, such as ``4.3+49-020d7054``.

    Two grey pictures are coded to make it tell; empty where it does not.
    """
    source = "-f lavfi -i color=s=64x64:r=25:d=0.08 -pix_fmt yuv420p"
    muxer = "h264" if encoder == "libx264" else "null"
    options = f"-hide_banner -nostdin -loglevel verbose {source} -c:v {encoder} -f {muxer} -"
    try:
        done = subprocess.run(  # noqa: S603  the program is the one that was chosen
            [str(tool), *options.split()], capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(_VERSIONS[encoder], done.stderr + done.stdout) if encoder in _VERSIONS else None
    return found[1].decode("ascii", "replace") if found else ""


def run_measured(
    command: list[str], folder: Path, name: str, variables: Mapping[str, str] | None = None
) -> RunCost:
    """Run a program to its end.

    Args:
        command: program and arguments.
        folder: working folder.
        name: of the work, for messages.
        variables: of the environment, set besides those of this process.

    Raises:
        MediaError: it failed or took over an hour; the message has the last line that it wrote.
    """
    account = folder / "cost.json"
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(account), str(_LIMIT_S), *command]
    try:
        done = subprocess.run(  # noqa: S603  programs of this package's choice
            launcher,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(variables or {})},
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise MediaError(name, f"did not run: {err}") from err
    if not account.is_file():
        raise MediaError(name, f"did not run: {_last_line(done.stderr)}")
    code, cpu_s, peak_mib = json.loads(account.read_text(encoding="utf-8"))
    if code != 0:
        raise MediaError(name, f"failed with code {code}: {_last_line(done.stderr)}")
    return RunCost(cpu_s, peak_mib)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
