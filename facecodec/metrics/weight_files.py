"""Weight files that others publish: finding them, checking them, reading the arrays of an ONNX model.

No weights of metrics are part of facecodec, and none is fetched. Each comes in a package that is installed
but never imported, or in a folder that the caller or the environment names.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecodec.errors import WeightsError
from facecodec.types import F32Array


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A weight file and where it is looked for.

    Attributes:
        what: name for messages, such as ``SFace``.
        name: of the file.
        sha256: of its contents, in hexadecimal digits.
        package: import name of the package that brings it.
        subfolder: where in the package.
        variable: environment variable that names a folder.
        install: the line that brings the package.
    """

    what: str
    name: str
    sha256: str
    package: str
    subfolder: str
    variable: str
    install: str

    def find(self, folder: str | Path | None = None) -> Path:
        """Find the file: in ``folder``, else where the variable says, and else in the package.

        Args:
            folder: where the caller keeps the file.

        Returns:
            The file. Its contents are not checked yet.

        Raises:
            WeightsError: there is none; the message holds the line that brings it.
        """
        chosen = folder if folder is not None else os.environ.get(self.variable)
        if chosen is not None:
            folders = [Path(chosen)]
        else:
            spec = importlib.util.find_spec(self.package)
            roots = spec.submodule_search_locations if spec is not None else None
            folders = [Path(root) / self.subfolder for root in roots or ()]
        for candidate in folders:
            if (candidate / self.name).is_file():
                return candidate / self.name
        where = f" in {folders[0]}" if folders else ""
        raise WeightsError(
            f"{self.what} weights {self.name} not found{where}: {self.install}, "
            f"or set {self.variable} to their folder"
        )

    def read(self, path: Path) -> bytes:
        """Read a file that :meth:`find` gave.

        Raises:
            WeightsError: it cannot be read, or is not the file that was published.
        """
        try:
            data = path.read_bytes()
        except OSError as err:
            raise WeightsError(f"{self.what} weights {path}: {err}") from err
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise WeightsError(f"{self.what} weights {path}: SHA-256 is {found}, expected {self.sha256}")
        return data


def read_initialisers(data: bytes) -> dict[str, F32Array]:
    """Read the named float32 arrays of an ONNX model.

    Args:
        data: the file; a serialised ONNX ``ModelProto``.

    Returns:
        Name to array. Arrays of another type are left out.

    Raises:
        ValueError: an array's bytes do not fill its shape.
        IndexError: the bytes end within a number.
    """
    arrays: dict[str, F32Array] = {}
    for number, graph in _fields(memoryview(data)):
        if number != 7 or isinstance(graph, int):
            continue
        for part, tensor in _fields(graph):
            if part == 5 and not isinstance(tensor, int):
                name, array = _array(tensor)
                if array is not None:
                    arrays[name] = array
    return arrays


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of the fields of a protobuf message: integers, or the bytes of anything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(key & 7)
        if length is None:
            length, at = _varint(data, at)
        yield key >> 3, data[at : at + length]
        at += length


def _array(tensor: memoryview) -> tuple[str, F32Array | None]:
    """Name and value of a ``TensorProto``; no value where it is not float32."""
    shape: list[int] = []
    name, kind, payload = "", 0, b""
    for number, value in _fields(tensor):
        if isinstance(value, int):
            if number == 1:
                shape.append(value)
            elif number == 2:
                kind = value
        elif number == 8:
            name = bytes(value).decode("utf-8")
        elif number in (4, 9):
            payload += bytes(value)
    if kind != 1:
        return name, None
    return name, np.frombuffer(payload, "<f4").reshape(shape).astype(np.float32)
