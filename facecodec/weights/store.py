"""Weights files: safetensors, halves on disk and floats in memory, never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from facecodec.errors import WeightsError
from facecodec.weights.registry import ID_BYTES, file_name, read_file

FORMAT_VERSION = 1
_KEY = "facecodec"


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A weights file in memory.

    Attributes:
        path: where it was read from.
        model_id: first 8 bytes of the file's SHA-256.
        profile: name of the profile whose tensors these are.
        sequential: the network was trained to see its own last output.
        parent: id of the general model that this one was made from; None for a general model.
        tensors: by name in the network; floats are float32.
    """

    path: Path
    model_id: bytes
    profile: str
    sequential: bool
    parent: bytes | None
    tensors: Mapping[str, Tensor]


def load_weights(path: str | Path) -> Weights:
    """Read and check a weights file: one of :func:`save_weights`, or what a training run writes.

    Raises:
        WeightsError: the file is absent, damaged, of another kind or format version, or its name holds
            another hash than its bytes have.
    """
    path = Path(path)
    data, model_id = read_file(path)
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (safetensors.SafetensorError, KeyError, ValueError) as err:
        raise WeightsError(f"{path}: no readable safetensors file: {err}") from err
    profile, sequential, parent = _read_facts(path, header.get("__metadata__", {}))
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in floats.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: tensor {name} is not finite")
    return Weights(path, model_id, profile, sequential, parent, floats)


def _read_facts(path: Path, metadata: Mapping[str, str]) -> tuple[str, bool, bytes | None]:
    """Profile, whether it is sequential, and parent, from the file's metadata.

    Those of a training run's own file hold its settings instead.
    """
    try:
        if _KEY not in metadata:
            return metadata["profile"], bool(tomllib.loads(metadata["config"]).get("sequential", True)), None
        facts = json.loads(metadata[_KEY])
        version, profile, sequential = facts["format"], str(facts["profile"]), bool(facts["sequential"])
        parent = bytes.fromhex(facts["parent"]) if "parent" in facts else None
    except (KeyError, TypeError, ValueError) as err:
        raise WeightsError(f"{path}: no weights of facecodec (metadata {_KEY!r} absent or damaged)") from err
    if version != FORMAT_VERSION:
        raise WeightsError(f"{path}: format version {version}, but this facecodec reads {FORMAT_VERSION}")
    return profile, sequential, parent


def save_weights(
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    profile: str,
    *,
    sequential: bool = True,
    label: str | None = None,
    parent: bytes | None = None,
) -> Path:
    """Write a weights file, floats as halves, under the name that its hash gives it.

    The same tensors give the same bytes.

    Args:
        folder: where it goes; made if absent.
        tensors: by name in the network.
        profile: name of the profile whose tensors these are.
        sequential: the network was trained to see its own last output.
        label: first part of the name; None takes the profile's, as for general weights.
        parent: id of the general model that this one was made from.

    Returns:
        The file.

    Raises:
        WeightsError: a tensor is not finite, or too large for halves, or the file cannot be written.
    """
    halves = {}
    for name, tensor in sorted(tensors.items()):
        half = tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.detach().cpu()
        if not torch.isfinite(half).all():
            raise WeightsError(f"{profile}: tensor {name} is not finite as halves")
        halves[name] = half.contiguous()
    facts: dict[str, object] = {"format": FORMAT_VERSION, "profile": profile, "sequential": sequential}
    if parent is not None:
        facts["parent"] = parent.hex()
    # One key alone: safetensors writes several in no fixed order, and the file's hash is its name.
    data = safetensors.torch.save(halves, {_KEY: json.dumps(facts)})
    target = Path(folder) / file_name(label or profile, hashlib.sha256(data).digest()[:ID_BYTES])
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, target)
    except OSError as err:
        raise WeightsError(f"{target}: cannot be written: {err.strerror or err}") from err
    finally:
        if part.exists():
            part.unlink()
    return target


def fill(module: nn.Module, weights: Weights) -> None:
    """Put weights into a network.

    Raises:
        WeightsError: a tensor is missing, left over, or has another shape than the network's; the network is
            then as it was.
    """
    wanted = module.state_dict()
    missing, spare = wanted.keys() - weights.tensors.keys(), weights.tensors.keys() - wanted.keys()
    for names, what in ((missing, "is missing"), (spare, f"is not of profile {weights.profile}")):
        if names:
            raise WeightsError(f"{weights.path}: tensor {min(names)} {what}")
    for name, tensor in wanted.items():
        shape = tuple(weights.tensors[name].shape)
        if shape != tuple(tensor.shape):
            raise WeightsError(
                f"{weights.path}: tensor {name} has shape {list(shape)}, expected {list(tensor.shape)}"
            )
    module.load_state_dict(weights.tensors)
