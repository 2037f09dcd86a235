"""Reader of a packed data set: one safetensors file of pictures and motion as a decoder sees them.

The file is read through a memory map: opening it costs the small tables alone, and a picture is decoded when
it is asked for. Only numpy, OpenCV and safetensors are needed, so that a data set can be used on a machine
without any media library. ``packing.py`` writes such files, ``prepare.py`` makes them from videos.

Tables (all row numbers start at 0; ``records.py`` has the columns)
    clips: name and identity. Metadata, JSON.
    takes: one real encoding of a part of a clip; settings and picture side. Metadata, JSON.
    references: the coded reference pictures of the takes, with the source crop of the same frame.
    frames: source crops with their decoded mesh and scene points. The frames of a *run* follow each other
        in the video (frozen pictures left out), share a reference picture and lie together in the table.
    stills: coded versions of some frames, for training a post filter.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from facecodec.errors import MediaError
from facecodec.train.records import (
    FORMAT,
    MESH_SCALE,
    POINTS,
    TENSORS,
    Clip,
    FrameRecord,
    ReferenceRecord,
    StillRecord,
    Take,
)
from facecodec.types import F32Array, I32Array, U8Array


class Pack:
    """A packed data set, open for reading. Make one with :meth:`open`; it can be sent to worker processes.

    Attributes:
        path: the file.
        clips: every clip.
        takes: every take.
        frame_take: [n_frames] row of each frame's take.
        frame_clip: [n_frames] row of each frame's clip.
        frame_reference: [n_frames] row of each frame's reference picture.
        frame_run: [n_frames] row of each frame's run.
        frame_index: [n_frames] number of each frame in its take's encoding.
        reference_take: [n_references] row of each reference picture's take.
        run_offsets: [n_runs + 1] where each run starts in the table of frames.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = _safetensors(self.path)
            metadata = self._file.metadata() or {}
            names = set(self._file.keys())
        except (OSError, SafetensorError) as err:
            raise MediaError(self.path, f"cannot be read as a packed data set: {err}") from err
        if metadata.get("format") != FORMAT:
            raise MediaError(
                self.path, f"no packed data set: format {metadata.get('format')!r}, not {FORMAT}"
            )
        missing = sorted(TENSORS.keys() - names)
        if missing:
            raise MediaError(self.path, f"packed data set lacks {', '.join(missing)}")
        self._blobs = self._file.get_slice("pictures.data")
        self._tables = {name: self._load(name) for name in TENSORS if name != "pictures.data"}
        self.clips, self.takes = self._read_lists(metadata)
        self.frame_take: I32Array = self._tables["frames.take"]
        self.frame_reference: I32Array = self._tables["frames.reference"]
        self.frame_run: I32Array = self._tables["frames.run"]
        self.frame_index: I32Array = self._tables["frames.index"]
        self.reference_take: I32Array = self._tables["references.take"]
        self.run_offsets: npt.NDArray[np.int64] = self._tables["runs.offsets"]
        self._check()
        self._clip_of_take = np.array([take.clip for take in self.takes], np.int32)
        self.frame_clip: I32Array = self._clip_of_take[self.frame_take]

    @classmethod
    def open(cls, path: str | Path) -> Pack:
        """Open a packed data set.

        Raises:
            MediaError: the file is not there, is no packed data set, or is damaged.
        """
        return cls(path)

    def __reduce__(self) -> tuple[type[Pack], tuple[Path]]:
        return Pack, (self.path,)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self._tables["frames.picture"])

    @property
    def n_references(self) -> int:
        """Number of reference pictures."""
        return len(self._tables["references.coded"])

    @property
    def n_stills(self) -> int:
        """Number of coded stills."""
        return len(self._tables["stills.coded"])

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.run_offsets) - 1

    def frame(self, i: int) -> FrameRecord:
        """Read a frame. Raises MediaError where its picture is damaged."""
        take = self._int("frames.take", i)
        return FrameRecord(
            picture=self._picture("frames.picture", i, take),
            mesh=self.meshes([i])[0],
            scene=self.scene(i),
            reference=self._int("frames.reference", i),
            take=take,
            clip=self.takes[take].clip,
            run=self._int("frames.run", i),
            index=self._int("frames.index", i),
            pts=self._int("frames.pts", i),
        )

    def reference(self, j: int) -> ReferenceRecord:
        """Read a reference picture. Raises MediaError where a picture is damaged."""
        take = self._int("references.take", j)
        return ReferenceRecord(
            coded=self._picture("references.coded", j, take),
            original=self._picture("references.original", j, take),
            mesh=_mesh(self._tables["references.mesh"][j]),
            quality=self.takes[take].ref_quality,
            take=take,
            pts=self._int("references.pts", j),
        )

    def still(self, k: int) -> StillRecord:
        """Read a coded still. Raises MediaError where a picture is damaged."""
        frame = self._int("stills.frame", k)
        take = self._int("frames.take", frame)
        return StillRecord(
            coded=self._picture("stills.coded", k, take),
            original=self._picture("frames.picture", frame, take),
            quality=self._int("stills.quality", k),
            frame=frame,
        )

    def meshes(self, frames: npt.ArrayLike) -> F32Array:
        """Decoded meshes of some frames: rows [n] to [n, 478, 3] float32, crop units."""
        return _mesh(self._tables["frames.mesh"][np.asarray(frames, np.int64)])

    def scene(self, i: int) -> F32Array | None:
        """Decoded scene points of a frame: [G, G, 2] float32 offsets in crop units, or None."""
        grid = self.takes[self._int("frames.take", i)].grid
        if grid == 0:
            return None
        first, end = self._tables["scenes.offsets"][i : i + 2].tolist()
        return np.asarray(self._tables["scenes.data"][first:end].reshape(grid, grid, 2), np.float32)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A whole table column by its name in :data:`TENSORS` (all but ``pictures.data``)."""
        return self._tables[name]

    def picture_bytes(self, picture: int) -> bytes:
        """The file (JPEG or WebP) of a picture, by its row in the table of pictures."""
        first, end = self._tables["pictures.offsets"][picture : picture + 2].tolist()
        return bytes(np.asarray(self._blobs[first:end]).tobytes())

    def frames_of_clip(self, clip: int) -> npt.NDArray[np.int64]:
        """Rows of the frames of a clip, of all its takes."""
        return np.flatnonzero(self.frame_clip == clip)

    def frames_of_run(self, run: int) -> range:
        """Rows of the frames of a run, in the order of time."""
        return range(int(self.run_offsets[run]), int(self.run_offsets[run + 1]))

    def neighbours(self, i: int) -> npt.NDArray[np.int64]:
        """Rows of the frames of the same clip in other runs: where region patches can come from."""
        rows = self.frames_of_clip(int(self.frame_clip[i]))
        return np.asarray(rows[self.frame_run[rows] != self.frame_run[i]])

    def references_of_clip(self, clip: int) -> npt.NDArray[np.int64]:
        """Rows of the reference pictures of a clip, of all its takes."""
        return np.flatnonzero(self._clip_of_take[self.reference_take] == clip)

    def _int(self, column: str, row: int) -> int:
        return int(self._tables[column][row])

    def _picture(self, column: str, row: int, take: int) -> U8Array:
        data = self.picture_bytes(self._int(column, row))
        side = self.takes[take].size
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if picture is None or picture.shape != (side, side, 3):
            raise MediaError(self.path, f"{column}[{row}] is no picture of {side}x{side}")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def _load(self, name: str) -> npt.NDArray[Any]:
        try:
            table = self._file.get_tensor(name)
        except (OSError, ValueError, SafetensorError) as err:
            raise MediaError(self.path, f"{name} cannot be read: {err}") from err
        if table.dtype != TENSORS[name]:
            raise MediaError(self.path, f"{name} is {table.dtype}, not {TENSORS[name]}")
        return np.asarray(table)

    def _read_lists(self, metadata: dict[str, str]) -> tuple[tuple[Clip, ...], tuple[Take, ...]]:
        try:
            clips = tuple(Clip(**row) for row in json.loads(metadata["clips"]))
            rows = json.loads(metadata["takes"])
            takes = tuple(Take(**{**row, "time_base": Fraction(row["time_base"])}) for row in rows)
        except (KeyError, TypeError, ValueError) as err:
            raise MediaError(self.path, f"clips or takes of the packed data set are damaged: {err}") from err
        return clips, takes

    def _check(self) -> None:
        """Raise unless all row numbers lead somewhere and all lengths agree."""
        tables = self._tables
        counts = {
            "references.": self.n_references, "frames.": self.n_frames, "stills.": self.n_stills,
        }  # fmt: skip
        for name, table in tables.items():
            for prefix, count in counts.items():
                self._demand(not name.startswith(prefix) or len(table) == count, f"{name} has another length")
        for name in ("frames.mesh", "references.mesh"):
            self._demand(tables[name].shape[1:] == (POINTS, 3), f"{name} is not [n, {POINTS}, 3]")
        ends = {
            "pictures.offsets": self._blobs.get_shape()[0],
            "scenes.offsets": len(tables["scenes.data"]),
            "runs.offsets": self.n_frames,
        }
        for name, end in ends.items():
            table = tables[name]
            whole = (
                len(table) > 0 and table[0] == 0 and table[-1] == end and bool((np.diff(table) >= 0).all())
            )
            self._demand(whole, f"{name} does not cover its data")
        pictures, takes = len(tables["pictures.offsets"]) - 1, len(self.takes)
        limits = {
            "references.coded": pictures, "references.original": pictures, "references.take": takes,
            "frames.picture": pictures, "frames.take": takes, "frames.reference": self.n_references,
            "frames.run": self.n_runs, "stills.coded": pictures, "stills.frame": self.n_frames,
        }  # fmt: skip
        for name, limit in limits.items():
            table = tables[name]
            inside = not len(table) or (table.min() >= 0 and table.max() < limit)
            self._demand(inside, f"{name} points nowhere")
        self._check_takes()

    def _check_takes(self) -> None:
        clips = all(0 <= take.clip < len(self.clips) for take in self.takes)
        self._demand(clips, "a take names a clip that is not there")
        values = np.array([2 * take.grid**2 for take in self.takes], np.int64)[self.frame_take]
        right = np.array_equal(np.diff(self._tables["scenes.offsets"]), values)
        self._demand(right, "scenes.offsets does not fit the grids of the takes")
        runs = np.repeat(np.arange(self.n_runs), np.diff(self.run_offsets))
        self._demand(np.array_equal(runs, self.frame_run), "frames.run does not agree with runs.offsets")

    def _demand(self, holds: object, reason: str) -> None:
        if not holds:
            raise MediaError(self.path, f"damaged packed data set: {reason}")


def _safetensors(path: Path) -> Any:  # safetensors has no types
    return safe_open(str(path), framework="numpy")


def _mesh(stored: npt.NDArray[np.int16]) -> F32Array:
    return np.asarray(stored.astype(np.float32) / np.float32(MESH_SCALE), np.float32)
