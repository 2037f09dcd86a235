"""Writer of packed data sets (see ``pack.py``): from the takes that were just made, or out of other packs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facecodec.media.atomic import atomic_path
from facecodec.train.pack import Pack
from facecodec.train.pictures import PictureData, Stored
from facecodec.train.records import FORMAT, MESH_SCALE, POINTS, TENSORS, Clip, Take
from facecodec.types import F32Array

_DTYPES = {"uint8": "U8", "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16"}
_INT16_MAX = 32767


@dataclass(frozen=True, slots=True, eq=False)
class PatchEntry:
    """An entry of a palette to store: see ``records.EntryRecord``; ``patch`` as a WebP file."""

    patch: PictureData
    region: int
    box: tuple[int, int, int, int]
    mesh: F32Array


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceEntry:
    """A reference picture to store: see ``records.ReferenceRecord``; pictures as JPEG or WebP files."""

    coded: PictureData
    original: PictureData
    mesh: F32Array
    pts: int
    q_idx: int
    palette: tuple[PatchEntry, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FrameEntry:
    """A frame to store: see ``records.FrameRecord``; ``reference`` counts within the take.

    ``shown`` names entries of the reference picture's palette, and how much of each the frame shows.
    """

    picture: PictureData
    mesh: F32Array
    scene: F32Array | None
    reference: int
    index: int
    pts: int
    shown: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class StillEntry:
    """A coded still to store: ``frame`` counts through the runs of the take, in their order."""

    coded: PictureData
    frame: int
    quality: int
    q_idx: int


@dataclass(frozen=True, slots=True, eq=False)
class TakeEntry:
    """A take to store.

    Attributes:
        take: its settings; the row of the clip is set when it is written.
        references: its reference pictures.
        runs: its runs, the most useful first.
        stills: coded versions of some of its frames.
    """

    take: Take
    references: list[ReferenceEntry]
    runs: list[list[FrameEntry]]
    stills: list[StillEntry]


@dataclass(slots=True)
class _Tables:
    """The columns of a pack while it grows."""

    pictures: list[PictureData] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in TENSORS})

    def add(self, clip: Clip, entry: TakeEntry) -> None:
        if clip not in self.clips:
            self.clips.append(clip)
        take = entry.take
        row = len(self.takes)
        values = {name: getattr(take, name) for name in Take.__slots__}
        self.takes.append(Take(**{**values, "clip": self.clips.index(clip)}))
        first_reference, first_frame = len(self.columns["references.take"]), len(self.columns["frames.take"])
        palettes = []
        for reference in entry.references:
            palettes.append(len(self.columns["entries.picture"]))
            self._add_palette(reference, len(self.columns["references.take"]))
            self._row(
                "references",
                coded=self._picture(reference.coded),
                original=self._picture(reference.original),
                take=row,
                mesh=_mesh(reference.mesh),
                pts=reference.pts,
                q_idx=reference.q_idx,
            )
        for run in entry.runs:
            for frame in run:
                self._add_frame(frame, row, first_reference, palettes[frame.reference])
            self.columns["runs.offsets"].append(len(run))
        for still in entry.stills:
            coded = self._picture(still.coded)
            place = first_frame + still.frame
            self._row("stills", coded=coded, frame=place, quality=still.quality, q_idx=still.q_idx)

    def _add_palette(self, reference: ReferenceEntry, row: int) -> None:
        for patch in reference.palette:
            self._row(
                "entries",
                picture=self._picture(patch.patch),
                reference=row,
                region=patch.region,
                box=patch.box,
                mesh=_mesh(patch.mesh),
            )

    def _add_frame(self, frame: FrameEntry, take: int, first_reference: int, first_entry: int) -> None:
        for entry, weight in frame.shown:
            self._row("shown", entry=first_entry + entry, weight=weight)
        self.columns["shown.offsets"].append(len(frame.shown))
        scene = np.zeros(0) if frame.scene is None else frame.scene.ravel()
        self.columns["scenes.data"].append(scene.astype(np.float16))
        self.columns["scenes.offsets"].append(len(scene))
        self._row(
            "frames",
            picture=self._picture(frame.picture),
            take=take,
            reference=first_reference + frame.reference,
            run=len(self.columns["runs.offsets"]),
            index=frame.index,
            pts=frame.pts,
            mesh=_mesh(frame.mesh),
        )

    def _row(self, table: str, **values: object) -> None:
        for name, value in values.items():
            self.columns[f"{table}.{name}"].append(value)

    def _picture(self, data: PictureData) -> int:
        self.pictures.append(data)
        return len(self.pictures) - 1

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every tensor but the pictures, those of wide numbers first, so that all lie aligned."""
        self.columns["pictures.offsets"] = [len(data) for data in self.pictures]
        out = {}
        for name, dtype in TENSORS.items():
            values = self.columns[name]
            if name == "pictures.data":
                continue
            if name.endswith(".offsets"):
                out[name] = np.cumsum([0, *values], dtype=np.int64)
            elif name.endswith(".mesh"):
                out[name] = np.array(values, dtype).reshape(-1, POINTS, 3)
            elif name.endswith(".box"):
                out[name] = np.array(values, dtype).reshape(-1, 4)
            elif name == "scenes.data":
                out[name] = np.concatenate([np.zeros(0, dtype), *values])
            else:
                out[name] = np.array(values, dtype)
        return dict(sorted(out.items(), key=lambda item: -item[1].itemsize))


def write_pack(path: str | Path, takes: Sequence[tuple[Clip, TakeEntry]], *, overwrite: bool = False) -> int:
    """Write a packed data set; it appears when it is complete. Pictures are copied one by one.

    Args:
        path: file to write.
        takes: every take with its clip.
        overwrite: replace an existing file.

    Returns:
        Bytes written.

    Raises:
        MediaError: the file cannot be written.
    """
    tables = _Tables()
    for clip, entry in takes:
        tables.add(clip, entry)
    arrays = tables.arrays()
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "clips": json.dumps([asdict(clip) for clip in tables.clips]),
            "takes": json.dumps([{**asdict(t), "time_base": str(t.time_base)} for t in tables.takes]),
        }
    }
    at = 0
    for name, array in arrays.items():
        header[name] = _tensor(array.dtype.name, array.shape, at, array.nbytes)
        at += array.nbytes
    size = int(arrays["pictures.offsets"][-1])
    header["pictures.data"] = _tensor("uint8", (size,), at, size)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path, overwrite) as part, open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())
        for data in tables.pictures:
            file.write(data if isinstance(data, bytes) else data.read())
    return 8 + len(text) + at + size


def _tensor(dtype: str, shape: tuple[int, ...], at: int, size: int) -> dict[str, Any]:
    return {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [at, at + size]}


def entries(pack: Pack) -> Iterator[tuple[Clip, TakeEntry]]:
    """The takes of a pack as entries of another; pictures stay where they are until they are written."""
    pictures, stills = pack.column("frames.picture"), pack.column("stills.frame")
    for row, take in enumerate(pack.takes):
        references = np.flatnonzero(pack.reference_take == row)
        kept = [_reference_entry(pack, int(j)) for j in references]
        runs: list[list[FrameEntry]] = []
        places: dict[int, int] = {}
        for run in np.unique(pack.frame_run[pack.frame_take == row]):
            rows = pack.frames_of_run(int(run))
            places.update({i: len(places) + n for n, i in enumerate(rows)})
            runs.append([_frame_entry(pack, i, int(pictures[i]), int(references[0])) for i in rows])
        own = [
            StillEntry(
                Stored(pack, int(pack.column("stills.coded")[k])),
                places[int(stills[k])],
                int(pack.column("stills.quality")[k]),
                int(pack.column("stills.q_idx")[k]),
            )
            for k in range(pack.n_stills)
            if int(stills[k]) in places
        ]
        yield pack.clips[take.clip], TakeEntry(take, kept, runs, own)


def _reference_entry(pack: Pack, j: int) -> ReferenceEntry:
    coded, original, mesh, pts, q_idx = (
        pack.column(f"references.{name}")[j] for name in ("coded", "original", "mesh", "pts", "q_idx")
    )
    return ReferenceEntry(
        Stored(pack, int(coded)),
        Stored(pack, int(original)),
        mesh / np.float32(MESH_SCALE),
        int(pts),
        int(q_idx),
        tuple(_patch_entry(pack, e) for e in pack.entries_of_reference(j)),
    )


def _patch_entry(pack: Pack, e: int) -> PatchEntry:
    picture, region, box, mesh = (
        pack.column(f"entries.{name}")[e] for name in ("picture", "region", "box", "mesh")
    )
    left, top, width, height = box.tolist()
    return PatchEntry(
        Stored(pack, int(picture)), int(region), (left, top, width, height), mesh / np.float32(MESH_SCALE)
    )


def _frame_entry(pack: Pack, i: int, picture: int, first_reference: int) -> FrameEntry:
    reference = int(pack.frame_reference[i])
    palette = pack.entries_of_reference(reference)
    return FrameEntry(
        Stored(pack, picture),
        pack.meshes([i])[0],
        pack.scene(i),
        reference - first_reference,
        int(pack.frame_index[i]),
        int(pack.column("frames.pts")[i]),
        tuple((palette.index(e), weight) for e, weight in pack.shown(i)),
    )


def _mesh(mesh: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """A mesh in crop units as it is stored; points further than two sides away are moved nearer."""
    stored = np.clip(np.rint(mesh * MESH_SCALE), -_INT16_MAX, _INT16_MAX)
    return np.asarray(stored, np.int16)
