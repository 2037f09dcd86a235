"""Golden vectors: the same bytes, the same fields, the same errors, for every version."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecodec.bitstream import (
    BITSTREAM_VERSION,
    AudioUnit,
    ReferenceUnit,
    StreamHeader,
    UnitKind,
    pack_unit,
    parse_unit,
)
from facecodec.bitstream.levels import ChannelLayout, LevelState, decode_levels, encode_levels
from facecodec.bitstream.mesh import decode_mesh, encode_mesh
from facecodec.bitstream.palette import decode_shapes, encode_shapes
from facecodec.container import FcvReader
from facecodec.entropy import BitModels, RangeDecoder, RangeEncoder
from facecodec.errors import BitstreamError
from facecodec.motion.predict import reconstruct
from tests.vectors.make_vectors import VALID, all_vectors, contexts_sha256, jsonable, main

HERE = Path(__file__).parent
VECTORS = sorted(HERE.glob("v*/*.json"))


def load(path: Path) -> tuple[bytes, dict[str, Any]]:
    return path.with_suffix(".bin").read_bytes(), json.loads(path.read_text())


def of_type(name: str, broken: bool) -> list[Path]:
    found = []
    for path in VECTORS:
        fields = json.loads(path.read_text())
        if fields["type"] == name and ("error" in fields) == broken:
            found.append(path)
    return found


def name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def read_file(data: bytes) -> list[int]:
    with FcvReader(io.BytesIO(data)) as reader:
        return [int(at.kind) for at in reader.units()]


def test_each_valid_unit_has_its_broken_siblings() -> None:
    names = {path.stem for path in VECTORS if path.parent.name == f"v{BITSTREAM_VERSION}"}
    for vector in VALID:
        assert {vector + end for end in ("", "_truncated", "_badcrc", "_overlimit")} <= names


@pytest.mark.parametrize("path", of_type("unit", broken=False), ids=name)
def test_unit_parses_and_returns_to_the_same_bytes(path: Path) -> None:
    data, expected = load(path)
    unit = parse_unit(data)
    assert unit.KIND.label == expected["unit"]
    fields = jsonable(unit)
    assert isinstance(fields, dict)
    if isinstance(unit, StreamHeader) and "version" not in expected["fields"]:
        assert fields.pop("version") == 1
    if isinstance(unit, ReferenceUnit) and "base" not in expected["fields"]:
        assert fields.pop("base") is None
    assert fields == expected["fields"]
    assert pack_unit(unit) == data
    if isinstance(unit, AudioUnit):
        assert unit.resolve_pts(None) == [-312, 648, 1608]


@pytest.mark.parametrize("path", of_type("unit", broken=True), ids=name)
def test_broken_unit_raises_its_error(path: Path) -> None:
    data, expected = load(path)
    with pytest.raises(BitstreamError) as caught:
        parse_unit(data)
    assert type(caught.value).__name__ == expected["error"]


@pytest.mark.parametrize("path", of_type("file", broken=False), ids=name)
def test_file_holds_its_units(path: Path) -> None:
    data, expected = load(path)
    assert read_file(data) == expected["units"]


def test_a_shared_backdrop_stands_in_the_index_and_is_found_without() -> None:
    data, expected = load(HERE / "v2" / "file_shared_backdrop.json")
    places = expected["entries"]
    assert places[0][3] == places[1][3] < places[1][2]
    bare = data[: int.from_bytes(data[-12:-4], "big")]
    for file in (data, bare):
        with FcvReader(io.BytesIO(file)) as reader:
            assert (None if reader.index is None else [list(e) for e in reader.index.entries]) == (
                None if file is bare else places
            )
            for pts, *offsets in places:
                reader.seek(reader.header.start_pts + pts)
                units = list(reader.units())
                assert {at.offset for at in units} >= set(offsets)
                assert next(at.offset for at in units if at.kind == UnitKind.MOTION) == offsets[0]


@pytest.mark.parametrize("path", of_type("file", broken=True), ids=name)
def test_broken_file_raises_its_error(path: Path) -> None:
    data, expected = load(path)
    with pytest.raises(BitstreamError) as caught:
        read_file(data)
    assert type(caught.value).__name__ == expected["error"]


@pytest.mark.parametrize("path", of_type("range_coder", broken=False), ids=name)
def test_range_coder_gives_these_bits_and_these_bytes(path: Path) -> None:
    data, expected = load(path)
    count = len(expected["initial"])
    decoder, models = RangeDecoder(data), BitModels(count, expected["initial"], expected["trust"])
    encoder, twin = RangeEncoder(), models.copy()
    for index, bits, value in expected["steps"]:
        if index < 0:
            assert decoder.decode_raw(bits) == value
            encoder.encode_raw(value, bits)
        else:
            assert decoder.decode(models, index) == value
            encoder.encode(twin, index, value)
    decoder.finish()
    assert encoder.finish() == data
    assert (models.fast, models.slow, models.ages) == (twin.fast, twin.slow, twin.ages)


@pytest.mark.parametrize("path", of_type("levels", broken=False), ids=name)
def test_levels_give_these_residuals_and_these_bytes(path: Path) -> None:
    data, expected = load(path)
    assert contexts_sha256() == expected["contexts_sha256"]
    layout = ChannelLayout(expected["deformations"], expected["scene_grid"])
    decoding, encoding = LevelState(layout), LevelState(layout)
    history, at = np.zeros((2, layout.count), np.int32), 0
    for group in expected["groups"]:
        part = data[at : at + group["bytes"]]
        at += len(part)
        residuals, hold = decode_levels(decoding, part, group["n"], group["reset"])
        assert residuals.tolist() == group["residuals"]
        assert hold == group["hold"]
        assert encode_levels(encoding, residuals, hold, group["reset"]) == part
        history = np.zeros_like(history) if group["reset"] else history
        values = reconstruct(residuals, history, group["reset"])
        assert values[-1].tolist() == group["last_value"]
        history = np.concatenate([history, values])[-2:]
    assert at == len(data)


@pytest.mark.parametrize("path", of_type("mesh", broken=False), ids=name)
def test_mesh_gives_these_levels_and_these_bytes(path: Path) -> None:
    data, expected = load(path)
    levels = np.array(expected["levels"], np.int32)
    assert decode_mesh(data, len(levels)).tolist() == expected["levels"]
    assert encode_mesh(levels) == data


@pytest.mark.parametrize("path", of_type("shapes", broken=False), ids=name)
def test_shapes_of_a_palette(path: Path) -> None:
    data, expected = load(path)
    assert expected["contexts_sha256"] == contexts_sha256()
    residuals = decode_shapes(data, expected["n"], expected["deformations"])
    assert residuals.tolist() == expected["residuals"]
    nothing = np.zeros((2, residuals.shape[1]), np.int32)
    assert reconstruct(residuals, nothing, True).tolist() == expected["values"]
    assert encode_shapes(residuals, expected["deformations"]) == data


def test_this_version_still_makes_its_vectors() -> None:
    made = all_vectors()
    folder = HERE / f"v{BITSTREAM_VERSION}"
    assert {path.stem for path in folder.glob("*.bin")} >= set(made)
    for vector, (data, _) in made.items():
        assert (folder / f"{vector}.bin").read_bytes() == data


def test_the_script_overwrites_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["make_vectors.py"])
    before = {path: path.stat().st_mtime_ns for path in HERE.glob("v*/*")}
    assert main() == 1
    assert before == {path: path.stat().st_mtime_ns for path in HERE.glob("v*/*")}
