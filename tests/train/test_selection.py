"""Choice of frames: what is left out, and where runs lie."""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.motion.face import load_face_model
from facecodec.train.selection import choose_runs, extremes, judge
from facecodec.types import F32Array, U8Array

SIDE = 96


def clip(count: int) -> tuple[list[U8Array], F32Array]:
    """Pictures of sharp noise that drifts, and a face that stands in their middle."""
    rng = np.random.default_rng(1)
    noise = np.repeat(np.repeat(rng.integers(60, 200, (SIDE, SIDE), dtype=np.uint8), 2, 0), 2, 1)
    pictures = [np.repeat(noise[t : t + SIDE, t : t + SIDE, None], 3, axis=2) for t in range(count)]
    mesh = (load_face_model().mean / 4 + 0.5).astype(np.float32)
    return pictures, np.repeat(mesh[None], count, axis=0)


def test_a_steady_clip_is_one_stretch() -> None:
    pictures, meshes = clip(10)
    judged = judge(pictures, meshes, np.zeros(10, bool), np.zeros(10, int))
    assert judged.segments.tolist() == [0] * 10
    assert (judged.lost, judged.blurred, judged.frozen, judged.cuts) == (0, 0, 0, 0)


def test_lost_blurred_and_frozen_frames_are_left_out() -> None:
    pictures, meshes = clip(12)
    held = np.zeros(12, bool)
    held[3] = True
    pictures[6] = np.asarray(cv2.GaussianBlur(pictures[6], (0, 0), 3), np.uint8)
    pictures[10] = pictures[9].copy()
    judged = judge(pictures, meshes, held, np.zeros(12, int))
    assert (judged.lost, judged.blurred, judged.frozen) == (1, 1, 1)
    assert np.flatnonzero(judged.segments < 0).tolist() == [3, 6, 10]
    parts = [set(judged.segments[list(part)].tolist()) for part in ((0, 1, 2), (4, 5), (7, 8, 9, 11))]
    assert parts == [{0}, {1}, {2}], "a lost or blurred frame breaks; a frozen one does not"


def test_cuts_jumps_and_new_references_break() -> None:
    pictures, meshes = clip(12)
    pictures[4:] = [np.asarray(255 - p // 4, np.uint8) for p in pictures[4:]]
    meshes[8:, :, 0] += 0.3
    references = np.array([0] * 10 + [1] * 2)
    judged = judge(pictures, meshes, np.zeros(12, bool), references)
    assert np.flatnonzero(np.diff(judged.segments)).tolist() == [3, 7, 9]
    assert judged.cuts == 2


def test_runs_hold_consecutive_frames_and_no_frame_twice() -> None:
    segments = np.repeat([0, 1, 2], [30, 5, 40])
    segments[[10, 50]] = -1
    scores = np.zeros((75, 4), np.float32)
    runs = choose_runs(segments, scores, 8, 48, np.random.default_rng(0))
    chosen = [t for run in runs for t in run]
    assert len(chosen) == len(set(chosen)) == 48
    for run in runs:
        assert len(set(segments[run].tolist())) == 1
        between = set(range(run[0], run[-1] + 1)) - set(run)
        assert between <= {10, 50}, "only frames that were left out are jumped over"


def test_every_other_run_lies_around_an_extreme() -> None:
    scores = np.zeros((200, 4), np.float32)
    peaks = [20, 70, 120, 170]
    for column, peak in enumerate(peaks):
        scores[peak, column] = 1.0
    runs = choose_runs(np.zeros(200, np.int64), scores, 8, 64, np.random.default_rng(2))
    assert len(runs) == 8
    assert any(peak in runs[0][2:-2] for peak in peaks)
    for peak in peaks:
        assert any(peak in run for run in runs)
    firsts = {
        next(c for c, peak in enumerate(peaks) if peak in choose_runs(
            np.zeros(200, np.int64), scores, 8, 8, np.random.default_rng(seed))[0])
        for seed in range(20)
    }  # fmt: skip
    assert firsts == {0, 1, 2, 3}


def test_short_stretches_give_short_runs_and_none_gives_none() -> None:
    scores = np.zeros((6, 4), np.float32)
    segments = np.array([0, 0, 0, 1, 1, -1])
    assert sorted(map(len, choose_runs(segments, scores, 8, 40, np.random.default_rng(0)))) == [2, 3]
    assert choose_runs(np.full(6, -1), scores, 8, 40, np.random.default_rng(0)) == []
    assert list(map(len, choose_runs(np.zeros(6, int), scores, 4, 5, np.random.default_rng(0)))) == [4, 1]


def test_extremes_see_mouth_eyes_and_turn() -> None:
    _, meshes = clip(5)
    meshes[1, 14, 1] += 0.05  # the lower lip goes down
    for upper, lower in ((159, 145), (386, 374)):
        meshes[2, upper] = meshes[2, lower]
    angle = 0.5
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    meshes[3] = (meshes[3] - 0.5) @ turn.T + 0.5
    scores = extremes(meshes)
    assert scores[:, 0].argmax() == 1
    assert scores[:, 1].argmax() == 2
    assert scores[:, 3].argmax() == 3
