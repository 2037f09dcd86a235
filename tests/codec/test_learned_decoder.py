"""The decoder with a learned generator: streams of real frames, random weights."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from facecodec.api import decode_file, decode_frames, encode_file, probe
from facecodec.bitstream import StreamHeader, parse_unit
from facecodec.config import DecoderConfig, EncoderConfig
from facecodec.container import FcvWriter
from facecodec.decoder import Decoder
from facecodec.errors import BitstreamError, WeightsError, WeightsMismatchError
from facecodec.types import Frame, Packet, PacketKind
from facecodec.weights import registry
from tests.codec.clips import encode


@pytest.fixture(scope="module")
def config(toy_weights) -> DecoderConfig:
    return DecoderConfig(weights=toy_weights, view="crop")


@pytest.fixture(scope="module")
def three(faces) -> list[Packet]:
    """18 frames in groups of six, each with a reference picture of its own."""
    packets = encode(faces[:18], EncoderConfig(scene_points="off", lookahead=4, intra_period=6))
    assert [packet.kind for packet in packets].count(PacketKind.REFERENCE) == 3
    return packets


@pytest.fixture(scope="module")
def calls(faces) -> list[Packet]:
    """12 frames in groups of one, a new reference picture after the sixth."""
    return encode(faces[:12], EncoderConfig(scene_points="off", lookahead=0, intra_period=6))


def run(packets: list[Packet], config: DecoderConfig) -> list[Frame]:
    decoder = Decoder(config)
    return [frame for packet in packets for frame in decoder.decode(packet)]


def assert_same(one: list[Frame], other: list[Frame]) -> None:
    assert [frame.pts for frame in one] == [frame.pts for frame in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)


def difference(one: Frame, other: Frame) -> float:
    assert one.pts == other.pts
    return float(np.abs(one.pixels.astype(int) - other.pixels).mean())


@pytest.fixture(scope="module")
def whole(calls, config) -> list[Frame]:
    return run(calls, config)


def test_a_file_is_decoded_with_toy_weights_and_says_so(samples, toy_weights, tmp_path):
    stream, out = tmp_path / "a.fcv", tmp_path / "a.mp4"
    encode_file(samples / "talking_head.mp4", stream, EncoderConfig(), duration_s=0.32)
    name = f"toy-{registry.file_id(toy_weights).hex()}"
    report = decode_file(stream, out, DecoderConfig(weights=toy_weights))
    assert (report.frames, report.generator, report.warning) == (8, name, None)
    with av.open(str(out)) as video:
        assert video.metadata["facecodec_model"] == name
        assert video.metadata["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    learned = list(decode_frames(stream, DecoderConfig(weights=toy_weights)))
    assert_same(learned, list(decode_frames(stream, DecoderConfig(weights=toy_weights))))
    warped = list(decode_frames(stream))
    assert difference(learned[5], warped[5]) > 0.2


def test_a_lost_group_leaves_no_trace_behind_the_next_reference(calls, config, whole):
    motion = [i for i, packet in enumerate(calls) if packet.kind is PacketKind.MOTION]
    decoder, shown = Decoder(config), []
    for i, packet in enumerate(calls):
        if i == motion[3]:
            decoder.lost()
        else:
            shown += decoder.decode(packet)
    assert_same(shown[:3], whole[:3])
    assert_same(shown[3:], whole[6:])


def test_a_stream_joined_at_a_random_access_point_is_the_same_from_there_on(calls, config, whole):
    starts = [i for i, packet in enumerate(calls) if packet.is_random_access]
    assert len(starts) == 2
    assert calls[starts[1] - 2].kind is PacketKind.REFERENCE
    assert_same(run([calls[0], *calls[starts[1] - 2 :]], config), whole[6:])


def test_a_random_access_point_of_the_same_reference_is_the_same_whatever_was_before(calls, config, whole):
    first = next(packet for packet in calls if packet.is_random_access)
    assert_same(run([*calls[:6], first], config)[-1:], whole[:1])


def test_frames_that_are_not_made_are_not_followed(calls, config, whole):
    """After a seek the first frame has no last output; the next random access point ends the difference."""
    decoder, shown = Decoder(config), []
    for packet in calls:
        shown += decoder.take(parse_unit(packet.data), show_from=3 * 40)
    assert difference(shown[0], whole[3]) > 0.01
    assert_same(shown[3:], whole[6:])
    decoder, shown = Decoder(config), []
    for packet in calls:
        hidden = packet.pts == 3 * 40 and packet.kind is PacketKind.MOTION
        shown += decoder.take(parse_unit(packet.data), show_from=10**6 if hidden else None)
    assert_same(shown[:3], whole[:3])
    assert difference(shown[3], whole[4]) > 0.01
    assert_same(shown[5:], whole[6:])


def test_another_picture_in_the_slot_ends_the_sequence(calls, config, whole):
    """The same picture once more: what is remembered belongs to the picture that lay there before."""
    reference = next(packet for packet in calls if packet.kind is PacketKind.REFERENCE)
    motion = [i for i, packet in enumerate(calls) if packet.kind is PacketKind.MOTION]
    again = run([*calls[: motion[3]], reference, *calls[motion[3] :]], config)
    assert_same(again[:3], whole[:3])
    assert difference(again[3], whole[3]) > 0.01
    assert_same(again[6:], whole[6:])


def test_groups_of_several_frames_are_sequential_too(three, config):
    whole = run(three, config)
    assert len(whole) == 18
    assert_same(whole, run(three, config))
    batches = run(three, replace(config, speed=replace(config.speed, batch=2)))
    for one, other in zip(whole, batches, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


def test_several_reference_pictures_can_be_looked_at(three, config):
    whole = run(three, config)
    more = run(three, replace(config, references=3))
    assert_same(more[:6], whole[:6])
    assert difference(more[14], whole[14]) > 0.01


@pytest.fixture(scope="module")
def fitted(faces, toy_weights) -> list[Packet]:
    """A stream made for the toy weights and no others."""
    return encode(faces[:6], EncoderConfig(scene_points="off", model_id=registry.file_id(toy_weights)))


def test_a_stream_for_one_model_is_shown_by_it_alone(fitted, toy_weights, monkeypatch):
    header = parse_unit(fitted[0].data)
    assert isinstance(header, StreamHeader)
    assert header.model_id == registry.file_id(toy_weights)
    with pytest.raises(WeightsMismatchError, match=header.model_id.hex()):
        run(fitted, DecoderConfig())
    named = run(fitted, DecoderConfig(weights=toy_weights))
    monkeypatch.setenv(registry.ENVIRONMENT, str(toy_weights.parent))
    assert_same(run(fitted, DecoderConfig()), named)


def test_a_viewer_may_insist_on_another_generator(fitted):
    decoder = Decoder(DecoderConfig(generator="warp-0"))
    assert sum(len(decoder.decode(packet)) for packet in fitted) == 6
    assert decoder.generator == "warp-0"
    with pytest.raises(WeightsError, match="lite"):
        run(fitted, DecoderConfig(generator="lite"))


def test_what_shows_no_pictures_needs_no_weights(fitted, tmp_path):
    path = tmp_path / "fitted.fcv"
    with path.open("wb") as file, FcvWriter(file) as writer:
        header = parse_unit(fitted[0].data)
        assert isinstance(header, StreamHeader)
        writer.write_header(header)
        for packet in fitted[1:]:
            writer.write(packet)
    assert probe(path).model_id == header.model_id.hex()
    assert probe(path).frames == 6


def test_before_the_header_there_is_no_generator(calls, config):
    decoder = Decoder(config)
    with pytest.raises(BitstreamError, match="header"):
        _ = decoder.generator
    decoder.decode(calls[0])
    assert decoder.generator.startswith("toy-")


def test_a_second_stream_begins_as_the_first_did(calls, config, whole):
    decoder = Decoder(config)
    first = [frame for packet in calls[:8] for frame in decoder.decode(packet)]
    assert decoder.position == first[-1].pts
    decoder.lost()
    decoder.decode(calls[8])
    assert decoder.needs_keyframe
    decoder.decode(calls[0])
    assert (decoder.position, decoder.needs_keyframe) == (None, False)
    assert_same([frame for packet in calls[1:] for frame in decoder.decode(packet)], whole)


def test_weights_that_are_not_there_are_named(calls):
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        run(calls[:1], DecoderConfig(weights="absent.safetensors"))
