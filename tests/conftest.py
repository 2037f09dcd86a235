"""Fixtures for all tests: fixed random numbers, the samples, the command line."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLES = REPOSITORY / "samples"

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

RunCli = Callable[..., "subprocess.CompletedProcess[bytes]"]


def run_facecodec(
    *args: str | Path, stdin: bytes | None = None, cwd: Path | None = None, timeout_s: float = 240
) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m facecodec`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "facecodec", *map(str, args)],
        input=stdin if stdin is not None else b"",
        capture_output=True,
        cwd=cwd,
        timeout=timeout_s,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"},
    )


@pytest.fixture(autouse=True)
def _fixed_random_numbers() -> None:
    """Tests that draw from the global generators draw the same every time, in any order of tests."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def cli() -> RunCli:
    """The command line as a process: returns its exit code, standard output and standard error."""
    return run_facecodec


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample clips."""
    return SAMPLES


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first second of the sample clip, picture and sound, its packets copied."""
    import av

    path = tmp_path_factory.mktemp("clip") / "talking_head.mp4"
    with av.open(str(SAMPLES / "talking_head.mp4")) as source, av.open(str(path), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None and packet.pts * packet.time_base < 1:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path


@pytest.fixture(scope="session")
def toy_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the learned generator's smallest profile: random, but the same every time."""
    import torch

    from facecodec.generator.adaptive import AdaptiveGenerator
    from facecodec.generator.profile import PROFILES
    from facecodec.weights.store import save_weights

    torch.manual_seed(11)
    state = AdaptiveGenerator(PROFILES["toy"]).state_dict()
    # Layers that begin at zero would hide what flows through them.
    tensors = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in state.items()}
    return save_weights(tmp_path_factory.mktemp("weights"), tensors, "toy")


@pytest.fixture
def cuda() -> torch.device:
    """The CUDA device; skips without one, unless FACECODEC_REQUIRE_CUDA=1: then absence fails."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("FACECODEC_REQUIRE_CUDA") == "1":
        pytest.fail("FACECODEC_REQUIRE_CUDA=1, but torch sees no CUDA device")
    pytest.skip("no CUDA device")
