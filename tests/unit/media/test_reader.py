"""Pictures come out upright, in the right colours, with the file's own times."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from facecodec.errors import MediaError
from facecodec.media import VideoReader
from tests.unit.media.clips import PALETTE, click, corners, quarters, write_clip, write_sound


def read(path, **kwargs):
    with VideoReader(path) as reader:
        return list(reader.frames(**kwargs)), reader


def noise(n, width=64, height=48):
    rng = np.random.default_rng(3)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(n)]


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv420p10le"])
def test_stated_matrix_and_range_are_used(tmp_path, matrix, full, pix_fmt):
    path = write_clip(tmp_path / "a.mp4", [quarters()], pix_fmt=pix_fmt, matrix=matrix, full=full)
    frames, _ = read(path)
    assert np.abs(corners(frames[0].pixels) - PALETTE).max() <= 4


@pytest.mark.parametrize(("height", "matrix"), [(718, 5), (720, 1)])
def test_unstated_matrix_goes_by_the_number_of_lines(tmp_path, height, matrix):
    path = write_clip(tmp_path / "a.mp4", [quarters(32, height)], matrix=matrix, tagged=False)
    frames, _ = read(path)
    assert np.abs(corners(frames[0].pixels) - PALETTE).max() <= 4


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "full"),
    [
        ("a.jpg", "mjpeg", "yuvj444p", True),
        ("a.png", "png", "rgb24", True),
        ("a.mkv", "ffv1", "bgr0", True),
        ("a.webp", "libwebp", "yuv420p", False),
        ("a.mkv", "ffv1", "yuv422p", False),
    ],
)
def test_other_formats_keep_their_colours(tmp_path, name, codec, pix_fmt, full):
    options = {"quality": "100"} if codec == "libwebp" else {"qmin": "1", "global_quality": "118"}
    setup = (lambda s: setattr(s.codec_context, "qmin", 1)) if codec == "mjpeg" else None
    path = write_clip(
        tmp_path / name,
        [quarters()],
        codec=codec,
        pix_fmt=pix_fmt,
        full=full,
        options=options if codec == "libwebp" else {},
        setup=setup,
        container_options={"update": "1"} if name.endswith(("jpg", "png")) else {},
    )
    frames, reader = read(path)
    assert len(frames) == 1
    assert reader.damage is None
    assert np.abs(corners(frames[0].pixels) - PALETTE).max() <= 6


def test_gray_palette_and_alpha(tmp_path):
    cv2 = pytest.importorskip("cv2")
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    cv2.imwrite(str(tmp_path / "gray.png"), ramp)
    frames, _ = read(tmp_path / "gray.png")
    assert np.array_equal(frames[0].pixels, np.repeat(ramp[..., None], 3, 2))

    rgba = np.dstack([quarters(), np.zeros((48, 64), np.uint8)])
    cv2.imwrite(str(tmp_path / "alpha.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
    frames, _ = read(tmp_path / "alpha.png")
    assert np.array_equal(frames[0].pixels, quarters())

    with av.open(str(tmp_path / "pal.gif"), "w") as out:
        stream = out.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        frame = av.VideoFrame.from_ndarray(quarters(), "rgb24").reformat(format="rgb8")
        out.mux([*stream.encode(frame), *stream.encode(None)])
    frames, _ = read(tmp_path / "pal.gif")
    top_left = frames[0].pixels[:24, :32].mean((0, 1))  # a dithered mean
    assert np.abs(top_left - PALETTE[0]).max() <= 20


@pytest.mark.parametrize(("turn", "order"), [(90, (2, 0, 3, 1)), (180, (3, 2, 1, 0)), (270, (1, 3, 0, 2))])
def test_rotation_is_applied_clockwise(tmp_path, turn, order):
    def setup(stream):
        stream.set_display_rotation(-turn)

    path = write_clip(tmp_path / "a.mp4", [quarters()], setup=setup)
    frames, reader = read(path)
    assert np.abs(corners(frames[0].pixels) - PALETTE[list(order)]).max() <= 4
    assert frames[0].pixels.shape[:2] == (reader.info.height, reader.info.width)
    assert (reader.info.rotation, reader.info.width) == (turn, 64 if turn == 180 else 48)


def test_mirrored_display_matrix(tmp_path):
    def setup(stream):
        stream.set_display_matrix((-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))

    frames, _ = read(write_clip(tmp_path / "a.mp4", [quarters()], setup=setup))
    assert np.abs(corners(frames[0].pixels) - PALETTE[[1, 0, 3, 2]]).max() <= 4


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (128, 48)), (Fraction(2, 3), (64, 72))])
def test_pixels_are_made_square(tmp_path, aspect, size):
    def setup(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    frames, reader = read(write_clip(tmp_path / "a.mp4", [quarters()], setup=setup))
    assert frames[0].pixels.shape == (size[1], size[0], 3)
    assert (reader.info.width, reader.info.height) == size


def test_odd_sizes(tmp_path):
    path = write_clip(tmp_path / "a.mkv", [quarters(65, 47)], codec="ffv1", pix_fmt="yuv420p")
    frames, _ = read(path)
    assert frames[0].pixels.shape == (47, 65, 3)
    assert np.abs(corners(frames[0].pixels) - PALETTE).max() <= 4


def test_variable_rate_times_are_exact(tmp_path):
    pts = [0, 7, 8, 30, 31, 90]
    tick = Fraction(1, 1000)
    path = write_clip(tmp_path / "a.mp4", noise(6), pts=pts, time_base=tick)
    frames, reader = read(path)
    assert [f.pts * f.time_base for f in frames] == [p * tick for p in pts]
    assert {f.time_base for f in frames} == {reader.info.time_base}
    assert reader.info.frames == 6


def test_part_of_a_clip(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(50), options={"g": "12", "crf": "20", "preset": "ultrafast"})
    whole, _ = read(path)
    part, _ = read(path, start_s=1.0, duration_s=0.4)
    assert [f.time_s for f in part] == pytest.approx([1 + i / 25 for i in range(10)])
    assert np.array_equal(part[0].pixels, whole[25].pixels)
    late, _ = read(path, start_s=9.0)
    assert late == []


def test_can_be_read_twice(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(5))
    with VideoReader(path) as reader:
        next(reader.frames())
        assert len(list(reader.frames())) == len(list(reader.frames())) == 5


def test_times_that_do_not_increase_drop_the_picture(tmp_path, monkeypatch, caplog):
    path = write_clip(tmp_path / "a.mp4", noise(5))
    with VideoReader(path) as reader:
        real = reader._decode

        def with_repeats(seek):
            for i, frame in enumerate(real(seek)):
                frame.pts = [0, 512, 512, None, 100][i]
                yield frame

        monkeypatch.setattr(reader, "_decode", with_repeats)
        with caplog.at_level(logging.WARNING):
            assert [f.pts for f in reader.frames()] == [0, 512, 1024]
    assert len(caplog.records) == 1


def test_truncated_mp4_gives_what_is_there_and_says_so(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(40), container_options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, reader = read(cut)
    assert 10 <= len(frames) < 30
    assert reader.damage is not None
    assert "packet" in reader.damage


def test_truncated_matroska_says_so(tmp_path):
    path = write_clip(tmp_path / "a.mkv", noise(100))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, reader = read(cut)
    assert 20 <= len(frames) < 75
    assert reader.damage is not None


def test_overwritten_middle_is_survived(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(40), container_options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8000] = bytes(8000)
    path.write_bytes(data)
    frames, reader = read(path)
    assert len(frames) >= 20
    assert reader.damage is not None


def test_good_files_are_not_called_damaged(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        frames, reader = read(write_clip(tmp_path / name, noise(30)))
        assert (len(frames), reader.damage) == (30, None)


def test_without_its_index_an_mp4_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(10))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(MediaError, match="cut off before its index"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"Dear reader,\n" * 50, "not a picture or video file")]
)
def test_files_that_are_no_media(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=reason) as err:
        VideoReader(path)
    assert str(path) in str(err.value)
    assert "\n" not in str(err.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MediaError, match="no such file"):
        VideoReader(tmp_path / "absent.mp4")
    with pytest.raises(MediaError, match="folder"):
        VideoReader(tmp_path)


def test_sound_alone_is_not_a_video(tmp_path):
    path = write_sound(tmp_path / "a.wav", click(48000, 0.2, 0.1))
    with pytest.raises(MediaError, match="no video"):
        VideoReader(path)


def test_cover_art_is_not_a_video(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = 1024
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        picture = av.VideoFrame.from_ndarray(quarters(), "rgb24").reformat(format="yuvj420p")
        picture.pts = 0
        out.mux([*cover.encode(picture), *cover.encode(None)])
        out.mux([*sound.encode(frame), *sound.encode(None)])
    with av.open(str(path)) as check:
        assert len(check.streams.video) == 1
    with pytest.raises(MediaError, match="no video"):
        VideoReader(path)


def test_closing_ends_a_running_iteration(tmp_path):
    reader = VideoReader(write_clip(tmp_path / "a.mp4", noise(30)))
    running = reader.frames()
    next(running)
    reader.close()
    assert list(running) == []
    assert list(reader.frames()) == []
