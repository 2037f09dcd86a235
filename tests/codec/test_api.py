"""From file to file: times, sound, parts, damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from facecodec.api import (
    Progress,
    code_track,
    decode_file,
    decode_frames,
    encode_file,
    probe,
    reference_crops,
    source_crops,
)
from facecodec.bitstream import (
    MAGIC,
    BackdropUnit,
    MotionUnit,
    PaletteUnit,
    ReferenceUnit,
    pack_unit,
    parse_unit,
)
from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.container.fcv import FcvReader, FcvWriter
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError, ConfigError, FacecodecError, MediaError, NoFaceError
from facecodec.refpic.intra import encode_still
from facecodec.types import Frame, Packet, PacketKind
from tests.codec.clips import encode, timed, write_clip

QUICK = EncoderConfig(scene_points="off")
CROP = DecoderConfig(view="crop")
ALL = DecoderConfig(speed=SpeedConfig(threads=1))
ONE = DecoderConfig(view="crop", speed=SpeedConfig(threads=1))
FLASH_S, CLICK_S = 0.8, 0.8


@pytest.fixture(scope="module")
def clip(faces, tmp_path_factory) -> Path:
    """36 frames with a flash and a click at the same instant, and sound all through."""
    pictures = [frame.pixels for frame in faces[:36]]
    flash = round(FLASH_S * 25)
    pictures[flash] = np.clip(pictures[flash].astype(int) + 60, 0, 255).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 0.01, round(36 * 0.04 * 48000))
    begin = round(CLICK_S * 48000)
    noise[begin : begin + 480] += 0.7 * np.sin(np.arange(480) * 2 * np.pi * 1500 / 48000)
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", timed(pictures), noise)


@pytest.fixture(scope="module")
def stream(clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stream") / "clip.fcv"
    encode_file(clip, path, EncoderConfig(scene_points="off", lookahead=1, intra_period=20))
    return path


@pytest.fixture(scope="module")
def small(clip, tmp_path_factory) -> Path:
    """Three groups of four frames, two reference pictures, sound."""
    path = tmp_path_factory.mktemp("small") / "clip.fcv"
    config = EncoderConfig(scene_points="off", view="crop", intra_period=4, ref_quality=0)
    encode_file(clip, path, config, duration_s=0.48)
    return path


@pytest.fixture(scope="module")
def whole(stream) -> list[Frame]:
    return list(decode_frames(stream, CROP))


def click_s(path: Path) -> float:
    """When the sound is loudest, seconds on the file's clock."""
    loud, when = 0.0, -1.0
    with av.open(str(path)) as source:
        for frame in source.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).reshape(-1)
            if samples.max() > loud:
                loud = samples.max()
                first = int(np.flatnonzero(samples > loud * 0.5)[0])
                when = float(frame.pts * frame.time_base) + first / frame.sample_rate
    return when


def sound_length_s(path: Path) -> float:
    with av.open(str(path)) as source:
        return sum(frame.samples / frame.sample_rate for frame in source.decode(audio=0))


def put(path: Path, packets: list[Packet]) -> Path:
    with path.open("wb") as file, FcvWriter(file) as writer:
        for packet in packets:
            writer.write(packet)
    return path


def test_the_report_adds_up(clip, tmp_path):
    steps: list[Progress] = []
    out, stats = tmp_path / "out.fcv", tmp_path / "stats.jsonl"
    report = encode_file(clip, out, QUICK, stats=stats, on_progress=steps.append)
    assert report.bytes == out.stat().st_size == sum(report.section_bytes.values())
    assert (report.frames, report.held_frames, report.damage) == (36, 0, None)
    assert report.seconds == pytest.approx(36 * 0.04)
    assert steps[-1].frames_done == 36
    assert 0 < report.motion_bits_mean <= report.motion_bits_p95
    rows = [json.loads(line) for line in stats.read_text().splitlines()]
    assert [round(row["time_s"] * 25) for row in rows] == list(range(36))
    assert all(row["rms_px"] > 0 and row["bits"] > 0 and not row["held"] for row in rows)
    info = probe(out)
    assert info.complete
    assert info.references == report.references
    for name in ("bytes", "frames", "section_bytes", "held_frames", "motion_bits_mean", "motion_bits_p95"):
        assert getattr(info, name) == getattr(report, name)


def test_irregular_times_come_back_exactly(faces, tmp_path):
    times = [0, 40, 80, 95, 160, 240, 241, 400, 1000, 1040]
    frames = [replace(frame, pts=pts) for frame, pts in zip(faces, times, strict=False)]
    source = write_clip(tmp_path / "vfr.mp4", frames)
    encode_file(source, tmp_path / "vfr.fcv", QUICK)
    out = list(decode_frames(tmp_path / "vfr.fcv", CROP))
    assert [round(frame.time_s * 1000) for frame in out] == times
    decode_file(tmp_path / "vfr.fcv", tmp_path / "out.mp4", CROP)
    with av.open(str(tmp_path / "out.mp4")) as made:
        shown = [float(f.pts * f.time_base) for f in made.decode(video=0)]
    np.testing.assert_allclose(shown, np.array(times) / 1000, atol=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.28, 0.8, 1.3, 1.4])
def test_a_part_has_the_pixels_of_the_whole(stream, whole, start):
    part = list(decode_frames(stream, CROP, start_s=start, duration_s=0.3))
    wanted = [frame for frame in whole if start - 1e-9 <= frame.time_s < start + 0.3 - 1e-9]
    assert [frame.pts for frame in part] == [frame.pts for frame in wanted]
    for one, other in zip(part, wanted, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_start_behind_the_end_is_said_so(stream, tmp_path):
    with pytest.raises(ConfigError, match=r"start_s is 5.*1\.44"):
        decode_file(stream, tmp_path / "out.mp4", start_s=5)
    assert list(decode_frames(stream, start_s=5)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("start", "duration"), [(-1.0, None), (float("nan"), None), (0.0, 0.0), (0.0, -3.0)])
def test_what_is_no_stretch_of_time_is_refused(clip, stream, tmp_path, start, duration):
    for call in (
        lambda: encode_file(clip, tmp_path / "a.fcv", start_s=start, duration_s=duration),
        lambda: decode_file(stream, tmp_path / "a.mp4", start_s=start, duration_s=duration),
        lambda: list(decode_frames(stream, start_s=start, duration_s=duration)),
    ):
        with pytest.raises(ConfigError):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", [0.0, 0.52, 0.68])
def test_flash_and_click_stay_together(stream, tmp_path, start):
    decode_file(stream, tmp_path / "out.mp4", CROP, start_s=start)
    assert click_s(tmp_path / "out.mp4") == pytest.approx(CLICK_S - start, abs=0.02)
    with av.open(str(tmp_path / "out.mp4")) as made:
        first = next(made.decode(video=0))
        assert first.pts == 0


def test_a_flash_in_the_reference_picture_is_shown_at_its_time(clip, tmp_path):
    """The flash is a cut: it is sent as a reference picture of its own, or not shown; never elsewhere."""
    encode_file(clip, tmp_path / "a.fcv", QUICK)
    light = [frame.pixels.mean() for frame in decode_frames(tmp_path / "a.fcv", CROP)]
    brightest = int(np.argmax(light))
    assert light[brightest] - np.median(light) < 4 or brightest == round(FLASH_S * 25)


@pytest.mark.parametrize(("start", "duration"), [(0.0, 1.0), (0.4, 0.6)])
def test_a_part_has_its_sound_to_the_end(stream, tmp_path, start, duration):
    report = decode_file(stream, tmp_path / "out.mp4", CROP, start_s=start, duration_s=duration)
    assert report.seconds == pytest.approx(duration, abs=0.041)
    assert sound_length_s(tmp_path / "out.mp4") == pytest.approx(duration, abs=0.13)


def test_a_part_of_the_source_is_coded_with_its_sound(clip, tmp_path):
    report = encode_file(clip, tmp_path / "a.fcv", QUICK, start_s=0.4, duration_s=0.6)
    assert report.frames == 15
    decode_file(tmp_path / "a.fcv", tmp_path / "a.mp4", CROP)
    assert click_s(tmp_path / "a.mp4") == pytest.approx(CLICK_S - 0.4, abs=0.02)


def test_sound_can_be_left_out(clip, tmp_path):
    report = encode_file(clip, tmp_path / "a.fcv", replace(QUICK, audio_bps=0), duration_s=0.2)
    assert report.section_bytes["audio"] == 0
    assert probe(tmp_path / "a.fcv").audio is None
    decode_file(tmp_path / "a.fcv", tmp_path / "a.mp4", CROP)
    with av.open(str(tmp_path / "a.mp4")) as made:
        assert [s.type for s in made.streams] == ["video"]


def test_lost_faces_are_counted(faces, blank, tmp_path):
    pictures = [blank] * 3 + [f.pixels for f in faces[:6]] + [blank] * 4
    encode_file(write_clip(tmp_path / "a.mp4", timed(pictures)), tmp_path / "a.fcv", QUICK)
    info = probe(tmp_path / "a.fcv")
    assert (info.frames, info.held_frames) == (13, 7)
    report = decode_file(tmp_path / "a.fcv", tmp_path / "b.mp4", CROP, stats=tmp_path / "s.jsonl")
    assert (report.frames, report.held_frames) == (13, 7)
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 13


def test_a_picture_named_again_is_there_after_seeking(packets, tmp_path):
    """A random access point may name an older reference picture, from before the place sought."""
    units = [parse_unit(packet.data) for packet in packets[:4]]
    header, reference, backdrop, motion = units
    assert isinstance(reference, ReferenceUnit)
    assert isinstance(backdrop, BackdropUnit)
    assert isinstance(motion, MotionUnit)

    def packet(unit: ReferenceUnit | BackdropUnit | MotionUnit, access: bool = False) -> Packet:
        return Packet(PacketKind(unit.KIND.label), pack_unit(unit), 0, 0, access)

    other = replace(reference, ref_id=1)
    path = put(
        tmp_path / "again.fcv",
        [
            *packets[:4],
            packet(other),
            packet(replace(backdrop, ref_id=1)),
            packet(replace(motion, ref_id=1, first_pts=1000), True),
            packet(replace(motion, first_pts=2000), True),
        ],
    )
    whole = list(decode_frames(path))
    assert len(whole) == 48
    part = list(decode_frames(path, start_s=1.0))
    assert [frame.pts for frame in part] == [frame.pts for frame in whole[16:]]
    np.testing.assert_array_equal(part[-1].pixels, whole[-1].pixels)


@pytest.mark.parametrize("indexed", [True, False], ids=["index", "scan"])
def test_seeking_shows_the_backdrops_that_pictures_share(faces, tmp_path, indexed):
    packets = encode(faces[:1])
    reference, backdrop, motion = (parse_unit(packet.data) for packet in packets[1:4])
    assert isinstance(reference, ReferenceUnit)
    assert isinstance(backdrop, BackdropUnit)
    assert isinstance(motion, MotionUnit)
    grey = encode_still(np.full((backdrop.height, backdrop.width, 3), 200, np.uint8), 20, speed="realtime")
    other = replace(backdrop, ref_id=2, still=grey)
    groups: list[list[ReferenceUnit | BackdropUnit | int]] = [
        [replace(reference, ref_id=1), 1],
        [replace(reference, ref_id=2), other, 2],
        [1],
        [replace(reference, ref_id=3), 3],
        [0],
        [replace(reference, ref_id=0), 0],
    ]
    sent = list(packets[:4])
    for number, group in enumerate(groups):
        for item in group:
            again = isinstance(item, int)
            unit = replace(motion, ref_id=item, first_pts=1000 * (number + 1)) if again else item
            sent.append(Packet(PacketKind(unit.KIND.label), pack_unit(unit), 0, 0, again))
    path = put(tmp_path / "shared.fcv", sent)
    if not indexed:
        path.write_bytes(MAGIC + b"".join(packet.data for packet in sent))
    whole = list(decode_frames(path, ALL))
    corner = [round(float(f.pixels[-4:, :4].mean())) for f in whole]
    first, later = corner[0], 200
    assert corner == pytest.approx([first, first, later, first, later, first, later], abs=2)
    for number in range(1, 7):
        part = list(decode_frames(path, ALL, start_s=float(number)))
        assert [f.pts for f in part] == [f.pts for f in whole[number:]]
        for one, same in zip(part, whole[number:], strict=True):
            np.testing.assert_array_equal(one.pixels, same.pixels)


def test_motion_without_its_picture_is_a_warning_not_silence(packets, tmp_path):
    path = tmp_path / "gap.fcv"
    path.write_bytes(MAGIC + b"".join(p.data for p in packets if p.kind is not PacketKind.REFERENCE))
    with pytest.raises(BitstreamError, match="what it is made from"):
        decode_file(path, tmp_path / "out.mp4")


def frames_before_damage(path: Path) -> tuple[list[Frame], str | None]:
    """Frames of a damaged file, and what was said of it."""
    got: list[Frame] = []
    try:
        for frame in decode_frames(path, ONE):
            got.append(frame)
    except FacecodecError as err:
        return got, str(err)
    return got, None


def test_a_file_cut_anywhere_gives_what_is_before_the_cut(small, tmp_path):
    whole = list(decode_frames(small, ONE))
    data, cut = small.read_bytes(), tmp_path / "cut.fcv"
    counts = []
    for size in np.linspace(0, len(data) - 1, 20).astype(int):
        cut.write_bytes(data[:size])
        got, said = frames_before_damage(cut)
        counts.append(len(got))
        assert said is not None
        assert [frame.pts for frame in got] == [frame.pts for frame in whole[: len(got)]]
        for one, other in zip(got, whole, strict=False):
            np.testing.assert_array_equal(one.pixels, other.pixels)
        if got:
            info = probe(cut)
            assert (info.frames, info.complete) == (len(got), False)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 12)
    assert len(set(counts)) == 4


def without_palettes(path: Path) -> dict[int, np.ndarray]:
    """Pictures of a file whose palettes were lost, by pts."""
    decoder, frames = Decoder(ONE), []
    with FcvReader(path) as reader:
        for at in reader.units():
            if not isinstance(at.unit, PaletteUnit):
                frames += decoder.take(at.unit)
    return {frame.pts: frame.pixels for frame in frames}


def test_a_changed_byte_never_shows_wrong_pictures(small, tmp_path):
    rng = np.random.default_rng(11)
    data, bad = small.read_bytes(), tmp_path / "bad.fcv"
    right = {frame.pts: frame.pixels for frame in decode_frames(small, ONE)}
    plain = without_palettes(small)
    for _ in range(30):
        changed = bytearray(data)
        place = int(rng.integers(len(data)))
        changed[place] ^= int(rng.integers(1, 256))
        bad.write_bytes(changed)
        got, said = frames_before_damage(bad)
        assert said is not None or len(got) == 12, place
        lost = plain if said is not None and "palette unit" in said else right
        for frame in got:
            same = [np.array_equal(frame.pixels, other[frame.pts]) for other in (right, lost)]
            assert any(same), place
        try:
            assert not probe(bad).complete
        except FacecodecError:
            assert got == []


def test_a_video_that_is_cut_is_coded_as_far_as_it_goes(clip, samples, tmp_path):
    data = (samples / "talking_head.mp4").read_bytes()
    source = tmp_path / "cut.mp4"
    source.write_bytes(_front_loaded(data, tmp_path)[: len(data) // 12])
    report = encode_file(source, tmp_path / "a.fcv", replace(QUICK, audio_bps=0))
    assert report.damage
    assert 5 < report.frames < 120
    assert probe(tmp_path / "a.fcv").complete


def _front_loaded(data: bytes, folder: Path) -> bytes:
    """The same clip with its table in front, so that its first part can be read alone."""
    (folder / "plain.mp4").write_bytes(data)
    out = folder / "front.mp4"
    with (
        av.open(str(folder / "plain.mp4")) as source,
        av.open(str(out), "w", container_options={"movflags": "faststart"}) as sink,
    ):
        copy = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                sink.mux(packet)
    return out.read_bytes()


def test_nothing_is_left_of_a_run_that_failed(clip, stream, blank, tmp_path):
    source = write_clip(tmp_path / "in.mp4", timed([blank] * 4))
    with pytest.raises(NoFaceError, match="in.mp4"):
        encode_file(source, tmp_path / "a.fcv", stats=tmp_path / "a.jsonl")
    with pytest.raises(MediaError, match="nowhere"):
        encode_file(clip, tmp_path / "nowhere" / "a.fcv", duration_s=0.1)
    with pytest.raises(MediaError, match="b.jsonl"):
        encode_file(clip, tmp_path / "a.fcv", stats=tmp_path / "nowhere" / "b.jsonl")
    with pytest.raises(MediaError, match="suffix"):
        decode_file(stream, tmp_path / "a.avi", duration_s=0.1)
    (tmp_path / "there.fcv").write_bytes(b"mine")
    with pytest.raises(MediaError, match="exists"):
        encode_file(clip, tmp_path / "there.fcv", duration_s=0.1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "there.fcv"]
    assert (tmp_path / "there.fcv").read_bytes() == b"mine"


def test_a_full_disk_leaves_nothing(clip, tmp_path, monkeypatch):
    def full(self: FcvWriter, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FcvWriter, "_append", full)
    with pytest.raises(MediaError, match="a.fcv.*space"):
        encode_file(clip, tmp_path / "a.fcv", QUICK, duration_s=0.1)
    assert list(tmp_path.iterdir()) == []


def test_source_and_reference_crops_go_with_the_frames(clip, stream, whole):
    sources, references = list(source_crops(clip, stream)), list(reference_crops(stream))
    assert [f.pts for f in sources] == [f.pts for f in references] == [f.pts for f in whole]
    for source, shown in zip(sources[:4], whole[:4], strict=True):
        assert source.pixels.shape == shown.pixels.shape
        assert np.abs(source.pixels.astype(int) - shown.pixels).mean() < 10


def test_a_track_that_stands_still_costs_little(faces):
    from facecodec.motion.face import load_face_model

    mesh = load_face_model().mean * 0.25 + 0.5
    still = np.repeat(mesh[None], 64, axis=0)
    moving = still + 0.03 * np.sin(np.arange(64) / 3)[:, None, None] * [1, 0, 0]
    (rest, rest_rms), (moved, moved_rms) = code_track(still, 25.0), code_track(moving, 25.0)
    assert rest < 3 < moved
    assert max(rest_rms, moved_rms) < 1.5
