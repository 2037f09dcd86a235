"""Reference pictures: sent where they pay, named again for nothing, evicted by rule; paced in a call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facecodec.analysis import plan
from facecodec.analysis.plan import CHANGE_BYTES, PRICE, TAIL, ReferencePlanner, medoids
from facecodec.analysis.references import Candidate
from facecodec.analysis.serving import STRIDE, CoarseViewer, Sample, take_samples
from facecodec.analysis.window import Tracked
from facecodec.bitstream import MotionUnit, ReferenceUnit, StreamHeader, parse_unit
from facecodec.config import EncoderConfig
from facecodec.encoder import Encoder
from facecodec.generator.model import WarpGenerator
from facecodec.generator.workers import workers
from facecodec.motion_decoder import MotionDecoder
from facecodec.refpic.buffer import SLOTS, Reference, ReferenceBuffer
from facecodec.refpic.pacing import Pacer
from facecodec.types import CropTransform, Frame, Packet, PacketKind
from tests.codec.clips import BASE, encode, timed

CROP = CropTransform(0, 0, 64, 64)
RNG = np.random.default_rng(4)
FACE = RNG.random((478, 3)).astype(np.float32)


def reference(slot: int, shift: float = 0.0) -> Reference:
    mesh = FACE.astype(np.float64) + [shift, 0.0, 0.0]
    return Reference(slot, slot, np.full((64, 64, 3), 128, np.uint8), mesh, CROP)


def sample(number: int, shift: float) -> Sample:
    frame = Frame(np.full((64, 64, 3), number, np.uint8), number, BASE)
    item = Tracked(frame, None, False, np.zeros((48, 48), np.float32))
    mesh = FACE + np.array([shift, 0, 0], np.float32)
    return Sample(item, mesh * 64, mesh, np.zeros((128, 128), np.uint8), np.ones((128, 128), np.float32))


class Viewer:
    """Shows frames as badly as their meshes are shifted against the reference picture's."""

    def distances(self, picture: Reference, samples: list[Sample]) -> np.ndarray:
        return np.array([abs(float((s.mesh - picture.mesh)[:, 0].mean())) for s in samples])


class Planner(ReferencePlanner):
    """Codes nothing: a picture takes 1000 bytes."""

    def _code(self, sample: Sample, crop: CropTransform) -> tuple[bytes, Reference, int]:
        return b"", replace(reference(SLOTS), mesh=sample.mesh.astype(np.float64)), 1000


def planner(price: float = 1.0) -> Planner:
    return Planner(Viewer(), price, workers(1))  # type: ignore[arg-type]


def test_slots_go_to_empty_places_first_then_to_the_picture_named_longest_ago():
    buffer = ReferenceBuffer()
    for slot in range(SLOTS):
        assert buffer.next_slot() == slot
        buffer.put(reference(slot))
    for slot in (0, 1, 3):
        buffer.name(slot)
    assert buffer.next_slot() == 2
    buffer.put(reference(2))
    assert buffer.next_slot() == 4
    buffer.drop(4)
    assert buffer.next_slot() == 5
    assert len(buffer) == SLOTS - 1


def test_the_best_candidate_is_one_that_pays_for_all_the_frames_it_serves():
    seen = [sample(i, s) for i, s in enumerate([0.0, 0.0, 0.1, 0.11, 0.1, 0.1, 0.1, 0.2])]
    found = planner().candidate([reference(0)], seen, seen, 1000, 0)
    assert found is not None
    assert found.frame.pts in (2, 4, 5, 6)
    assert found.crop == CROP
    gain = STRIDE * (4 * 0.1 + 0.11 - 0.01 + 0.1)
    dear = gain / (PRICE * (1000 + CHANGE_BYTES))
    assert planner(0.99 * dear).candidate([reference(0)], seen, seen, 1000, 0) is not None
    assert planner(1.01 * dear).candidate([reference(0)], seen, seen, 1000, 0) is None


def test_a_picture_at_hand_that_serves_as_well_makes_another_worthless():
    seen = [sample(i, s) for i, s in enumerate([0.0, 0.0, 0.1, 0.1, 0.1, 0.1])]
    assert planner(0.5).candidate([reference(0)], seen, seen, 1000, 0) is not None
    assert planner(0.5).candidate([reference(0), reference(1, 0.1)], seen, seen, 1000, 0) is None


def test_what_serves_the_end_of_the_window_counts_for_more():
    passing = [sample(i, s) for i, s in enumerate([0.0, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0])]
    lasting = [sample(i, s) for i, s in enumerate([0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1])]
    price = STRIDE * 0.4 / (PRICE * (1000 + CHANGE_BYTES)) * 1.5
    assert planner(price).candidate([reference(0)], passing, passing, 1000, TAIL) is None
    assert planner(price).candidate([reference(0)], lasting, lasting, 1000, TAIL) is not None


def shifted(number: int, shift: float) -> Candidate:
    frame = sample(number, shift).item.frame
    points = (FACE + np.array([shift, 0, 0], np.float32)) * 64
    return Candidate(frame, points, np.zeros((48, 48), np.float32), CROP)


def test_of_several_frames_the_one_that_serves_the_run_best_becomes_the_picture_that_is_needed():
    run = [0.0] * 8 + [0.02] * 24
    items = [sample(i, shift).item for i, shift in enumerate(run)]
    points = np.stack([(FACE + np.array([shift, 0, 0], np.float32)) * 64 for shift in run])
    first, fitting, worse = shifted(0, 0.0), shifted(9, 0.02), shifted(5, -0.02)
    assert planner().fittest([first, fitting, worse], items, points, 0) is fitting
    assert planner().fittest([first, worse], items, points, 0) is first
    hardly = shifted(7, 0.0199)
    assert planner().fittest([hardly, fitting], items, points, 0) is hardly
    assert planner().fittest([hardly, fitting], items, points, TAIL) is fitting
    assert planner().fittest([first, fitting], items[:2], points[:2], 0) is first


def test_another_picture_is_used_only_where_that_pays_for_the_change():
    active, other = reference(0), reference(1, 0.1)
    cost = PRICE * CHANGE_BYTES / STRIDE
    for away, expected in ((0.05 + 0.6 * cost, other), (0.05 + 0.4 * cost, active), (0.0, active)):
        assert planner().best(active, [other], [sample(0, away)]) is expected
    assert planner().best(active, [], [sample(0, 0.1)]) is active


def test_medoids_stand_for_their_frames_and_leave_out_what_is_at_hand():
    seen = [sample(i, s) for i, s in enumerate([0.0, 0.01, 0.3, 0.31, 0.31, 0.32, 0.6])]
    found = medoids(seen, [reference(0)], 2)
    assert [s.item.frame.pts for s in found] == [3, 6]
    assert medoids(seen[:1], [reference(0)], 2) == []


def test_a_sample_seen_from_its_own_picture_is_near_and_from_another_far(faces):
    encoder = Encoder(EncoderConfig(lookahead=8, palette="off", view="crop"))
    for frame in faces[:24]:
        encoder.encode(frame)
    active = encoder._references.active
    assert active is not None
    items = encoder._window.frames(8)
    points, _ = encoder._window.smoothed(8)
    samples = take_samples(items, points, active.reference.crop)
    assert len(samples) == 1
    viewer = CoarseViewer(WarpGenerator(), 7)
    near = viewer.distances(active.reference, samples)
    flipped = replace(active.reference, pts=-1, picture=active.reference.picture[::-1].copy())
    far = viewer.distances(flipped, samples)
    assert 0 < near[0] < 0.3
    assert far[0] > 2 * near[0]
    encoder.close()


def units_of(packets: list[Packet]) -> list:
    return [parse_unit(packet.data) for packet in packets]


def test_a_picture_from_before_a_cut_is_named_again_and_both_ends_keep_its_place(faces, someone_else):
    other = [someone_else] * 12
    own = [frame.pixels for frame in faces[:12]]
    frames = timed([*own, *other, *own, *other])
    encoder = Encoder(EncoderConfig(lookahead=12, palette="off", scene_points="off"))
    packets = [packet for frame in frames for packet in encoder.encode(frame)] + encoder.flush()
    decoder, named, pictures = None, [], 0
    for unit in units_of(packets):
        if isinstance(unit, StreamHeader):
            decoder = MotionDecoder(unit)
        elif isinstance(unit, ReferenceUnit):
            decoder.take_reference(unit)
            pictures += 1
        elif isinstance(unit, MotionUnit):
            assert decoder.take_motion(unit) is not None
            named.append(unit.ref_id)
    assert pictures == 2
    assert [slot for i, slot in enumerate(named) if i == 0 or named[i - 1] != slot] == [0, 1, 0, 1]
    assert decoder.buffer._order == encoder._references._buffer._order
    assert decoder.buffer.next_slot() == 2


@pytest.fixture(scope="module")
def lever(faces):
    """Bytes of every kind and mean distance over some steps of the lever."""
    rows = []
    for quality in (10, 55, 85):
        stats = []
        config = EncoderConfig(quality=quality, preset="best", view="crop", lookahead=8)
        packets = encode(faces[:24], config, on_frame=stats.append)
        distance = np.mean([line.quality.distances.whole for line in stats])
        rows.append((sum(len(packet.data) for packet in packets), float(distance)))
    return rows


def test_the_lever_buys_quality_with_bytes(lever):
    for (bytes_before, distance_before), (more, less) in zip(lever, lever[1:], strict=False):
        assert more > 1.2 * bytes_before
        assert less < distance_before


def test_bytes_go_through_one_after_the_other():
    pacer = Pacer(8000)
    assert pacer.is_clear(0.0)
    pacer.send(1.0, 500)
    assert not pacer.is_clear(1.49)
    assert pacer.is_clear(1.5)
    pacer.send(1.25, 250)
    assert not pacer.is_clear(1.74)
    assert pacer.is_clear(1.75)


def test_pictures_of_a_call_keep_to_their_rate_and_motion_never_waits(faces, monkeypatch):
    monkeypatch.setattr(plan, "PRICE", 1e-6)
    bps, stats = 100_000, []
    config = EncoderConfig(lookahead=0, scene_points="off", view="crop", preset="realtime", picture_bps=bps)
    encoder = Encoder(config, on_frame=stats.append)
    sent: dict[int, tuple[float, int]] = {}
    active = None
    for frame in faces:
        packets = encoder.encode(frame)
        assert sum(packet.kind is PacketKind.MOTION for packet in packets) == 1
        for packet in packets:
            unit = parse_unit(packet.data)
            if isinstance(unit, ReferenceUnit):
                assert all(frame.time_s >= start + 8 * size / bps for start, size in sent.values())
                sent[unit.ref_id] = (frame.time_s, len(packet.data))
            elif isinstance(unit, MotionUnit) and unit.ref_id != active:
                start, size = sent[unit.ref_id]
                assert active is None or frame.time_s >= start + 8 * size / bps
                active = unit.ref_id
    assert len(sent) >= 3
    assert active == max(sent) or not encoder._references._pacer.is_clear(faces[-1].time_s)
    assert {packet.kind for packet in encoder.flush()} == {PacketKind.EXTENSION}


def test_a_call_sends_no_second_picture_of_a_face_that_stays(faces):
    still = timed([faces[0].pixels] * 60)
    packets = encode(still, EncoderConfig(lookahead=0, scene_points="off", preset="realtime"))
    assert sum(packet.kind is PacketKind.REFERENCE for packet in packets) == 1
