"""Frames of the sample, and streams made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facecodec.config import EncoderConfig
from facecodec.media.reader import VideoReader
from facecodec.types import Frame, Packet
from facecodec.weights import registry
from tests.codec.clips import BASE, encode


@pytest.fixture(autouse=True)
def _one_thread():
    """The tests share two cores with others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _no_weights_installed(tmp_path_factory):
    """``auto`` is warp-0 here, whatever weights lie in the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "DATA", tmp_path_factory.mktemp("no-weights"))
        patch.delenv(registry.ENVIRONMENT, raising=False)
        yield


@pytest.fixture(scope="session")
def faces(samples) -> list[Frame]:
    """The first 40 frames of the sample, 640x360, 40 ms apart."""
    with VideoReader(samples / "talking_head.mp4") as reader:
        pixels = [frame.pixels for _, frame in zip(range(40), reader.frames(), strict=False)]
    return [Frame(p, 40 * i, BASE) for i, p in enumerate(pixels)]


@pytest.fixture(scope="session")
def blank(faces) -> np.ndarray:
    """A picture of the same size without a face."""
    return np.full_like(faces[0].pixels, 90)


@pytest.fixture(scope="session")
def someone_else(samples) -> np.ndarray:
    """Another person, in a picture of the same size."""
    with VideoReader(samples / "astronaut.png") as reader:
        picture = next(iter(reader.frames())).pixels
    out = np.zeros((360, 640, 3), np.uint8)
    out[:, 64:576] = picture[:360, :512]
    return out


@pytest.fixture(scope="session")
def packets(faces) -> list[Packet]:
    """20 frames coded in two groups, scene points and all; without palettes (see ``test_palette.py``)."""
    return encode(faces[:20], EncoderConfig(lookahead=4, palette="off"))
