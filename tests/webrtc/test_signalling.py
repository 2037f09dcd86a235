"""Rooms, limits, messages and the signalling server over real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import tracemalloc
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from facecodec.call import signalling
from facecodec.call.limits import AddressLimits, TokenBucket
from facecodec.call.messages import (
    MESSAGE_BYTES,
    Bye,
    Description,
    Join,
    Joined,
    PeerJoined,
    PeerLeft,
    Refusal,
    parse_message,
    write_message,
)
from facecodec.call.room_key import RoomKey, new_token
from facecodec.call.rooms import Rooms
from facecodec.call.signalling import ServerConfig, SignallingServer
from facecodec.call.signalling_client import SignallingClient, socket_url
from facecodec.errors import ConfigError, MediaError, RefusedError, TransportError

TOKEN = "a token of some length"  # noqa: S105
AUTH = "0123456789abcdef" * 4


def with_server(
    body: Callable[[SignallingServer], Awaitable[None]], config: ServerConfig | None = None
) -> None:
    async def run() -> None:
        server = SignallingServer(config or ServerConfig(port=0))
        await server.start()
        try:
            await asyncio.wait_for(body(server), 30)
        finally:
            await server.close()

    asyncio.run(run())


# Messages


@pytest.mark.parametrize(
    "message",
    [
        Join("a.room_1-x", AUTH),
        Joined(peer=True),
        PeerJoined(),
        PeerLeft(),
        Bye(),
        Description("offer", "v=0\r\n", AUTH),
        Description("answer", "v=0\r\n", AUTH),
        Refusal("room-full", "two people — no more"),
    ],
    ids=lambda m: type(m).__name__,
)
def test_messages_return_from_their_text(message):
    assert parse_message(write_message(message)) == message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("[" * 20000, "no JSON"),
        ("9" * 20000, "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "no known type"),
        ('{"type": ["join"]}', "no known type"),
        ('{"type": "join", "version": true}', "version"),
        ('{"type": "join", "version": 2}', "version"),
        ('{"type": "join", "version": 1, "room": "a/b", "auth": "x"}', "room"),
        ('{"type": "join", "version": 1, "room": "a", "auth": "x"}', "auth"),
        ('{"type": "joined", "peer": 1}', "peer"),
        ('{"type": "offer", "sdp": "", "mac": "x"}', "sdp"),
        ('{"type": "offer", "sdp": "a\\u0000b", "mac": "x"}', "sdp"),
        ('{"type": "offer", "sdp": "\\ud800", "mac": "x"}', "sdp"),
        ('{"type": "offer", "sdp": "' + "x" * 25000 + '", "mac": "x"}', "sdp"),
        ('{"type": "bye", "why": 1}', "unknown fields"),
        (" " * (MESSAGE_BYTES + 1), "more than"),
    ],
)
def test_what_is_no_message_is_named(text, says):
    with pytest.raises(TransportError, match=says):
        parse_message(text)


def test_a_thousand_mutated_messages_parse_or_raise_the_named_error():
    rng = random.Random(6)
    good = [write_message(m) for m in (Join("room", AUTH), Description("offer", "v=0\r\n" * 9, AUTH), Bye())]
    parsed = 0
    for _ in range(1000):
        text = list(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text))
            text[place] = rng.choice(['"', "{", "[", "\\", "9", "\x00", "é", "\U0001f600", "", "x" * 40])
        try:
            message = parse_message("".join(text))
        except TransportError:
            continue
        parsed += 1
        assert parse_message(write_message(message)) == message
    assert 0 < parsed < 1000


# Keys, rooms, limits


def test_keys_depend_on_room_and_token_and_hide_the_token():
    key = RoomKey("room", TOKEN)
    assert key.auth != RoomKey("other", TOKEN).auth
    assert key.auth != RoomKey("room", TOKEN + "x").auth
    assert TOKEN not in key.auth
    mac = key.sign("offer", "sdp")
    assert key.verify("offer", "sdp", mac)
    assert not key.verify("answer", "sdp", mac)
    assert not key.verify("offer", "sdp ", mac)
    assert not RoomKey("other", TOKEN).verify("offer", "sdp", mac)
    assert len({new_token() for _ in range(50)}) == 50


@pytest.mark.parametrize("token", ["", "x" * 257])
def test_tokens_have_limits(token):
    with pytest.raises(ConfigError, match="token"):
        RoomKey("room", token)


def test_a_room_holds_two_people_with_one_token():
    rooms = Rooms[str](most=1)
    assert rooms.enter("r", "key", "ann") is None
    with pytest.raises(RefusedError) as refused:
        rooms.enter("r", "another", "eve")
    assert refused.value.code == "wrong-token"
    assert rooms.enter("r", "key", "bob") == "ann"
    with pytest.raises(RefusedError) as refused:
        rooms.enter("r", "key", "eve")
    assert refused.value.code == "room-full"
    with pytest.raises(RefusedError) as refused:
        rooms.enter("r2", "key", "eve")
    assert refused.value.code == "server-full"
    assert rooms.leave("r", "eve") is None
    assert rooms.leave("r", "ann") == "bob"
    assert rooms.leave("r", "bob") is None
    assert len(rooms) == 0
    assert rooms.enter("r", "another", "eve") is None  # an empty room has no token


def test_buckets_let_the_rate_through_and_forget_old_addresses():
    bucket = TokenBucket(2.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1.0) for _ in range(3)] == [True, True, False]
    limits = AddressLimits(1.0, 1, addresses=10)
    for n in range(1000):
        limits.take(str(n), 0.0)
    assert len(limits) == 10


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765/call"),
        ("https://example.org", "wss://example.org/call"),
        ("wss://example.org/behind/", "wss://example.org/behind/call"),
        ("ws://[::1]:1", "ws://[::1]:1/call"),
    ],
)
def test_server_addresses(written, url):
    assert socket_url(written) == url


@pytest.mark.parametrize(
    "written", ["", "example.org", "ftp://x", "ws://", "ws://x:99999", "ws://a:b@x", "ws://x?y"]
)
def test_what_is_no_server_address_is_refused(written):
    with pytest.raises(ConfigError, match="server"):
        socket_url(written)


# The server


def test_two_clients_meet_and_descriptions_arrive_signed():
    async def body(server):
        async with (
            SignallingClient(server.url, "r", TOKEN) as ann,
            SignallingClient(server.url, "r", TOKEN) as bob,
        ):
            assert await ann.join() is False
            assert await bob.join() is True
            assert await ann.receive() == PeerJoined()
            await bob.send_description("offer", "v=0\r\n")
            got = await ann.receive()
            assert isinstance(got, Description)
            assert (got.kind, got.sdp) == ("offer", "v=0\r\n")
            await bob.close()
            assert await ann.receive() == PeerLeft()

    with_server(body)


@pytest.mark.parametrize(("token", "code"), [("other", "wrong-token"), (TOKEN, "room-full")])
def test_a_third_person_and_a_wrong_token_are_refused(token, code):
    async def body(server):
        async with (
            SignallingClient(server.url, "r", TOKEN) as ann,
            SignallingClient(server.url, "r", TOKEN) as bob,
            SignallingClient(server.url, "r", token) as eve,
        ):
            await ann.join()
            if code == "room-full":
                await bob.join()
            with pytest.raises(RefusedError) as refused:
                await eve.join()
            assert refused.value.code == code

    with_server(body)


def test_a_server_that_changes_a_description_is_found_out():
    async def body(server):
        async with (
            SignallingClient(server.url, "r", TOKEN) as ann,
            aiohttp.ClientSession() as session,
        ):
            await ann.join()
            auth = RoomKey("r", TOKEN).auth  # all that the server knows
            async with session.ws_connect(server.url + "/call") as eve:
                await eve.send_str(write_message(Join("r", auth)))
                await eve.send_str(write_message(Description("offer", "v=0\r\n", "0" * 64)))
                assert await ann.receive() == PeerJoined()
                with pytest.raises(RefusedError, match="not signed"):
                    await ann.receive()

    with_server(body)


def test_nothing_but_the_socket_is_served():
    async def body(server):
        base = server.url.replace("ws", "http", 1)
        async with aiohttp.ClientSession() as session:
            for path, status in [("/", 404), ("/call/", 404), ("/../etc/passwd", 404), ("/call", 426)]:
                async with session.get(base + path) as answer:
                    assert answer.status == status, path
            async with session.post(base + "/call", data=b"x" * 5000) as answer:
                assert answer.status == 405
            async with session.get(base + "/call", headers={"Origin": "https://evil.example"}) as answer:
                assert answer.status == 403

    with_server(body)


def test_attempts_and_connections_are_limited():
    async def body(server):
        url = server.url + "/call"
        async with aiohttp.ClientSession() as session:
            first = await session.ws_connect(url)
            second = await session.ws_connect(url)
            with pytest.raises(aiohttp.WSServerHandshakeError) as err:
                await session.ws_connect(url)
            assert err.value.status == 503
            await first.close()
            await second.close()
            seen = set()
            for _ in range(12):
                async with session.get(url) as answer:
                    seen.add(answer.status)
            assert 429 in seen

    with_server(body, ServerConfig(port=0, connections_each=2))


def test_whoever_does_not_enter_in_time_is_sent_away():
    async def body(server):
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "/call") as idle:
            refusal = parse_message((await idle.receive()).data)
            assert isinstance(refusal, Refusal)
            assert refusal.code == "too-late"

    with_server(body, ServerConfig(port=0, join_within_s=0.2))


def test_behind_a_proxy_its_word_is_taken_and_otherwise_not():
    server = SignallingServer(ServerConfig(behind_proxy=True))
    plain = SignallingServer(ServerConfig())

    class Request:
        headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}
        remote = "127.0.0.1"

    assert server._address(Request()) == "198.51.100.7"
    assert plain._address(Request()) == "127.0.0.1"


def test_a_taken_port_and_a_bad_certificate_have_clear_errors(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = ServerConfig(port=taken.getsockname()[1])
        with pytest.raises(TransportError, match="cannot listen"):
            asyncio.run(SignallingServer(config).start())
    (tmp_path / "c.pem").write_text("no certificate")
    with pytest.raises(MediaError, match=r"c\.pem"):
        ServerConfig(certificate=tmp_path / "c.pem").tls()
    with pytest.raises(ConfigError, match="key"):
        ServerConfig(key=tmp_path / "k.pem")


def test_tls(tmp_path):
    import ssl

    pem = self_signed(tmp_path)

    async def body(server):
        trust = ssl.create_default_context(cafile=str(pem))
        async with SignallingClient(server.url, "r", TOKEN, tls=trust) as ann:
            assert await ann.join() is False
        async with SignallingClient(server.url, "r", TOKEN) as suspicious:
            with pytest.raises(TransportError, match="cannot be reached"):
                await suspicious.join()

    with_server(body, ServerConfig(port=0, certificate=pem))


def self_signed(folder):
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


HOSTILE = [
    b"\x00" * 100,
    "[" * 30000,
    "x" * (MESSAGE_BYTES + 1000),
    json.dumps({"type": "join", "version": 1, "room": "r", "auth": AUTH, "extra": ["y"] * 1000}),
    '{"type": "offer"}',
    '{"type": "bye", "type": "join"}',
    "\x00",
]


def test_hostile_clients_neither_stop_the_server_nor_grow_it():
    rng = random.Random(7)

    async def one(session, url):
        async with session.ws_connect(url) as hostile:
            if rng.random() < 0.5:
                await hostile.send_str(write_message(Join(f"r{rng.randrange(20)}", AUTH)))
            for _ in range(rng.randint(1, 24)):
                pick = rng.choice([*HOSTILE, rng.randbytes(rng.randrange(200))])
                try:
                    await (hostile.send_bytes(pick) if isinstance(pick, bytes) else hostile.send_str(pick))
                except (ConnectionError, aiohttp.ClientError):
                    break
            if rng.random() < 0.3:
                hostile._response.connection.transport.abort()

    async def body(server):
        async with aiohttp.ClientSession() as session:
            sizes = []
            for _ in range(3):
                for _ in range(40):
                    await one(session, server.url + "/call")
                for _ in range(100):
                    if not server._open:
                        break
                    await asyncio.sleep(0.05)
                sizes.append(tracemalloc.get_traced_memory()[0])
            assert len(server.rooms) == 0
            assert not server._open
            assert sizes[2] < sizes[1] + 500_000
        async with SignallingClient(server.url, "r", TOKEN) as ann:
            assert await ann.join() is False

    tracemalloc.start()
    try:
        with_server(body, ServerConfig(port=0, joins_a_minute=1e6))
    finally:
        tracemalloc.stop()


def test_the_page_of_defaults_is_loopback():
    assert ServerConfig().host == "127.0.0.1"
    assert signalling.PATH == "/call"
