"""``facecodec drive``: one person's motion on another person's picture."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

from facecodec.cli import options as opt
from facecodec.cli import report
from facecodec.cli.paths import input_file, output_file, refuse_same
from facecodec.config import SpeedConfig
from facecodec.errors import MediaError

Picture = Annotated[str, typer.Argument(metavar="REF.png", help="Picture of the person who is to be shown.")]
Driver = Annotated[str, typer.Argument(metavar="DRIVER.mp4", help="Video of the person who moves.")]
Size = Annotated[
    int, typer.Option(metavar="256|512", help="Largest side of the square around the face, pixels.")
]
View = Annotated[
    Literal["frame", "crop"],
    typer.Option(help="frame: the whole picture; crop: the face's surroundings alone."),
]


def drive(
    reference: Picture,
    driver: Driver,
    dst: opt.ClipOut,
    generator: opt.GeneratorName = opt.DECODER.generator,
    weights: opt.Weights = None,
    size: Size = 512,
    view: View = "frame",
    crf: opt.Crf = opt.DEFAULT_CRF,
    start: opt.Start = 0.0,
    duration: opt.Duration = None,
    device: opt.Device = opt.SPEED.device,
    threads: opt.Threads = opt.SPEED.threads,
    force: opt.Force = False,
    debug: opt.Debug = False,
) -> None:
    """Let the person of one video move the picture of another, with the video's sound.

    The result is marked as synthetic in its metadata. Show nobody in this way who has not agreed to it.
    """
    opt.check_duration(duration)
    speed = SpeedConfig(device=device, threads=threads)
    for src in (reference, driver):
        refuse_same(src, dst)
    with (
        output_file(dst, ".mp4", force=force) as out,
        input_file(reference) as picture,
        input_file(driver) as video,
    ):
        from facecodec.api.drive import DriveConfig, drive_file

        config = DriveConfig(
            generator=generator,
            weights=weights,
            size=cast(Literal[256, 512], size),
            view=view,
            speed=speed,
        )
        with report.progress_bars("tracking", "driving") as (track, make):
            done = drive_file(
                picture,
                video,
                out,
                config,
                start_s=start,
                duration_s=duration,
                crf=crf,
                on_tracking=track,
                on_progress=make,
            )
    held = f", {done.held_frames} without a face" if done.held_frames else ""
    typer.echo(
        f"{dst}: {done.frames} frames{held}, {done.width}x{done.height}, {done.seconds:.2f} s, "
        f"generator {done.generator}, {done.wall_s:.1f} s of work",
        err=True,
    )
    if done.damage:
        raise MediaError(driver, f"{done.damage}; what could be read was used")
