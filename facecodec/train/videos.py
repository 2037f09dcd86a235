"""The videos that a data set is made of: a folder or a list, less what a manifest leaves out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facecodec.errors import ConfigError, MediaError
from facecodec.train.basis import VIDEO_SUFFIXES
from facecodec.train.records import Clip


@dataclass(frozen=True, slots=True)
class Video:
    """A video to prepare: file, name in the data set, and who is seen."""

    path: Path
    clip: Clip


def find_videos(folder: Path) -> list[Video]:
    """Every video in a folder and the folders in it.

    The part of the file name before the last underscore names the speaker.

    Raises:
        MediaError: there is none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if not paths:
        raise MediaError(folder, "no videos in this folder")
    names = [p.relative_to(folder).as_posix() for p in paths]
    return [Video(p, Clip(name, _speaker(p))) for p, name in zip(paths, names, strict=True)]


def read_manifest(manifest: Path, split: str | None = None) -> dict[Path, str | None]:
    """The clips that a manifest names.

    Args:
        manifest: CSV with a column ``file`` (relative to the manifest), and where wanted ``split`` and
            ``identity``.
        split: keep the rows of this split alone.

    Returns:
        Identity (None where the column is not there) by resolved path.

    Raises:
        MediaError: it cannot be read, or has no such column.
    """
    try:
        with open(manifest, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise MediaError(manifest, f"cannot be read: {err}") from err
    for column in ("file", *(["split"] if split is not None else [])):
        if rows and column not in rows[0]:
            raise MediaError(manifest, f"has no column {column!r}")
    wanted = [row for row in rows if split is None or row["split"] == split]
    return {(manifest.parent / row["file"]).resolve(): row.get("identity") or None for row in wanted}


def _speaker(path: Path) -> str:
    return path.stem.rsplit("_", 1)[0]


def select_videos(
    videos: Path | Sequence[Path], manifest: Path | None = None, split: str | None = None
) -> list[Video]:
    """The videos of a folder or list, less those that a manifest does not name.

    Raises:
        ConfigError: a split without a manifest.
        MediaError: a video is not there, none is left, or the manifest cannot be read.
    """
    if isinstance(videos, Path) and videos.is_dir():
        found = find_videos(videos)
    else:
        paths = [videos] if isinstance(videos, Path) else videos
        found = [Video(path, Clip(path.as_posix(), _speaker(path))) for path in paths]
    for video in found:
        if not video.path.is_file():
            raise MediaError(video.path, "no such file")
    if manifest is None:
        if split is not None:
            raise ConfigError("split", split, "only with a manifest")
        return found
    named = read_manifest(manifest, split)
    kept = []
    for video in found:
        if video.path.resolve() in named:
            identity = named[video.path.resolve()] or video.clip.identity
            kept.append(replace(video, clip=replace(video.clip, identity=identity)))
    if not kept:
        where = f" in split {split}" if split is not None else ""
        raise MediaError(manifest, f"names none of the {len(found)} videos{where}")
    return kept
