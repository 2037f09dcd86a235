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
    entries: the expression palettes of the reference pictures, as decoded; ``shown`` says how much of each
        entry a decoder shows of it in each frame.
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
from facecodec.train.pack_check import fault
from facecodec.train.records import (
    FORMAT,
    MESH_SCALE,
    TENSORS,
    Clip,
    EntryRecord,
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
        reason = fault(self._tables, self._blobs.get_shape()[0], self.takes, len(self.clips))
        if reason is not None:
            raise MediaError(self.path, f"damaged packed data set: {reason}")
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
            q_idx=self._int("references.q_idx", j),
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
            q_idx=self._int("stills.q_idx", k),
        )

    def entries_of_reference(self, j: int) -> range:
        """Rows of the palette entries of a reference picture, in the order in which they came."""
        owners = self._tables["entries.reference"]
        return range(int(np.searchsorted(owners, j)), int(np.searchsorted(owners, j, side="right")))

    def entry(self, e: int) -> EntryRecord:
        """Read a palette entry. Raises MediaError where its picture is damaged."""
        left, top, width, height = self._tables["entries.box"][e].tolist()
        return EntryRecord(
            pixels=self._decoded("entries.picture", e, (height, width)),
            region=self._int("entries.region", e),
            box=(left, top, width, height),
            mesh=_mesh(self._tables["entries.mesh"][e]),
            reference=self._int("entries.reference", e),
        )

    def shown(self, i: int) -> list[tuple[int, float]]:
        """Rows of the palette entries that a frame shows, and how much of each."""
        first, end = self._tables["shown.offsets"][i : i + 2].tolist()
        entries, weights = (self._tables[f"shown.{name}"][first:end].tolist() for name in ("entry", "weight"))
        return list(zip(entries, weights, strict=True))

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

    def references_of_clip(self, clip: int) -> npt.NDArray[np.int64]:
        """Rows of the reference pictures of a clip, of all its takes."""
        return np.flatnonzero(self._clip_of_take[self.reference_take] == clip)

    def _int(self, column: str, row: int) -> int:
        return int(self._tables[column][row])

    def _picture(self, column: str, row: int, take: int) -> U8Array:
        side = self.takes[take].size
        return self._decoded(column, row, (side, side))

    def _decoded(self, column: str, row: int, shape: tuple[int, int]) -> U8Array:
        data = self.picture_bytes(self._int(column, row))
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if picture is None or picture.shape != (*shape, 3):
            raise MediaError(self.path, f"{column}[{row}] is no picture of {shape[1]}x{shape[0]}")
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


def _safetensors(path: Path) -> Any:  # safetensors has no types
    return safe_open(str(path), framework="numpy")


def _mesh(stored: npt.NDArray[np.int16]) -> F32Array:
    return np.asarray(stored.astype(np.float32) / np.float32(MESH_SCALE), np.float32)
