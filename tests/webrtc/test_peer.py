"""The connection to the other side, both ends in one process."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Callable

import pytest
from aiortc.rtcsctptransport import DataChunk

from facecodec.call.peer import MESSAGE_BYTES, IceServer, Peer
from facecodec.errors import ConfigError, TransportError

FIRST, LAST, UNORDERED = 2, 1, 4
"""Flags of a DATA chunk (RFC 9260, section 3.3.1)."""


class End:
    def __init__(self):
        self.messages: list[tuple[bool, bytes]] = []
        self.states: list[str] = []
        self.peer = Peer(
            lambda reliable, data: self.messages.append((reliable, data)), self.states.append, loopback=True
        )


async def connected() -> tuple[End, End]:
    ann, bob = End(), End()
    await ann.peer.accept(await bob.peer.answer(await ann.peer.offer()))
    await until(lambda: ann.peer.is_open and bob.peer.is_open)
    return ann, bob


async def until(holds, seconds=10.0):
    for _ in range(round(seconds / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come to hold")


def run(body):
    asyncio.run(asyncio.wait_for(body(), 40))


def test_both_channels_carry_messages_both_ways_and_bytes_are_counted():
    async def body():
        ann, bob = await connected()
        before = ann.peer.wire.bytes_out
        assert ann.peer.send(False, b"m" * 100)
        assert ann.peer.send(True, b"r" * 2000)
        assert bob.peer.send(False, b"back")
        await until(lambda: len(bob.messages) == 2 and ann.messages)
        assert sorted(bob.messages) == [(False, b"m" * 100), (True, b"r" * 2000)]
        assert ann.messages == [(False, b"back")]
        sent = ann.peer.wire.bytes_out - before
        assert 2100 + 3 * 60 < sent < 2100 + 9 * 120
        await until(lambda: bob.peer.wire.bytes_in == ann.peer.wire.bytes_out)
        await until(lambda: ann.peer.wire.packets_in == bob.peer.wire.packets_out)
        await ann.peer.close()
        await until(lambda: bob.states[-1] == "closed")
        assert not bob.peer.send(False, b"nobody there")
        await bob.peer.close()
        assert ann.states[:1] == ["connected"]

    run(body)


def test_acknowledgements_travel_with_data():
    async def body():
        ann, bob = await connected()
        packets, size = ann.peer.wire.packets_out, ann.peer.wire.bytes_out
        for _ in range(20):
            ann.peer.send(False, b"m" * 100)
            await asyncio.sleep(0.02)
            bob.peer.send(False, b"m" * 100)
            await asyncio.sleep(0.02)
        await until(lambda: len(bob.messages) == 20)
        packets = ann.peer.wire.packets_out - packets
        assert packets <= 24  # with a packet for every acknowledgement it would be 40
        assert (ann.peer.wire.bytes_out - size) / 20 < 100 + 85 + 16 + 12
        await asyncio.gather(ann.peer.close(), bob.peer.close())

    run(body)


def test_a_message_has_a_longest_length():
    async def body():
        ann, bob = await connected()
        with pytest.raises(TransportError, match="at most"):
            ann.peer.send(True, bytes(MESSAGE_BYTES + 1))
        await asyncio.gather(ann.peer.close(), bob.peer.close())

    run(body)


def test_descriptions_that_are_none_raise_the_named_error():
    async def body():
        first = End()
        good = await first.peer.offer()
        await first.peer.close()
        rng = random.Random(3)
        bad = ["", "v=0\r\n", good.replace("m=application", "m=video"), good + "a=candidate:1\r\n" * 40]
        lines = good.split("\r\n")
        for _ in range(25):
            kept = [line for line in lines if rng.random() > 0.3]
            text = list("\r\n".join(kept))
            for _ in range(10):
                text[rng.randrange(len(text))] = rng.choice("a=:0 \r\nz9")
            bad.append("".join(text))
        refused = 0
        for sdp in bad:
            end = End()
            try:
                await end.peer.answer(sdp)
            except TransportError:
                refused += 1
            finally:
                await end.peer.close()
        assert refused > len(bad) / 2

    run(body)


@pytest.mark.parametrize("url", ["", "example.org", "http://example.org", "stun:a b", "stun:x?transport=x"])
def test_what_is_no_ice_server_is_refused(url):
    with pytest.raises(ConfigError, match="ice server"):
        IceServer(url)
    IceServer("stun:stun.example.org:3478")


def test_records_carry_no_explicit_nonce():
    async def body():
        ann, bob = await connected()
        for end in (ann, bob):
            assert "CHACHA20" in end.peer._connection.sctp.transport._ssl.get_cipher_name()
        await asyncio.gather(ann.peer.close(), bob.peer.close())

    run(body)


def endless(i: int, chunk: DataChunk) -> None:
    """One message that has no last piece."""
    chunk.flags, chunk.user_data = FIRST if i == 0 else 0, bytes(1000)


def many(i: int, chunk: DataChunk) -> None:
    """The same in pieces so small that their number counts."""
    chunk.flags, chunk.user_data = FIRST if i == 0 else 0, b"x"


def headless(i: int, chunk: DataChunk) -> None:
    """Whole messages behind one that never comes."""
    chunk.flags, chunk.user_data, chunk.stream_seq = FIRST | LAST, bytes(1000), i + 1


def ahead(i: int, chunk: DataChunk) -> None:
    """Whole messages, each behind a piece that is missing."""
    chunk.flags, chunk.user_data, chunk.tsn = FIRST | LAST | UNORDERED, b"x", (chunk.tsn + i + 1) % 2**32


@pytest.mark.parametrize("form", [endless, many, headless, ahead])
def test_messages_without_an_end_take_no_memory(form: Callable[[int, DataChunk], None]):
    async def body():
        ann, bob = await connected()
        sctp = ann.peer._connection.sctp
        tracemalloc.start()
        for i in range(3000):
            chunk = DataChunk()
            chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol = sctp._local_tsn, 1, 0, 53
            form(i, chunk)
            sctp._local_tsn = (sctp._local_tsn + 1) % 2**32
            await sctp._send_chunk(chunk)
            for _ in range(3):  # the other end reads one packet at a time
                await asyncio.sleep(0)
            if "lost" in bob.states:
                break
        await until(lambda: "lost" in bob.states)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 << 20
        assert not bob.peer.is_open
        await asyncio.gather(ann.peer.close(), bob.peer.close())

    run(body)


def test_what_comes_on_another_stream_is_dropped():
    async def body():
        ann, bob = await connected()
        sctp, got = ann.peer._connection.sctp, bob.peer._connection.sctp
        for stream in range(2, 400):
            await sctp._send(stream, 53, b"nobody asked for this")
        ann.peer._connection.createDataChannel("another")  # asks for a stream of its own
        assert ann.peer.send(True, b"but for this")
        await until(lambda: bob.messages)
        assert bob.messages == [(True, b"but for this")]
        assert set(got._inbound_streams) <= {0, 1}
        assert set(got._data_channels) == {0, 1}
        assert bob.peer.is_open
        await asyncio.gather(ann.peer.close(), bob.peer.close())

    run(body)
