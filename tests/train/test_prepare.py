"""From videos to a packed data set: what is stored is what a decoder sees, and runs can be taken up again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facecodec.api.encode import encode_file
from facecodec.api.measure import source_crops
from facecodec.api.probe import walk
from facecodec.config import EncoderConfig
from facecodec.container.fcv import FcvReader
from facecodec.decoder import DecodedMotion, MotionDecoder
from facecodec.errors import ConfigError, FacecodecError, MediaError
from facecodec.refpic.buffer import Reference
from facecodec.train import prepare as module
from facecodec.train.pack import Pack
from facecodec.train.packing import write_pack
from facecodec.train.prepare import PrepareSettings, prepare
from facecodec.train.records import MESH_SCALE, Clip
from facecodec.train.takes import TakeSettings, make_take
from facecodec.train.videos import find_videos, read_manifest, select_videos

TAKE = TakeSettings(frames=8, run=4, encoded=20, stills=2.0, varied=False)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A folder with a talking head, a clip without a face, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    shutil.copy(samples / "talking_head.mp4", folder / "anna_1.mp4")
    shutil.copy(samples / "no_face.mp4", folder / "more" / "none.mp4")
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> tuple[Pack, Path, list[str]]:
    """A pack of that folder, its work folder, and what was reported on the way."""
    folder = tmp_path_factory.mktemp("out")
    texts: list[str] = []
    settings = PrepareSettings(takes=1, take=TAKE)
    out, work = folder / "data.safetensors", folder / "work"
    report = prepare(videos, out, settings, work=work, on_take=lambda _d, _t, text: texts.append(text))
    assert (report.clips, report.takes, report.frames) == (1, 1, 8)
    assert report.bytes == out.stat().st_size
    assert len(report.skipped) == 1
    assert "more/none.mp4" in report.skipped[0]
    assert "no face" in report.skipped[0]
    return Pack.open(out), work, texts


def decoded_of(pack: Pack, video: Path, folder: Path) -> tuple[Path, list[Reference], list[DecodedMotion]]:
    """The stream that the first take stands for, coded anew and decoded."""
    take = pack.takes[0]
    config = EncoderConfig(view="crop", qp=take.qp, ref_quality=take.ref_quality, audio_bps=0)
    coded = folder / "again.fcv"
    encode_file(video, coded, config, start_s=take.start_s, duration_s=TAKE.encoded / 25)
    with FcvReader(coded) as reader:
        items = list(walk(reader, MotionDecoder(reader.header)))
    references = [item for item in items if isinstance(item, Reference)]
    return coded, references, [item for item in items if isinstance(item, DecodedMotion)]


def test_what_is_stored_is_what_a_decoder_sees(
    made: tuple[Pack, Path, list[str]], videos: Path, tmp_path: Path
) -> None:
    pack, video = made[0], videos / "anna_1.mp4"
    coded, references, motions = decoded_of(pack, video, tmp_path)
    assert pack.n_references == len(references)
    first = pack.reference(0)
    assert np.array_equal(first.coded, references[0].picture)
    assert np.abs(first.mesh - references[0].mesh).max() <= 0.51 / MESH_SCALE
    assert first.pts == references[0].pts
    times = [pts for motion in motions for pts in motion.pts]
    meshes = np.concatenate([motion.meshes for motion in motions])
    scenes = np.concatenate([motion.scene for motion in motions if motion.scene is not None])
    crops = list(source_crops(video, coded))
    assert pack.n_frames == 8
    for i in range(pack.n_frames):
        frame = pack.frame(i)
        assert times[frame.index] == frame.pts == crops[frame.index].pts
        assert np.abs(frame.mesh - meshes[frame.index]).max() <= 0.51 / MESH_SCALE
        assert frame.scene is not None
        assert np.abs(frame.scene - scenes[frame.index]).max() < 1e-4
        assert np.abs(frame.picture.astype(int) - crops[frame.index].pixels).mean() < 2.0


def test_palettes_are_those_that_a_decoder_shows(videos: Path, tmp_path: Path) -> None:
    settings = replace(TAKE, encoded=75, stills=0.0)
    made = make_take(videos / "anna_1.mp4", "anna", 0, 1, settings).entry
    write_pack(tmp_path / "pack", [(Clip("anna", "anna"), made)])
    pack = Pack.open(tmp_path / "pack")
    take = pack.takes[0]
    config = EncoderConfig(view="crop", qp=take.qp, ref_quality=take.ref_quality, audio_bps=0)
    encode_file(videos / "anna_1.mp4", tmp_path / "again.fcv", config, duration_s=75 * 1001 / 24000)
    with FcvReader(tmp_path / "again.fcv") as reader:
        decoder, weights = MotionDecoder(reader.header), {}
        for item in walk(reader, decoder):
            if isinstance(item, DecodedMotion):
                lines = decoder.palette_weights(item)
                weights |= dict(zip(item.pts, [] if lines is None else lines, strict=lines is not None))
    for j in range(pack.n_references):
        own, kept = pack.entries_of_reference(j), decoder.palettes[j].entries
        assert len(own) == len(kept)
        for e, entry in zip(own, kept, strict=True):
            got = pack.entry(e)
            assert (got.region, got.box) == (entry.region, entry.rect)
            assert np.array_equal(got.pixels, entry.patch)
            assert np.abs(got.mesh - entry.shape).max() <= 0.51 / MESH_SCALE
    for i in range(pack.n_frames):
        own = pack.entries_of_reference(pack.frame(i).reference)
        shown, told = np.zeros(len(own)), weights.get(pack.frame(i).pts, np.zeros(len(own)))
        for e, weight in pack.shown(i):
            shown[e - own.start] = weight
        assert np.abs(shown - told).max(initial=0) <= 1.1e-3
    assert any(pack.shown(i) for i in range(pack.n_frames))


def test_references_and_stills_are_near_their_originals_but_coded(made: tuple[Pack, Path, list[str]]) -> None:
    pack = made[0]
    assert pack.n_stills == 2
    still, reference = pack.still(0), pack.reference(0)
    assert 40 <= still.quality <= 92
    assert reference.quality == pack.takes[0].ref_quality
    assert 50 <= reference.quality <= 90
    for record in (still, reference):
        assert 20 < record.q_idx < 200
        off = np.abs(record.coded.astype(int) - record.original).mean()
        assert 0.3 < off < 8


def test_runs_follow_the_video(made: tuple[Pack, Path, list[str]]) -> None:
    pack = made[0]
    assert pack.n_runs == 2
    for run in range(pack.n_runs):
        rows = list(pack.frames_of_run(run))
        assert len(rows) == 4
        assert len(set(pack.frame_reference[rows].tolist())) == 1
        assert (np.diff(pack.frame_index[rows]) >= 1).all()
    assert pack.clips[0].identity == "anna"


def test_finished_takes_are_not_made_again(
    made: tuple[Pack, Path, list[str]], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, work, texts = made
    assert texts[0] == "0 takes were made before"
    assert len(texts) == 3

    def never(*_: object) -> None:
        raise AssertionError("a finished take was made again")

    monkeypatch.setattr(module, "make_take", never)
    again: list[str] = []
    settings = PrepareSettings(takes=1, take=TAKE)
    out = tmp_path / "again.safetensors"
    prepare(videos, out, settings, work=work, on_take=lambda _d, _t, text: again.append(text))
    assert again == ["2 takes were made before"]
    assert out.read_bytes() == pack.path.read_bytes()
    with pytest.raises(MediaError, match="exists already"):
        prepare(videos, out, settings, work=work)
    budget = 0.8 * out.stat().st_size / (1 << 20)
    small = PrepareSettings(takes=1, take=TAKE, budget_mb=budget)
    report = prepare(videos, out, small, work=work, overwrite=True)
    assert report.bytes <= budget * (1 << 20)
    assert report.frames == 4


def test_an_interrupted_run_goes_on(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = module.make_take, []

    def once(video: Path, name: str, number: int, count: int, settings: TakeSettings) -> object:
        calls.append((name, number))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(video, name, number, count, settings)

    monkeypatch.setattr(module, "make_take", once)
    take = TakeSettings(frames=2, run=2, encoded=6, stills=0.0)
    settings = PrepareSettings(takes=2, take=take)
    out, work = tmp_path / "p.safetensors", tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        prepare([videos / "anna_1.mp4"], out, settings, work=work)
    assert not out.exists()
    assert len(list(work.iterdir())) == 1
    prepare([videos / "anna_1.mp4"], out, settings, work=work)
    assert [number for _, number in calls] == [0, 1, 1]
    pack = Pack.open(out)
    assert pack.takes[1].start_s > pack.takes[0].start_s
    assert {12 <= take.qp <= 26 for take in pack.takes} == {True}


def test_the_command_makes_takes_in_processes_and_says_what_it_left_out(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    command = [sys.executable, "-m", "facecodec.train.prepare", str(videos), str(out)]
    options = "--takes 2 --frames-per-take 2 --run 2 --encoded 6 --stills 0 --qp 20 --jobs 2".split()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "more/none.mp4 take 1: skipped" in done.stderr
    assert "4 frames of 2 takes of 1 clips" in done.stderr
    assert {take.qp for take in Pack.open(out).takes} == {20}


def test_no_take_at_all_is_an_error(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no take could be made of 1 videos.*none\.mp4.*no face"):
        prepare([videos / "more" / "none.mp4"], tmp_path / "p", PrepareSettings(takes=1, take=TAKE))


def test_videos_come_from_a_folder_a_list_or_a_manifest(videos: Path, tmp_path: Path) -> None:
    assert [video.clip.name for video in find_videos(videos)] == ["anna_1.mp4", "more/none.mp4"]
    manifest = videos / "manifest.csv"
    manifest.write_text("file,split,identity\nanna_1.mp4,train,Anna\nmore/none.mp4,val,\nlost.mp4,val,x\n")
    chosen = select_videos(videos, manifest, "train")
    assert [(video.clip.name, video.clip.identity) for video in chosen] == [("anna_1.mp4", "Anna")]
    assert [video.clip.identity for video in select_videos(videos, manifest)] == ["Anna", "none"]
    with pytest.raises(MediaError, match="names none of the 2 videos in split test"):
        select_videos(videos, manifest, "test")
    with pytest.raises(ConfigError, match="manifest"):
        select_videos(videos, None, "train")
    with pytest.raises(MediaError, match="no videos"):
        find_videos(tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        select_videos([tmp_path / "gone.mp4"])
    manifest.write_text("name\nanna_1.mp4\n")
    with pytest.raises(MediaError, match="no column 'file'"):
        read_manifest(manifest)
    with pytest.raises(MediaError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"qp": (20, 10)}, "qp is"),
        ({"ref_quality": (0, 101)}, "ref_quality is"),
        ({"frames": 0}, "frames is"),
        ({"run": 0}, "run is"),
        ({"stills": -1.0}, "stills is"),
        ({"size": 300}, "size is"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        TakeSettings(**settings)


@pytest.mark.parametrize("settings", [{"takes": 0}, {"jobs": 0}, {"budget_mb": -1.0}, {"recode": 101}])
def test_settings_of_the_set_are_checked(settings: dict[str, int]) -> None:
    with pytest.raises(FacecodecError, match="allowed"):
        PrepareSettings(**settings)
