"""Make a packed data set out of any folder of videos.

    python -m facecodec.train.prepare VIDEOS OUT.safetensors --takes 2 --frames-per-take 48 --jobs 2

Every clip is really encoded, with settings drawn at random, and what a decoder would see is stored beside
the source crops (``takes.py``, ``selection.py``). Each finished take is a small pack of its own in a work
folder, so that an interrupted run goes on where it was; the packs are then put together, up to a budget of
bytes that is shared evenly over the clips (``budget.py``).
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, cast

import cv2
import torch
import typer
from rich.console import Console
from rich.progress import Progress

from facecodec.errors import ConfigError, FacecodecError, MediaError
from facecodec.interrupts import ignore_between_jobs, interruptible
from facecodec.media.atomic import os_reason
from facecodec.train.budget import reduce_takes
from facecodec.train.pack import Pack
from facecodec.train.packing import entries, write_pack
from facecodec.train.records import FORMAT
from facecodec.train.takes import TakeSettings, make_take
from facecodec.train.videos import Video, select_videos

_log = logging.getLogger(__name__)
_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How a data set is made.

    Attributes:
        takes: takes of every clip.
        take: how each is made.
        budget_mb: largest size of the file in MiB; 0 sets no limit.
        recode: WebP quality, 1 to 100, that all pictures are coded to; 0 keeps them as they are.
        jobs: processes.
    """

    takes: int = 2
    take: TakeSettings = field(default_factory=TakeSettings)
    budget_mb: float = 0.0
    recode: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        for name in ("takes", "jobs"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if self.budget_mb < 0:
            raise ConfigError("budget_mb", self.budget_mb, "0 or more")
        if not 0 <= self.recode <= 100:
            raise ConfigError("recode", self.recode, "0 to 100")


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What :func:`prepare` made.

    Attributes:
        clips: clips in the file.
        takes: takes in the file.
        frames: frames in the file.
        bytes: its size.
        skipped: for each take that was left out, its clip, number and the reason.
    """

    clips: int
    takes: int
    frames: int
    bytes: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    video: Video
    number: int
    count: int
    settings: TakeSettings
    part: Path


def prepare(
    videos: Path | Sequence[Path],
    out: Path,
    settings: PrepareSettings | None = None,
    *,
    work: Path | None = None,
    manifest: Path | None = None,
    split: str | None = None,
    overwrite: bool = False,
    on_take: Callable[[int, int, str], None] | None = None,
) -> PrepareReport:
    """Make a packed data set.

    Args:
        videos: a folder, searched through, or the files.
        out: file to write.
        settings: how it is made.
        work: folder that keeps finished takes; by default beside ``out``. With the same one, an
            interrupted run goes on, and another budget costs no new encoding. A take that cannot be made
            leaves a file ``.skipped`` with the reason; without that file it is tried again.
        manifest: CSV that says which videos to take and who they show (see ``videos.read_manifest``).
        split: rows of the manifest to keep.
        overwrite: replace an existing ``out``.
        on_take: called after every take with takes done, takes in all, and what became of it.

    Raises:
        ConfigError: a setting is out of range.
        MediaError: no videos; ``out`` exists or cannot be written; no take could be made.
    """
    settings = settings or PrepareSettings()
    if out.exists() and not overwrite:
        raise MediaError(out, "exists already, and overwriting was not asked for")
    chosen = select_videos(videos, manifest, split)
    folder = work or out.with_name(f"{out.name}.work")
    jobs = list(_plan(chosen, folder, settings))
    _run(jobs, settings.jobs, on_take)
    skipped = tuple(job.part.with_suffix(".skipped").read_text() for job in jobs if not job.part.exists())
    made = [job for job in jobs if job.part.exists()]
    if not made:
        raise MediaError(out, f"no take could be made of {len(chosen)} videos; the first: {skipped[0]}")
    takes = [(job.video.clip, entry) for job in made for _, entry in entries(Pack.open(job.part))]
    takes = reduce_takes(takes, int(settings.budget_mb * _MEGABYTE), settings.recode)
    size = write_pack(out, takes, overwrite=overwrite)
    frames = sum(len(run) for _, entry in takes for run in entry.runs)
    return PrepareReport(len({clip for clip, _ in takes}), len(takes), frames, size, skipped)


def _plan(videos: list[Video], work: Path, settings: PrepareSettings) -> Iterator[_Job]:
    """One job a take; its part carries format and settings in its name: others make other parts."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise MediaError(work, f"cannot be written: {os_reason(err)}") from err
    for video in videos:
        for number in range(settings.takes):
            size = video.path.stat().st_size
            key = f"{FORMAT}/{settings.take}/{video.clip.name}/{number}/{settings.takes}/{size}"
            digest = hashlib.sha256(key.encode()).hexdigest()[:16]
            part = work / f"{video.path.stem}-{number}-{digest}.safetensors"
            yield _Job(video, number, settings.takes, settings.take, part)


def _run(jobs: list[_Job], processes: int, on_take: Callable[[int, int, str], None] | None) -> None:
    """Make the takes that are not there yet."""
    waiting = [j for j in jobs if not j.part.exists() and not j.part.with_suffix(".skipped").exists()]
    done = len(jobs) - len(waiting)
    if on_take is not None:
        on_take(done, len(jobs), f"{done} takes were made before")
    for text in _results(waiting, processes):
        done += 1
        _log.info("%s", text)
        if on_take is not None:
            on_take(done, len(jobs), text)


def _results(jobs: list[_Job], processes: int) -> Iterator[str]:
    if processes == 1 or len(jobs) < 2:
        yield from map(_make_part, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), context, initializer=_begin) as pool:
        try:
            for future in as_completed([pool.submit(interruptible, _make_part, job) for job in jobs]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Keep a worker process on one thread, and quiet between its jobs."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ignore_between_jobs()


def _make_part(job: _Job) -> str:
    """Make a take and store it, or note why there is none; says what became of it."""
    name = f"{job.video.clip.name} take {job.number}"
    try:
        made = make_take(job.video.path, job.video.clip.name, job.number, job.count, job.settings)
    except FacecodecError as err:
        text = f"{name}: skipped, {err}"
        job.part.with_suffix(".skipped").write_text(text)
        return text
    size = write_pack(job.part, [(job.video.clip, made.entry)], overwrite=True)
    frames, judged = sum(map(len, made.entry.runs)), made.judged
    left_out = f"{judged.lost} lost, {judged.blurred} blurred, {judged.frozen} frozen, {judged.cuts} cuts"
    references, stills = len(made.entry.references), len(made.entry.stills)
    kept = f"{frames} of {made.encoded} frames, {references} references, {stills} stills"
    return f"{name}: {kept}, {size // 1024} KiB ({left_out})"


def _range(text: str, name: str) -> tuple[int, int]:
    """``LOW:HIGH`` or one number."""
    low, _, high = text.partition(":")
    try:
        return int(low), int(high or low)
    except ValueError as err:
        raise ConfigError(name, text, "a number, or LOW:HIGH") from err


def _prepare_shown(
    videos: Path,
    out: Path,
    settings: PrepareSettings,
    *,
    work: Path | None,
    manifest: Path | None,
    split: str | None,
    overwrite: bool,
) -> None:
    """:func:`prepare` with a bar and a line for every take, on standard error."""
    console = Console(stderr=True, soft_wrap=True)
    with Progress(console=console) as progress:
        bar = progress.add_task("preparing", total=None)

        def show(done: int, total: int, text: str) -> None:
            progress.update(bar, completed=done, total=total)
            progress.console.print(text, highlight=False, markup=False)

        report = prepare(
            videos, out, settings,
            work=work, manifest=manifest, split=split, overwrite=overwrite, on_take=show,
        )  # fmt: skip
    for text in report.skipped:
        console.print(text, highlight=False, markup=False)
    size = f"{report.bytes / _MEGABYTE:.1f} MiB"
    console.print(f"{out}: {report.frames} frames of {report.takes} takes of {report.clips} clips, {size}")


def main(
    videos: Annotated[Path, typer.Argument(help="folder of videos")],
    out: Annotated[Path, typer.Argument(help="safetensors file to write")],
    takes: Annotated[int, typer.Option(help="takes of every clip")] = 2,
    frames_per_take: Annotated[int, typer.Option(help="frames to keep of a take")] = 48,
    run: Annotated[int, typer.Option(help="consecutive frames of a run")] = 8,
    encoded: Annotated[int, typer.Option(help="frames to encode for a take")] = 130,
    qp: Annotated[str, typer.Option(help="motion QP, LOW:HIGH")] = "12:26",
    ref_quality: Annotated[str, typer.Option(help="quality of reference pictures, LOW:HIGH")] = "50:90",
    stills: Annotated[float, typer.Option(help="coded stills a take, on average")] = 3.5,
    size: Annotated[int, typer.Option(metavar="256|512", help="largest side of the pictures")] = 256,
    varied: Annotated[bool, typer.Option(help="takes start anywhere in the clip")] = True,
    budget_mb: Annotated[float, typer.Option(help="largest size of the file, MiB; 0: no limit")] = 0.0,
    recode: Annotated[int, typer.Option(help="code all pictures to WebP of this quality; 0: no")] = 0,
    jobs: Annotated[int, typer.Option(help="processes")] = 1,
    seed: Annotated[int, typer.Option(help="all chance follows from it")] = 0,
    work: Annotated[Path | None, typer.Option(help="folder that keeps finished takes")] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV with a column file: videos to take")] = None,
    split: Annotated[str | None, typer.Option(help="rows of the manifest to take")] = None,
    force: Annotated[bool, typer.Option(help="replace the file if it is there")] = False,
) -> None:
    """Make a packed data set out of a folder of videos."""
    take = TakeSettings(
        qp=_range(qp, "qp"),
        ref_quality=_range(ref_quality, "ref_quality"),
        frames=frames_per_take,
        run=run,
        encoded=encoded,
        stills=stills,
        size=cast(Literal[256, 512], size),
        varied=varied,
        seed=seed,
    )
    settings = PrepareSettings(takes, take, budget_mb, recode, jobs)
    _prepare_shown(videos, out, settings, work=work, manifest=manifest, split=split, overwrite=force)


if __name__ == "__main__":
    typer.run(main)
