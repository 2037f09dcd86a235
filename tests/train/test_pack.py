"""Packed data sets: what is written is what is read, damaged files say so, and reading needs little."""

from __future__ import annotations

import copy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from facecodec.errors import ConfigError, MediaError
from facecodec.train.budget import reduce_takes
from facecodec.train.pack import Pack
from facecodec.train.packing import (
    FrameEntry,
    PatchEntry,
    ReferenceEntry,
    StillEntry,
    TakeEntry,
    entries,
    write_pack,
)
from facecodec.train.pictures import jpeg, recode, webp
from facecodec.train.records import MESH_SCALE, Clip, Take
from facecodec.types import F32Array, U8Array

SIDE = 64


def picture(rng: np.random.Generator) -> U8Array:
    """A smooth picture that no other one is like."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    phase = rng.uniform(0, 6.28, 3)
    waves = [127 + 100 * np.sin(phase[c] + (c + 1) * x * 4 + y * 3) for c in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def mesh(rng: np.random.Generator) -> F32Array:
    return rng.uniform(-0.3, 1.2, (478, 3)).astype(np.float32)


def patch_entry(rng: np.random.Generator, region: int) -> PatchEntry:
    return PatchEntry(webp(picture(rng)[:16, :24]), region, (8, 16, 24, 16), mesh(rng))


def take_entry(
    rng: np.random.Generator, runs: tuple[int, ...] = (3, 2), grid: int = 5, stills: tuple[int, ...] = (1, 4)
) -> TakeEntry:
    references = []
    for n in range(2):
        palette = tuple(patch_entry(rng, region) for region in (2, 0, 2)[n:])
        references.append(
            ReferenceEntry(webp(picture(rng)), jpeg(picture(rng)), mesh(rng), 7 + n, 90 + n, palette)
        )
    made, at = [], 0
    for number, length in enumerate(runs):
        run = []
        for index in range(at, at + length):
            scene = rng.normal(0, 0.01, (grid, grid, 2)).astype(np.float32) if grid else None
            shown = ((1, 0.25), (0, 0.5))[: index % 3]
            frame = FrameEntry(jpeg(picture(rng)), mesh(rng), scene, number % 2, index, 100 * index, shown)
            run.append(frame)
        made.append(run)
        at += length + 5
    coded = [StillEntry(webp(picture(rng), 100), frame, 30 + frame, 100 + frame) for frame in stills]
    return TakeEntry(Take(0, 18, 55, SIDE, grid, 0.5, Fraction(1, 2500)), references, made, coded)


@pytest.fixture
def takes() -> list[tuple[Clip, TakeEntry]]:
    """Two takes of one clip, one without scene points of another."""
    rng = np.random.default_rng(3)
    one, two = Clip("a/one.mp4", "somebody"), Clip("two.mp4", "another")
    plain, fine = take_entry(rng, (4,), 0, ()), take_entry(rng, (2, 2), 7, (3,))
    return [(one, take_entry(rng)), (two, plain), (one, fine)]


@pytest.fixture
def path(tmp_path: Path, takes: list[tuple[Clip, TakeEntry]]) -> Path:
    """A small pack."""
    out = tmp_path / "data.safetensors"
    assert write_pack(out, takes) == out.stat().st_size
    return out


def changed(path: Path, **tables: np.ndarray) -> Path:
    """The same pack with other tensors, named with _ for the point."""
    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    for name, table in tables.items():
        key = name.replace("_", ".", 1)
        assert key in tensors
        tensors[key] = table
    out = path.with_name("changed.safetensors")
    save_file(tensors, out, metadata)
    return out


def test_what_is_written_is_read_again(path: Path, takes: list[tuple[Clip, TakeEntry]]) -> None:
    pack = Pack.open(path)
    assert (pack.n_frames, pack.n_runs, pack.n_references, pack.n_stills) == (13, 5, 6, 3)
    assert pack.clips == (takes[0][0], takes[1][0])
    assert [take.clip for take in pack.takes] == [0, 1, 0]
    row = 0
    for number, (_, entry) in enumerate(takes):
        for run in entry.runs:
            for frame in run:
                got = pack.frame(row)
                assert (got.take, got.index, got.pts) == (number, frame.index, frame.pts)
                assert got.reference == 2 * number + frame.reference
                assert got.clip == pack.takes[number].clip
                assert np.abs(got.mesh - frame.mesh).max() <= 0.5001 / MESH_SCALE
                if frame.scene is None:
                    assert got.scene is None
                else:
                    assert got.scene is not None
                    assert np.allclose(got.scene, frame.scene, atol=1e-4)
                assert pack.picture_bytes(int(pack.column("frames.picture")[row])) == frame.picture
                row += 1
    assert row == pack.n_frames


def palette_of(pack: Pack, row: int) -> list[tuple[int, float]]:
    first = pack.entries_of_reference(int(pack.frame_reference[row])).start
    return [(entry - first, weight) for entry, weight in pack.shown(row)]


def test_palettes_are_read_again_with_what_frames_show_of_them(
    path: Path, takes: list[tuple[Clip, TakeEntry]]
) -> None:
    pack = Pack.open(path)
    references = [reference for _, entry in takes for reference in entry.references]
    assert [len(pack.entries_of_reference(j)) for j in range(6)] == [3, 2] * 3
    for j, reference in enumerate(references):
        for e, given in zip(pack.entries_of_reference(j), reference.palette, strict=True):
            got = pack.entry(e)
            assert (got.region, got.box, got.reference) == (given.region, given.box, j)
            assert got.pixels.shape == (16, 24, 3)
            assert np.abs(got.mesh - given.mesh).max() <= 0.5001 / MESH_SCALE
            assert pack.picture_bytes(int(pack.column("entries.picture")[e])) == given.patch
    frames = [frame for _, entry in takes for run in entry.runs for frame in run]
    assert {len(frame.shown) for frame in frames} == {0, 1, 2}
    for row, frame in enumerate(frames):
        assert palette_of(pack, row) == list(frame.shown)


def test_pictures_come_back_as_rgb(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    shown, before = picture(rng), picture(rng)
    entry = take_entry(rng, (1,), 0, ())
    references = [ReferenceEntry(webp(shown), jpeg(before), mesh(rng), 3, 120)]
    runs = [[FrameEntry(jpeg(shown), mesh(rng), None, 0, 0, 0)]]
    out = tmp_path / "p.safetensors"
    stills = [StillEntry(webp(before), 0, 44, 130)]
    write_pack(out, [(Clip("c", "c"), TakeEntry(entry.take, references, runs, stills))])
    pack = Pack.open(out)
    reference, still = pack.reference(0), pack.still(0)
    assert np.array_equal(reference.coded, shown)
    assert np.abs(reference.original.astype(int) - before).mean() < 1.5
    assert np.abs(pack.frame(0).picture.astype(int) - shown).mean() < 1.5
    assert (reference.quality, reference.pts, reference.take, reference.q_idx) == (55, 3, 0, 120)
    assert np.array_equal(still.coded, before)
    assert np.array_equal(still.original, pack.frame(0).picture)
    assert (still.quality, still.frame, still.q_idx) == (44, 0, 130)


def test_tables_lead_from_frames_to_clips_runs_and_references(path: Path) -> None:
    pack = Pack.open(path)
    assert pack.frames_of_clip(0).tolist() == [0, 1, 2, 3, 4, 9, 10, 11, 12]
    assert list(pack.frames_of_run(1)) == [3, 4]
    assert pack.references_of_clip(0).tolist() == [0, 1, 4, 5]
    assert pack.still(1).frame == 4
    assert pack.still(2).frame == 12
    assert pack.meshes([2, 12]).shape == (2, 478, 3)


def test_a_pack_goes_to_worker_processes(path: Path) -> None:
    pack = Pack.open(path)
    again = copy.deepcopy(pack)  # by what pickle does: the path is sent and the file opened anew
    assert again.clips == pack.clips
    assert np.array_equal(again.frame(4).picture, pack.frame(4).picture)


def test_reading_needs_no_media_library_and_no_torch(path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('av', 'torch', 'typer', 'rich', 'ai_edge_litert', 'scipy', 'face_alignment'):\n"
        "    sys.modules[name] = None\n"
        "from facecodec.train.pack import Pack\n"
        "pack = Pack.open(sys.argv[1])\n"
        "print(pack.frame(0).picture.shape, pack.reference(0).coded.shape, pack.still(0).coded.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "(64, 64, 3) (64, 64, 3) (64, 64, 3)\n"


def test_packs_are_put_together_without_touching_pictures(path: Path, tmp_path: Path) -> None:
    pack = Pack.open(path)
    write_pack(tmp_path / "again", list(entries(pack)))
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_budget_is_kept_and_shared_by_clips(path: Path, tmp_path: Path) -> None:
    before = Pack.open(path)
    takes = list(entries(before))
    budget = round(0.8 * path.stat().st_size)
    size = write_pack(tmp_path / "small", reduce_takes(takes, budget))
    pack = Pack.open(tmp_path / "small")
    assert 0.5 * budget < size <= budget
    assert {clip.name for clip in pack.clips} == {"a/one.mp4", "two.mp4"}
    assert pack.n_frames < before.n_frames
    assert set(pack.frame_reference.tolist()) == set(range(pack.n_references))
    originals = {still.quality: still.original for still in map(before.still, range(before.n_stills))}
    for still in map(pack.still, range(pack.n_stills)):
        assert np.array_equal(still.original, originals[still.quality])
    with pytest.raises(ConfigError, match="not a single run"):
        reduce_takes(takes, 9000)
    assert reduce_takes(takes, 0) == takes


def test_a_reduced_take_keeps_its_own_pictures(path: Path, tmp_path: Path) -> None:
    before = Pack.open(path)
    write_pack(tmp_path / "all", reduce_takes(list(entries(before)), 1 << 30))
    after = Pack.open(tmp_path / "all")
    assert after.n_frames == before.n_frames
    for i in range(before.n_frames):
        a, b = before.frame(i), after.frame(i)
        assert np.array_equal(a.picture, b.picture)
        assert np.array_equal(a.mesh, b.mesh)
        kept, again = before.reference(a.reference), after.reference(b.reference)
        assert np.array_equal(kept.coded, again.coded)
        assert (kept.q_idx, kept.pts) == (again.q_idx, again.pts)
        assert palette_of(before, i) == palette_of(after, i)
        for (e, _), (f, _) in zip(before.shown(i), after.shown(i), strict=True):
            assert np.array_equal(before.entry(e).pixels, after.entry(f).pixels)
    for k in range(before.n_stills):
        assert np.array_equal(before.still(k).coded, after.still(k).coded)
        assert before.still(k).q_idx == after.still(k).q_idx
        assert np.array_equal(before.still(k).original, after.still(k).original)


def test_recoding_makes_pictures_smaller_and_keeps_what_they_show(path: Path, tmp_path: Path) -> None:
    before = Pack.open(path)
    write_pack(tmp_path / "webp", reduce_takes(list(entries(before)), 0, quality=80))
    after = Pack.open(tmp_path / "webp")
    assert (tmp_path / "webp").stat().st_size < path.stat().st_size
    off = np.abs(before.frame(3).picture.astype(int) - after.frame(3).picture).mean()
    assert 0 < off < 3
    with pytest.raises(MediaError, match="damaged"):
        recode(b"no picture", 90)


def test_other_files_are_refused_by_name(tmp_path: Path, path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.safetensors: cannot be read"):
        Pack.open(tmp_path / "none.safetensors")
    (tmp_path / "text").write_bytes(b"not at all a data set, but long enough to have a header")
    with pytest.raises(MediaError, match="text: cannot be read"):
        Pack.open(tmp_path / "text")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MediaError, match="cut: cannot be read"):
        Pack.open(tmp_path / "cut")
    save_file({"x": np.zeros(3)}, tmp_path / "weights")
    with pytest.raises(MediaError, match="weights: no packed data set"):
        Pack.open(tmp_path / "weights")


@pytest.mark.parametrize(
    ("table", "value", "reason"),
    [
        ("frames_reference", np.full(13, 6, np.int32), "points nowhere"),
        ("frames_take", np.full(13, -1, np.int32), "points nowhere"),
        ("frames_index", np.zeros(12, np.int32), "another length"),
        ("frames_index", np.zeros(13, np.int64), "int64, not int32"),
        ("frames_mesh", np.zeros((13, 468, 3), np.int16), "478"),
        ("frames_run", np.zeros(13, np.int32), "does not agree"),
        ("runs_offsets", np.array([0, 3, 5, 9, 11, 12]), "does not cover"),
        ("pictures_offsets", np.zeros(29, np.int64), "does not cover"),
        ("frames_take", np.zeros(13, np.int32), "grids of the takes"),
        ("entries_region", np.full(15, 3, np.int32), "points nowhere"),
        ("entries_box", np.zeros((15, 3), np.int32), "entries.box"),
        ("entries_reference", np.arange(15, dtype=np.int32)[::-1] % 6, "not in order"),
        ("shown_offsets", np.zeros(14, np.int64), "does not cover"),
        ("shown_entry", np.full(12, 14, np.int32), "of another reference"),
        ("shown_weight", np.full(12, np.nan, np.float16), "no weight"),
    ],
)
def test_damaged_tables_are_named(path: Path, table: str, value: np.ndarray, reason: str) -> None:
    with pytest.raises(MediaError, match=reason) as caught:
        Pack.open(changed(path, **{table: value}))
    assert "changed.safetensors" in str(caught.value)


def test_a_damaged_picture_is_named(path: Path) -> None:
    data = load_file(path)["pictures.data"].copy()
    pack = Pack.open(path)
    first, end = pack.column("pictures.offsets")[int(pack.column("frames.picture")[5]) :][:2].tolist()
    data[first:end] = 0
    damaged = Pack.open(changed(path, pictures_data=data))
    damaged.frame(4)
    with pytest.raises(MediaError, match=r"changed.safetensors: frames.picture\[5\] is no picture of 64x64"):
        damaged.frame(5)


def test_a_pack_is_not_written_over_without_being_asked(
    path: Path, takes: list[tuple[Clip, TakeEntry]]
) -> None:
    before = path.read_bytes()
    with pytest.raises(MediaError, match="exists already"):
        write_pack(path, takes[:1])
    assert path.read_bytes() == before
    write_pack(path, takes[:1], overwrite=True)
    assert Pack.open(path).n_frames == 5
