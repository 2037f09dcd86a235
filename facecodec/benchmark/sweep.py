"""A whole run: clips made ready, every point made or taken from the cache, results put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from facecodec.benchmark import anchors, own
from facecodec.benchmark.jobs import Job, Measuring
from facecodec.benchmark.keeping import Taken, take_over
from facecodec.benchmark.machine import machine
from facecodec.benchmark.plan import plan
from facecodec.benchmark.points import is_done, run_job
from facecodec.benchmark.quality import DEEP_RULE, Sampling, available
from facecodec.benchmark.results import LeftOut, RatePoint, Results, Sampled, load_results
from facecodec.benchmark.sequences import Clip, describe, prepare
from facecodec.benchmark.sequences import Sequence as Listed
from facecodec.benchmark.workers import InProcess, Workers
from facecodec.errors import ConfigError, FacecodecError, MediaError

CODECS = (*own.CURVES, "x264-ld", "x264", "x265-ld", "x265", "svt-av1", "libaom", "vvenc", "vp9")
"""What is compared unless somebody chooses."""
SCALES = anchors.SCALES
KNOWN = (*own.CURVES, *anchors.ANCHORS)
"""What can be chosen."""
QUICK_CODECS = (*own.CURVES, "x264", "svt-av1", "vvenc")
QUICK_CLIPS, QUICK_POINTS, QUICK_SCALES = 2, 4, (1, 2)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run measures.

    Attributes:
        name: of the set, for the report.
        codecs: curves, of :data:`KNOWN`.
        points: settings of each curve and scale at most; None for all of the sweep.
        scales: resolutions of the anchors.
        sampling: which frames the networks see.
        no_networks: measure without networks.
        weights: folder of LPIPS weights; None for where they are installed.
        cache: folder of clips, streams and points.
        keep: results of an earlier run, whose points are taken over where they hold; None for none.
    """

    name: str
    cache: Path
    codecs: tuple[str, ...] = CODECS
    points: int | None = None
    scales: tuple[int, ...] = SCALES
    sampling: Sampling = Sampling(10, 50)  # noqa: RUF009
    no_networks: bool = False
    weights: Path | None = None
    keep: Path | None = None

    def __post_init__(self) -> None:
        for name in self.codecs:
            if name not in KNOWN:
                raise ConfigError("codecs", name, ", ".join(KNOWN))
        if not self.codecs:
            raise ConfigError("codecs", (), "at least one")
        if self.sampling.every < 1 or self.sampling.deep_every < 0:
            raise ConfigError("sampling", self.sampling, "every nth frame, n 1 or more")


@dataclass(frozen=True, slots=True)
class Step:
    """How far a run has come.

    Attributes:
        phase: ``clips``, ``kept`` (of an earlier run) or ``points``.
        done: clips, earlier points or jobs that are done.
        total: of how many.
        label: what was done last.
    """

    phase: str
    done: int
    total: int
    label: str


OnStep = Callable[[Step], None]


def run(
    sequences: Sequence[Listed],
    settings: Settings,
    workers: Workers | None = None,
    on_step: OnStep | None = None,
) -> Results:
    """Measure every codec on every clip.

    Args:
        sequences: the clips.
        settings: what is measured.
        workers: where; one after another here if None.
        on_step: called after every clip and every job.

    Returns:
        Every point, and what was left out and why.

    Raises:
        MediaError: no clip is left, the cache cannot be written, or the earlier run cannot be read.
        TransportError: workers were lost; a further run goes on where this one stopped.
    """
    show = on_step or (lambda step: None)
    workers = workers or InProcess()
    earlier = None if settings.keep is None else load_results(settings.keep)
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise MediaError(settings.cache, f"cannot be written: {err.strerror}") from err
    how, left_out = _measuring(settings)
    codecs, absent = _usable(settings.codecs)
    clips, lost = _prepare(sequences, settings, workers, show)
    left_out += [*absent, *lost]
    jobs = plan(clips, codecs, settings.points, settings.scales)
    taken = _take_over(earlier, settings, clips, jobs, how, show)
    points, failed = _run_jobs(jobs, how, workers, show)
    if not points:
        reasons = [item.reason for item in (*left_out, *failed)]
        raise MediaError(settings.name, "nothing could be measured: " + "; ".join(reasons or ["no clip"]))
    points += taken.points
    return Results(
        name=settings.name,
        reference=own.OWN,
        points=_sorted(points, [clip.name for clip in clips], settings.codecs),
        left_out=(*left_out, *failed, *taken.dropped),
        machine=machine(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        kept=_origins(earlier, settings.keep, taken),
        sampled=Sampled(settings.sampling.every, settings.sampling.deep_every, DEEP_RULE),
    )


def _take_over(
    earlier: Results | None,
    settings: Settings,
    clips: Sequence[Clip],
    jobs: Sequence[Job],
    how: Measuring,
    show: OnStep,
) -> Taken:
    if earlier is None or settings.keep is None:
        return Taken((), (), 0, 0, 0)
    taken = take_over(earlier, clips, jobs, how)
    deep = f", with LPIPS-vgg and DISTS {taken.deep}" if how.wants_deep else ""
    show(Step("kept", taken.count, taken.of, f"points of {settings.keep}{deep}"))
    return taken


def _origins(earlier: Results | None, file: Path | None, taken: Taken) -> tuple[str, ...]:
    if earlier is None or file is None or not taken.count:
        return ()
    where = f"{earlier.machine.processor}, {earlier.machine.cores} cores"
    line = f"{taken.count} points of {file.name}: {earlier.made}, commit {earlier.machine.commit}, {where}"
    return (*earlier.kept, line)


def _measuring(settings: Settings) -> tuple[Measuring, list[LeftOut]]:
    """How points are measured here, and which measures have no weights."""
    there = available(settings.no_networks, settings.weights, settings.sampling.deep_every > 0)
    names = tuple(sorted(name for name, reason in there.items() if not reason))
    left_out = [LeftOut("", "", f"{name}: {reason}") for name, reason in there.items() if reason]
    return Measuring(settings.cache.resolve(), settings.sampling, names, settings.weights), left_out


def _usable(codecs: Sequence[str]) -> tuple[list[str], list[LeftOut]]:
    usable, left_out = [], []
    for name in codecs:
        try:
            if name in anchors.ANCHORS:
                anchors.check_anchor(anchors.ANCHORS[name])
            else:
                own.generator_name(name)
            usable.append(name)
        except FacecodecError as err:
            left_out.append(LeftOut("", name, describe(err)))
    return usable, left_out


def _try_prepare(sequence: Listed, cache: Path) -> Clip | LeftOut:
    try:
        return prepare(sequence, cache)
    except (FacecodecError, OSError) as err:
        return LeftOut(sequence.name, "", describe(err))


def _prepare(
    sequences: Sequence[Listed], settings: Settings, workers: Workers, show: OnStep
) -> tuple[list[Clip], list[LeftOut]]:
    found: dict[str, Clip] = {}
    lost = []
    work = partial(_try_prepare, cache=settings.cache.resolve())
    for done, (sequence, made) in enumerate(workers.map(work, sequences), 1):
        if isinstance(made, Clip):
            found[sequence.name] = made
        else:
            lost.append(made)
        show(Step("clips", done, len(sequences), sequence.name))
    return [found[s.name] for s in sequences if s.name in found], lost


def _run_jobs(
    jobs: list[Job], how: Measuring, workers: Workers, show: OnStep
) -> tuple[list[RatePoint], list[LeftOut]]:
    points: list[RatePoint] = []
    failed: list[LeftOut] = []
    kept = [job for job in jobs if is_done(job, how)]
    for done, job in enumerate(kept, 1):
        points += run_job(job, how)[0]
        show(Step("points", done, len(jobs), f"{_label(job)} (cache)"))
    work = partial(run_job, how=how)
    missing = [job for job in jobs if job not in set(kept)]
    for done, (job, (made, lost)) in enumerate(workers.map(work, missing), len(kept) + 1):
        points, failed = points + made, failed + lost
        show(Step("points", done, len(jobs), _label(job)))
    return points, failed


def _label(job: Job) -> str:
    scale = f" 1/{job.scale}" if job.scale > 1 else ""
    return f"{job.clip.name} {job.codec}{scale} {job.setting}"


def _sorted(points: list[RatePoint], clips: list[str], codecs: Sequence[str]) -> tuple[RatePoint, ...]:
    """By clip, codec (those that were asked for first), scale and rate."""
    order = list(dict.fromkeys((*codecs, *(point.codec for point in points))))

    def place(point: RatePoint) -> tuple[int, int, int, float]:
        return clips.index(point.clip), order.index(point.codec), point.scale, point.kbps

    return tuple(sorted(points, key=place))
