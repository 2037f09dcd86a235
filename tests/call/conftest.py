"""The sample, tracked once; pictures are made only where a test looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch

import facecodec.encoder
from facecodec.decoder import Decoder
from facecodec.media.reader import VideoReader
from facecodec.motion.face import load_face_model
from facecodec.track.tracker import make_tracker
from facecodec.types import Frame, KeypointSet, Landmarks

FRAMES = 120


@dataclass
class KnownTracker:
    """Gives the landmarks that were found before."""

    found: dict[int, Landmarks | None]
    keypoint_set: KeypointSet = KeypointSet.MESH_478

    def track(self, pixels: np.ndarray) -> Landmarks | None:
        return self.found.get(id(pixels))

    def reset(self) -> None:
        pass


@pytest.fixture(scope="session")
def sample_frames(samples) -> list[Frame]:
    """The first frames of the sample, 40 ms apart."""
    with VideoReader(samples / "talking_head.mp4") as reader:
        pixels = [frame.pixels for _, frame in zip(range(FRAMES), reader.frames(), strict=False)]
    return [Frame(p, 40 * i, Fraction(1, 1000)) for i, p in enumerate(pixels)]


@pytest.fixture(scope="session")
def tracked(sample_frames) -> KnownTracker:
    """Landmarks of these frames."""
    model = load_face_model()
    tracker = make_tracker(
        "mesh", threads=1, device="cpu", mean_mesh=model.mean, basis=model.basis, deviation=model.sigma
    )
    return KnownTracker({id(f.pixels): tracker.track(f.pixels) for f in sample_frames})


@pytest.fixture(autouse=True)
def _quick(monkeypatch, request):
    """Frames of the sample are not tracked again, and nothing is drawn unless a test asks for ``drawn``."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if "tracked" in request.fixturenames or "clip" in request.fixturenames:
        tracker = request.getfixturevalue("tracked")
        monkeypatch.setattr(facecodec.encoder, "make_tracker", lambda *args, **options: tracker)
    if "drawn" not in request.fixturenames:
        blank = np.zeros((16, 16, 3), np.uint8)
        monkeypatch.setattr(
            Decoder, "show", lambda self, motion: [Frame(blank, motion.pts[0], Fraction(1, 1000))]
        )
    yield
    torch.set_num_threads(before)


@pytest.fixture
def drawn() -> None:
    """The test looks at pictures."""


@pytest.fixture
def clip(sample_frames, tracked):
    """Frames for so many seconds: the sample forwards and backwards."""

    def make(seconds: float, fps: float = 20.0) -> list[Frame]:
        count, period = round(seconds * fps), 2 * (len(sample_frames) - 1)
        out = []
        for i in range(count):
            place = round(i * 25.0 / fps) % period
            source = sample_frames[place if place < len(sample_frames) else period - place]
            out.append(Frame(source.pixels, round(1000 * i / fps), Fraction(1, 1000)))
        return out

    return make
