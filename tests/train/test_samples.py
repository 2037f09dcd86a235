"""Training samples: the same every time; fields, windows, clips, references and patches that fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facecodec.errors import ConfigError
from facecodec.generator import load_topology
from facecodec.generator.adaptive import AdaptiveGenerator
from facecodec.generator.embed import LABELS
from facecodec.generator.model import WarpGenerator
from facecodec.generator.palette import palette_patches, prepare_source
from facecodec.generator.profile import PROFILES
from facecodec.generator.streaming import Stream
from facecodec.generator.warp import warp
from facecodec.train.augment import ColourRange, draw_colours, draw_window, put_out, to_planes
from facecodec.train.pack import Pack
from facecodec.train.packing import FrameEntry, PatchEntry, ReferenceEntry, StillEntry, TakeEntry, write_pack
from facecodec.train.palettes import palette_of, recoloured, refitted, thinned
from facecodec.train.pictures import webp
from facecodec.train.records import Clip, Take
from facecodec.train.restore_task import RestoreSamples
from facecodec.train.samples import GeneratorSamples, SampleSettings, batches
from facecodec.types import F32Array, U8Array

SIDE = 64
STEP = 1 / SIDE
RUNS = (6, 4)
SMALL = {"size": SIDE, "window": 32, "batch": 3}
NO_COLOUR = ColourRange(0, 0, 0, 0)


def face(shift: float) -> F32Array:
    """The mean face, half a crop wide, moved right by ``shift``."""
    mesh = load_topology().mean_mesh * 0.5 + np.array([0.5 + shift, 0.5, 0.0])
    return mesh.astype(np.float32)


def view(wide: U8Array, pixels: int) -> U8Array:
    """What is seen of a wide picture when everything in it has moved right by some pixels."""
    return np.ascontiguousarray(wide[:, 16 - pixels : 16 - pixels + SIDE])


def take(rng: np.random.Generator, clip: int) -> TakeEntry:
    """Frame n shows everything moved right by n pixels against the reference picture."""
    coarse = rng.uniform(30, 220, (1, 3, 8, 12)).astype(np.float32)
    wide = torch.nn.functional.interpolate(torch.from_numpy(coarse), (SIDE, SIDE + 32), mode="bicubic")
    picture = wide[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()
    coded = np.clip(picture.astype(int) + 12, 0, 255).astype(np.uint8)
    references = [ReferenceEntry(webp(view(coded, 0)), webp(view(picture, 0)), face(0), 0, 77)]
    runs, at = [], 0
    for length in RUNS:
        run = []
        for n in range(at, at + length):
            scene = np.zeros((5, 5, 2), np.float32)
            scene[..., 0] = -n * STEP
            run.append(FrameEntry(webp(view(picture, n)), face(n * STEP), scene, 0, n, n))
        runs.append(run)
        at += length
    stills = [StillEntry(webp(view(coded, n)), n, 40, 160) for n in range(3)]
    return TakeEntry(Take(clip, 20, 50, SIDE, 5, 0.0, Fraction(1, 25)), references, runs, stills)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Two clips of two people, a run of 6 and one of 4 frames each."""
    path = tmp_path_factory.mktemp("pack") / "pack.safetensors"
    rng = np.random.default_rng(8)
    write_pack(path, [(Clip(f"{name}.mp4", name), take(rng, 0)) for name in ("one", "two")])
    return Pack.open(path)


def tensors(batch: object) -> Iterable[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (tuple, list)):
        for part in batch:
            yield from tensors(part)


def same(one: object, other: object) -> bool:
    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return len(pairs) > 1 and all(a.equal(b) for a, b in pairs)


def samples(pack: Pack, **settings: Any) -> GeneratorSamples:
    return GeneratorSamples([pack], SampleSettings(**{**SMALL, **settings}))


def test_shapes_and_ranges(pack: Pack) -> None:
    batch = samples(pack, references=4, single=0.0, frames=2)[1]
    count = batch.references.pictures.shape[1]
    assert 1 <= count <= 4
    assert batch.references.pictures.shape == (3, count, 3, SIDE, SIDE)
    assert batch.references.labels.shape == (3, count, LABELS, SIDE // 2, SIDE // 2)
    assert batch.references.meshes.shape == (3, count, 478, 3)
    assert batch.q_idx.shape == (3, count)
    assert batch.targets.shape == (3, 2, 3, SIDE, SIDE)
    assert len(batch.frames) == 2
    for frame in batch.frames:
        assert frame.mesh.shape == (3, 478, 3)
        assert frame.label.shape == (3, LABELS, SIDE // 2, SIDE // 2)
        assert frame.fields.shape == (3, count, SIDE, SIDE, 2)
        assert frame.previous is not None
        assert frame.previous.shape == (3, 3, SIDE, SIDE)
        assert frame.previous_field is not None
        assert frame.previous_field.shape == (3, SIDE, SIDE, 2)
        assert frame.previous_valid is not None
        assert frame.previous_valid.shape == (3,)
        assert frame.patches is not None
        assert frame.patches.shape == (3, 4, SIDE, SIDE)
    assert all(bool(part.isfinite().all()) for part in tensors(batch))
    for pictures in (batch.targets, batch.references.pictures):
        assert 0 <= float(pictures.min()) < float(pictures.max()) <= 1


def test_a_batch_depends_on_seed_and_number_alone(pack: Pack) -> None:
    first, again = samples(pack, seed=3), samples(pack, seed=3)
    expected = [first[n] for n in range(3)]
    assert same(again[2], expected[2])
    assert same(again[0], expected[0])
    assert not same(expected[0].targets, expected[1].targets)
    assert not same(samples(pack, seed=4)[2], expected[2])


def test_samples_of_a_batch_do_not_depend_on_its_size(pack: Pack) -> None:
    small, large = samples(pack, batch=1)[5], samples(pack, batch=3)[5]
    assert small.targets.equal(large.targets[:1])
    assert small.frames[0].fields.equal(large.frames[0].fields[:1])


def test_a_run_goes_on_where_it_stopped_also_in_workers(pack: Pack) -> None:
    data = samples(pack, frames=2)
    whole = list(batches(data, 0, 4))
    assert len(whole) == 4
    assert all(same(a, b) for a, b in zip(batches(data, 2, 4), whole[2:], strict=True))
    made_elsewhere = list(islice(batches(data, 2, 4, workers=1), 2))
    assert all(same(a, b) for a, b in zip(made_elsewhere, whole[2:], strict=True))


def test_processes_see_different_batches_and_all_of_them(pack: Pack) -> None:
    data = samples(pack)
    shares = [list(batches(data, 1, 3, rank=rank, processes=2)) for rank in (0, 1)]
    for n, batch in zip((2, 3, 4, 5), (shares[0][0], shares[1][0], shares[0][1], shares[1][1]), strict=True):
        assert same(batch, data[n])


def test_fields_lead_from_the_target_to_the_reference_and_to_the_previous_frame(pack: Pack) -> None:
    data = samples(pack, frames=3, previous=1.0, original=1.0, other_reference=0.4, patches=False)
    inner = (..., slice(4, -4), slice(14, -14))
    for step in range(4):
        batch = data[step]
        for t, frame in enumerate(batch.frames):
            shown = warp(batch.references.pictures[:, 0], frame.fields[:, 0])
            target = batch.targets[:, t]
            assert float((shown - target)[inner].abs().mean()) < 0.02
            assert frame.previous is not None
            assert frame.previous_field is not None
            if t:
                assert frame.previous.equal(batch.targets[:, t - 1])
                before = warp(frame.previous, frame.previous_field)
                assert float((before - target)[inner].abs().mean()) < 0.02


def test_first_frames_have_no_previous_one(pack: Pack) -> None:
    data = samples(pack, frames=6, previous=1.0)
    for step in range(3):
        valid = [frame.previous_valid for frame in data[step].frames]
        assert valid[0] is not None
        assert float(valid[0].sum()) == 0
        assert all(v is not None and float(v.sum()) == 3 for v in valid[1:])
    assert all(float(samples(pack, previous=0.0)[n].frames[0].previous_valid.sum()) == 0 for n in range(3))


def test_previous_outputs_are_true_frames_mixed_with_plain_warps() -> None:
    rng = np.random.default_rng(0)
    true, warped = torch.zeros(3, 32, 32), torch.ones(3, 32, 32)
    shares = [float(put_out(true, warped, rng).mean()) for _ in range(80)]
    assert 0.1 < np.mean([share == 1 for share in shares]) < 0.4
    assert 0.1 < np.mean([share < 0.05 for share in shares]) < 0.4
    mixed = put_out(true, warped, np.random.default_rng(next(n for n in range(50) if _mixes(n))))
    assert float(mixed.min()) < 0.1
    assert float(mixed.max()) > 0.9


def _mixes(seed: int) -> bool:
    return 0.25 <= np.random.default_rng(seed).random() < 0.75


def test_reference_pictures_are_coded_or_not_as_asked(pack: Pack) -> None:
    plain = {"other_reference": 0.0, "colour": NO_COLOUR}
    coded = samples(pack, original=0.0, **plain)[0]
    uncoded = samples(pack, original=1.0, **plain)[0]
    assert coded.q_idx.tolist() == [[77.0]] * 3
    assert uncoded.q_idx.tolist() == [[0.0]] * 3
    lighter = coded.references.pictures - uncoded.references.pictures
    assert float(lighter.mean()) == pytest.approx(12 / 255, abs=0.01)
    assert coded.references.meshes.equal(uncoded.references.meshes)


def test_several_references_come_from_the_same_clip(pack: Pack) -> None:
    data = samples(pack, references=3, single=0.0, colour=NO_COLOUR, original=1.0)
    batch = next(b for b in (data[n] for n in range(20)) if b.references.pictures.shape[1] == 3)
    for sample in range(3):
        target = batch.targets[sample, 0].flatten(1).mean(1)
        for picture in batch.references.pictures[sample]:
            assert torch.allclose(picture.flatten(1).mean(1), target, atol=0.08)
    assert not batch.references.meshes[0, 0].equal(batch.references.meshes[0, 1])


def test_colours_change_reference_and_target_alike(pack: Pack) -> None:
    strong = ColourRange(gain=0.5, balance=0.2, offset=0.1, gamma=0.3)
    asked = {"original": 1.0, "other_reference": 0.0, "previous": 0.0}
    changed, plain = (samples(pack, colour=colour, **asked)[2] for colour in (strong, NO_COLOUR))
    for sample in range(3):
        moved = [
            (a[sample].mean((-1, -2)) - b[sample].mean((-1, -2))).flatten()
            for a, b in (
                (changed.targets, plain.targets),
                (changed.references.pictures, plain.references.pictures),
            )
        ]
        assert float(moved[0].abs().max()) > 0.01
        assert torch.allclose(moved[0], moved[1], atol=0.05)


def test_windows_lie_inside_at_multiples_of_sixteen_and_often_on_the_mouth(pack: Pack) -> None:
    batch = samples(pack)[0]
    assert batch.windows is not None
    assert batch.windows.dtype == torch.int64
    assert samples(pack, window=0)[0].windows is None
    rng = np.random.default_rng(0)
    drawn = np.array([draw_window(rng, face(0), 256, 128) for _ in range(300)])
    assert (drawn % 16 == 0).all()
    assert drawn.min() >= 0
    assert drawn.max() <= 128
    mouth = face(0)[[13, 14], :2].mean(0)[::-1] * 256
    holds = ((drawn <= mouth) & (mouth < drawn + 128)).all(1)
    assert holds.mean() > 0.6
    assert len(np.unique(drawn, axis=0)) > 15
    with pytest.raises(ConfigError, match="window"):
        draw_window(rng, face(0), 64, 128)


def test_no_colour_range_changes_nothing() -> None:
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, 2)
    planes = to_planes(picture, draw_colours(np.random.default_rng(0), NO_COLOUR))
    assert torch.allclose(planes * 255, torch.from_numpy(picture).permute(2, 0, 1).float(), atol=1e-3)


def palette_pack(path: Path, weight: float = 0.75) -> Pack:
    """A pack whose frames show a lighter mouth and right eye than the reference picture does."""
    entry = take(np.random.default_rng(1), 0)
    grey = np.full((24, 40, 3), 128 + 10, np.uint8)
    places = {0: (8, 16, 40, 24), 2: (12, 36, 40, 24)}
    palette = tuple(PatchEntry(webp(grey), region, box, face(0)) for region, box in places.items())
    references = [replace(entry.references[0], palette=palette)]
    runs = [[replace(frame, shown=((0, weight), (1, weight))) for frame in run] for run in entry.runs]
    write_pack(path, [(Clip("a.mp4", "a"), replace(entry, references=references, runs=runs))])
    return Pack.open(path)


def test_entries_are_laid_over_the_warp_as_the_decoder_lays_them(tmp_path: Path) -> None:
    pack = palette_pack(tmp_path / "pack.safetensors")
    every = {"region_dropout": 0.0, "palette_dropout": 0.0, "original": 0.0, "other_reference": 0.0}
    frame = samples(pack, colour=NO_COLOUR, batch=1, **every)[0].frames[0]
    assert frame.laid
    assert frame.patches is not None
    row = next(i for i in range(pack.n_frames) if np.array_equal(pack.meshes([i])[0], frame.mesh[0].numpy()))
    stream = Stream(AdaptiveGenerator(PROFILES["toy"]).eval(), sequential=False)
    with torch.no_grad():
        coded = torch.from_numpy(pack.reference(0).coded).permute(2, 0, 1).float() / 255
        reference = stream.prepare(coded, torch.from_numpy(pack.reference(0).mesh))
        restored = stream.geometry(reference)
        entries = palette_of(pack, 0, [row])
        sources = [prepare_source(WarpGenerator(), patch, SIDE) for patch in entries.patches]
        weights = torch.from_numpy(entries.weights).float()
        wanted = palette_patches(WarpGenerator(), restored, sources, weights, frame.mesh, SIDE)
        plain = frame.patches
        made = refitted(plain, restored.picture - coded[None], frame.fields[:, 0])
    assert 0.02 < float(wanted[:, 3].mean()) < 0.5
    assert float((made - wanted).abs().mean()) < 1e-4
    assert float((made - wanted).abs().max()) < 0.01
    lighter = plain[:, :3] - plain[:, 3:] * warp(coded[None], frame.fields[:, 0])
    whole = plain[0, 3] > 0.7
    assert float(lighter[0, :, whole].mean() / plain[0, 3, whole].mean()) == pytest.approx(20 / 255, rel=0.1)


def test_entries_are_left_out_by_region_and_altogether(tmp_path: Path) -> None:
    pack = palette_pack(tmp_path / "pack.safetensors")

    whole, rng = palette_of(pack, 0, [3, 4]), np.random.default_rng(0)
    assert whole.weights.tolist() == [[0.75, 0.75]] * 2

    def left(region: float, palette: float) -> set[tuple[int, ...]]:
        found = [thinned(whole, rng, region, palette) for _ in range(60)]
        assert all(each.weights.shape == (2, len(each.patches)) for each in found)
        return {tuple(patch.region for patch in each.patches) for each in found}

    assert left(0.0, 0.0) == {(0, 2)}
    assert left(1.0, 0.0) == left(0.0, 1.0) == {()}
    assert left(0.0, 0.5) == {(0, 2), ()}
    assert left(0.5, 0.0) == {(0, 2), (0,), (2,), ()}
    settings = {"batch": 2, "other_reference": 0.0}
    for shares, there in (((0.0, 0.0), True), ((1.0, 0.0), False), ((0.0, 1.0), False)):
        data = samples(pack, region_dropout=shares[0], palette_dropout=shares[1], **settings)
        patches = data[0].frames[0].patches
        assert patches is not None
        assert (patches[:, 3].amax((1, 2)) > 0).tolist() == [there] * 2


def test_another_reference_picture_has_no_entries(tmp_path: Path) -> None:
    pack = palette_pack(tmp_path / "pack.safetensors")
    patches = samples(pack, batch=4, other_reference=1.0)[0].frames[0].patches
    assert patches is not None
    assert float(patches.abs().max()) == 0


def test_colours_of_entries_change_with_those_of_the_picture() -> None:
    table = np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** np.array([1.0, 2.0, 0.5], np.float32)
    patches = torch.zeros(1, 4, 8, 8)
    patches[:, 3, 2:6] = 0.5
    patches[:, :3, 2:6] = 0.5 * 0.36
    out = recoloured(patches, table)
    assert torch.equal(out[:, 3], patches[:, 3])
    assert float(out[:, :3, :2].abs().max()) == 0
    for channel, value in enumerate((0.36, 0.36**2, 0.6)):
        assert torch.allclose(out[:, channel, 2:6], torch.tensor(0.5 * value), atol=1e-3)


def test_everybody_is_drawn(pack: Pack) -> None:
    data = samples(pack, colour=NO_COLOUR, patches=False, batch=8)
    means = torch.cat([data[n].targets[:, 0].flatten(1).mean(1) for n in range(4)])
    middle = float((means.min() + means.max()) / 2)
    assert 6 <= int((means > middle).sum()) <= 26


def test_the_number_of_references_does_not_follow_the_person(pack: Pack) -> None:
    data = samples(pack, batch=1, references=4, single=0.5, colour=NO_COLOUR, patches=False)
    drawn = [data[n] for n in range(40)]
    means = torch.stack([batch.targets.mean() for batch in drawn])
    person = means > (means.min() + means.max()) / 2
    several = torch.tensor([batch.references.pictures.shape[1] > 1 for batch in drawn])
    for one in (several, ~several):
        assert 0.1 < float(person[one].float().mean()) < 0.9


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 100),
        ("window", 40),
        ("frames", 0),
        ("references", 5),
        ("batch", 0),
        ("original", 1.5),
        ("windows", 9),
    ],
)
def test_settings_are_checked(field: str, value: float) -> None:
    with pytest.raises(ConfigError):
        SampleSettings(**{field: value})
    with pytest.raises(ConfigError, match="gain"):
        ColourRange(gain=-1)


def test_clips_longer_than_every_run_are_refused(pack: Pack) -> None:
    with pytest.raises(ConfigError, match="frames"):
        samples(pack, frames=7)


def test_other_sizes_are_resampled(pack: Pack) -> None:
    settings = {"size": 32, "window": 0, "colour": NO_COLOUR, "patches": False, "previous": 0.0}
    half, whole = samples(pack, **settings)[0], samples(pack, **{**settings, "size": SIDE})[0]
    reduced = torch.nn.functional.avg_pool2d(whole.targets[:, 0], 2)
    assert torch.allclose(half.targets[:, 0], reduced, atol=3 / 255)


def test_restore_crops_show_one_place_before_and_after_coding(pack: Pack) -> None:
    data = RestoreSamples([pack], batch=8, crop=32, colour=NO_COLOUR, seed=1)
    batch = data[0]
    assert batch.coded.shape == batch.original.shape == (8, 3, 32, 32)
    assert set(batch.q_idx.tolist()) == {77.0, 160.0}
    lighter = batch.coded - batch.original
    assert torch.allclose(lighter, torch.full_like(lighter, 12 / 255), atol=0.04)
    assert same(data[0], RestoreSamples([pack], batch=8, crop=32, colour=NO_COLOUR, seed=1)[0])
    assert not same(data[0], data[1])
    assert all(same(a, b) for a, b in zip(batches(data, 1, 3), (data[1], data[2]), strict=True))
    with pytest.raises(ConfigError, match="crop"):
        RestoreSamples([pack], crop=0)
    with pytest.raises(ConfigError, match="of 80 pixels"):
        RestoreSamples([pack], crop=80)
