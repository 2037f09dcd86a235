"""What the encoder knows of the pictures that its stream gives."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from facecodec.analysis.quality import Departure, Distances, departure, foretell
from facecodec.api import encode_file, probe
from facecodec.bitstream import ExtensionUnit, PaletteUnit, QualityUnit, ReferenceUnit, pack_unit, parse_unit
from facecodec.bitstream.quality import STEPS
from facecodec.cli import main
from facecodec.config import DecoderConfig, EncoderConfig
from facecodec.container import FcvReader, FcvWriter
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError, ConfigError, LimitError
from facecodec.generator.topology import load_topology
from facecodec.local_decoder import EVERY
from facecodec.metrics.multiscale import DissimilarityMaps
from facecodec.monitor import FrameStats
from facecodec.motion.face import load_face_model
from facecodec.track.crop import crop_picture
from facecodec.types import CropTransform, Frame, Packet, PacketKind
from tests.codec.clips import encode

CROP = DecoderConfig(view="crop", generator="warp-0")
UNIT = QualityUnit(1, 250, 40, 812, 1630, 1204, 2011)


def coded(frames: list[Frame], preset: str, **options) -> tuple[list[Packet], list[FrameStats]]:
    stats: list[FrameStats] = []
    config = EncoderConfig(**{"lookahead": 16, "preset": preset, **options})
    return encode(frames, config, on_frame=stats.append), stats


@pytest.fixture(scope="module")
def best(faces):
    return coded(faces, "best", scene_points="auto")


def units_of(packets, kind):
    return [unit for unit in (parse_unit(p.data) for p in packets) if isinstance(unit, kind)]


def test_best_measures_what_the_decoder_shows(best, faces):
    packets, stats = best
    unit = units_of(packets, ReferenceUnit)[0]
    crop = CropTransform(unit.crop_x, unit.crop_y, unit.crop_side, 256)
    decoder = Decoder(CROP)
    shown = [frame for packet in packets for frame in decoder.decode(packet)]
    assert units_of(packets, PaletteUnit)
    assert len(shown) == len(stats) == len(faces)
    for frame, source, line in zip(shown, faces, stats, strict=True):
        assert line.quality.measured
        wanted = DissimilarityMaps(crop_picture(source.pixels, crop), frame.pixels).mean()
        assert line.quality.distances.whole == pytest.approx(wanted, abs=1e-6)
        assert 0 < line.quality.distances.eyes < 1
        assert 0 < line.quality.distances.mouth < 1


def test_the_last_packet_sums_the_frames_up(best):
    packets, stats = best
    unit = parse_unit(packets[-1].data)
    assert [p.kind for p in packets].count(PacketKind.EXTENSION) == 1
    rows = np.array([s.quality.distances for s in stats])
    assert isinstance(unit, QualityUnit)
    assert (unit.frames, unit.measured) == (len(stats), len(stats))
    said = np.array([unit.mean, unit.eyes, unit.mouth, unit.worst]) / STEPS
    np.testing.assert_allclose(said, [*rows.mean(0), np.quantile(rows[:, 0], 0.95)], atol=0.5 / STEPS)


def test_balanced_measures_some_frames_and_is_near_with_the_others(best, faces):
    packets, stats = coded(faces, "balanced", scene_points="auto")
    truth = np.array([s.quality.distances for s in best[1]])
    measured = np.array([s.quality.measured for s in stats])
    found = np.array([s.quality.distances for s in stats])
    assert [p.data for p in packets[:-1]] == [p.data for p in best[0][:-1]]
    assert measured[0]
    assert 3 <= measured.sum() < 12
    np.testing.assert_array_equal(found[measured], truth[measured])
    assert not np.array_equal(found[~measured], truth[~measured])
    assert np.abs(found - truth).mean() < 0.5 * truth.mean()


def test_realtime_makes_no_picture_and_sends_no_palette(faces):
    packets, stats = coded(faces, "realtime", scene_points="off")
    assert units_of(packets, PaletteUnit) == []
    assert all(s.quality is not None and not s.quality.measured for s in stats)
    unit = parse_unit(packets[-1].data)
    assert isinstance(unit, QualityUnit)
    assert (unit.frames, unit.measured) == (len(faces), 0)
    assert unit.mean > 0


@pytest.mark.parametrize("preset", ["realtime", "balanced", "best"])
def test_frames_without_a_face_have_no_quality(faces, blank, preset):
    pictures = [replace(f, pixels=blank) if i in (0, 1, 8, 9) else f for i, f in enumerate(faces[:12])]
    packets, stats = coded(pictures, preset, scene_points="off", palette="off")
    assert [i for i, s in enumerate(stats) if s.quality is None] == [0, 1, 8, 9]
    assert parse_unit(packets[-1].data).frames == 8


def test_an_encoder_of_a_call_measures_frames_at_even_distances_and_some_others(faces):
    _, stats = coded(faces[: EVERY + 8], "balanced", lookahead=0, scene_points="off")
    measured = [i for i, s in enumerate(stats) if s.quality.measured]
    assert {0, EVERY} <= set(measured)
    assert len(measured) < 10


def test_what_is_foretold_grows_with_every_departure():
    still = Distances(0.05, 0.06, 0.07)
    plain = Departure(*(np.zeros(1) for _ in Departure._fields))
    start = foretell(still, plain)
    assert (start > 0).all()
    for field in ("eyes", "mouth", "appearance", "scene"):
        assert foretell(still, plain._replace(**{field: np.full(1, 0.1)})).sum() > start.sum()


def test_departure_of_a_turned_face_and_of_an_open_mouth():
    mean = load_face_model().mean * 0.2 + 0.5
    turned = mean.copy()
    angle = 0.6
    x, z = mean[:, 0] - 0.5, mean[:, 2] - 0.5
    turned[:, 0], turned[:, 2] = (
        x * np.cos(angle) + z * np.sin(angle) + 0.5,
        z * np.cos(angle) - x * np.sin(angle),
    )
    opened = mean.copy()
    opened[[14, 17, 87, 317, 178, 402], 1] += 0.05
    meshes, shapes = np.stack([mean, turned, mean]), np.stack([mean, mean, opened])
    topology, looks = load_topology(), np.zeros(3)
    scene = np.zeros((3, 7, 7, 2), np.float32)
    gone = departure(topology, mean, meshes, shapes, [], scene, looks)
    np.testing.assert_allclose([channel[0] for channel in gone], 0, atol=1e-9)
    assert gone.motion[1] > 0.1
    assert gone.uncovered[1] > 0.05
    assert gone.mouth[2] > 0.05
    assert gone.eyes[2] == 0
    sent = departure(topology, mean, meshes, shapes, [(2, opened)], scene, looks)
    assert sent.mouth[2] == 0


def test_a_decoder_shows_the_same_without_the_unit_and_with_a_damaged_one(best):
    packets, _ = best
    out = [[], []]
    for shown, stream in zip(out, (packets[:-1], packets), strict=True):
        decoder = Decoder(CROP)
        shown += [frame.pixels for packet in stream for frame in decoder.decode(packet)]
    np.testing.assert_array_equal(out[0], out[1])
    decoder = Decoder(CROP)
    first = next(i for i, p in enumerate(packets) if p.kind is PacketKind.MOTION)
    for packet in packets[: first + 1]:
        decoder.decode(packet)
    decoder.lost(PacketKind.EXTENSION)
    rest = [frame.pixels for p in packets[first + 1 :] for frame in decoder.decode(p)]
    np.testing.assert_array_equal(rest, out[0][-len(rest) :])


def test_a_file_tells_its_quality(faces, samples, tmp_path, capsys):
    clip, stream, lines = samples / "talking_head.mp4", tmp_path / "a.fcv", tmp_path / "a.jsonl"
    config = EncoderConfig(scene_points="off", preset="balanced", audio_bps=16000)
    report = encode_file(clip, stream, config, duration_s=1.0, stats=lines)
    info = probe(stream)
    assert info.quality == report.quality
    assert info.complete
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert info.quality.frames == len(rows)
    assert info.quality.measured == sum(row["measured"] for row in rows)
    for name, figure in (("distance", "mean"), ("distance_eyes", "eyes"), ("distance_mouth", "mouth")):
        assert np.mean([row[name] for row in rows]) == pytest.approx(getattr(info.quality, figure), abs=2e-4)
    assert main(["info", str(stream), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quality"]["frames"] == len(rows)
    assert main(["info", str(stream)]) == 0
    assert f"{info.quality.measured} of {len(rows)} frames" in capsys.readouterr().out
    data = stream.read_bytes()
    place = data.index(pack_unit(units_in(data)[0]))
    cut = tmp_path / "cut.fcv"
    cut.write_bytes(data[:place])
    assert probe(cut).quality is None


def units_in(data: bytes) -> list[QualityUnit]:
    with FcvReader(io.BytesIO(data)) as reader:
        return [at.unit for at in reader.units() if isinstance(at.unit, QualityUnit)]


def test_other_extension_units_stay_bytes():
    for payload in (b"", b"\x00abc", b"\x02\x01"):
        assert parse_unit(pack_unit(ExtensionUnit(payload))) == ExtensionUnit(payload)
    assert parse_unit(pack_unit(UNIT)) == UNIT


@pytest.mark.parametrize(
    "change", [{"measured": 251}, {"frames": 0, "measured": 0}, {"worst": STEPS + 1}, {"measure": 2}]
)
def test_figures_have_limits(change):
    with pytest.raises(LimitError):
        replace(UNIT, **change)


def test_a_payload_that_ends_or_goes_on_is_refused():
    for payload in (UNIT.pack()[:-1], UNIT.pack() + b"\0"):
        with pytest.raises(BitstreamError):
            QualityUnit.parse(payload)


def test_a_writer_takes_it_behind_motion(best):
    out = io.BytesIO()
    with FcvWriter(out) as writer:
        for packet in best[0]:
            writer.write(packet)
    assert len(units_in(out.getvalue())) == 1


def test_presets_have_names():
    with pytest.raises(ConfigError, match="preset"):
        EncoderConfig(preset="fastest")
