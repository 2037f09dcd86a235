"""A tiny packed data set of drawn faces, for training tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from facecodec.generator.topology import load_topology
from facecodec.train.packing import FrameEntry, ReferenceEntry, StillEntry, TakeEntry, write_pack
from facecodec.train.pictures import jpeg, webp
from facecodec.train.records import Clip, Take
from facecodec.types import F32Array, U8Array

SIDE = 64
_FRAMES = 6


def _mesh(shift: float) -> F32Array:
    mean = load_topology().mean_mesh
    mesh = 0.5 + 0.3 * mean / np.abs(mean[:, :2]).max()
    mesh[:, 0] += shift
    return np.asarray(mesh, np.float32)


def _picture(rng: np.random.Generator, shift: float, side: int) -> U8Array:
    """A disc with dark spots for eyes and mouth before a gradient."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    x = x - shift
    picture = np.stack([60 + 100 * x, 90 + 60 * y, 120 - 40 * x], -1)
    picture[(x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09] = (205, 160, 140)
    for at_x, at_y in ((0.4, 0.42), (0.6, 0.42), (0.5, 0.66)):
        picture[(x - at_x) ** 2 + 2 * (y - at_y) ** 2 < 0.004] = (60, 30, 30)
    return np.clip(picture + rng.normal(0, 1, picture.shape), 0, 255).astype(np.uint8)


def make_pack(path: Path, clips: int = 2, side: int = SIDE) -> Path:
    """Write a packed data set of ``clips`` takes with a run of six frames each, ``side`` pixels wide."""
    rng = np.random.default_rng(5)
    takes = []
    for number in range(clips):
        first = _picture(rng, 0.0, side)
        reference = ReferenceEntry(webp(first, 40), jpeg(first), _mesh(0.0), 0, 120)
        run, stills = [], []
        for t in range(_FRAMES):
            shift = 0.012 * t * (1 - 2 * (number % 2))
            picture = _picture(rng, shift, side)
            scene = np.zeros((5, 5, 2), np.float32)
            run.append(FrameEntry(jpeg(picture), _mesh(shift), scene, 0, t, t))
            stills.append(StillEntry(webp(picture, 30), t, 30, 180))
        take = Take(0, 18, 55, side, 5, 0.0, Fraction(1, 25))
        takes.append((Clip(f"{number}.mp4", f"person {number}"), TakeEntry(take, [reference], [run], stills)))
    write_pack(path, takes, overwrite=True)
    return path
