"""Idle motion: it goes on from what was received, smoothly, and brings back what was seen."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.motion.face import load_face_model, rotation_matrix
from facecodec.motion.idle import MEMORY_S, IdleMotion
from facecodec.motion.openings import LEFT_EYE, MOUTH
from facecodec.motion.pose import Pose, blend

STEP = 0.05


def face(sway: float, blink: float) -> Pose:
    """A face moved to the side, its left eye more or less closed."""
    mesh = load_face_model().mean * 0.2 + 0.5
    upper, lower = (list(points) for points in zip(*LEFT_EYE.pairs, strict=True))
    middle = (mesh[upper] + mesh[lower]) / 2
    mesh[upper] += blink * (middle - mesh[upper])
    mesh[lower] += blink * (middle - mesh[lower])
    shape = mesh.copy()
    mesh[:, 0] += sway
    return Pose(mesh, shape, None)


def taught(seconds: float = 12.0) -> IdleMotion:
    """A head that sways once in 2 seconds, and blinks every 3."""
    idle = IdleMotion()
    for i in range(round(seconds / STEP)):
        t = i * STEP
        blink = max(0.0, 1.0 - abs((t % 3.0) - 1.5) / 0.15)
        idle.learn(t, face(0.01 * np.sin(np.pi * t), blink), picture=1)
    return idle


def play(idle: IdleMotion, last: Pose, seconds: float, start: float = 12.0) -> list[Pose]:
    idle.start(start, last, picture=1)
    return [idle.pose(start + i * STEP) for i in range(round(seconds / STEP))]


def test_it_begins_where_the_last_pose_was_and_never_jumps():
    idle = taught()
    last = idle._memory[-1].pose
    poses = play(idle, last, 10.0)
    way = [np.abs(b.mesh - a.mesh).max() for a, b in zip(poses, poses[1:], strict=False)]
    received = [m.pose.mesh for m in idle._memory]
    usual = max(np.abs(b - a).max() for a, b in zip(received, received[1:], strict=False))
    assert np.abs(poses[0].mesh - last.mesh).max() < 1e-9
    assert max(way) < 2.0 * usual


def test_it_keeps_moving_and_blinks():
    idle = taught()
    poses = play(idle, idle._memory[-1].pose, 12.0)
    sway = np.array([p.mesh[:, 0].mean() for p in poses])
    gaps = np.array([float(LEFT_EYE.gap(p.shape)) for p in poses])
    assert np.ptp(sway) > 0.012
    assert all(np.ptp(sway[i : i + 40]) > 0.005 for i in range(0, len(sway) - 40, 20))
    assert gaps.min() < 0.4 * gaps.max()


def test_every_pose_is_near_one_that_was_received():
    idle = taught()
    received = np.stack([m.pose.mesh for m in idle._memory])
    for pose in play(idle, idle._memory[-1].pose, 8.0)[10::4]:
        assert np.abs(received - pose.mesh).max(axis=(1, 2)).min() < 0.004


def test_moments_of_a_quiet_mouth_are_liked_better():
    idle, rng = IdleMotion(), np.random.default_rng(1)
    for i in range(300):
        t, quiet = i * STEP, (i // 100) % 2 == 0
        pose = face(0.002 * np.sin(np.pi * t), 0.0)
        shape = pose.shape.copy()
        if not quiet:
            shape[[13, 14, 312, 317, 82, 87], 1] += rng.normal(0, 0.01)
        idle.learn(t, Pose(pose.mesh, shape, None), 1)
    idle.start(15.0, idle._memory[-1].pose, 1)
    times = []
    for i in range(200):
        idle.pose(15.0 + i * STEP)
        times.append(idle._at_s)
    quiet = [t for t in times if int(t / STEP) // 100 % 2 == 0]
    assert len(quiet) > 0.7 * len(times)


def test_the_mouth_closes_as_far_as_it_was_seen_to_and_turns_with_the_head():
    idle = IdleMotion()
    turn = rotation_matrix(np.array([0.0, 0.3, 0.0]))
    for i in range(100):
        pose = face(0.0, 0.0)
        shape = pose.shape.copy()
        upper, lower = (list(points) for points in zip(*MOUTH.pairs, strict=True))
        shape[lower, 1] = shape[upper, 1] + (0.002 if i == 30 else 0.02)
        idle.learn(i * STEP, Pose(shape @ turn.T, shape, None), 1)
    idle.start(5.0, idle._memory[-1].pose, 1)
    gaps = [float(MOUTH.gap(idle.pose(5.0 + i * STEP).shape)) for i in range(30)]
    assert gaps[0] == pytest.approx(float(MOUTH.gap(idle._memory[-1].pose.shape)), rel=0.05)
    assert gaps[-1] == pytest.approx(float(MOUTH.gap(idle._memory[30].pose.shape)), rel=0.05)
    assert np.diff(gaps).max() < 0.01
    last = idle.pose(6.5)
    np.testing.assert_allclose(last.mesh, last.shape @ turn.T, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_little_is_enough(count):
    idle = IdleMotion()
    for i in range(count):
        idle.learn(i * STEP, face(0.001 * i, 0.0), 1)
    idle.start(1.0, face(0.001 * count, 0.0), 1)
    poses = [idle.pose(1.0 + i * STEP) for i in range(40)]
    assert all(np.isfinite(pose.mesh).all() for pose in poses)


def test_without_memory_there_is_nothing_to_show():
    idle = IdleMotion()
    idle.start(0.0, face(0.0, 0.0), 1)
    assert idle.pose(0.1) is None


def test_memory_is_bounded_in_time_and_ends_at_another_crop():
    idle = IdleMotion()
    for i in range(3000):
        idle.learn(i * STEP, face(0.0, 0.0), 1, place="here")
    assert len(idle) <= MEMORY_S / STEP + 1
    idle.learn(3000 * STEP, face(0.0, 0.0), 1, place="there")
    assert len(idle) == 1


def test_blending_ends_at_both_poses():
    a, b = face(0.0, 0.0), face(0.02, 0.5)
    assert blend(a, b, 0.0) is a
    assert blend(a, b, 1.0) is b
    np.testing.assert_allclose(blend(a, b, 0.25).mesh, 0.75 * a.mesh + 0.25 * b.mesh)
