"""One person's motion on another person's picture: the command, its mark, and driving oneself."""

from __future__ import annotations

import inspect
from pathlib import Path

import av
import numpy as np
import pytest

from facecodec.api.drive import DriveConfig, drive_file, retarget
from facecodec.api.subjects import read_portrait, track_driver
from facecodec.cli import main
from facecodec.errors import MediaError, NoFaceError
from facecodec.media import VideoReader, VideoWriter
from facecodec.types import Frame

GENERATOR = ("--generator", "warp-0")


@pytest.fixture(scope="module")
def driven(cli, samples, short_clip, tmp_path_factory) -> Path:
    """The astronaut, driven by half a second of the sample."""
    out = tmp_path_factory.mktemp("driven") / "out.mp4"
    astronaut = samples / "astronaut.png"
    run = cli("drive", astronaut, short_clip, out, *GENERATOR, "--start", "0.25", "--duration", "0.5")
    assert run.returncode == 0, run.stderr.decode()
    assert b"512x512" in run.stderr
    return out


def pictures_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]).astype(float)


def test_the_picture_moves_and_its_surroundings_stay(driven, samples):
    with VideoReader(samples / "astronaut.png") as reader:
        source = next(reader.frames()).pixels.astype(float)
    made = pictures_of(driven)
    assert made.shape == (12, 512, 512, 3)
    assert np.abs(made[:, 420:] - source[420:]).mean() < 4
    assert np.abs(made[:, 60:190, 170:290] - source[60:190, 170:290]).mean() > 6


def test_the_result_is_marked_and_keeps_the_sound(driven):
    with av.open(str(driven)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert "compositeSynthetic" in file.metadata["digital_source_type"]
        assert "another video drives the person shown" in file.metadata["comment"]
        sound = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    assert sound == pytest.approx(0.5, abs=0.1)


def refused(capsys, *args: object) -> tuple[int, str]:
    """Exit code and message of a command that fails, run in this process."""
    code = main(["drive", *map(str, args), *GENERATOR])
    return code, capsys.readouterr().err


def test_files_are_not_overwritten_unasked(capsys, driven, samples, short_clip):
    before = driven.read_bytes()
    code, message = refused(capsys, samples / "astronaut.png", short_clip, driven)
    assert code == 2
    assert "--force" in message
    assert driven.read_bytes() == before


@pytest.mark.parametrize("which", ["reference", "driver"])
def test_no_face_is_an_error_that_names_the_file(capsys, samples, short_clip, tmp_path, which):
    faceless, out = samples / "no_face.mp4", tmp_path / "out.mp4"
    pair = (faceless, short_clip) if which == "reference" else (samples / "astronaut.png", faceless)
    code, message = refused(capsys, *pair, out, "--duration", "0.3")
    assert code == 3
    assert "no_face.mp4" in message
    assert "no face" in message
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_absent_files_are_named(capsys, samples, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG nothing more")
    clip = samples / "talking_head.mp4"
    for picture in (broken, tmp_path / "absent.png"):
        code, message = refused(capsys, picture, clip, tmp_path / "out.mp4")
        assert code == 3
        assert picture.name in message
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


def test_a_clip_that_drives_its_own_first_frame_moves_as_it_did(short_clip):
    portrait, driver = read_portrait(short_clip), track_driver(short_clip)
    meshes, match = retarget(portrait, driver)
    size = np.ptp(portrait.points[:, 0]) * 2
    away = np.sqrt(((meshes - driver.points)[..., :2] ** 2).sum(-1).mean(-1)) * 256 / size
    assert match == 0
    assert driver.valid.all()
    assert away.max() < 0.7
    assert meshes.shape == (24, 478, 3)


def test_faces_may_be_absent_for_a_while(short_clip, tmp_path):
    source = tmp_path / "gap.mp4"
    with VideoReader(short_clip) as reader:
        frames, rate = list(reader.frames(0, 0.5)), reader.info.frame_rate
    with VideoWriter(source, 640, 360, frames[0].time_base, frame_rate=rate) as writer:
        for number, frame in enumerate(frames):
            pixels = frame.pixels if number in (4, 5, 6) else np.full_like(frame.pixels, 90)
            writer.write(Frame(pixels, frame.pts, frame.time_base))
    driver = track_driver(source)
    assert 0 < driver.valid.sum() < len(driver.valid)
    assert np.ptp(driver.points[:, :, 0], axis=1).min() > 20
    out = tmp_path / "out.mkv"
    config = DriveConfig(generator="warp-0", size=256, view="crop")
    report = drive_file(short_clip, driver, out, config)
    assert (report.frames, report.width) == (len(frames), report.height)
    assert report.held_frames == int((~driver.valid).sum())
    with pytest.raises(MediaError, match="exists"):
        drive_file(short_clip, driver, out, config)
    with pytest.raises(MediaError, match=r"\.avi"):
        drive_file(short_clip, driver, tmp_path / "out.avi", config)


def test_no_face_at_all_is_an_error(samples):
    with pytest.raises(NoFaceError, match="no_face"):
        read_portrait(samples / "no_face.mp4")
    with pytest.raises(NoFaceError, match="no_face"):
        track_driver(samples / "no_face.mp4", duration_s=0.3)


def test_the_command_s_defaults_are_those_of_the_library():
    from facecodec.cli.drive import drive

    given = {name: p.default for name, p in inspect.signature(drive).parameters.items()}
    config = DriveConfig()
    for name in ("generator", "weights", "size", "view"):
        assert given[name] == getattr(config, name)
