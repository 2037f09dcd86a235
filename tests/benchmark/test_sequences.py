"""Lists of clips, and clips cut to their square and kept without loss."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from facecodec.benchmark.pictures import clip_digest, read_clip, write_lossless
from facecodec.benchmark.sequences import (
    Sequence,
    prepare,
    read_sets,
    sequences_of_folder,
    sequences_of_set,
)
from facecodec.errors import ConfigError, MediaError, NoFaceError
from facecodec.media.reader import VideoReader

from .conftest import FRAMES, SAMPLES


def test_lossless_files_give_back_every_pixel_and_the_rate(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)
    write_lossless(frames, Fraction(30000, 1001), tmp_path / "x.avi")
    assert np.array_equal(read_clip(tmp_path / "x.avi"), frames)
    with VideoReader(tmp_path / "x.avi") as reader:
        assert reader.info.frame_rate == Fraction(30000, 1001)


def test_a_clip_is_cut_once_to_a_square_around_the_face(clip, sample, bench_cache):
    frames = clip.read()
    assert frames.shape == (FRAMES, 256, 256, 3)
    assert clip.digest == clip_digest(frames, clip.fps)
    track = clip.read_track()
    assert track.shape == (FRAMES, 478, 3)
    assert 0 < track[..., :2].min() < track[..., :2].max() < 1
    stamp = clip.path.stat().st_mtime_ns
    assert prepare(sample, bench_cache) == clip
    assert clip.path.stat().st_mtime_ns == stamp


def test_another_stretch_is_another_clip(clip, sample, bench_cache):
    other = prepare(replace(sample, first=60), bench_cache)
    assert other.digest != clip.digest
    assert other.path != clip.path


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"path": SAMPLES / "absent.mp4"}, MediaError, "no such file"),
        ({"sha256": "0" * 64}, MediaError, "another file than listed"),
        ({"first": 470}, MediaError, "shorter than asked: 2 of 10 frames"),
        ({"path": SAMPLES / "no_face.mp4", "first": 0}, NoFaceError, "no face"),
    ],
)
def test_clips_that_cannot_be_measured_are_named(sample, tmp_path, change, error, message):
    broken = replace(sample, **change)
    with pytest.raises(error, match=message) as err:
        prepare(broken, tmp_path)
    assert str(broken.path) in str(err.value)


def test_a_face_that_is_too_small_for_the_size_is_named(sample, tmp_path):
    with pytest.raises(MediaError, match="too few for 512"):
        prepare(replace(sample, size=512), tmp_path)


def test_a_list_of_sets_is_read_and_checked(tmp_path):
    path = tmp_path / "list.toml"
    entry = '[[mine]]\nname = "a"\nfile = "sub/a.mp4"\nsha256 = "ff"\nfirst = 5\ncount = 30\n'
    path.write_text(entry + '[[mine]]\nname = "b"\nfile = "b.mp4"\nsha256 = ""\nsize = 512\n')
    found = sequences_of_set(read_sets(path)["mine"], tmp_path)
    assert found == [
        Sequence("a", tmp_path / "sub/a.mp4", "ff", 5, 30),
        Sequence("b", tmp_path / "b.mp4", "", 0, 250, 512),
    ]
    assert [s.size for s in sequences_of_set(read_sets(path)["mine"], tmp_path, size=512)] == [512, 512]
    assert [s.count for s in sequences_of_set(read_sets(path)["mine"], tmp_path, 9)] == [9, 9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[mine]]\nname = "a"\nfile = "a"\n', "mine.sha256"),
        ('[[mine]]\nname = "a"\nfile = "a"\nsha256 = ""\ncount = "many"\n', "mine.count"),
        ('[[mine]]\nname = "a"\nfile = "a"\nsha256 = ""\nside = 3\n', "mine.side"),
        ('[[mine]]\nname = "a"\nfile = "a"\nsha256 = ""\nsize = "512"\n', "mine.size"),
        ("mine = 3\n", "mine"),
        ('[[mine]]\nname = "a"\nfile = "a"\nsha256 = ""\n' * 2, "once"),
    ],
)
def test_damaged_lists_are_named(tmp_path, text, message):
    (tmp_path / "list.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_sets(tmp_path / "list.toml")


def test_lists_that_are_no_toml_or_absent_are_named(tmp_path):
    (tmp_path / "list.toml").write_text("[[")
    with pytest.raises(MediaError, match="no TOML"):
        read_sets(tmp_path / "list.toml")
    with pytest.raises(MediaError, match="cannot be read"):
        read_sets(tmp_path / "absent.toml")


def test_the_list_of_the_repository_names_the_samples():
    found = read_sets(SAMPLES.parent / "bench" / "sequences.toml")
    assert {"samples", "test"} <= found.keys()
    for sequence in sequences_of_set(found["samples"], SAMPLES):
        assert sequence.path.is_file()


def test_a_folder_gives_its_videos_by_name(tmp_path):
    for name in ("b.mp4", "a.mkv", "a.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [s.name for s in sequences_of_folder(tmp_path)] == ["a.mkv", "a.mp4", "b"]
    with pytest.raises(MediaError, match="no such folder"):
        sequences_of_folder(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="no video"):
        sequences_of_folder(tmp_path / "empty")
