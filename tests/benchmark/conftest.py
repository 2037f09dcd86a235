"""A short stretch of the sample clip, and the FFmpeg that the anchors need."""

from pathlib import Path

import pytest

from facecodec.benchmark.ffmpeg import find_ffmpeg
from facecodec.benchmark.sequences import Sequence, prepare
from facecodec.errors import ConfigError

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FRAMES = 10


@pytest.fixture(scope="session")
def ffmpeg():
    try:
        return find_ffmpeg()
    except ConfigError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="session")
def bench_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="session")
def sample():
    return Sequence("head", SAMPLES / "talking_head.mp4", "", 20, FRAMES)


@pytest.fixture(scope="session")
def clip(sample, bench_cache):
    return prepare(sample, bench_cache)


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed", reason="the extra [bench] is not installed")
    made = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", host="127.0.0.1",
        dashboard_address=None,
    )  # fmt: skip
    yield made
    made.close()
