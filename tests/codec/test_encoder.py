"""The encoder: what it sends, and when."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from facecodec.bitstream import MotionUnit, ReferenceUnit, StreamHeader, Unit, View, parse_unit
from facecodec.config import EncoderConfig
from facecodec.decoder import Decoder, MotionDecoder
from facecodec.encoder import Encoder
from facecodec.errors import ConfigError, NoFaceError, ShapeError
from facecodec.refpic.backdrop import BackdropKeeper
from facecodec.types import Frame, Packet, PacketKind
from tests.codec.clips import BASE, encode, retimed, timed

QUICK = EncoderConfig(scene_points="off")
LIVE = EncoderConfig(scene_points="off", palette="off", lookahead=0, preset="realtime", picture_bps=10**7)
IRREGULAR = [0, 40, 80, 81, 200, 240, 280, 333, 360, 400, 2000, 2040, 2080, 2121, 2160, 2161, 2200, 2240]


def motion(packets: list[Packet]) -> list[MotionUnit]:
    units = [parse_unit(packet.data) for packet in packets]
    return [unit for unit in units if isinstance(unit, MotionUnit)]


def shown(packets: list[Packet]) -> list[Frame]:
    decoder = Decoder()
    return [frame for packet in packets for frame in decoder.decode(packet)]


def test_header_reference_backdrop_motion_come_in_this_order(packets):
    kinds = [packet.kind for packet in packets]
    assert kinds[:4] == [PacketKind.HEADER, PacketKind.REFERENCE, PacketKind.BACKDROP, PacketKind.MOTION]
    assert [p.is_random_access for p in packets if p.kind is PacketKind.MOTION] == [True, False]


def follow(decoder: MotionDecoder | None, unit: Unit) -> MotionDecoder | None:
    """Give a unit to the decoder; the header makes a new one."""
    if isinstance(unit, StreamHeader):
        return MotionDecoder(unit)
    if isinstance(unit, ReferenceUnit):
        decoder.take_reference(unit)
    elif isinstance(unit, MotionUnit):
        decoder.take_motion(unit)
    return decoder


def test_encoder_and_decoder_keep_the_same_values(faces, samples):
    encoder = Encoder(EncoderConfig(lookahead=1))
    decoder: MotionDecoder | None = None
    groups = 0
    for frame in [*faces[:20], None]:
        for packet in encoder.flush() if frame is None else encoder.encode(frame):
            unit = parse_unit(packet.data)
            decoder = follow(decoder, unit)
            if isinstance(unit, MotionUnit):
                groups += 1
                if frame is not None:
                    np.testing.assert_array_equal(decoder._history, encoder.motion._history)
    np.testing.assert_array_equal(decoder._history, encoder.motion._history)
    assert groups == 2


def test_a_long_chain_of_groups_never_drifts_apart(faces):
    rng = np.random.default_rng(5)
    encoder = Encoder(EncoderConfig(scene_points="auto", lookahead=1))
    decoder: MotionDecoder | None = None
    for packet in [*encoder.encode(faces[0]), *encoder.flush()]:
        decoder = follow(decoder, parse_unit(packet.data))
    pts, resets = faces[0].pts, 0
    for _ in range(100):
        n = int(rng.integers(1, 17))
        times = (pts + np.cumsum(rng.integers(1, 120, n))).tolist()
        pts = times[-1]
        residuals = np.rint(rng.laplace(0, 1.5, (n, encoder.motion.layout.count))).astype(np.int32)
        held = (rng.random(n) < 0.1).tolist()
        residuals[np.array(held)] = 0
        unit = parse_unit(encoder._pack(times, residuals, held, np.zeros(n)).data)
        assert isinstance(unit, MotionUnit)
        got = decoder.take_motion(unit)
        assert got is not None
        assert (got.pts, got.held) == (times, held)
        np.testing.assert_array_equal(got.residuals, residuals)
        np.testing.assert_array_equal(decoder._history, encoder.motion._history)
        resets += unit.reset
    assert resets >= 4  # a random access point at least every 10 s or so


def test_times_are_kept_to_the_tick(faces):
    frames = retimed(faces[: len(IRREGULAR)], IRREGULAR)
    out = shown(encode(frames))
    assert [frame.pts for frame in out] == IRREGULAR
    assert {frame.time_base for frame in out} == {BASE}
    assert {frame.pixels.shape for frame in out} == {(360, 640, 3)}


def test_times_may_start_anywhere(faces):
    times = [-7, 40, 90, 2**33]
    assert [frame.pts for frame in shown(encode(retimed(faces[:4], times)))] == times


def test_without_lookahead_every_frame_is_a_packet_at_once(faces):
    encoder, decoder = Encoder(EncoderConfig(scene_points="off", lookahead=0)), Decoder()
    for frame in faces[:6]:
        units = encoder.encode(frame)
        assert [p.pts for p in units if p.kind is PacketKind.MOTION] == [frame.pts]
        assert [out.pts for packet in units for out in decoder.decode(packet)] == [frame.pts]
    assert [p.kind for p in encoder.flush()] == [PacketKind.EXTENSION]


def test_one_frame_alone(faces):
    packets = encode(faces[7:8])
    assert [frame.pts for frame in shown(packets)] == [280]
    assert packets[-2].duration == 40  # from 25 frames a second, what a stream has that says nothing


def test_the_frame_rate_gives_the_last_frame_its_length(faces):
    assert encode(faces[:1], frame_rate=Fraction(50))[-2].duration == 20


@pytest.mark.parametrize("lost", [range(0, 6), range(5, 11), range(20, 26), range(0, 25)])
def test_frames_without_a_face_are_held_and_kept_in_time(faces, blank, lost):
    pictures = [blank if i in lost else frame.pixels for i, frame in enumerate(faces[:26])]
    seen = []
    packets = encode(timed(pictures), on_frame=seen.append)
    out = shown(packets)
    assert [frame.pts for frame in out] == [40 * i for i in range(26)]
    assert [s.pts for s in seen] == [40 * i for i in range(26)]
    assert [i for i, s in enumerate(seen) if s.held] == list(lost)
    assert all(np.isfinite(s.rms_px) for s in seen if not s.held)


def test_held_frames_before_the_first_face_cost_next_to_nothing(faces, blank):
    packets = encode(timed([blank] * 40 + [faces[0].pixels]))
    groups = [p for p in packets if p.kind is PacketKind.MOTION]
    assert sum(len(p.data) for p in groups[:-1]) < 60
    still = shown(packets)
    np.testing.assert_array_equal(still[0].pixels, still[39].pixels)


def test_a_cut_to_another_person_sends_a_reference_picture_right_there(faces, someone_else):
    packets = encode(timed([f.pixels for f in faces[:10]] + [someone_else] * 10))
    references = [p for p in packets if p.kind is PacketKind.REFERENCE]
    assert len(references) == 2
    assert references[0].pts < 400 <= references[1].pts
    groups = [p for p in packets if p.kind is PacketKind.MOTION]
    assert [(p.pts, p.is_random_access) for p in groups] == [(0, True), (400, True)]
    out = shown(packets)
    for index, wanted in ((9, faces[9].pixels), (10, someone_else), (19, someone_else)):
        assert np.abs(out[index].pixels.astype(int) - wanted).mean() < 9


def test_the_intra_period_is_never_exceeded(faces):
    packets = encode(faces, EncoderConfig(scene_points="off", intra_period=12))
    runs, count = [], 0
    for packet in packets[1:]:
        unit = parse_unit(packet.data)
        if isinstance(unit, ReferenceUnit):
            runs.append(0)
        elif isinstance(unit, MotionUnit):
            runs[-1] += unit.n_frames
            count += unit.n_frames
    assert runs == [12, 12, 12, 4]
    assert count == 40


def test_a_picture_that_serves_long_is_coded_better(faces):
    def bytes_of(config, length_s):
        packets = encode(faces[:4], config, length_s=length_s)
        return next(len(packet.data) for packet in packets if packet.kind is PacketKind.REFERENCE)

    usual = EncoderConfig(scene_points="off")
    assert bytes_of(usual, 60.0) > 1.3 * bytes_of(usual, 2.0)
    assert bytes_of(usual, 2.0) == bytes_of(usual, None)
    asked = EncoderConfig(scene_points="off", ref_quality=60)
    assert bytes_of(asked, 60.0) == bytes_of(asked, None)


def test_random_access_every_ten_seconds(faces):
    frames = retimed(faces[:33], [700 * i for i in range(33)])
    at = [p.pts for p in encode(frames) if p.is_random_access]
    assert at == [0, 11_200, 22_400]


class Sending:
    """An encoder without look-ahead that is told when to send a reference picture."""

    def __init__(self, faces: list[Frame], config: EncoderConfig = LIVE, **options: bool) -> None:
        self.encoder = Encoder(config, **options)
        self._faces, self._count = faces, 0

    def send(self, pixels: np.ndarray | None = None) -> list[PacketKind]:
        """Code the next frame as a reference picture; the kinds of what is sent, without motion."""
        if self._count:
            self.encoder._selection.is_asked = True  # request_keyframe means that all may be lost
        return self.next(pixels)

    def next(self, pixels: np.ndarray | None = None) -> list[PacketKind]:
        frame = self._faces[self._count]
        pixels = frame.pixels if pixels is None else pixels
        self._count += 1
        packets = self.encoder.encode(Frame(pixels, frame.pts, BASE))
        return [p.kind for p in packets if p.kind not in (PacketKind.MOTION, PacketKind.HEADER)]


ALONE, BOTH = [PacketKind.REFERENCE], [PacketKind.REFERENCE, PacketKind.BACKDROP]


def lit(frame: Frame) -> np.ndarray:
    """The picture with another wall at its left."""
    out = frame.pixels.copy()
    out[:, :200] = 255 - out[:, :200]
    return out


@pytest.fixture
def sending(faces):
    made = Sending(faces)
    yield made
    made.encoder.close()


def test_a_backdrop_is_sent_again_where_what_is_seen_has_changed(sending, faces):
    assert sending.send() == BOTH
    assert sending.send() == ALONE
    assert sending.send(lit(faces[2])) == BOTH
    assert sending.send(lit(faces[3])) == ALONE
    assert sending.send(faces[4].pixels) == BOTH


def test_a_key_frame_that_is_asked_for_has_its_backdrop(sending):
    sending.send()
    sending.next()
    sending.encoder.request_keyframe()
    assert sending.next() == BOTH
    assert sending.send() == ALONE


def test_a_cut_has_its_backdrop_even_where_the_newest_would_do(faces, someone_else, monkeypatch):
    monkeypatch.setattr(BackdropKeeper, "serves", lambda self, picture, crop, ahead: True)
    packets = encode(timed([f.pixels for f in faces[:10]] + [someone_else] * 10))
    assert [p.kind for p in packets if p.kind in BOTH] == ALONE + BOTH


def test_with_an_intra_period_every_picture_has_its_backdrop(faces):
    packets = encode(faces[:20], EncoderConfig(scene_points="off", intra_period=8, lookahead=0))
    assert [p.kind for p in packets if p.kind in BOTH] == BOTH * 3


def test_the_planner_counts_a_backdrop_only_where_one_would_be_sent(sending, faces, monkeypatch):
    asked: list[int] = []
    sending.send()
    references = sending.encoder._references
    monkeypatch.setattr(
        references._planner, "candidate_by_parts", lambda *given: iter(asked.append(given[3]) or ())
    )
    for pixels in [f.pixels for f in faces[1:10]] + [lit(f) for f in faces[10:20]]:
        sending.next(pixels)
    stills, backdrop = references.stills.key_bytes, references.stills.backdrop_bytes
    assert min(stills, backdrop) > 500
    assert set(asked) == {stills, stills + backdrop}
    assert asked == sorted(asked)


def test_in_a_call_only_an_acknowledged_backdrop_is_shared(faces):
    sending = Sending(faces, acknowledged=True)
    encoder = sending.encoder
    assert sending.send() == BOTH
    encoder.acknowledge(0)
    assert sending.send() == BOTH
    encoder.acknowledge_backdrop(0)  # of the one before: the newest may still be lost
    encoder.acknowledge(1)
    assert sending.send() == BOTH
    encoder.acknowledge_backdrop(2)
    assert sending.send() == ALONE  # takes the place of the third, which was not acknowledged itself
    encoder.acknowledge(3)
    assert sending.send(lit(faces[4])) == BOTH
    assert sending.send(lit(faces[5])) == BOTH
    encoder.acknowledge_backdrop(5)
    assert sending.send(lit(faces[6])) == ALONE
    encoder.close()


def test_the_crop_view_sends_no_backdrop(faces):
    packets = encode(faces[:4], EncoderConfig(scene_points="off", view="crop"))
    assert PacketKind.BACKDROP not in {packet.kind for packet in packets}
    header = parse_unit(packets[0].data)
    assert isinstance(header, StreamHeader)
    assert (header.view, header.width, header.height) == (View.CROP, header.coded_size, header.coded_size)


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(qp=0, ref_quality=0),
        EncoderConfig(qp=51, ref_quality=100),
        EncoderConfig(size=512, lookahead=256),
        EncoderConfig(lookahead=0),
    ],
    ids=["fine", "coarse", "512", "call"],
)
def test_the_ends_of_every_setting(faces, config):
    out = shown(encode(faces[:4], config))
    assert [frame.pts for frame in out] == [0, 40, 80, 120]
    assert np.abs(out[3].pixels.astype(int) - faces[3].pixels).mean() < 20


def test_a_finer_qp_comes_nearer_to_the_track(faces):
    def rms(qp: int) -> float:
        seen = []
        encode(faces[:16], EncoderConfig(scene_points="off", qp=qp), on_frame=seen.append)
        return float(np.mean([s.rms_px for s in seen]))

    assert rms(6) < rms(30) < rms(48)


def test_no_face_at_all(blank):
    with pytest.raises(NoFaceError):
        encode(timed([blank] * 20))
    with pytest.raises(NoFaceError):
        Encoder().flush()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((8, 64, 3), np.uint8),
        np.zeros((64, 64, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_refused(pixels):
    encoder = Encoder()
    with pytest.raises(ShapeError):
        encoder.encode(Frame(pixels, 0, BASE))
    encoder.close()


def test_pictures_keep_their_size_and_times_rise(faces):
    encoder = Encoder()
    encoder.encode(faces[1])
    with pytest.raises(ShapeError):
        encoder.encode(Frame(np.zeros((64, 64, 3), np.uint8), 80, BASE))
    for pts in (40, 39):
        with pytest.raises(ConfigError, match="pts"):
            encoder.encode(Frame(faces[0].pixels, pts, BASE))
    encoder.close()
