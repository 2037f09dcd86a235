"""From a profile or a model id to a file. Loads neither torch nor safetensors.

A weights file is called ``<label>-<id>.safetensors``, the id being the first 16 hexadecimal digits of its
SHA-256, so a folder of such files is its own register: the label is a profile's name for the general weights
of that profile, anything else for weights made from them (a model fitted to one person, say). Folders are
searched in the order of :func:`folders`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facecodec.errors import WeightsError

DATA = Path(__file__).parent / "data"
"""The weights that come with the package."""
ENVIRONMENT = "FACECODEC_WEIGHTS"
"""Environment variable that names a folder of more weights."""
ID_BYTES = 8
"""A model's id is so much of the SHA-256 of its file."""

_NAME = re.compile(rf"([a-z0-9]+(?:[-_][a-z0-9]+)*)-([0-9a-f]{{{2 * ID_BYTES}}})\.safetensors")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a folder, as its name describes it; nothing is read.

    Attributes:
        path: the file.
        label: the first part of its name.
        model_id: 8 bytes.
    """

    path: Path
    label: str
    model_id: bytes


def file_name(label: str, model_id: bytes) -> str:
    """Name of a weights file."""
    return f"{label}-{model_id.hex()}.safetensors"


def parse_name(path: Path) -> Entry | None:
    """What a file's name says; None where it is no name of this form."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else Entry(path, match[1], bytes.fromhex(match[2]))


def folders() -> list[Path]:
    """Where weights are looked for: ``$FACECODEC_WEIGHTS`` if it is set, then the package.

    Raises:
        WeightsError: the variable names no folder.
    """
    extra = os.environ.get(ENVIRONMENT)
    if not extra:
        return [DATA.resolve()]
    if not Path(extra).is_dir():
        raise WeightsError(f"{ENVIRONMENT}={extra}: no such folder")
    return list(dict.fromkeys((Path(extra).resolve(), DATA.resolve())))


def entries() -> Iterator[Entry]:
    """Every weights file of every folder, in the order in which they are preferred.

    Raises:
        WeightsError: ``$FACECODEC_WEIGHTS`` names no folder.
    """
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            entry = parse_name(path)
            if entry is not None:
                yield entry


def find_profile(profile: str) -> Path | None:
    """The general weights of a profile, such as ``lite``; None where there are none.

    Raises:
        WeightsError: one folder holds several, or ``$FACECODEC_WEIGHTS`` names no folder.
    """
    found = [entry for entry in entries() if entry.label == profile]
    same = [entry.path.name for entry in found if entry.path.parent == found[0].path.parent]
    if len(same) > 1:
        raise WeightsError(f"{found[0].path.parent}: several {profile} weights: {', '.join(same)}; keep one")
    return found[0].path if found else None


def find_model(model_id: bytes) -> Path | None:
    """The file of a model id; None where there is none.

    Raises:
        WeightsError: ``$FACECODEC_WEIGHTS`` names no folder.
    """
    return next((entry.path for entry in entries() if entry.model_id == model_id), None)


def read_file(path: Path) -> tuple[bytes, bytes]:
    """A weights file's bytes and its model id.

    Raises:
        WeightsError: the file is absent, cannot be read, or its name holds another hash than its bytes have.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        raise WeightsError(f"{path}: cannot read weights: {err.strerror or err}") from err
    digest = hashlib.sha256(data).digest()[:ID_BYTES]
    entry = parse_name(path)
    if entry is not None and entry.model_id != digest:
        raise WeightsError(f"{path}: SHA-256 begins with {digest.hex()}: damaged, or under a wrong name")
    return data, digest


def file_id(path: Path) -> bytes:
    """Model id of a weights file: what a stream that is made for it carries. Raises as :func:`read_file`."""
    return read_file(path)[1]
