"""Pasting crops back: geometry, feather, and the gradient-domain seam."""

from __future__ import annotations

import numpy as np
import pytest

from facecodec.composite import Paster, PoissonPaster
from facecodec.composite.paste import place
from facecodec.composite.poisson import band_system
from facecodec.errors import ConfigError, ShapeError
from facecodec.types import CropTransform, F64Array, U8Array

BOTH = pytest.mark.parametrize("paster_type", [Paster, PoissonPaster])
CROP = CropTransform(x=20, y=10, side=60, size=60)


def backdrop(value: int = 100, width: int = 120, height: int = 90) -> U8Array:
    return np.full((height, width, 3), value, np.uint8)


def square(value: int, size: int = 60) -> U8Array:
    return np.full((size, size, 3), value, np.uint8)


@BOTH
@pytest.mark.parametrize(
    "crop",
    [
        CROP,
        CropTransform(-20, -10, 70, 70),
        CropTransform(80, 50, 70, 70),
        CropTransform(-10, -20, 150, 150),
        CropTransform(300, 300, 40, 40),
    ],
)
def test_the_same_picture_pasted_into_itself_changes_nothing(
    paster_type: type[Paster | PoissonPaster], crop: CropTransform
) -> None:
    source = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    padded = np.pad(source, ((400, 400), (400, 400), (0, 0)), mode="edge")
    top, left = crop.y + 400, crop.x + 400
    inner = padded[top : top + crop.side, left : left + crop.side]
    out = paster_type(120, 90, crop, source).paste(inner)
    assert out.shape == source.shape
    difference = np.abs(out.astype(int) - source)
    if paster_type is Paster:
        assert difference.max() == 0
    else:  # gradients across the seam are unknown to it: noise is smoothed there
        assert difference[:, : max(0, crop.x - 4)].max(initial=0) == 0
        assert difference.mean() < 8


@BOTH
@pytest.mark.parametrize("size", [30, 60, 144])
def test_crop_appears_in_its_place_at_any_coded_size(
    paster_type: type[Paster | PoissonPaster], size: int
) -> None:
    crop = CropTransform(20, 10, 60, size)
    out = paster_type(120, 90, crop, backdrop()).paste(square(200, size))
    assert (out[20:60, 30:70] == 200).all()
    assert (out[75:] == 100).all()
    assert (out[:, 85:] == 100).all()


@BOTH
def test_no_feather_on_the_border_of_the_picture(paster_type: type[Paster | PoissonPaster]) -> None:
    crop = CropTransform(0, 15, 60, 60)
    out = paster_type(120, 90, crop, backdrop(), 0.1).paste(square(200))
    assert (out[40, :50] == 200).all()
    assert 100 <= out[40, 58, 0] < 195


def test_feather_rises_smoothly_over_its_width() -> None:
    out = Paster(120, 90, CROP, backdrop(), 0.1).paste(square(200))
    profile = out[40, 19:28, 0].astype(int)
    assert profile[0] == 100
    assert (np.diff(profile) >= 0).all()
    assert profile[-1] == 200
    assert np.diff(profile).max() < 30
    assert (Paster(120, 90, CROP, backdrop(), 0.0).paste(square(200))[40, 20] == 200).all()


def test_pasters_keep_their_own_backdrop() -> None:
    behind = backdrop()
    paster = Paster(120, 90, CROP, behind)
    first = paster.paste(square(200))
    behind[:] = 0
    first[:] = 0
    assert (paster.paste(square(200))[0, 0] == 100).all()


@BOTH
def test_wrong_input_is_named(paster_type: type[Paster | PoissonPaster]) -> None:
    with pytest.raises(ShapeError, match="backdrop"):
        paster_type(100, 90, CROP, backdrop())
    with pytest.raises(ConfigError, match="feather"):
        paster_type(120, 90, CROP, backdrop(), 0.7)
    with pytest.raises(ConfigError, match="side"):
        paster_type(120, 90, CropTransform(0, 0, 0, 60), backdrop())
    with pytest.raises(ShapeError, match="crop picture"):
        paster_type(120, 90, CROP, backdrop()).paste(np.zeros((60, 50, 3), np.uint8))
    with pytest.raises(ConfigError, match="temporal"):
        PoissonPaster(120, 90, CROP, backdrop(), temporal=-1.0)


def test_visible_part_of_a_crop() -> None:
    seen = place(CropTransform(-5, 70, 40, 40), 120, 90)
    assert (seen.rows, seen.columns) == (slice(70, 90), slice(0, 35))
    assert (seen.inner_rows, seen.inner_columns) == (slice(0, 20), slice(5, 40))
    assert seen.shape == (20, 35)
    assert place(CropTransform(200, 0, 40, 40), 120, 90).shape[1] == 0


def test_poisson_leaves_no_step_for_a_constant_offset() -> None:
    out = PoissonPaster(120, 90, CROP, backdrop(), 0.2).paste(square(130)).astype(int)
    across = np.abs(np.diff(out[40, :, 0]))
    assert across.max() <= 5  # 30 levels spread over a band of 12 pixels
    assert out[40, 0, 0] == 100
    assert out[40, 50, 0] == 130


def test_poisson_keeps_the_detail_of_both_pictures() -> None:
    grain = np.random.default_rng(0).integers(90, 110, (90, 120, 3), dtype=np.uint8)
    inner = grain[10:70, 20:80] + np.uint8(30)
    out = PoissonPaster(120, 90, CROP, grain, 0.2).paste(inner).astype(int)
    inside = out[30:50, 20:26] - inner[20:40, 0:6]
    assert np.abs(np.diff(inside, axis=0)).max() <= 4  # the correction is smooth: grain is untouched


def _brute_force(
    hard: list[F64Array], inside: np.ndarray, band: np.ndarray, temporal: float
) -> list[F64Array]:
    """Minimise the energy of each frame as dense least squares over its edges, frame after frame."""
    height, width = inside.shape
    unknown = {int(p): i for i, p in enumerate(band)}
    solved: list[F64Array] = []
    for t, picture in enumerate(hard):
        rows, goals = [], []
        flat = picture.reshape(-1)
        edges = [(p, p + 1) for p in range(height * width) if p % width < width - 1]
        edges += [(p, p + width) for p in range(height * width - width)]
        for p, q in edges:
            if p not in unknown and q not in unknown:
                continue
            same = inside.reshape(-1)[p] == inside.reshape(-1)[q]
            row, goal = np.zeros(len(band)), (flat[q] - flat[p] if same else 0.0)
            for pixel, sign in ((q, 1.0), (p, -1.0)):
                if pixel in unknown:
                    row[unknown[pixel]] = sign
                else:
                    goal -= sign * flat[pixel]
            rows.append(row)
            goals.append(goal)
        if t:
            for pixel, i in unknown.items():
                rows.append(np.eye(len(band))[i] * np.sqrt(temporal))
                change = flat[pixel] - hard[t - 1].reshape(-1)[pixel]
                goals.append(np.sqrt(temporal) * (solved[-1].reshape(-1)[pixel] + change))
        answer = picture.copy()
        answer.reshape(-1)[band] = np.linalg.lstsq(np.array(rows), np.array(goals), rcond=None)[0]
        solved.append(answer)
    return solved


def test_poisson_minimises_its_energy() -> None:
    rng = np.random.default_rng(7)
    behind = rng.integers(80, 170, (14, 16, 3), dtype=np.uint8)
    crop = CropTransform(4, 3, 8, 8)
    frames = [rng.integers(80, 170, (8, 8, 3), dtype=np.uint8) for _ in range(3)]
    paster = PoissonPaster(16, 14, crop, behind, 0.5, temporal=0.4)
    inside = np.zeros((14, 16), bool)
    inside[3:11, 4:12] = True
    near = np.zeros((14, 16), bool)
    near[1:13, 2:14] = True
    near[5:9, 6:10] = False
    hard = []
    for frame in frames:
        picture = behind[..., 0].astype(np.float64)
        picture[3:11, 4:12] = frame[..., 0]
        hard.append(picture)
    expected = _brute_force(hard, inside, np.flatnonzero(near), 0.4)
    for frame, want in zip(frames, expected, strict=True):
        assert np.abs(paster.paste(frame)[..., 0] - np.clip(want, 0, 255)).max() <= 0.51
    alone = PoissonPaster(16, 14, crop, behind, 0.5, temporal=0.4).paste(frames[2])
    assert not np.array_equal(paster.paste(frames[2]), alone)
    paster.reset()
    assert np.array_equal(paster.paste(frames[2]), alone)


def test_seam_system_is_symmetric_and_touches_the_seam_alone() -> None:
    inside = np.zeros((6, 7), bool)
    inside[2:5, 2:6] = True
    band = np.flatnonzero(np.ones_like(inside))
    laplacian, seam = band_system(inside, band)
    dense = laplacian.toarray()
    assert np.array_equal(dense, dense.T)
    assert np.allclose(dense.sum(1), 0)  # no neighbour is held: constants cost nothing
    assert np.abs(seam.toarray()).sum() == 4 * (2 * 3 + 2 * 4)


def test_poisson_flickers_less_than_feather() -> None:
    """Departure of the seam's change in time from the source's own, for a flickering offset."""
    rng = np.random.default_rng(1)
    offsets = rng.integers(-12, 13, 12)

    def departure(paster: Paster | PoissonPaster) -> float:
        total = 0.0
        hard = [backdrop() for _ in offsets]
        outs = []
        for picture, offset in zip(hard, offsets, strict=True):
            picture[10:70, 20:80] = 100 + offset
            outs.append(paster.paste(square(100 + int(offset))).astype(float))
        for t in range(1, len(outs)):
            change = hard[t].astype(float) - hard[t - 1]
            total += float(((outs[t] - outs[t - 1] - change) ** 2).mean())
        return total

    feather = departure(Paster(120, 90, CROP, backdrop(), 0.1))
    assert departure(PoissonPaster(120, 90, CROP, backdrop(), 0.1)) < 0.6 * feather


def test_poisson_band_over_the_whole_picture_still_works() -> None:
    out = PoissonPaster(12, 10, CropTransform(6, -50, 100, 100), backdrop(100, 12, 10), 0.4).paste(
        square(120)
    )
    assert out.shape == (10, 12, 3)
    assert 95 <= out.min()
    assert out.max() <= 125
