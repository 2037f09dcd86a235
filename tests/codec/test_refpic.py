"""Reference pictures: the buffer, the backdrop, the choice."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facecodec.errors import MissingReferenceError
from facecodec.motion.face import load_face_model
from facecodec.refpic.appearance import PATCH_SIDE, STALE, face_patch, patch_distance
from facecodec.refpic.backdrop import (
    MAX_SIDE,
    BackdropKeeper,
    CodedBackdrop,
    backdrop_size,
    code_backdrop,
    make_backdrop,
)
from facecodec.refpic.buffer import SLOTS, Reference, ReferenceBuffer
from facecodec.refpic.policy import MAX_TURN, ViewPoint, frame_costs, inside, nearest, resized, serves
from facecodec.types import CropTransform

CROP = CropTransform(100, 50, 256, 256)


def reference(slot: int, mesh: np.ndarray | None = None) -> Reference:
    mesh = np.full((478, 3), 0.5) if mesh is None else mesh
    return Reference(slot, slot, np.zeros((256, 256, 3), np.uint8), mesh, CROP)


def face(yaw: float = 0.0, scale: float = 0.25) -> np.ndarray:
    """The mean face, turned, in crop units."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    mesh = load_face_model().mean @ turn.T
    return mesh * scale / np.abs(mesh[:, 1]).max() + [0.5, 0.5, 0.0]


def test_the_buffer_goes_round_and_replaces_the_oldest():
    buffer = ReferenceBuffer()
    with pytest.raises(MissingReferenceError):
        buffer.get(0)
    for number in range(SLOTS + 3):
        slot = buffer.next_slot()
        assert slot == number % SLOTS
        buffer.put(Reference(slot, number, np.zeros((2, 2, 3), np.uint8), np.zeros((478, 3)), CROP))
    assert len(buffer) == SLOTS
    assert sorted(r.pts for r in buffer.all()) == list(range(3, SLOTS + 3))
    assert buffer.get(1).pts == SLOTS + 1


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (3840, 2160), (1080, 1920), (16, 16), (2000, 20)])
def test_a_backdrop_has_the_picture_s_shape_and_a_bounded_size(size):
    width, height = backdrop_size(*size)
    assert 16 <= min(width, height)
    assert max(width, height) <= MAX_SIDE
    if min(width, height) > 16:
        assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_backdrop_keeps_what_is_seen_and_smooths_what_is_not():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (400, 600, 3), dtype=np.uint8)
    out = make_backdrop(picture, CROP)
    assert out.shape == picture.shape
    np.testing.assert_array_equal(out[:50], picture[:50])
    np.testing.assert_array_equal(out[:, 360:], picture[:, 360:])
    middle = out[150:200, 200:260].astype(float)
    assert np.abs(np.diff(middle, axis=0)).mean() < 3


@pytest.mark.parametrize(
    "crop",
    [
        CropTransform(0, 0, 300, 256),
        CropTransform(-200, -200, 900, 256),
        CropTransform(250, 180, 200, 256),
        CropTransform(1000, 1000, 64, 64),
        CropTransform(10, 10, 8, 64),
    ],
    ids=["left half", "all", "corner", "elsewhere", "tiny"],
)
def test_a_crop_may_reach_over_the_border(crop):
    picture = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert make_backdrop(picture, crop).shape == picture.shape


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """A picture with soft structure, 400x600."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(60, 200, (10, 15, 3), dtype=np.uint8)
    return cv2.resize(coarse, (600, 400), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def behind(wall) -> CodedBackdrop:
    return code_backdrop(wall, CROP, 60)


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_a_backdrop_serves_while_what_is_seen_stays(wall, behind):
    assert behind.serves(wall, CROP)
    assert behind.serves(noisy(wall, 3), CROP)
    other_face = wall.copy()
    other_face[60:290, 110:340] = 255 - other_face[60:290, 110:340]
    assert behind.serves(other_face, CROP)
    assert not behind.serves(noisy(wall, 12), CROP)
    assert not behind.serves(np.roll(wall, 20, axis=1), CROP)
    assert not behind.serves(np.clip(wall.astype(int) + 15, 0, 255).astype(np.uint8), CROP)


def test_a_rougher_backdrop_may_differ_more(wall):
    fine, rough = code_backdrop(wall, CROP, 100), code_backdrop(wall, CROP, 30)
    assert len(rough.still) < len(fine.still)
    assert rough.error > fine.error
    for coded in (fine, rough):
        good = [coded.serves(coded.picture + np.uint8(step), CROP) for step in range(25)]
        assert good == [step**2 <= 2 * coded.error + 64 for step in range(25)]
        assert False in good


def test_what_never_stands_still_needs_no_new_backdrop(wall, behind):
    shifts = (30, -30, 45, -45)
    restless = [np.roll(wall, shift, axis=1) for shift in shifts]
    assert not behind.serves(restless[0], CROP)
    assert behind.serves(restless[0], CROP, restless[1:])
    assert not behind.serves(restless[0], CROP, restless[:1] * 3)


@pytest.mark.parametrize(("columns", "good"), [(slice(60, 540), True), (slice(15, 25), False)])
def test_what_shines_through_the_feather_counts(wall, columns, good):
    """The crop stands from column 10 to 590, and its feather is 41 wide."""
    crop = CropTransform(10, -90, 580, 256)
    changed = wall.copy()
    changed[:, columns] = 255 - changed[:, columns]
    assert code_backdrop(wall, crop, 60).serves(changed, crop) is good


@pytest.mark.parametrize(
    ("crop", "good"),
    [
        (CropTransform(110, 60, 256, 256), True),
        (CropTransform(100, 50, 256, 512), True),
        (CropTransform(60, 20, 340, 256), True),
        (CropTransform(140, 50, 256, 256), False),
        (CropTransform(100, 90, 256, 256), False),
        (CropTransform(160, 110, 136, 136), False),
    ],
    ids=["a little aside", "another size", "larger", "far aside", "lower", "smaller"],
)
def test_a_backdrop_serves_another_crop_where_the_fill_stays_hidden(wall, behind, crop, good):
    assert behind.serves(wall, crop) is good


def test_the_newest_backdrop_is_shared_once_the_decoder_has_it(wall, behind):
    at_once, call = (BackdropKeeper(shares=True, acknowledged=a) for a in (False, True))
    assert not at_once.serves(wall, CROP)
    for keeper, slot in ((at_once, 2), (call, 2)):
        keeper.put(behind, slot)
    assert at_once.serves(wall, CROP)
    assert not call.serves(wall, CROP)
    call.acknowledge(1)
    assert not call.serves(wall, CROP)
    call.acknowledge(2)
    assert call.serves(wall, CROP)
    call.put(behind, 3)
    call.acknowledge(2)
    assert not call.serves(wall, CROP)
    call.acknowledge(3)
    assert call.serves(wall, CROP)
    call.forget()
    call.acknowledge(3)
    assert not call.serves(wall, CROP)
    alone = BackdropKeeper(shares=False, acknowledged=False)
    alone.put(behind, 0)
    assert not alone.serves(wall, CROP)


def test_a_head_that_turns_too_far_asks_for_another_picture():
    own = reference(0, face())
    for yaw, good in ((0.0, True), (MAX_TURN * 0.6, True), (MAX_TURN * 1.6, False)):
        points = CROP.to_picture(np.stack([face(yaw)] * 3))
        assert serves(own, points) is good


def test_a_face_that_comes_near_or_leaves_asks_for_another_picture():
    own = reference(0, face(scale=0.2))
    assert serves(own, CROP.to_picture(face(scale=0.25)[None]))
    assert not serves(own, CROP.to_picture(face(scale=0.45)[None]))
    assert not serves(own, CROP.to_picture(face(scale=0.2)[None] + [0.45, 0.0, 0.0]))


def test_scale_and_turn_do_not_depend_on_the_order():
    near, far = ViewPoint.of(face(0.2, 0.3)), ViewPoint.of(face(-0.1, 0.1))
    assert near.scale_to(far) == pytest.approx(far.scale_to(near)) == pytest.approx(3.0, rel=0.1)
    assert near.turn_to(far) == pytest.approx(far.turn_to(near))


def test_inside_allows_a_little():
    assert inside(np.full((1, 478, 3), 1.02, np.float32))
    assert not inside(np.full((1, 478, 3), 1.04, np.float32))
    assert inside(np.full((1, 478, 3), 0.5, np.float32) + np.float32([0, 0, 9]))


def test_resized_keeps_the_square():
    assert resized(CROP, 512) == CropTransform(100, 50, 256, 512)


def test_the_frontal_sharp_frame_becomes_the_reference():
    points = np.stack([face(0.5), face(0.2), face(0.02), face(0.0), face(-0.15)]).astype(np.float32)
    patches = np.zeros((5, PATCH_SIDE, PATCH_SIDE), np.float32)
    assert frame_costs(points, np.ones(5), patches).argmin() in (2, 3)
    blurred = np.array([1, 1, 0.05, 1, 1])
    assert frame_costs(points, blurred, patches).argmin() == 3
    odd = patches.copy()
    odd[3] = 1.0
    assert frame_costs(points, np.ones(5), odd).argmin() == 2


def test_patches_ignore_light_and_place_but_not_another_picture():
    rng = np.random.default_rng(3)
    texture = np.kron(rng.integers(40, 200, (30, 40)), np.ones((12, 12))).astype(np.uint8)
    picture = np.repeat(texture[..., None], 3, axis=2)
    points = (face() * 200 + [100, 80, 0]).astype(np.float32)
    own = face_patch(picture, points)
    assert own.shape == (PATCH_SIDE, PATCH_SIDE)
    brighter = face_patch((picture * 0.8 + 20).astype(np.uint8), points)
    moved = face_patch(np.roll(picture, 24, axis=1), points + np.float32([24, 0, 0]))
    other = face_patch(255 - picture, points)
    assert patch_distance(own, brighter) < 0.05
    assert patch_distance(own, moved) < 0.05
    assert patch_distance(own, other) > STALE


def test_frames_look_at_the_pictures_whose_faces_are_nearest():
    held = [reference(3, face(0.3)), reference(5, face(-0.2, 0.2)), reference(1, face(0.05))]
    frames = np.stack([face(0.28, 0.3) + [0.2, -0.1, 0], face(0.0), face(-0.3)])
    assert nearest(held, frames, 2) == [[3, 1], [1, 5], [5, 1]]
    assert nearest(held, frames[:1], 8) == [[3, 1, 5]]
    assert nearest(held, frames, 0) == nearest([], frames, 2) == [[], [], []]
    assert nearest(held, frames[:0], 2) == []
