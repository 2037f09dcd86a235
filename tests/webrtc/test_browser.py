"""Two pages of a real browser in one room, with a fake camera that shows the sample."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facecodec.call.call import Call
from facecodec.call.page import LocalPage
from facecodec.call.settings import CallSettings
from facecodec.call.signalling import ServerConfig, SignallingServer
from facecodec.media.reader import VideoReader
from tests.webrtc.chromium import BINARY, Chromium, Tab

REPOSITORY = Path(__file__).resolve().parents[2]
# A browser is no Python package: `make test` cannot install one. The page's server is tested without.
pytestmark = pytest.mark.skipif(BINARY is None, reason="chromium is not installed")

LOOK = """(() => {
  const video = document.getElementById('remote'), canvas = document.createElement('canvas');
  if (document.readyState !== 'complete' || !video) return null;
  canvas.width = canvas.height = 16;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 16, 16);
  return {
    width: video.videoWidth, height: video.videoHeight, time: video.currentTime, paused: video.paused,
    pixels: Array.from(context.getImageData(0, 0, 16, 16).data),
    state: document.getElementById('state').textContent,
    mark: document.getElementById('mark').checkVisibility(),
    out: parseFloat(document.getElementById('out-total').textContent),
    gone: document.getElementById('gone').checkVisibility()
      ? document.getElementById('gone').textContent : '',
    notice: document.getElementById('notice').checkVisibility()
      ? document.getElementById('notice-text').textContent : '',
    identity: document.getElementById('identity').textContent,
    hint: document.getElementById('identity-how').checkVisibility(),
    warning: document.getElementById('warning').hidden ? '' : document.getElementById('warning').textContent,
  };
})()"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory) -> Path:
    """Three seconds of the sample for the fake camera, as MJPEG."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    sample = VideoReader(REPOSITORY / "samples" / "talking_head.mp4", threads=1)
    with av.open(str(path), "w", format="mjpeg") as out, sample as video:
        stream = out.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        for frame in video.frames(duration_s=3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


async def until(tab: Tab, holds, seconds: float = 60.0) -> dict:
    seen: dict = {}
    for _ in range(round(seconds / 0.25)):
        seen = await tab.run(LOOK) or {}  # nothing yet while the page loads
        if seen and holds(seen):
            return seen
        await asyncio.sleep(0.25)
    seen.pop("pixels", None)
    raise AssertionError(f"did not come to hold: {seen}; console: {tab.console}")


def test_two_pages_see_each_other(tmp_path, camera):
    async def run():
        server = SignallingServer(ServerConfig(port=0))
        await server.start()
        calls = [Call(CallSettings(server.url, "room", "a token", loopback=True)) for _ in range(2)]
        pages = [LocalPage(call) for call in calls]
        running = [asyncio.ensure_future(call.run()) for call in calls]
        try:
            for page in pages:
                await page.start()
            async with Chromium(tmp_path / "profile", camera) as browser:
                tabs = [await browser.open(page.url) for page in pages]
                for tab in tabs:
                    await look_at_a_call(tab)
                await lose_the_picture(calls[1], tabs[0], tmp_path / "gone.png")
                await use_the_buttons(calls[0], tabs[0])
                await tabs[0].screenshot(tmp_path / "call.png")
                await tabs[0].run("document.getElementById('hang-up').click()")
                await asyncio.gather(*running)
                await pages[1].close()
                await until(tabs[1], lambda seen: seen["state"] == "ended")
                assert [tab.console for tab in tabs] == [[], []]
                for tab in tabs:
                    await tab.close()
        finally:
            for page in pages:
                await page.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await server.close()

    asyncio.run(asyncio.wait_for(run(), 200))
    shot = cv2.imread(str(tmp_path / "call.png"))
    assert shot.shape[1] == 1280
    assert shot.std() > 20
    assert cv2.imread(str(tmp_path / "gone.png")).shape[1] == 1280


async def look_at_a_call(tab: Tab) -> None:
    """The other side's video plays, has the coded size, changes, and is marked."""
    first = await until(tab, lambda seen: seen["width"] == 256 and seen["mark"])
    assert (first["width"], first["height"]) == (256, 256)
    assert not first["paused"]
    assert first["state"] == "connected"
    assert first["warning"] == first["gone"] == first["notice"] == ""
    judged = await until(tab, lambda seen: seen["identity"] != "–")
    assert judged["hint"] == ("head" in judged["identity"])  # without SFace the page says what it cannot tell

    def moved(seen: dict) -> bool:
        change = np.abs(np.subtract(seen["pixels"], first["pixels"])).mean()
        return seen["time"] > first["time"] and change > 0.2 and seen["out"] > 0

    await until(tab, moved)


async def lose_the_picture(other: Call, tab: Tab, path: Path) -> None:
    """While nothing comes the page says so, over a picture that is still marked as synthesised."""
    send = other.peer.send
    other.peer.send = lambda reliable, data: False
    cut_s = time.monotonic()
    seen = await until(tab, lambda seen: seen["gone"])
    assert 2.0 < time.monotonic() - cut_s < 8.0
    assert "three seconds" in seen["gone"]
    assert seen["mark"]
    assert seen["state"] == "connected"
    await tab.screenshot(path)
    other.peer.send = send
    seen = await until(tab, lambda seen: not seen["gone"])
    assert seen["mark"]
    assert seen["notice"] == ""


async def use_the_buttons(call: Call, tab: Tab) -> None:
    references = call.session.sender_stats.references
    await tab.run("document.getElementById('compare').click()")
    await tab.run("document.getElementById('refresh').click()")
    for _ in range(200):
        assert call.session is not None
        if call.session.sender_stats.references > references and call.compare_screen.pictures > 3:
            break
        await asyncio.sleep(0.1)
    assert call.session.sender_stats.references > references
    assert call.compare_screen.picture.pixels.shape == (256, 256, 3)
    assert call.status().h264_kbps is not None
    await tab.run("document.getElementById('mute').click()")
    await tab.run("document.getElementById('camera').click()")
    for _ in range(50):
        if call._muted and call._camera_off:
            break
        await asyncio.sleep(0.05)
    assert call._muted
    assert call._camera_off
    await tab.run("document.getElementById('camera').click()")
