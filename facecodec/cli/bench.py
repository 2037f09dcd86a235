"""``facecodec bench``: this codec against others on the same frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facecodec.cli import options as opt
from facecodec.errors import ConfigError

if TYPE_CHECKING:
    from facecodec.benchmark.results import Results
    from facecodec.benchmark.sequences import Sequence
    from facecodec.benchmark.sweep import Settings, Step
    from facecodec.benchmark.workers import Workers

SAMPLES = "samples"

What = Annotated[
    str, typer.Argument(metavar="SET|FOLDER", help="samples, another set of the list, or a folder of videos.")
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder that the set's files are relative to.")
]
Listed = Annotated[
    Path | None, typer.Option("--sequences", metavar="FILE", help="Another list than bench/sequences.toml.")
]
Quick = Annotated[bool, typer.Option("--quick", help="2 clips, 3 anchors, 4 points a curve.")]
Size = Annotated[
    int | None,
    typer.Option(
        metavar="256|512", help="Side of the square, pixels; without it what the list says, or 256."
    ),
]
Frames = Annotated[
    int | None, typer.Option(min=2, help="Frames of each clip; without it what the list says, or 250.")
]
Codecs = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Curves to make; a name that is not known shows all.")
]
Points = Annotated[
    int | None,
    typer.Option(
        min=2, metavar="N", help="Settings of each curve and resolution at most, the lowest rate among them."
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for results.json and the report.")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of clips, streams and points; OUT/cache if absent.")
]
Keep = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Earlier results.json: what holds of it is taken over, not made again."
    ),
]
Jobs = Annotated[int, typer.Option(min=0, help="Processes; 0 takes as many as there are cores.")]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler to work on instead, tcp://HOST:PORT.")
]
Every = Annotated[int, typer.Option(min=1, help="LPIPS and identity of every nth frame.")]
Pictures = Annotated[int, typer.Option(min=0, help="Clips that the report shows side by side; 0 for none.")]
DeepEvery = Annotated[int, typer.Option(min=0, help="LPIPS-vgg and DISTS of every nth; 0 for none.")]


def bench(
    what: What,
    data: Data = None,
    sequences: Listed = None,
    quick: Quick = False,
    size: Size = None,
    frames: Frames = None,
    codecs: Codecs = None,
    points: Points = None,
    out: Out = Path("bench-results"),
    cache: Cache = None,
    keep: Keep = None,
    jobs: Jobs = 0,
    scheduler: Scheduler = None,
    metrics_every: Every = 10,
    deep_every: DeepEvery = 50,
    pictures: Pictures = 2,
    debug: opt.Debug = False,
) -> None:
    """Measure rate and quality of facecodec and of conventional codecs on the same frames.

    Points are kept as they come: a run that was stopped goes on where it was.
    """
    from facecodec.benchmark import sweep
    from facecodec.benchmark.quality import Sampling
    from facecodec.benchmark.results import save_results

    listed = find_sequences(what, data, sequences, frames, size)
    chosen = sweep.QUICK_CODECS if quick else sweep.CODECS
    settings = sweep.Settings(
        name=Path(what).resolve().name,
        cache=cache if cache is not None else out / "cache",
        codecs=tuple(codecs.split(",")) if codecs is not None else chosen,
        points=points or (sweep.QUICK_POINTS if quick else None),
        scales=sweep.QUICK_SCALES if quick else sweep.SCALES,
        sampling=Sampling(metrics_every, deep_every),
        keep=keep,
    )
    results = _run(listed[: sweep.QUICK_CLIPS] if quick else listed, settings, jobs, scheduler)
    out.mkdir(parents=True, exist_ok=True)
    save_results(_compared(results), out / "results.json")
    typer.echo(_summary(results, out), err=True)
    typer.echo(f"report: {_report(results, listed[:pictures], settings, out)}", err=True)


def find_sequences(
    what: str, data: Path | None, listed: Path | None, frames: int | None, size: int | None = None
) -> list[Sequence]:
    """Clips that an argument of the command names.

    Args:
        what: a set of the list, or a folder.
        data: what a set's files are relative to; samples come with the repository.
        listed: the list; None takes the repository's.
        frames: of each clip; None leaves it to the list.
        size: side of the square; None leaves it to the list.

    Raises:
        ConfigError: no such set and no such folder, a set without ``data``, or no such square.
        MediaError: the list is absent or damaged, or the folder holds no video.
    """
    import facecodec
    from facecodec.benchmark.sequences import read_sets, sequences_of_folder, sequences_of_set

    root = Path(facecodec.__file__).resolve().parents[1]
    path = listed if listed is not None else root / "bench" / "sequences.toml"
    sets = read_sets(path) if listed is not None or path.is_file() else {}
    if what in sets:
        folder = root / SAMPLES if what == SAMPLES and data is None else data
        if folder is None:
            raise ConfigError("--data", None, f"the folder that the clips of set {what} are in")
        return sequences_of_set(sets[what], folder, frames, size)
    if not Path(what).is_dir():
        raise ConfigError("SET|FOLDER", what, ", ".join([*sets, "or a folder of videos"]))
    return sequences_of_folder(Path(what), frames, size)


def _run(listed: list[Sequence], settings: Settings, jobs: int, scheduler: str | None) -> Results:
    from facecodec.benchmark import sweep
    from facecodec.benchmark.machine import cores
    from facecodec.benchmark.workers import DaskWorkers, InProcess, LocalProcesses

    with _bar() as show:
        if scheduler is not None:
            cluster = DaskWorkers(scheduler)
            try:
                return sweep.run(listed, settings, cluster, show)
            finally:
                cluster.close()
        count = jobs or cores()
        workers: Workers = LocalProcesses(count) if count > 1 else InProcess()
        return sweep.run(listed, settings, workers, show)


def _compared(results: Results) -> Results:
    """The results with their BD-rates; without where the package that makes them is absent."""
    from facecodec.benchmark.compare import with_bd_rates

    try:
        return with_bd_rates(results)
    except ImportError:
        return results


def _report(results: Results, shown: list[Sequence], settings: Settings, out: Path) -> Path:
    """Write the report beside the results.

    Raises:
        ConfigError: a package that it needs is absent; the results are kept all the same.
    """
    try:
        from facecodec.benchmark.report import write_report
        from facecodec.benchmark.sequences import prepare
        from facecodec.benchmark.showcase import find_previews

        cache = settings.cache.resolve()
        measured = {point.clip for point in results.points}
        clips = [prepare(s, cache) for s in shown if s.name in measured]
        return write_report(results, out, find_previews(results, clips, cache)).html
    except ImportError as err:
        raise ConfigError("report", err.name, "pip install 'facecodec[bench]', which brings it") from err


@contextmanager
def _bar() -> Iterator[Callable[[Step], None]]:
    """Draw how far a run has come on standard error; say it in lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks = {name: bar.add_task(name, total=None) for name in ("clips", "kept", "points")}

        def show(step: Step) -> None:
            bar.update(tasks[step.phase], completed=step.done, total=step.total)
            if not console.is_terminal:
                typer.echo(f"{step.phase} {step.done}/{step.total}: {step.label}", err=True)

        yield show


def _summary(results: Results, out: Path) -> str:
    """A line of counts, and a line for everything that was left out."""
    clips = {point.clip for point in results.points}
    codecs = {point.codec for point in results.points}
    lines = [f"{out}: {len(results.points)} points of {len(codecs)} codecs on {len(clips)} clips"]
    for item in results.left_out:
        where = " ".join(part for part in (item.clip, item.codec) if part)
        lines.append(f"left out: {where + ': ' if where else ''}{item.reason}")
    return "\n".join(lines)
