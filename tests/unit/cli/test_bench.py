"""``facecodec bench``: which clips it takes, what it leaves, how it fails."""

import pytest

from facecodec.benchmark.results import Sampled, load_results
from facecodec.cli import main
from facecodec.cli.bench import find_sequences
from facecodec.errors import ConfigError


def test_a_folder_of_videos_is_measured_and_results_are_kept(samples, tmp_path, capsys):
    pytest.importorskip("imageio_ffmpeg", reason="the extra [bench] is not installed")
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    for name in ("talking_head.mp4", "no_face.mp4"):
        (folder / name).symlink_to(samples / name)
    options = "--codecs x264 --frames 8 --jobs 1 --metrics-every 8 --deep-every 0 --quick".split()
    assert main(["bench", str(folder), *options, "--out", str(out)]) == 0
    results = load_results(out / "results.json")
    assert results.name == "clips"
    assert results.sampled == Sampled(8, 0, 2)
    assert {point.clip for point in results.points} == {"talking_head"}
    assert [item.clip for item in results.left_out if item.clip] == ["no_face"]
    assert (out / "report.html").is_file()
    told = capsys.readouterr().err
    assert "points 10/10: talking_head x264" in told
    assert "left out: no_face: " in told


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["no-such-set"], 2, "no-such-set"),
        (["test"], 2, "--data"),
        (["samples", "--codecs", "h120"], 2, "h120"),
        (["samples", "--size", "300"], 2, "size"),
        (["samples", "--sequences", "absent.toml"], 3, "absent.toml"),
    ],
)
def test_wrong_arguments_are_named(words, code, message, tmp_path, capsys):
    assert main(["bench", *words, "--out", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sets_come_from_the_list_and_their_folder(tmp_path):
    names = [s.name for s in find_sequences("samples", None, None, None)]
    assert names == ["talking_head_a", "talking_head_b"]
    found = find_sequences("test", tmp_path, None, 100)
    assert {s.count for s in found} == {100}
    assert all(s.path.is_relative_to(tmp_path) and len(s.sha256) == 64 for s in found)
    assert {s.size for s in found} == {256}
    large = find_sequences("test-512", tmp_path, None, None)
    assert {s.size for s in large} == {512}
    assert {s.size for s in find_sequences("test-512", tmp_path, None, None, 256)} == {256}
    with pytest.raises(ConfigError, match="folder of videos"):
        find_sequences("nothing", None, None, None)
