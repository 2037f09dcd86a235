"""The command line before a stand-in for ``facecodec.api``: arguments, exit codes, files, pipes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from facecodec.cli import main, options
from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.errors import (
    BadMagicError,
    ChecksumError,
    ConfigError,
    MediaError,
    MissingReferenceError,
    NoFaceError,
    ShapeError,
    UnsupportedVersionError,
    WeightsError,
    WeightsMismatchError,
)


@dataclasses.dataclass
class Progress:
    frames_done: int
    frames_total: int | None
    bytes_done: int
    seconds_done: float


SECTION_BYTES = {
    "header": 10,
    "reference": 600,
    "backdrop": 300,
    "face": 50,
    "scene": 20,
    "audio": 15,
    "index": 5,
}
QUALITY = types.SimpleNamespace(frames=25, measured=4, mean=0.0812, worst=0.163, eyes=0.12, mouth=0.2)
ENCODED = types.SimpleNamespace(
    frames=25,
    seconds=1.0,
    bytes=1000,
    section_bytes=SECTION_BYTES,
    references=1,
    quality=QUALITY,
    damage=None,
    wall_s=0.5,
)
DECODED = types.SimpleNamespace(
    frames=25, seconds=1.0, width=64, height=48, wall_s=0.5, generator="warp-0", warning=None
)
INFO = {
    "path": "x.fcv",
    "bytes": 1000,
    "bitstream_version": 1,
    "model_id": "00ff",
    "keypoint_set": "MESH_478",
    "width": 64,
    "height": 48,
    "coded_size": 256,
    "view": "frame",
    "frames": 25,
    "duration_s": 1.0,
    "frame_rate": 25.0,
    "audio": None,
    "references": 1,
    "predicted_references": 0,
    "random_access_points": 1,
    "held_frames": 0,
    "quality": None,
    "section_bytes": SECTION_BYTES,
    "kbps": 8.0,
    "section_kbps": {},
    "motion_bits_mean": 30.5,
    "motion_bits_p95": 61.0,
    "scene_grid": 7,
    "complete": True,
}


class FakeApi:
    """Records calls; writes ``data``, or half of it and then raises ``error``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, tuple[object, ...], dict[str, object]]] = []
        self.error: BaseException | None = None
        self.data = b"facecodec" * 10
        self.warning: str | None = None

    def _work(self, name: str, src: Path, dst: Path, *args: object, **named: object) -> None:
        self.calls.append((name, Path(src).read_bytes(), args, named))
        named["on_progress"](Progress(1, 25, 100, 0.04))
        named["on_progress"](Progress(25, None, 1000, 1.0))
        assert not Path(dst).exists()
        Path(dst).write_bytes(self.data[:45] if self.error else self.data)
        if named.get("stats"):
            Path(named["stats"]).write_text("{}\n")
        if self.error:
            raise self.error

    def encode_file(self, src, dst, *args, **named):
        self._work("encode", src, dst, *args, **named)
        return ENCODED

    def decode_file(self, src, dst, *args, **named):
        self._work("decode", src, dst, *args, **named)
        return types.SimpleNamespace(**{**vars(DECODED), "warning": self.warning})

    def probe(self, src):
        self.calls.append(("probe", Path(src).read_bytes(), (), {}))
        if self.error:
            raise self.error
        return types.SimpleNamespace(**INFO, to_dict=lambda: INFO)


@pytest.fixture
def api(monkeypatch):
    fake = FakeApi()
    module = types.ModuleType("facecodec.api")
    for name in ("encode_file", "decode_file", "probe"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "facecodec.api", module)
    return fake


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mp4").write_bytes(b"clip")
    (tmp_path / "in.fcv").write_bytes(b"stream")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"in.mp4", "in.fcv"}


def only_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.strip()


def test_encode_passes_its_options_on(api, folder, capsys):
    line = "encode in.mp4 out.fcv --size 512 --view crop --quality 70 --qp 30 --ref-quality 40"
    line += " --scene-points off --intra-period 250 --tracker face-alignment --audio opus:24k"
    line += " --device cpu --threads 2 --start 1.5 --duration 2 --stats s.jsonl --preset best"
    assert main(line.split()) == 0
    ((name, data, args, named),) = api.calls
    assert (name, data) == ("encode", b"clip")
    assert args == (
        EncoderConfig(
            size=512,
            view="crop",
            quality=70,
            qp=30,
            ref_quality=40,
            scene_points="off",
            intra_period=250,
            tracker="face-alignment",
            preset="best",
            audio_bps=24000,
        ),
        SpeedConfig(device="cpu", threads=2),
    )
    assert (named["start_s"], named["duration_s"]) == (1.5, 2.0)
    assert names(folder) == {"out.fcv", "s.jsonl"}
    out, err = capsys.readouterr()
    assert out == ""
    assert "1000 bytes, 8.00 kbit/s" in only_line(err)


def test_encode_without_options_takes_the_library_defaults(api, folder):
    assert main(["encode", "in.mp4", "out.fcv"]) == 0
    ((_, _, args, named),) = api.calls
    assert args == (EncoderConfig(), SpeedConfig())
    assert (named["start_s"], named["duration_s"], named["stats"]) == (0.0, None, None)


def test_decode_passes_its_options_on(api, folder, capsys):
    line = "decode in.fcv out.mp4 --generator lite --view crop --composite poisson --crf 20 --threads 3"
    more = "--weights my.safetensors --references 2 --device cpu --start 2 --duration 0.5"
    assert main([*line.split(), *more.split()]) == 0
    ((name, data, args, named),) = api.calls
    speed = SpeedConfig(device="cpu", threads=3)
    assert (name, data) == ("decode", b"stream")
    weights = Path("my.safetensors")
    expected = DecoderConfig("lite", weights, 2, view="crop", composite="poisson", speed=speed)
    assert args == (expected,)
    assert (named["crf"], named["start_s"], named["duration_s"]) == (20, 2.0, 0.5)
    assert "25 frames, 64x48" in only_line(capsys.readouterr().err)


def test_encode_names_the_weights_that_a_stream_is_made_for(api, folder, toy_weights):
    assert main(["encode", "in.mp4", "out.fcv", "--weights", str(toy_weights)]) == 0
    ((_, _, (config, _), _),) = api.calls
    assert config.model_id == hashlib.sha256(toy_weights.read_bytes()).digest()[:8]


def test_sigterm_is_the_callers_own_again_after_a_command(api, folder):
    seen = []

    def probe(src):
        seen.append(signal.getsignal(signal.SIGTERM))
        return types.SimpleNamespace(**INFO, to_dict=lambda: INFO)

    sys.modules["facecodec.api"].probe = probe
    before = signal.getsignal(signal.SIGTERM)
    try:
        for own in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, own)
            assert main(["info", "in.fcv"]) == 0
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert callable(seen[0])
    assert seen[1] is signal.SIG_IGN


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_that_a_library_reports_as_its_own_failure_is_still_a_signal(
    folder, capsys, api, number, code, said
):
    def probe(src):
        try:
            signal.raise_signal(number)
        except BaseException as err:
            raise WeightsError("LiteRT cannot run this network") from err

    sys.modules["facecodec.api"].probe = probe
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}[number]
    before = signal.signal(number, usual)
    try:
        assert main(["info", "in.fcv"]) == code
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == f"facecodec: error: {said}\n"


def test_info_prints_json_that_parses(api, folder, capsys):
    assert main(["info", "in.fcv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == INFO


def test_info_shows_rates_by_part(api, folder, capsys):
    assert main(["info", "in.fcv"]) == 0
    out = capsys.readouterr().out
    for word in ("reference", "4.80", "60 %", "total", "8.00", "30.5", "7x7", "MESH_478"):
        assert word in out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("device", "cuda", "cpu here"), 2),
        (MediaError("in.mp4", "no video stream"), 3),
        (NoFaceError("in.mp4", "no face"), 3),
        (OSError(28, "No space left on device"), 3),
        (BadMagicError("no magic"), 4),
        (ChecksumError("bad checksum", unit="motion", offset=77), 4),
        (UnsupportedVersionError(9, 1), 4),
        (MissingReferenceError(2), 4),
        (WeightsMismatchError("aa", ("bb",)), 5),
        (ShapeError("points", "[478, 3]", (1,)), 1),
        (RuntimeError("a bug\nover two lines"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("command", ["encode in.mp4 out", "decode in.fcv out"])
def test_an_error_gives_its_exit_code_one_line_and_no_file(api, folder, capsys, command, error, code):
    api.error = error
    assert main([*command.split(), "--stats", "s.jsonl"]) == code
    assert names(folder) == set()
    line = only_line(capsys.readouterr().err)
    assert line.startswith("facecodec: error: ")
    assert str(error).split("\n")[0] in line


def test_debug_shows_the_traceback(api, folder, capsys, caplog):
    api.error = RuntimeError("a bug")
    assert main(["encode", "in.mp4", "out.fcv", "--debug"]) == 1
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("encode in.mp4", "OUT.fcv"),
        ("encode in.mp4 out.fcv --no-such-option", "no-such-option"),
        ("encode in.mp4 out.fcv --qp 52", "qp is 52"),
        ("encode in.mp4 out.fcv --qp many", "--qp"),
        ("encode in.mp4 out.fcv --size 300", "size is 300"),
        ("encode in.mp4 out.fcv --view face", "--view"),
        ("encode in.mp4 out.fcv --audio mp3:16k", "audio"),
        ("encode in.mp4 out.fcv --audio opus:0k", "audio"),
        ("encode in.mp4 out.fcv --audio opus:900k", "audio"),
        ("encode in.mp4 out.fcv --threads -1", "threads"),
        ("encode in.mp4 out.fcv --duration 0", "duration"),
        ("encode in.mp4 out.fcv --start -1", "--start"),
        ("decode in.fcv out.mp4 --generator gan", "--generator"),
        ("decode in.fcv out.mp4 --generator warp-0 --weights w.safetensors", "weights"),
        ("decode in.fcv out.mp4 --references 5", "references is 5"),
        ("decode in.fcv out.mp4 --crf 52", "--crf"),
        ("decode in.fcv in.fcv --force", "input itself"),
        ("transcode a b", "transcode"),
    ],
)
def test_wrong_usage_exits_with_2(api, folder, capsys, line, words):
    assert main(line.split()) == 2
    assert words in only_line(capsys.readouterr().err)
    assert api.calls == []
    assert names(folder) == set()


def test_no_arguments_show_the_help(capsys):
    assert main([]) == 2
    assert "encode" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["encode missing.mp4 out", "decode missing.fcv out", "info missing.fcv"])
def test_a_missing_input_exits_with_3(api, folder, capsys, command):
    assert main(command.split()) == 3
    assert "no such file" in only_line(capsys.readouterr().err)
    assert names(folder) == set()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("encode . out.fcv", "is a folder"),
        ("encode in.mp4 .", "is a folder"),
        ("encode in.mp4 nowhere/out.fcv", "its folder does not exist"),
    ],
)
def test_folders_are_refused(api, folder, capsys, line, words):
    assert main(line.split()) == 3
    assert words in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("option", [[], ["--stats", "old"]])
def test_a_file_that_exists_is_kept_without_force(api, folder, capsys, option):
    (folder / "old").write_bytes(b"old")
    target = "new" if option else "old"
    assert main(["encode", "in.mp4", target, *option]) == 2
    assert "--force" in only_line(capsys.readouterr().err)
    assert (folder / "old").read_bytes() == b"old"
    assert api.calls == []


def test_force_replaces_a_file_only_once_the_new_one_is_complete(api, folder):
    (folder / "old").write_bytes(b"old")
    api.error = NoFaceError("in.mp4", "no face")
    assert main(["encode", "in.mp4", "old", "--force"]) == 3
    assert (folder / "old").read_bytes() == b"old"
    api.error = None
    assert main(["encode", "in.mp4", "old", "--force"]) == 0
    assert (folder / "old").read_bytes() == api.data
    assert names(folder) == {"old"}


def test_new_files_have_ordinary_permissions(api, folder):
    main(["encode", "in.mp4", "out.fcv"])
    (folder / "plain").write_bytes(b"")
    assert (folder / "out.fcv").stat().st_mode == (folder / "plain").stat().st_mode


def test_a_cut_stream_keeps_its_frames_and_exits_with_4(api, folder, capsys):
    api.warning = "the file ends after 12 of 25 frames"
    assert main(["decode", "in.fcv", "out.mp4"]) == 4
    assert (folder / "out.mp4").read_bytes() == api.data
    assert "after 12 of 25 frames" in capsys.readouterr().err


def test_pipes_carry_the_bytes(api, folder, monkeypatch, capfdbinary):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"piped")))
    with os.fdopen(os.dup(1), "wb") as sink:
        monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=sink, isatty=lambda: False))
        assert main(["encode", "-", "-"]) == 0
    assert api.calls[0][1] == b"piped"
    assert capfdbinary.readouterr().out == api.data
    assert names(folder) == set()


def test_errors_about_a_pipe_name_the_pipe(folder, monkeypatch, capsys, api):
    def encode_file(src, dst, *args, **named):
        raise NoFaceError(src, "no face in 50 frames")

    monkeypatch.setattr(sys.modules["facecodec.api"], "encode_file", encode_file)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"piped")))
    assert main(["encode", "-", "out.fcv"]) == 3
    assert only_line(capsys.readouterr().err) == "facecodec: error: standard input: no face in 50 frames"


def test_a_device_file_is_written_to_and_not_replaced(api, folder):
    assert main(["encode", "in.mp4", "/dev/null"]) == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize(
    ("text", "bps"), [("none", 0), ("opus:16k", 16000), ("opus:16000", 16000), ("opus:6.5k", 6500)]
)
def test_audio_values_are_read(text, bps):
    assert options.audio_bps(text) == bps


@pytest.mark.parametrize(
    "text", ["", "opus", "opus:", "opus:k", "opus:-6k", "opus:1e3", "OPUS:16k", "opus:0"]
)
def test_other_audio_values_are_refused(text):
    with pytest.raises(ConfigError, match="audio"):
        options.audio_bps(text)


def test_the_default_audio_value_means_the_library_default():
    assert options.audio_bps(options.DEFAULT_AUDIO) == EncoderConfig().audio_bps
