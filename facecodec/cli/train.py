"""``facecodec train``: the data set, the training run, and the weights that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facecodec.cli import options as opt

app = typer.Typer(help="Train the learned generator.", no_args_is_help=True)


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def prepare(context: typer.Context) -> None:
    """Make a packed data set of a folder of videos: prepare VIDEOS OUT; prepare --help lists the rest."""
    from facecodec.train.prepare import main

    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    inner.command()(main)
    given = [word for word in context.args if word != "--debug"]
    result = inner(args=given, prog_name="facecodec train prepare", standalone_mode=False)
    raise typer.Exit(result if isinstance(result, int) else 0)


@app.command()
def run(
    config: Annotated[str, typer.Option(metavar="FILE", help="TOML file, or the name of a preset.")],
    data: Annotated[list[Path], typer.Option(metavar="PACK", help="Packed data set; may be repeated.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")],
    val: Annotated[Path | None, typer.Option(metavar="PACK", help="Packed data set for validation.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights to begin with.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Limit of training time in all.")] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Limit of steps in all.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that make samples.")] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="Threads of torch.")] = None,
    debug: opt.Debug = False,
) -> None:
    """Train from a packed data set. On several GPUs: torchrun -m facecodec.train run, same options."""
    from facecodec.train.run import RunOptions, run_training

    result = run_training(
        RunOptions(config, tuple(data), val, out, resume, init, seconds, steps, workers, threads)
    )
    how = "stopped" if result.interrupted else "done"
    typer.echo(f"{out}: {how} after {result.step} steps, {result.seconds:.0f} s", err=True)


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(metavar="RUN/weights.safetensors", help="Weights of a run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where they go, such as $FACECODEC_WEIGHTS.")],
    label: Annotated[
        str | None, typer.Option(help="First part of the file's name; without it, the profile's name.")
    ] = None,
    debug: opt.Debug = False,
) -> None:
    """Write weights under the name that their hash gives them, so that the decoder finds them."""
    from facecodec.generator.select import check_weights
    from facecodec.weights.store import save_weights

    loaded = check_weights(weights)
    path = save_weights(
        folder,
        loaded.tensors,
        loaded.profile,
        sequential=loaded.sequential,
        label=label,
        parent=loaded.parent,
    )
    typer.echo(f"{path}: {path.stat().st_size} bytes", err=True)
