"""The scripts that made the shipped tables."""

import json
from pathlib import Path

import numpy as np
import pytest

import facecodec.bitstream
from facecodec.bitstream import MotionUnit, ReferenceUnit, StillCodec, StreamHeader, View, pack_unit
from facecodec.bitstream.level_contexts import (
    CONTEXTS,
    HOLD,
    SIGN,
    ChannelLayout,
    LevelState,
    initial_probabilities,
)
from facecodec.bitstream.levels import encode_levels
from facecodec.container import FcvWriter
from facecodec.errors import MediaError
from facecodec.motion.face import load_face_model, rotation_matrix
from facecodec.train.basis import canonical_mean, learn, point_weights, principal
from facecodec.train.contexts import count_stream, main, pools, probabilities, write_table
from facecodec.types import KeypointSet, Packet, PacketKind


def write_stream(path: Path, groups: int = 4) -> int:
    """A stream of a few groups; returns how many flags 'moves' it holds."""
    layout = ChannelLayout(load_face_model().channels - 6, 5)
    state, rng = LevelState(layout), np.random.default_rng(0)
    header = StreamHeader(bytes(8), KeypointSet.MESH_478, 1, 256, 256, 256, View.CROP, 1, 25, 1, 0, 5)
    with path.open("wb") as file, FcvWriter(file) as writer:
        writer.write_header(header)
        still = ReferenceUnit(0, 0, 0, 0, 256, StillCodec.AV1, b"", b"still")
        writer.write(Packet(PacketKind.REFERENCE, pack_unit(still), 0))
        for i in range(groups):
            residuals = rng.integers(-1, 2, (8, layout.count)).astype(np.int32)
            data = encode_levels(state, residuals, [False] * 8, i == 0)
            unit = MotionUnit(0, 24, 8, 0, data, reset=i == 0)
            writer.write(Packet(PacketKind.MOTION, pack_unit(unit), 8 * i, 8, is_random_access=False))
    return groups * layout.count


def test_counts_of_a_stream(tmp_path: Path) -> None:
    flags = write_stream(tmp_path / "a.fcv")
    counts = np.zeros((CONTEXTS, 2))
    assert count_stream(tmp_path / "a.fcv", counts) == 4
    assert counts[HOLD].tolist() == [4, 0]
    assert counts[HOLD - 12 * 14 : HOLD].sum() == flags
    assert counts[:SIGN].sum() > 0.9 * 8 * flags


def test_main_writes_a_table(tmp_path: Path) -> None:
    write_stream(tmp_path / "a.fcv")
    main(tmp_path, tmp_path / "out" / "contexts.json")
    table = json.loads((tmp_path / "out" / "contexts.json").read_text())["probabilities"]
    assert LevelState(ChannelLayout(40, 7), tuple(table)).models.probability(0) == table[0]
    with pytest.raises(MediaError, match="no .fcv files"):
        main(tmp_path / "out", tmp_path / "x.json")


def test_probabilities_follow_counts_and_fall_back() -> None:
    counts = np.zeros((CONTEXTS, 2))
    assert set(probabilities(counts)) == {32768}
    counts[4] = [9000, 1000]
    table = probabilities(counts)
    assert table[4] == pytest.approx(0.9 * 65536, rel=1e-3)
    assert table[5] == pytest.approx(0.9 * 65536, rel=2e-3)
    assert table[SIGN] == 32768
    counts[4] = [1e9, 0]
    assert probabilities(counts)[4] == 64936
    counts[4] = [0, 1e9]
    assert probabilities(counts)[4] == 600


def test_pools_do_not_mix_parts_of_the_table() -> None:
    for labels in pools():
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            assert len({int(np.searchsorted([SIGN, HOLD], m, side="right")) for m in members}) == 1


def test_the_table_on_disk_is_as_written(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", initial_probabilities())
    shipped = Path(facecodec.bitstream.__file__).parent / "data" / "contexts_1.json"
    assert (tmp_path / "t.json").read_bytes() == shipped.read_bytes()


def test_principal_components_of_known_motion() -> None:
    rng = np.random.default_rng(0)
    weights = point_weights()
    directions, _ = np.linalg.qr(rng.normal(size=(478 * 2, 3)))
    patterns = np.zeros((3, 478, 3))
    patterns[..., :2] = directions.T.reshape(3, 478, 2) / np.sqrt(weights)[:, None]
    amounts = rng.normal(size=(400, 3)) * np.array([5.0, 2.0, 1.0])
    basis, sigma = principal(np.einsum("sk,kij->sij", amounts, patterns), np.ones(400), weights, 3)
    assert sigma == pytest.approx([5, 2, 1], rel=0.15)
    gram = np.einsum("aij,bij,i->ab", basis[..., :2], basis[..., :2], weights)
    assert gram == pytest.approx(np.eye(3), abs=1e-6)


def test_learned_tables_have_the_shipped_form() -> None:
    model, rng = load_face_model(), np.random.default_rng(0)
    clips = []
    for turn in (0.05, -0.1):
        motion = np.einsum("tk,kij->tij", rng.normal(size=(30, 5)) * model.sigma[:5], model.basis[:5])
        clips.append(200 * (model.mean + motion) @ rotation_matrix(np.array([0.0, turn, 0.02])).T)
    tables = learn(clips, ["a", "b"], motions=3, shapes=4)
    shapes = {name: table.shape for name, table in tables.items()}
    assert shapes == {
        "mean": (478, 3), "basis": (3, 478, 3), "sigma": (3,), "weights": (478,),
        "shape_basis": (4, 478, 3), "shape_sigma": (4,), "scale": (),
    }  # fmt: skip
    mean = canonical_mean(clips, np.ones(2), point_weights())
    across = mean[454] - mean[234]
    assert abs(np.degrees(np.arctan2(across[2], across[0]))) < 6
    assert int(tables["scale"]) == 8192
