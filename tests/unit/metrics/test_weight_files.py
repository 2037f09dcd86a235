"""Weight files of others: where they are looked for, what is refused, what is read of an ONNX model."""

import hashlib
import sys

import numpy as np
import pytest

from facecodec.errors import WeightsError
from facecodec.metrics.weight_files import WeightFile, read_initialisers

CONTENTS = b"weights"
FILE = WeightFile(
    what="Toy",
    name="toy.bin",
    sha256=hashlib.sha256(CONTENTS).hexdigest(),
    package="facecodec_toy_package",
    subfolder="models",
    variable="FACECODEC_TOY_WEIGHTS",
    install="pip install toy",
)


def test_the_folder_comes_before_the_environment(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "toy.bin").write_bytes(CONTENTS)
    monkeypatch.setenv(FILE.variable, str(tmp_path / "one"))
    assert FILE.find() == tmp_path / "one" / "toy.bin"
    assert FILE.find(tmp_path / "two") == tmp_path / "two" / "toy.bin"


def test_the_package_is_found_but_not_imported(tmp_path, monkeypatch):
    models = tmp_path / FILE.package / "models"
    models.mkdir(parents=True)
    (tmp_path / FILE.package / "__init__.py").write_text("raise RuntimeError('imported')")
    (models / "toy.bin").write_bytes(CONTENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert FILE.find() == models / "toy.bin"
    assert FILE.package not in sys.modules


def test_absent_files_name_the_line_that_brings_them(tmp_path):
    with pytest.raises(WeightsError, match=r"Toy weights toy\.bin not found: pip install toy"):
        FILE.find()
    with pytest.raises(WeightsError, match=f"not found in {tmp_path}"):
        FILE.find(tmp_path)


def test_damaged_and_unreadable_files_are_refused(tmp_path):
    path = tmp_path / "toy.bin"
    path.write_bytes(CONTENTS)
    assert FILE.read(path) == CONTENTS
    path.write_bytes(CONTENTS + b"!")
    with pytest.raises(WeightsError, match="SHA-256"):
        FILE.read(path)
    with pytest.raises(WeightsError, match=r"absent\.bin"):
        FILE.read(tmp_path / "absent.bin")


def field(number, payload):
    """A protobuf field: a number or bytes."""

    def varint(value):
        out = b""
        while value >= 128:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def onnx(*tensors):
    node = field(1, field(1, b"a") + field(4, b"Conv"))
    graph = node + field(2, b"graph") + b"".join(field(5, t) for t in tensors)
    return field(1, 6) + field(7, graph) + field(8, field(2, 11))


def test_float_arrays_of_a_model_are_read():
    values = np.arange(300, dtype="<f4").reshape(150, 2)
    packed = field(1, 150) + field(1, 2) + field(2, 1) + field(4, values.tobytes()) + field(8, b"packed")
    raw = field(1, 300) + field(2, 1) + field(8, b"raw") + field(9, values.tobytes())
    other = field(1, 1) + field(2, 7) + field(8, b"integer") + field(9, bytes(8))
    arrays = read_initialisers(onnx(packed, other, raw))
    assert sorted(arrays) == ["packed", "raw"]
    assert np.array_equal(arrays["packed"], values)
    assert np.array_equal(arrays["raw"], values.reshape(-1))


def test_a_model_that_ends_early_is_an_error():
    values = np.ones(4, "<f4")
    short = field(1, 5) + field(2, 1) + field(8, b"short") + field(9, values.tobytes())
    with pytest.raises(ValueError, match="reshape"):
        read_initialisers(onnx(short))
    with pytest.raises(IndexError):
        read_initialisers(b"\x80")
