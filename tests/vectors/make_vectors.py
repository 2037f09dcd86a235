"""Make the golden vectors: ``python tests/vectors/make_vectors.py [--bump]``.

Each vector is a ``.bin`` beside a ``.json`` that says what it must parse to, or which error it must
raise. The bytes of a version never change: the script overwrites nothing unless ``--bump`` is given,
which belongs with a new BITSTREAM_VERSION. (Until version 1 is released, ``--bump`` also goes with a newly
learned ``contexts_1.json``.)
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import random
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np

from facecodec.bitstream import (
    BITSTREAM_VERSION,
    AudioCodec,
    AudioUnit,
    BackdropUnit,
    Base,
    IndexEntry,
    IndexUnit,
    MotionUnit,
    PaletteUnit,
    Place,
    QualityUnit,
    ReferenceUnit,
    StillCodec,
    StreamHeader,
    Unit,
    UnitKind,
    View,
    frame_unit,
    pack_unit,
)
from facecodec.bitstream.levels import ChannelLayout, LevelState, encode_levels
from facecodec.bitstream.mesh import encode_mesh
from facecodec.bitstream.palette import encode_shapes
from facecodec.container import FcvReader, FcvWriter
from facecodec.entropy import BitModels, RangeEncoder
from facecodec.motion.predict import reconstruct
from facecodec.types import I32Array, KeypointSet, Packet, PacketKind

MODEL_ID = bytes.fromhex("0011223344556677")
STILL = bytes(range(40))

CROP_HEADER = StreamHeader(
    MODEL_ID, KeypointSet.MESH_478, 1, 256, 256, 256, View.CROP, 1, 25, 1, start_pts=-7, scene_grid=7
)
FRAME_HEADER = StreamHeader(
    MODEL_ID, KeypointSet.DLIB_68, 1, 512, 1920, 1080, View.FRAME, 1001, 30000, 1, 90000, 0,
    AudioCodec.OPUS, 2, 312,
)  # fmt: skip
REFERENCE = ReferenceUnit(3, -5, -12, 40, 300, StillCodec.AV1, b"mesh bytes", STILL)
PREDICTED = ReferenceUnit(
    4, 2**33, 0, -65536, 65535, StillCodec.AV1_PREDICTED, b"", STILL[:7], Base.of(3, STILL)
)
BACKDROP = BackdropUnit(3, StillCodec.AV1, 640, 360, STILL)
MOTION = MotionUnit(3, 24, 48, 0, bytes.fromhex("c0ffee01"), reset=True)
MOTION_VFR = MotionUnit(0, 51, 3, 2, b"", deltas=(0, 300))
AUDIO = AudioUnit(-312, (b"\x48" + bytes(19), b"\xfc\x01\x02"), absolute=True)
PALETTE = PaletteUnit(
    3, 24, (7, 4), (Place(18, 25, 12, 10), Place(32, 27, 12, 8), Place(0, 255, 64, 1)), StillCodec.AV1,
    b"shapes", STILL, clear=True,
)  # fmt: skip
QUALITY = QualityUnit(1, 250, 40, 812, 1630, 1204, 2011)
INDEX = IndexUnit(250, 250, (IndexEntry(0, 3000, 40), IndexEntry(100, 9000, 7000, 5000)))

VALID: dict[str, Unit] = {
    "header_crop": CROP_HEADER,
    "header_frame": FRAME_HEADER,
    "reference": REFERENCE,
    "reference_predicted": PREDICTED,
    "backdrop": BACKDROP,
    "motion": MOTION,
    "motion_vfr": MOTION_VFR,
    "audio": AUDIO,
    "index": INDEX,
    "palette": PALETTE,
    "quality": QUALITY,
}

# Vector, byte of the payload, what goes there: one field beyond its limit, under a good checksum.
OVERLIMIT = {
    "header_crop": (9, b"\x03"),  # keypoint_set
    "header_frame": (17, b"\x02"),  # view
    "reference": (0, b"\x08"),  # ref_id
    "reference_predicted": (14, b"\x08"),  # base
    "backdrop": (2, b"\x00\x0f"),  # width
    "motion": (0, b"\x23"),  # reserved flag
    "motion_vfr": (1, b"\x34"),  # qp 52
    "audio": (3, b"\x41"),  # n_packets 65
    "index": (4, b"\x81\x80\x04"),  # n_entries 65537
    "quality": (5, b"\x27\x11"),  # mean 10001
    "palette": (3, b"\x08"),  # regions of the first shape
}


def jsonable(value: object) -> object:
    """Fields as JSON: bytes as hex, units and entries as objects and lists."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [jsonable(item) for item in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def overlimit(name: str, unit: Unit) -> bytes:
    """A unit with one field out of range."""
    place, patch = OVERLIMIT[name]
    payload = bytearray(unit.pack())
    payload[place : place + len(patch)] = patch
    return frame_unit(unit.KIND, bytes(payload))


def flip_last(data: bytes) -> bytes:
    """Invert the last bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


def example_file() -> bytes:
    """A small file: header, reference, backdrop, palette, two groups, sound, quality, index."""
    out = io.BytesIO()
    with FcvWriter(out) as writer:
        writer.write_header(FRAME_HEADER)
        packets: list[tuple[PacketKind, Unit, bool]] = [
            (PacketKind.REFERENCE, REFERENCE, False),
            (PacketKind.BACKDROP, BACKDROP, False),
            (PacketKind.PALETTE, PALETTE, False),
            (PacketKind.MOTION, MOTION, True),
            (PacketKind.AUDIO, AUDIO, False),
            (PacketKind.MOTION, dataclasses.replace(MOTION_VFR, ref_id=3), False),
            (PacketKind.EXTENSION, QUALITY, False),
        ]
        for kind, unit, access in packets:
            writer.write(Packet(kind, pack_unit(unit), 0, is_random_access=access))
    return out.getvalue()


def shared_file() -> bytes:
    """A file whose second reference picture shares the first one's backdrop, and whose third replaces it."""
    out = io.BytesIO()
    with FcvWriter(out) as writer:
        writer.write_header(FRAME_HEADER)
        units: list[Unit] = []
        for number, ref_id in enumerate((3, 4, 5, 4)):
            units += [dataclasses.replace(REFERENCE, ref_id=ref_id)] if number < 3 else []
            units += [dataclasses.replace(BACKDROP, ref_id=ref_id)] if number in (0, 2) else []
            units += [dataclasses.replace(MOTION, ref_id=ref_id, first_pts=100 * number)]
        for unit in units:
            kind = PacketKind(unit.KIND.label)
            writer.write(Packet(kind, pack_unit(unit), 0, is_random_access=kind is PacketKind.MOTION))
    return out.getvalue()


def coder_vector() -> tuple[bytes, dict[str, object]]:
    """Bits of eight models and a few raw numbers, through the range coder."""
    rng = random.Random(BITSTREAM_VERSION)
    initial = [1, 65535, 32768, 1000, 60000, 50000, 20000, 40000]
    models, encoder = BitModels(8, initial, trust=2), RangeEncoder()
    steps: list[list[int]] = []
    for _ in range(400):
        if rng.random() < 0.05:
            bits = rng.randrange(21)
            value = rng.getrandbits(bits) if bits else 0
            encoder.encode_raw(value, bits)
            steps.append([-1, bits, value])
        else:
            index = rng.randrange(8)
            bit = int(rng.random() * 65536 >= initial[index])
            encoder.encode(models, index, bit)
            steps.append([index, 1, bit])
    return encoder.finish(), {"initial": initial, "trust": 2, "steps": steps}


def lcg(seed: int) -> Iterator[int]:
    """Numbers of 16 bits from the linear congruential generator of Knuth's MMIX."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 48


def contexts_sha256() -> str:
    """Hash of the shipped table of contexts."""
    table = resources.files("facecodec.bitstream").joinpath("data", "contexts_1.json")
    return hashlib.sha256(table.read_bytes()).hexdigest()


def some_residuals(numbers: Iterator[int], n: int, channels: int) -> I32Array:
    """Sparse small residuals, a few large ones, and channels that do not move."""
    out = np.zeros((n, channels), np.int32)
    for channel in range(channels):
        if next(numbers) % 3 == 0:
            continue
        for t in range(n):
            draw = next(numbers)
            size = (0, 0, 0, 0, 1, 1, 2, next(numbers) % 300)[draw % 8]
            out[t, channel] = -size if draw & 256 else size
    return out


def levels_vector() -> tuple[bytes, dict[str, object]]:
    """Groups of several sizes through one state: residuals, their bytes, and the values they make."""
    layout = ChannelLayout(deformations=18, scene_grid=5)
    state, numbers = LevelState(layout), lcg(BITSTREAM_VERSION)
    history = np.zeros((2, layout.count), np.int32)
    out, groups = b"", []
    for n, reset in ((16, True), (16, False), (1, False), (2, False), (7, False), (1, True), (3, False)):
        residuals = some_residuals(numbers, n, layout.count)
        if reset and n == 1:
            residuals[0, 0], residuals[0, 1] = 65536, -65536
        hold = [n == 7 and t in (2, 3) for t in range(n)]
        data = encode_levels(state, residuals, hold, reset)
        history = np.zeros_like(history) if reset else history
        values = reconstruct(residuals, history, reset)
        history = np.concatenate([history, values])[-2:]
        out += data
        groups.append({
            "n": n, "reset": reset, "hold": hold, "bytes": len(data),
            "residuals": residuals.tolist(), "last_value": values[-1].tolist(),
        })  # fmt: skip
    return out, {
        "contexts_sha256": contexts_sha256(), "deformations": layout.deformations,
        "scene_grid": layout.scene_grid, "groups": groups,
    }  # fmt: skip


def shapes_vector() -> tuple[bytes, dict[str, object]]:
    """Shapes of a palette unit, and the values that they make."""
    residuals = some_residuals(lcg(7), 5, 46)
    residuals[:, :6] = 0
    values = reconstruct(residuals, np.zeros((2, 46), np.int32), True)
    return encode_shapes(residuals, 40), {
        "contexts_sha256": contexts_sha256(), "deformations": 40, "n": 5,
        "residuals": residuals.tolist(), "values": values.tolist(),
    }  # fmt: skip


def mesh_vector() -> tuple[bytes, dict[str, object]]:
    """Levels of a mesh: place at both ends of its range, shape falling off."""
    numbers = lcg(BITSTREAM_VERSION)
    place = [2048, -32768, 32767, -400, 0, 12]
    shape = [(next(numbers) - 32768) % 20001 - 10000 if k == 0 else 0 for k in range(96)]
    for k in range(1, 96):
        size = next(numbers) % (1 + 40 // k)
        shape[k] = -size if next(numbers) & 256 else size
    return encode_mesh(np.array(place + shape, np.int32)), {"levels": place + shape}


def all_vectors() -> dict[str, tuple[bytes, dict[str, object]]]:
    """Name to bytes and JSON."""
    vectors: dict[str, tuple[bytes, dict[str, object]]] = {}
    for name, unit in VALID.items():
        data = pack_unit(unit)
        vectors[name] = data, {"type": "unit", "unit": unit.KIND.label, "fields": jsonable(unit)}
        for suffix, broken, error in (
            ("truncated", data[:-3], "TruncatedError"),
            ("badcrc", flip_last(data), "ChecksumError"),
            ("overlimit", overlimit(name, unit), "LimitError"),
        ):
            vectors[f"{name}_{suffix}"] = broken, {"type": "unit", "error": error}
    version = b"\xff" + CROP_HEADER.pack()[1:]
    broken = frame_unit(UnitKind.HEADER, version)
    vectors["header_crop_version"] = broken, {"type": "unit", "error": "UnsupportedVersionError"}
    vectors["range_coder"] = (coder := coder_vector())[0], {"type": "range_coder", **coder[1]}
    vectors["levels"] = (levels := levels_vector())[0], {"type": "levels", **levels[1]}
    vectors["shapes"] = (shapes := shapes_vector())[0], {"type": "shapes", **shapes[1]}
    vectors["mesh"] = (mesh := mesh_vector())[0], {"type": "mesh", **mesh[1]}
    file = example_file()
    vectors["file"] = file, {"type": "file", "units": [0, 1, 2, 7, 3, 4, 3, 6, 5]}
    shared = shared_file()
    with FcvReader(io.BytesIO(shared)) as reader:
        entries = reader.index.entries if reader.index else ()
    vectors["file_shared_backdrop"] = shared, {
        "type": "file", "units": [0, 1, 2, 3, 1, 3, 1, 2, 3, 3, 5],
        "entries": [list(entry) for entry in entries],
    }  # fmt: skip
    for suffix, broken, error in (
        ("badmagic", b"FCW" + file[3:], "BadMagicError"),
        ("truncated", file[:60], "TruncatedError"),
        ("badcrc", file[:50] + b"\xff" + file[51:], "ChecksumError"),
        ("overlimit", file + b"\0", "LimitError"),
    ):
        vectors[f"file_{suffix}"] = broken, {"type": "file", "error": error}
    return vectors


def main() -> int:
    """Write the vectors of this version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bump", action="store_true", help="overwrite: with a new bitstream version only")
    bump = parser.parse_args().bump
    folder = Path(__file__).parent / f"v{BITSTREAM_VERSION}"
    if folder.exists() and any(folder.iterdir()) and not bump:
        print(f"{folder} holds vectors already; they change only with the version (--bump)", file=sys.stderr)
        return 1
    folder.mkdir(exist_ok=True)
    for name, (data, fields) in all_vectors().items():
        (folder / f"{name}.bin").write_bytes(data)
        (folder / f"{name}.json").write_text(json.dumps(fields, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
