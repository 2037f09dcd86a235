"""Headless Chromium, steered over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import signal
from pathlib import Path

import aiohttp

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """One browser with a fake camera.

    Args:
        folder: for its profile.
        camera: MJPEG or Y4M file that the fake camera shows, again and again.
        sound: WAV file that the fake microphone plays.
    """

    def __init__(self, folder: Path, camera: Path, sound: Path | None = None) -> None:
        self._folder, self._camera, self._sound = folder, camera, sound
        self._process: asyncio.subprocess.Process | None = None
        self._http = ""

    async def __aenter__(self) -> Chromium:
        assert BINARY is not None
        sound = [] if self._sound is None else [f"--use-file-for-fake-audio-capture={self._sound}"]
        self._process = await asyncio.create_subprocess_exec(
            BINARY,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--mute-audio",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-backgrounding-occluded-windows",
            "--disable-background-timer-throttling",
            "--disable-renderer-backgrounding",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={self._camera}",
            *sound,
            "--autoplay-policy=no-user-gesture-required",
            "--window-size=1280,800",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(30):
            while True:
                line = (await self._process.stderr.readline()).decode(errors="replace")
                assert line, "chromium has ended"
                found = re.search(r"DevTools listening on ws://([^/]+)/", line)
                if found:
                    break
        self._http = f"http://{found[1]}"
        self._drain = asyncio.ensure_future(self._process.stderr.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._drain

    async def open(self, url: str) -> Tab:
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self._http}/json/new?{url}") as answer,
        ):
            target = json.loads(await answer.text())
        tab = Tab(target["webSocketDebuggerUrl"])
        await tab.start()
        return tab


class Tab:
    """One page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._count = 0
        self._answers: dict[int, asyncio.Future[dict]] = {}
        self.console: list[str] = []

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(self._url, max_msg_size=0)
        self._reading = asyncio.ensure_future(self._read())
        await self.call("Runtime.enable")

    async def close(self) -> None:
        await self._socket.close()
        await self._reading
        await self._session.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Runtime.consoleAPICalled":
                self.console.append(str([a.get("value") for a in message["params"]["args"]]))
            elif message["method"] == "Runtime.exceptionThrown":
                self.console.append(str(message["params"]["exceptionDetails"].get("exception")))

    async def call(self, method: str, **params: object) -> dict:
        self._count += 1
        future = self._answers[self._count] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": self._count, "method": method, "params": params}))
        answer = await asyncio.wait_for(future, 20)
        assert "error" not in answer, answer
        return answer["result"]

    async def run(self, script: str) -> object:
        """The value of an expression, or what a promise in it resolves to."""
        done = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def screenshot(self, path: Path) -> None:
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
