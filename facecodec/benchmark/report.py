"""The report of a run: one page of HTML, the same as Markdown, CSV files and PNG plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facecodec.benchmark import tables
from facecodec.benchmark.compare import Comparison, compare
from facecodec.benchmark.curves import MeanPoint, clips_of, codecs_of, mean_points
from facecodec.benchmark.drawing import clip_lines, mean_lines, write_png
from facecodec.benchmark.leads import Ahead, where_ahead
from facecodec.benchmark.measures import SHOWN, Measure
from facecodec.benchmark.previews import SOURCE, Preview, show_previews
from facecodec.benchmark.results import Results
from facecodec.benchmark.spreadsheets import bd_csv, clips_csv, points_csv, table_csv
from facecodec.benchmark.svg import plot, styles
from facecodec.benchmark.wording import by_group, headline, markdown_statements, missing_reference, statements
from facecodec.errors import MediaError
from facecodec.media.atomic import atomic_path, os_reason

__all__ = ["SOURCE", "Preview", "ReportFiles", "summary_markdown", "write_report"]


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What a report consists of.

    Attributes:
        html: the page; needs no other file.
        markdown: the same without pictures.
        points_csv: every point with every measure.
        bd_csv: every comparison, over the clips.
        clips_csv: every comparison, clip by clip.
        machine_csv: where and how the run was made.
        plots: PNG, one of all measures and one for each.
    """

    html: Path
    markdown: Path
    points_csv: Path
    bd_csv: Path
    clips_csv: Path
    machine_csv: Path
    plots: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Digest:
    """What every form of the report is made from."""

    results: Results
    measures: tuple[Measure, ...]
    found: tuple[Comparison, ...]
    means: tuple[MeanPoint, ...]
    ahead: Ahead

    @classmethod
    def of(cls, results: Results) -> _Digest:
        there = tuple(m for m in SHOWN if any(m.of(p.quality) == m.of(p.quality) for p in results.points))
        means = mean_points(results, there)
        return cls(results, there, compare(results, there), means, where_ahead(results, means, there))


def write_report(results: Results, out: Path, previews: Sequence[Preview] = ()) -> ReportFiles:
    """Write a run's report into a folder, which is made; files of an earlier report are replaced.

    Args:
        results: the run.
        out: folder for ``report.html``, ``report.md``, ``points.csv``, ``bdrate.csv``, ``bdrate_clips.csv``,
            ``machine.csv`` and ``plots/``.
        previews: decoded pictures near one rate, the source among them as :data:`SOURCE`; empty for none.

    Raises:
        MediaError: the folder or a file cannot be written.
        ShapeError: previews of a clip have different shapes.
    """
    digest = _Digest.of(results)
    page = _page(digest, previews)
    folder = out / "plots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = ReportFiles(
            html=_write(out / "report.html", page),
            markdown=_write(out / "report.md", _markdown(digest)),
            points_csv=_write(out / "points.csv", points_csv(results.points)),
            bd_csv=_write(out / "bdrate.csv", bd_csv(digest.found)),
            clips_csv=_write(out / "bdrate_clips.csv", clips_csv(digest.found)),
            machine_csv=_write(out / "machine.csv", table_csv(tables.machine_table(results))),
            plots=_plots(digest, folder),
        )
    except OSError as err:
        raise MediaError(out, f"report cannot be written: {os_reason(err)}") from err
    return files


def summary_markdown(
    results: Results, fields_shown: Sequence[str], plot_to: Path | None = None, others_to: Path | None = None
) -> str:
    """Wins and losses, BD-rates and what was left out, for a README.

    Args:
        results: the run.
        fields_shown: of ``Quality``: the measures of the table and the plot.
        plot_to: a PNG of these measures is written there, if there is anything to draw.
        others_to: likewise of all other measures.
    """
    digest = _Digest.of(results)
    measures = tuple(m for m in digest.measures if m.field in fields_shown)
    found = tuple(c for c in digest.found if c.measure in measures)
    for path, drawn in ((plot_to, measures), (others_to, [m for m in digest.measures if m not in measures])):
        if path is not None and drawn:
            write_png(path, drawn, mean_lines(results, mean_points(results, drawn), drawn))
    bd = tables.bd_table(found, results.reference)
    missing = missing_reference(results)
    parts = [tables.escaped(missing)]
    if not missing:
        parts = [
            markdown_statements(results, digest.found, digest.ahead),
            tables.escaped(bd.text),
            bd.markdown(),
        ]
    parts += _speed_summary(results)
    if results.left_out:
        parts += [f"Left out: {len(results.left_out)} (clip, codec or measure), named in the report."]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _speed_summary(results: Results) -> list[str]:
    """Speed of every codec, and the reference codec's stages in a line."""
    speed, stages = tables.speed_table(results), tables.stage_table(results)
    parts = [f"Speed: {speed.text[0].lower()}{speed.text[1:]}", speed.markdown()]
    if stages is not None:
        listed = ", ".join(f"{name.text} {took.text}" for name, took in stages.rows)
        parts.append(f"Stages of {results.reference}, ms a frame: {listed}.")
    return parts


def _write(path: Path, text: str) -> Path:
    with atomic_path(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")
    return path


def _plots(digest: _Digest, folder: Path) -> tuple[Path, ...]:
    lines = mean_lines(digest.results, digest.means, digest.measures)
    if not any(lines):
        return ()
    every = folder / "all.png"
    write_png(every, digest.measures, lines, f"{digest.results.name}: mean over clips")
    paths = [every]
    for measure, drawn in zip(digest.measures, lines, strict=True):
        if drawn:
            paths.append(folder / f"{measure.field}.png")
            write_png(paths[-1], [measure], [drawn])
    return tuple(paths)


def _page(digest: _Digest, previews: Sequence[Preview]) -> str:
    import jinja2  # comes with the benchmark's packages

    results = digest.results
    lines = mean_lines(results, digest.means, digest.measures)
    groups: dict[str, list[str]] = {}
    for measure, drawn in zip(digest.measures, lines, strict=True):
        made = plot(measure.title, drawn, higher_is_better=measure.higher_is_better)
        if made:
            groups.setdefault(measure.group, []).append(made)
    clips = [(clip, _clip_plots(digest, clip)) for clip in clips_of(results)]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    look = styles(codecs_of(results), results.reference)
    return environment.get_template("report.html.j2").render(
        reference=results.reference,
        name=results.name,
        made=results.made,
        commit=results.machine.commit,
        cores=results.machine.cores,
        processor=results.machine.processor,
        missing=missing_reference(results),
        headline=headline(results, digest.found),
        groups_say=by_group(digest.found),
        ahead=digest.ahead,
        statements=statements(digest.found),
        bd=tables.bd_table(digest.found, results.reference),
        refusals=tables.refusal_table(digest.found),
        legend=[(codec, look[codec]) for codec in codecs_of(results)],
        groups=list(groups.items()),
        previews=show_previews(previews),
        clips=clips,
        shares=tables.share_table(results),
        speed=tables.speed_table(results),
        stages=tables.stage_table(results),
        left_out=tables.left_out_table(results),
        means=tables.means_table(digest.means, digest.measures),
        codecs=tables.codec_table(results),
        machine=tables.machine_table(results),
    )


def _clip_plots(digest: _Digest, clip: str) -> list[str]:
    made = [
        plot(m.title, clip_lines(digest.results, clip, m), higher_is_better=m.higher_is_better)
        for m in digest.measures
    ]
    return [svg for svg in made if svg]


def _markdown(digest: _Digest) -> str:
    results = digest.results
    missing = missing_reference(results)
    title = tables.escaped(f"{results.reference}: rate and quality, {results.name}")
    text = [f"# {title}", "## Where we win, where we lose"]
    text.append(tables.escaped(missing) or markdown_statements(results, digest.found, digest.ahead))
    compared = [tables.bd_table(digest.found, results.reference), tables.refusal_table(digest.found)]
    shown = [] if missing else compared
    shown += [tables.share_table(results), tables.speed_table(results)]
    stages = tables.stage_table(results)
    shown += [stages] if stages is not None else []
    shown += [tables.left_out_table(results), tables.means_table(digest.means, digest.measures)]
    shown += [tables.codec_table(results), tables.machine_table(results)]
    for table in shown:
        text += [
            f"## {tables.escaped(table.title)}",
            tables.escaped(table.text),
            table.markdown() if table.rows else "",
        ]
    return "\n\n".join(part.strip() for part in text if part.strip()) + "\n"
