"""The commands of the command line, and :func:`main`.

Nothing heavy is imported before a command needs it: ``facecodec --help`` loads typer and rich alone.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from facecodec import __version__
from facecodec.cli import options as opt
from facecodec.cli import report, train
from facecodec.cli.bench import bench
from facecodec.cli.call import call, call_server
from facecodec.cli.drive import drive
from facecodec.cli.exit_codes import (
    EXIT_BITSTREAM,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    complain,
    explain,
)
from facecodec.cli.finetune import finetune
from facecodec.cli.paths import input_file, output_file, refuse_same, stats_file
from facecodec.cli.signals import Terminated, signals_as_exceptions
from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.errors import MediaError

app = typer.Typer(
    name="facecodec",
    help="A codec for talking-head video at a few kilobits a second.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(train.app, name="train")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facecodec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def encode(
    src: opt.ClipIn,
    dst: opt.StreamOut,
    size: opt.Size = opt.ENCODER.size,
    view: opt.EncodeView = opt.ENCODER.view,
    quality: opt.Quality = opt.ENCODER.quality,
    qp: opt.Qp = opt.ENCODER.qp,
    ref_quality: opt.RefQuality = opt.ENCODER.ref_quality,
    scene_points: opt.ScenePoints = opt.ENCODER.scene_points,
    palette: opt.PaletteUse = opt.ENCODER.palette,
    preset: opt.PresetName = opt.ENCODER.preset,
    intra_period: opt.IntraPeriod = opt.ENCODER.intra_period,
    tracker: opt.TrackerName = opt.ENCODER.tracker,
    audio: opt.Audio = opt.DEFAULT_AUDIO,
    weights: opt.ModelWeights = None,
    start: opt.Start = 0.0,
    duration: opt.Duration = None,
    device: opt.Device = opt.SPEED.device,
    threads: opt.Threads = opt.SPEED.threads,
    stats: opt.Stats = None,
    force: opt.Force = False,
    debug: opt.Debug = False,
) -> None:
    """Encode a video of one face into a facecodec file."""
    model_id = None
    if weights is not None:
        from facecodec.generator.select import check_weights

        model_id = check_weights(weights).model_id
    config = EncoderConfig(
        size=cast(Literal[256, 512], size),
        view=view,
        quality=quality,
        qp=qp,
        ref_quality=ref_quality,
        scene_points=scene_points,
        palette=palette,
        preset=preset,
        intra_period=intra_period,
        tracker=tracker,
        audio_bps=opt.audio_bps(audio),
        model_id=model_id,
    )
    speed = SpeedConfig(device=device, threads=threads)
    opt.check_duration(duration)
    refuse_same(src, dst)
    with (
        output_file(dst, ".fcv", force=force) as out,
        stats_file(stats, force=force) as lines,
        input_file(src) as inp,
    ):
        from facecodec.api import encode_file

        with report.progress_bars("encoding") as (show,):
            done = encode_file(
                inp,
                out,
                config,
                speed,
                start_s=start,
                duration_s=duration,
                stats=lines,
                on_progress=show,
            )
    typer.echo(report.encode_summary(dst, done), err=True)
    if done.damage:
        raise MediaError(src, f"{done.damage}; what could be read was encoded")


@app.command()
def decode(
    src: opt.StreamIn,
    dst: opt.ClipOut,
    generator: opt.GeneratorName = opt.DECODER.generator,
    weights: opt.Weights = None,
    references: opt.References = opt.DECODER.references,
    view: opt.DecodeView = opt.DECODER.view,
    composite: opt.Composite = opt.DECODER.composite,
    crf: opt.Crf = opt.DEFAULT_CRF,
    start: opt.Start = 0.0,
    duration: opt.Duration = None,
    device: opt.Device = opt.SPEED.device,
    threads: opt.Threads = opt.SPEED.threads,
    stats: opt.Stats = None,
    force: opt.Force = False,
    debug: opt.Debug = False,
) -> None:
    """Decode a facecodec file into an ordinary video file."""
    speed = SpeedConfig(device=device, threads=threads)
    config = DecoderConfig(
        generator=generator,
        weights=weights,
        references=references,
        view=view,
        composite=composite,
        speed=speed,
    )
    opt.check_duration(duration)
    refuse_same(src, dst)
    with (
        output_file(dst, ".mp4", force=force) as out,
        stats_file(stats, force=force) as lines,
        input_file(src) as inp,
    ):
        from facecodec.api import decode_file

        with report.progress_bars("decoding") as (show,):
            done = decode_file(
                inp,
                out,
                config,
                start_s=start,
                duration_s=duration,
                crf=crf,
                stats=lines,
                on_progress=show,
            )
    typer.echo(report.decode_summary(dst, done), err=True)
    if done.warning:
        complain(done.warning)
        raise typer.Exit(EXIT_BITSTREAM)


@app.command()
def info(
    src: opt.StreamIn,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    debug: opt.Debug = False,
) -> None:
    """Show what a facecodec file holds and what each part of it costs."""
    with input_file(src) as inp:
        from facecodec.api import probe

        found = probe(inp)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    from rich.console import Console

    Console().print(*report.info_tables(found), sep="\n")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results, made if absent.")] = Path(
        "demo"
    ),
    clip: Annotated[
        Path | None, typer.Option(metavar="IN", help="Another clip than the sample of the repository.")
    ] = None,
    generator: opt.GeneratorName = opt.DECODER.generator,
    duration: opt.Duration = None,
    device: opt.Device = opt.SPEED.device,
    threads: opt.Threads = opt.SPEED.threads,
    debug: opt.Debug = False,
) -> None:
    """Encode and decode the sample clip, and set source and result side by side.

    Results of an earlier demo in the folder are replaced.
    """
    opt.check_duration(duration)
    from facecodec.cli.demo import run_demo

    speed = SpeedConfig(device=device, threads=threads)
    run_demo(clip, out, duration, DecoderConfig(generator=generator, speed=speed))


app.command()(drive)
app.command()(finetune)
app.command()(bench)
app.command()(call)
app.command("call-server")(call_server)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code, see the package's docstring.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    with signals_as_exceptions() as came:
        try:
            result = app(args=args, prog_name="facecodec", standalone_mode=False)
        except Terminated:
            result = EXIT_TERMINATED
        except (KeyboardInterrupt, typer.Abort):
            result = EXIT_INTERRUPTED
        except Exception as err:  # the last line of defence: every exception becomes a message and a code
            if debug:
                logging.getLogger(__name__).exception("failed")
            if not came:
                return explain(err)
            # Compiled libraries report a signal's exception in their callbacks as a failure of their own.
            result = EXIT_TERMINATED if signal.SIGTERM in came else EXIT_INTERRUPTED
    if result == EXIT_INTERRUPTED:  # typer's own answer to Ctrl-C too
        complain("interrupted")
    elif result == EXIT_TERMINATED:
        complain("terminated")
    return result if isinstance(result, int) else EXIT_OK
