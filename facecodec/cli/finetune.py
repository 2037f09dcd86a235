"""``facecodec finetune``: a general generator fitted to one person."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facecodec.cli import options as opt
from facecodec.cli.paths import input_file, refuse_overwrite
from facecodec.errors import WeightsError
from facecodec.weights import registry

if TYPE_CHECKING:
    from rich.table import Table

    from facecodec.train.finetune_settings import FinetuneProgress, FinetuneReport

_INTERRUPTED = 130

Source = Annotated[
    str, typer.Argument(metavar="IN", help="Video of the person, or facecodec file that shows them.")
]
Out = Annotated[
    Path,
    typer.Argument(metavar="OUT.safetensors", help="Weights to write, or a folder that exists for them."),
]
GeneratorName = Annotated[
    Literal["lite", "base"], typer.Option(help="Which installed weights to begin with.")
]
Base = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Weights to begin with, instead of those.")
]
Iterations = Annotated[
    int | None, typer.Option(min=1, help="Training steps; without it 300 for a video, 60 for a stream.")
]
Scope = Annotated[
    Literal["decoder", "heads"] | None,
    typer.Option(
        help="What is fitted: the per-frame network (usual for videos), or its normalisation and last layer."
    ),
]
KeepAnyway = Annotated[
    bool, typer.Option("--keep-anyway", help="Write the weights even where they are no better.")
]


def finetune(
    src: Source,
    dst: Out,
    generator: GeneratorName = "lite",
    weights: Base = None,
    iterations: Iterations = None,
    scope: Scope = None,
    keep_anyway: KeepAnyway = False,
    seed: Annotated[int, typer.Option(help="All chance follows from it.")] = 0,
    device: opt.Device = opt.SPEED.device,
    threads: opt.Threads = opt.SPEED.threads,
    force: opt.Force = False,
    debug: opt.Debug = False,
) -> None:
    """Fit the generator to a person; write it if frames that it never saw come out better.

    The end of a video is kept for that; of a stream, the last reference picture. Ctrl-C ends the training and
    keeps the best so far, to go on with by "--weights OUT"; a second one ends all. "encode --weights" names
    the weights in a stream.
    """
    refuse_overwrite(dst, str(dst), force=force)
    base = _installed(generator) if weights is None else weights
    with input_file(src) as source:
        from facecodec.train.finetune import finetune as fit
        from facecodec.train.finetune_settings import FinetuneSettings

        settings = FinetuneSettings(
            iterations=iterations, scope=scope, seed=seed, device=device, threads=threads
        )
        with _bar() as show:
            done = fit(
                source, base, dst, settings, keep_anyway=keep_anyway, overwrite=force, on_progress=show
            )
    from rich.console import Console

    Console().print(_table(done))
    typer.echo(_summary(done), err=True)
    if done.interrupted:
        raise typer.Exit(_INTERRUPTED)


def _installed(profile: str) -> Path:
    path = registry.find_profile(profile)
    if path is None:
        looked = ", ".join(str(folder) for folder in registry.folders())
        raise WeightsError(
            f"no weights of generator {profile} are installed in {looked}; name some: --weights"
        )
    return path


def _table(report: FinetuneReport) -> Table:
    """Scores on the held-out frames before and after."""
    from rich.table import Table

    title = f"{report.held_out}, {report.frames} frames"
    table = Table(title=title, title_justify="left")
    for heading in ("held-out frames", "before", "after", "gain"):
        table.add_column(heading, justify="left" if heading == "held-out frames" else "right")
    before, after = report.before, report.after
    table.add_row("PSNR, dB", f"{before.psnr:.2f}", f"{after.psnr:.2f}", f"{after.psnr - before.psnr:+.2f}")
    rows = {
        "LPIPS-alex": (before.lpips, after.lpips),
        "LPIPS-alex, eyes": (before.eyes, after.eyes),
        "LPIPS-alex, mouth": (before.mouth, after.mouth),
    }
    for name, (old, new) in rows.items():
        if math.isfinite(old) and math.isfinite(new):
            table.add_row(name, f"{old:.4f}", f"{new:.4f}", f"{100 * (1 - new / max(old, 1e-9)):+.1f} %")
    return table


def _summary(report: FinetuneReport) -> str:
    """One line about what was written."""
    if report.path is None or report.model_id is None:
        return "not better on the held-out frames: nothing was written (--keep-anyway writes it)"
    how = "" if report.better else "not better on the held-out frames; "
    return f"{report.path}: {how}model {report.model_id.hex()}, {report.steps} steps"


@contextmanager
def _bar() -> Iterator[Callable[[FinetuneProgress], None]]:
    """Draw a bar on standard error while the block runs; draw nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None, text="")

        def show(progress: FinetuneProgress) -> None:
            bar.update(
                task,
                description=progress.stage,
                completed=progress.done,
                total=progress.total,
                text=progress.text,
            )

        yield show
