"""``facecodec call`` and ``facecodec call-server``."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from facecodec.cli import options as opt
from facecodec.cli.paths import OutputError, output_file, refuse_same
from facecodec.errors import ConfigError

if TYPE_CHECKING:
    from facecodec.call.settings import CallSettings

_EXTRA = {"aiortc": "WebRTC", "aiohttp": "the signalling server and the local page"}

_PARTS = ("motion", "sound", "reference", "feedback", "headers")

Room = Annotated[str, typer.Option(metavar="NAME", help="Name of the room: letters, digits, '.', '_', '-'.")]
Server = Annotated[str, typer.Option(metavar="URL", help="Signalling server, ws://HOST:PORT or wss://HOST.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="FACECODEC_CALL_TOKEN",
        help="What both know and nobody else; without it one is made and shown, for the other person.",
    ),
]
Input = Annotated[
    str | None,
    typer.Option(metavar="IN.mp4", help="No page: show this clip to the other side."),
]
Output = Annotated[
    str | None, typer.Option(metavar="OUT.mp4", help="No page: write what the other side sends.")
]
Duration = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="SECONDS",
        help="Hang up so long after both have first seen each other (with the page: after the start).",
    ),
]
IceServers = Annotated[
    list[str] | None,
    typer.Option(
        "--ice-server", metavar="URL", help="stun:HOST or turn:HOST?user=U&password=P; may be repeated."
    ),
]
Loopback = Annotated[
    bool,
    typer.Option(
        "--loopback",
        envvar="FACECODEC_CALL_LOOPBACK",
        help="Both ends are on one machine: 127.0.0.1 alone.",
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the local page; 0 takes a free one.")]
MaxKbps = Annotated[
    float, typer.Option(min=8.0, max=200.0, help="Most kbit/s to send, headers and sound included.")
]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")]


def call(
    room: Room,
    server: Server,
    token: Token = None,
    input: Input = None,  # noqa: A002  the option's name
    output: Output = None,
    duration: Duration = None,
    max_kbps: MaxKbps = 15.0,
    generator: opt.GeneratorName = "warp-0",
    ice_server: IceServers = None,
    loopback: Loopback = False,
    port: Port = 0,
    browser: Browser = True,
    force: opt.Force = False,
    debug: opt.Debug = False,
) -> None:
    """Talk to another person over a few kilobits a second.

    Opens a page on this machine for camera, microphone and the other side. With --input (and --output) a clip
    takes their place. The pictures of the other side are made by a generator, and marked so.
    """
    _need_extra()
    opt.check_duration(duration)
    if output is not None and input is None:
        raise ConfigError("output", output, "together with --input")
    from facecodec.call.room_key import new_token

    if token is None:
        token = new_token()
        typer.echo(f"The other person needs: --room {room} --token {token}", err=True)
    _say_how_faces_are_compared()
    settings = _settings(server, room, token, max_kbps, generator, ice_server or [], loopback)
    if input is None:
        _run(_with_page(settings, port, browser, duration))
    elif output is None:
        _headless(settings, input, None, duration)
    else:
        refuse_same(input, output)
        with output_file(output, ".mp4", force=force) as path:
            _headless(settings, input, path, duration)


def call_server(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="TLS certificate with its chain; without it plain ws.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Believe the X-Forwarded-For of the proxy in front.")
    ] = False,
    debug: opt.Debug = False,
) -> None:
    """Run the signalling server: it brings the two people of a room together and sees no picture."""
    _need_extra()
    from facecodec.call.signalling import ServerConfig, SignallingServer

    config = ServerConfig(host=host, port=port, certificate=cert, key=key, behind_proxy=behind_proxy)

    async def serve() -> None:
        server = SignallingServer(config)
        await server.start()
        typer.echo(f"listening on {server.url}")
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    _run(serve())


def _settings(
    server: str,
    room: str,
    token: str,
    max_kbps: float,
    generator: Literal["auto", "lite", "base", "warp-0"],
    ice_servers: list[str],
    loopback: bool,
) -> CallSettings:
    from facecodec.call.config import CallConfig
    from facecodec.call.settings import WIRE, CallSettings
    from facecodec.config import DecoderConfig

    engine = CallConfig(
        decoder=DecoderConfig(generator=generator),
        start_kbps=max_kbps,
        max_kbps=max_kbps,
        overhead=WIRE,
    )
    servers = tuple(_ice_server(text) for text in ice_servers)
    return CallSettings(server, room, token, ice_servers=servers, loopback=loopback, engine=engine)


def _headless(settings: CallSettings, clip: str, output: Path | None, duration: float | None) -> None:
    from facecodec.call.headless import HeadlessCall

    async def talk() -> Any:
        return await HeadlessCall(settings, clip, output, duration).run()

    done = _run(talk())
    kinds = ", ".join(f"{count} {state}" for state, count in sorted(done.states.items()))
    parts = {name: getattr(done.parts_out, name) for name in _PARTS}
    by_part = ", ".join(f"{name} {kbps:.1f}" for name, kbps in parts.items())
    age = "" if done.age_ms is None else f", frame age {done.age_ms:.0f} ms"
    typer.echo(
        f"{done.seconds:.1f} s, {done.pictures} pictures shown ({kinds}), "
        f"{done.kbps_out:.1f} kbit/s sent ({by_part}){age}",
        err=True,
    )


async def _with_page(settings: CallSettings, port: int, browser: bool, duration: float | None) -> None:
    from facecodec.call.call import Call
    from facecodec.call.page import LocalPage

    talk = Call(settings)
    page = LocalPage(talk, port)
    await page.start()
    typer.echo(f"The call is on {page.url}")
    if browser:
        import webbrowser

        await asyncio.get_running_loop().run_in_executor(None, webbrowser.open, page.url)
    try:
        async with asyncio.timeout(duration):
            await talk.run()
    except TimeoutError:
        if duration is None:
            raise
    finally:
        await page.close()


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, or to Ctrl-C, which :func:`facecodec.cli.main` makes an exit code of."""
    if logging.getLogger().level > logging.INFO:
        logging.getLogger("aiortc").setLevel(logging.ERROR)
    from facecodec.call.threads import keep_memory, short_turns

    keep_memory()
    came: list[int] = []
    is_main = threading.current_thread() is threading.main_thread() and sys.platform != "win32"
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if is_main}
    handlers = {number: handler for number, handler in usual.items() if handler != signal.SIG_IGN}
    result = None
    try:
        with short_turns(), asyncio.Runner() as runner:
            result = runner.run(_until_signal(work, list(handlers), came))
    except (asyncio.CancelledError, Exception):
        if not came:
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
    return result


async def _until_signal(
    work: Coroutine[Any, Any, Any], signals: list[signal.Signals], came: list[int]
) -> Any:
    """Let signals cancel the work between two steps of the loop: an exception in a callback can get lost.

    Args:
        work: what to do.
        signals: which.
        came: takes those that came.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def end(number: int) -> None:
        came.append(number)
        if task is not None:
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, end, number)
    return await work


def _say_how_faces_are_compared() -> None:
    from facecodec.call.identity import ABSENT
    from facecodec.errors import WeightsError
    from facecodec.metrics.identity import WEIGHTS

    try:
        WEIGHTS.find()
    except WeightsError:
        typer.echo(ABSENT, err=True)


def _need_extra() -> None:
    for name, what in _EXTRA.items():
        if importlib.util.find_spec(name) is None:
            raise OutputError(f"a call needs {name} ({what}): pip install 'facecodec[call]'")


def _ice_server(text: str) -> Any:
    """``stun:HOST`` or ``turn:HOST?user=U&password=P``."""
    from urllib.parse import parse_qs

    from facecodec.call.peer import IceServer

    url, _, query = text.partition("?")
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    user, password = fields.pop("user", None), fields.pop("password", None)
    rest = "&".join(f"{name}={value}" for name, value in fields.items())
    return IceServer(f"{url}?{rest}" if rest else url, user, password)
