"""What a command shows: progress on standard error, results as text, tables or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from facecodec.api import DecodeReport, EncodeReport, Progress, StreamInfo
    from facecodec.api.report import StreamQuality


def kbps(size: int, seconds: float) -> float:
    """Kilobits a second of ``size`` bytes over ``seconds``; 0 for no time at all."""
    return size * 8 / seconds / 1000 if seconds > 0 else 0.0


@contextmanager
def progress_bars(*labels: str) -> Iterator[list[Callable[[Progress], None]]]:
    """Draw bars on standard error while the block runs; draw nothing where that is no terminal.

    Args:
        labels: one for each bar, in the order of the work.

    Yields:
        For each bar the function to call with every ``Progress``.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def showing(task: TaskID) -> Callable[[Progress], None]:
            def show(progress: Progress) -> None:
                bar.start_task(task)
                fps = progress.frames_done / max(bar.tasks[task].elapsed or 0.0, 1e-6)
                rate = kbps(progress.bytes_done, progress.seconds_done)
                bar.update(
                    task,
                    completed=progress.frames_done,
                    total=progress.frames_total,
                    speed=f"{fps:.1f} fps" + (f"  {rate:.2f} kbit/s" if rate else ""),
                )

            return show

        yield [
            showing(bar.add_task(label, start=label == labels[0], total=None, speed="")) for label in labels
        ]


def encode_summary(name: str, report: EncodeReport) -> str:
    """One line about a file that was encoded."""
    rate = kbps(report.bytes, report.seconds)
    return (
        f"{name}: {report.frames} frames, {report.seconds:.2f} s, {report.bytes} bytes, {rate:.2f} kbit/s, "
        f"{report.references} reference pictures, {_quality_line(report.quality)}, "
        f"{report.wall_s:.1f} s of work"
    )


def _quality_line(quality: StreamQuality | None) -> str:
    """How far the pictures are from the source, in a few words."""
    if quality is None:
        return "distance from the source unknown"
    return f"distance {quality.mean:.3f} (95 % below {quality.worst:.3f})"


def decode_summary(name: str, report: DecodeReport) -> str:
    """One line about a file that was decoded."""
    return (
        f"{name}: {report.frames} frames, {report.width}x{report.height}, {report.seconds:.2f} s, "
        f"generator {report.generator}, {report.wall_s:.1f} s of work"
    )


def rate_table(title: str, section_bytes: dict[str, int], seconds: float) -> Table:
    """Bytes, rate and share of every part of a stream, and their sum."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for heading in ("bytes", "kbit/s", "share"):
        table.add_column(heading, justify="right")
    total = sum(section_bytes.values())
    for name, size in section_bytes.items():
        share = 100 * size / total if total else 0.0
        table.add_row(name, str(size), f"{kbps(size, seconds):.2f}", f"{share:.0f} %")
    table.add_section()
    table.add_row("total", str(total), f"{kbps(total, seconds):.2f}", "100 %")
    return table


def _quality_rows(quality: StreamQuality | None) -> dict[str, str]:
    """How far the pictures are from the source, as rows of a table."""
    if quality is None:
        return {"distance from source": "unknown"}
    return {
        "distance from source": f"{quality.mean:.3f} (95 % below {quality.worst:.3f})",
        "of eyes, of mouth": f"{quality.eyes:.3f}, {quality.mouth:.3f}",
        "measured": f"{quality.measured} of {quality.frames} frames",
    }


def info_tables(info: StreamInfo) -> tuple[Table, Table]:
    """What a file holds, and its rates."""
    from rich.table import Table

    table = Table(title=info.path, title_justify="left", show_header=False)
    table.add_column("field")
    table.add_column("value")
    rows = {
        "bitstream version": info.bitstream_version,
        "model": info.model_id,
        "keypoints": info.keypoint_set,
        "picture": f"{info.width}x{info.height}, {info.view}, coded at {info.coded_size}",
        "frames": f"{info.frames} in {info.duration_s:.2f} s, {info.frame_rate:.3f} a second",
        "held frames": info.held_frames,
        "reference pictures": f"{info.references}, of them {info.predicted_references} predicted",
        "random access points": info.random_access_points,
        "motion, bits a frame": f"{info.motion_bits_mean:.1f} (95 % below {info.motion_bits_p95:.1f})",
        **_quality_rows(info.quality),
        "scene grid": f"{info.scene_grid}x{info.scene_grid}" if info.scene_grid else "none",
        "audio": info.audio or "none",
        "size": f"{info.bytes} bytes, {info.kbps:.2f} kbit/s",
        "complete": "yes" if info.complete else "no: the file was cut",
    }
    for field, value in rows.items():
        table.add_row(field, str(value))
    return table, rate_table("rate", info.section_bytes, info.duration_s)
