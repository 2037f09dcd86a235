"""README's Python blocks and facecodec commands run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path, short_clip):
    """A folder with the clip and the picture that README works on."""
    (tmp_path / "talking_head.mp4").write_bytes(short_clip.read_bytes())
    (tmp_path / "astronaut.png").write_bytes((REPOSITORY / "samples" / "astronaut.png").read_bytes())
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_run(workplace):
    script = "\n".join(blocks("bash"))
    assert script.count("facecodec ") >= 6
    shell = f'set -eu\nfacecodec() {{ "$PYTHON" -m facecodec "$@"; }}\n{script}'
    run(["bash", "-c", shell], workplace)
    made = {"talking_head.fcv", "decoded.mp4", "part.fcv", "part.mp4", "quick.mp4", "driven.mp4"}
    assert made <= {p.name for p in workplace.iterdir()}


def test_the_python_blocks_run(workplace):
    script = "\n".join(blocks("python"))
    assert "encode_file" in script
    run([sys.executable, "-W", "error::DeprecationWarning:facecodec", "-c", script], workplace)


def test_linked_files_exist():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (REPOSITORY / link).exists()]
    assert missing == []


def test_the_marker_of_the_figures_is_there_once():
    assert README.count("<!-- figures:begin -->") == README.count("<!-- figures:end -->") == 1
