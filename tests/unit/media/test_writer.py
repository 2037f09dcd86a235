"""Written files play in step, keep their times, say what they are, and never appear half done."""

import resource
from fractions import Fraction

import av
import numpy as np
import pytest

from facecodec.errors import ConfigError, MediaError, ShapeError
from facecodec.media import OpusStreamInfo, VideoReader, VideoWriter, read_opus, synthetic_mark
from facecodec.types import AudioPacket, Frame
from tests.unit.media.clips import PALETTE, click, corners, onset_s, quarters, write_sound

RATE = Fraction(25)
TICK = 1 / RATE
SUFFIXES = [".mp4", ".mkv"]


def frames(n, pixels=None, tick=TICK):
    return [Frame(quarters() if pixels is None else pixels, i, tick) for i in range(n)]


def write(path, pictures, **kwargs):
    w, h = kwargs.pop("size", None) or pictures[0].pixels.shape[1::-1]
    tick = kwargs.pop("time_base", TICK)
    with VideoWriter(path, w, h, tick, frame_rate=RATE, **kwargs) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def read(path):
    with VideoReader(path) as reader:
        return list(reader.frames()), reader


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colours_tags_and_length(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", frames(10))
    got, reader = read(path)
    assert np.abs(corners(got[0].pixels) - PALETTE).max() <= 4
    assert len(got) == 10
    assert reader.damage is None
    assert reader.info.duration_s == pytest.approx(0.4, abs=0.001)
    with av.open(str(path)) as source:
        context = source.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert tags == (1, 1, 1, 1)


def test_odd_sizes_gain_a_repeated_edge(tmp_path):
    got, _ = read(write(tmp_path / "a.mp4", frames(2, quarters(65, 47))))
    assert got[0].pixels.shape == (48, 66, 3)
    assert np.abs(got[0].pixels[:, 65].astype(int) - got[0].pixels[:, 64]).max() <= 4


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("start", [0, 90])
def test_variable_times_are_kept(tmp_path, suffix, start):
    tick = Fraction(1, 1000)
    pts = [start + t for t in (0, 7, 8, 40, 41, 500)]
    pictures = [Frame(quarters(), p, tick) for p in pts]
    got, _ = read(write(tmp_path / f"a{suffix}", pictures, time_base=tick))
    assert [f.pts * f.time_base for f in got] == [p * tick for p in pts]


def test_ntsc_times_are_exact_in_mp4(tmp_path):
    tick = Fraction(1001, 30000)
    got, _ = read(write(tmp_path / "a.mp4", frames(20, tick=tick), time_base=tick))
    assert [f.pts * f.time_base for f in got] == [i * tick for i in range(20)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frame_ms", [20, 60])
def test_flash_and_click_coincide(tmp_path, suffix, frame_ms):
    sound = read_opus(
        write_sound(tmp_path / "a.wav", click(44100, 2.0, 1.0), 44100), bitrate_bps=16000, frame_ms=frame_ms
    )
    black, white = (np.full((48, 64, 3), v, np.uint8) for v in (10, 250))
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 64, 48, TICK, frame_rate=RATE, audio=sound.info) as writer:
        for i in range(50):
            writer.write(Frame(white if i == 25 else black, i, TICK))
        for packet in sound:
            writer.write_audio(packet)
    got, _ = read(path)
    flash = [f.time_s for f in got if f.pixels.mean() > 128]
    assert len(flash) == 1
    assert onset_s(path) - flash[0] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_opus_packets_are_copied_and_pre_skip_is_told(tmp_path, suffix):
    packets = list(read_opus(write_sound(tmp_path / "a.wav", click(48000, 0.3, 0.1)), bitrate_bps=16000))
    info = OpusStreamInfo(pre_skip=500)
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 64, 48, TICK, frame_rate=RATE, audio=info) as writer:
        writer.write(frames(1)[0])
        for p in packets:
            writer.write_audio(AudioPacket(p.data, p.pts - 188, p.duration))
    with av.open(str(path)) as source:
        stream = source.streams.audio[0]
        assert stream.codec_context.extradata == info.opus_head()
        assert [bytes(p) for p in source.demux(stream) if p.size] == [p.data for p in packets]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("model", "term"),
    [("warp-0", "compositeSynthetic"), ("vid2vid-a1b2", "compositeWithTrainedAlgorithmicMedia")],
)
def test_the_mark_can_be_read_back(tmp_path, suffix, model, term):
    path = write(tmp_path / f"a{suffix}", frames(2), metadata=synthetic_mark(model))
    with av.open(str(path)) as source:
        found = {k.lower(): v for k, v in source.metadata.items()}
    assert found["digital_source_type"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}"
    assert found["facecodec_model"] == model
    assert "ynthesised" in found["comment"]


def test_an_exception_removes_the_file(tmp_path):
    def pictures():
        yield frames(1)[0]
        assert len(list(tmp_path.iterdir())) == 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(tmp_path / "a.mp4", pictures(), size=(64, 48))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(MediaError, match="exists"):
        VideoWriter(path, 64, 48, TICK, frame_rate=RATE)
    assert path.read_bytes() == b"old"
    write(path, frames(3), overwrite=True)
    assert len(read(path)[0]) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n_pictures", [3, 30])
def test_a_write_that_fails_is_a_media_error_and_leaves_nothing(tmp_path, suffix, n_pictures):
    rng = np.random.default_rng(0)
    noise = [Frame(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), i, TICK) for i in range(n_pictures)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(MediaError, match="cannot be written"):
            write(tmp_path / f"a{suffix}", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_wrong_calls_are_named(tmp_path):
    with pytest.raises(MediaError, match=r"known suffixes: \.mp4, \.mkv"):
        VideoWriter(tmp_path / "a.avi", 64, 48, TICK, frame_rate=RATE)
    with pytest.raises(ConfigError, match="crf"):
        VideoWriter(tmp_path / "a.mp4", 64, 48, TICK, frame_rate=RATE, crf=99)
    with pytest.raises(MediaError, match="preset"):
        VideoWriter(tmp_path / "a.mp4", 64, 48, TICK, frame_rate=RATE, preset="warp speed").write(
            frames(1)[0]
        )
    with pytest.raises(MediaError, match="no picture"):
        VideoWriter(tmp_path / "a.mp4", 64, 48, TICK, frame_rate=RATE).close()
    with VideoWriter(tmp_path / "a.mp4", 64, 48, TICK, frame_rate=RATE) as writer:
        with pytest.raises(ShapeError, match="picture"):
            writer.write(frames(1, quarters(32, 32))[0])
        writer.write(frames(1)[0])
        with pytest.raises(MediaError, match="does not come after"):
            writer.write(frames(1)[0])
        with pytest.raises(MediaError, match="without a sound"):
            writer.write_audio(AudioPacket(b"\xf8\xff\xfe", 0, 960))
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
