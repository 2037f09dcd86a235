"""The local page: who may ask for it, and what its buttons do. A browser is in test_browser.py."""

from __future__ import annotations

import asyncio
import json
import random

import aiohttp
import numpy as np
import pytest

from facecodec.call.page import LocalPage
from facecodec.call.rates import LossWindow
from facecodec.call.screen import Screen
from facecodec.call.status import CallStatus


class StandIn:
    def __init__(self):
        self.screen, self.compare_screen = Screen(), Screen()
        self.pressed: list[tuple[str, bool | None]] = []

    def push_picture(self, pixels, at_s): ...

    def push_sound(self, samples, at_s): ...

    def mute(self, on):
        self.pressed.append(("mute", on))

    def camera_off(self, on):
        self.pressed.append(("camera-off", on))

    def compare(self, on):
        self.pressed.append(("compare", on))

    def refresh(self):
        self.pressed.append(("refresh", None))

    def hang_up(self):
        self.pressed.append(("hang-up", None))

    def status(self):
        return CallStatus("waiting", "room", invite="facecodec call …")


def with_page(body):
    async def run():
        call = StandIn()
        page = LocalPage(call)
        await page.start()
        try:
            async with aiohttp.ClientSession() as session:
                await asyncio.wait_for(body(page, call, session), 20)
        finally:
            await page.close()

    asyncio.run(run())


def origin(page):
    return page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2]


def test_the_page_and_its_files_are_there_with_strict_headers():
    async def body(page, call, session):
        assert page.url.startswith("http://127.0.0.1:")
        for name, kind in [("", "text/html"), ("call.js", "text/javascript"), ("call.css", "text/css")]:
            async with session.get(page.url + name) as answer:
                assert answer.status == 200
                assert answer.content_type == kind
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["Cache-Control"] == "no-store"
                assert "http" not in (await answer.text()).replace("http-equiv", "")

    with_page(body)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/wrong-token/", {}, 404),
        ("{token}", {}, 404),
        ("{token}/page.py", {}, 404),
        ("{token}/../../pyproject.toml", {}, 404),
        ("{token}/..%2f..%2fcall.py", {}, 404),
        ("{token}/index.html", {}, 404),
        ("{token}/", {"Host": "evil.example"}, 403),
        ("{token}/", {"Origin": "https://evil.example"}, 403),
        ("{token}/socket", {}, 426),
        ("{token}/socket", {"Upgrade": "websocket"}, 403),
    ],
)
def test_nothing_else_is_served(path, headers, status):
    async def body(page, call, session):
        token = "/" + page.url.split("/")[3]
        url = origin(page) + path.replace("{token}", token)
        async with session.get(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == status

    with_page(body)


def test_it_is_not_to_be_reached_by_another_address():
    import socket

    async def body(page, call, session):
        port = int(origin(page).rsplit(":", 1)[1])
        for address, reached in [("127.0.0.2", False), ("127.0.0.1", True)]:
            with socket.socket(socket.AF_INET) as probe:
                probe.settimeout(1)
                assert (probe.connect_ex((address, port)) == 0) is reached

    with_page(body)


def test_an_offer_must_come_from_the_page_and_be_one():
    async def body(page, call, session):
        for headers, data, status in [
            ({}, {"sdp": "v=0"}, 403),
            ({"Origin": "null"}, {"sdp": "v=0"}, 403),
            ({"Origin": origin(page)}, {"sdp": 5}, 400),
            ({"Origin": origin(page)}, [], 400),
            ({"Origin": origin(page)}, {"sdp": "no description"}, 400),
            ({"Origin": origin(page)}, {"sdp": "x" * 200_000}, 413),
        ]:
            async with session.post(page.url + "offer", json=data, headers=headers) as answer:
                assert answer.status == status, (headers, str(data)[:50])

    with_page(body)


def test_the_socket_tells_the_status_and_takes_the_buttons():
    async def body(page, call, session):
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as socket:
            told = json.loads((await socket.receive()).data)
            assert told["state"] == "waiting"
            assert told["invite"]
            rng = random.Random(1)
            for junk in [
                "",
                "[]",
                "5",
                "null",
                "{",
                '{"type": []}',
                '{"type": "mute"}',
                '{"type": "mute", "on": 1}',
            ]:
                await socket.send_str(junk)
            for _ in range(100):
                await socket.send_str("".join(rng.choices('{}[]":,typemuon true', k=rng.randrange(40))))
            for kind in ("mute", "camera-off", "compare"):
                await socket.send_str(json.dumps({"type": kind, "on": True}))
            for kind in ("refresh", "hang-up"):
                await socket.send_str(json.dumps({"type": kind}))
            for _ in range(100):
                if len(call.pressed) == 5:
                    break
                await asyncio.sleep(0.02)
            assert call.pressed == [
                ("mute", True),
                ("camera-off", True),
                ("compare", True),
                ("refresh", None),
                ("hang-up", None),
            ]

    with_page(body)


@pytest.mark.parametrize("shape", [(270, 480), (180, 320), (480, 360), (361, 640)])
def test_pictures_of_another_size_fill_the_first_one(shape):
    from facecodec.call.fit import fill

    ramp = np.linspace(0, 255, shape[1], dtype=np.float32)[None, :, None]
    pixels = np.broadcast_to(ramp, (*shape, 3)).astype(np.uint8)
    filled = fill(pixels, 360, 640)
    assert filled.shape == (360, 640, 3)
    assert abs(float(filled.mean()) - 127) < 3  # the middle stays the middle
    assert fill(filled, 360, 640) is filled


def test_loss_is_that_of_the_last_seconds():
    window = LossWindow()
    assert window.percent() is None
    for second in range(60):
        lost = min(second, 20)  # one in ten for 20 seconds, then none
        window.note(10 * second - lost, lost, float(second))
        if second == 19:
            assert window.percent() == pytest.approx(10.0)
    assert window.percent() == 0.0
    window.note(10 * 59 - 20, 19, 60.0)  # one came late
    assert window.percent() == 0.0
