"""Checkpoints: weights that can be used, and the state that a run resumes from.

``weights.safetensors`` holds averaged weights, fp16. The state lies in ``resume/``: ``state.json`` and parts
``state-STEP-NUMBER.safetensors`` of less than 16 MB each, weights in float32 and moments of Adam in bfloat16.
``state.json`` names its parts and is replaced in one step, so a run that is killed while it saves resumes
from the checkpoint before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from facecodec.errors import WeightsError

PART_BYTES = 15 << 20
"""A part of the state holds at most this many bytes of tensors, unless one tensor alone is larger."""
WEIGHTS_NAME = "weights.safetensors"
_STATE, _FOLDER = "state.json", "resume"


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands.

    Attributes:
        step: steps done.
        samples: samples drawn by all processes.
        seconds: of training, resumed runs included.
        ema_updates: updates of the moving average.
        kind: part and profile that are trained.
        config: the settings, TOML.
        parent: SHA-256 of the weights that the run began with, or nothing.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    ema_updates: int = 0
    kind: str = ""
    config: str = ""
    parent: str = ""


def _replace(path: Path, write: bytes) -> None:
    """Write a small file in one step."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as out:
        out.write(write)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    temporary = path.with_name(f".{path.name}.part")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, metadata)
    temporary.chmod(0o644)
    os.replace(temporary, path)


def moments(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Moments and step counts of Adam, by ``PREFIX/NUMBER/NAME``; float32 moments are rounded to bfloat16.

    The optimiser's own moments are rounded too: a run that goes on and one that is resumed stay the same.
    """
    out: dict[str, Tensor] = {}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        for name, value in optimiser.state.get(parameter, {}).items():
            if name == "step":
                out[f"{prefix}/{number}/step"] = torch.as_tensor(value).clone()
            else:
                rounded = value.to(torch.bfloat16)
                value.copy_(rounded)
                out[f"{prefix}/{number}/{name}"] = rounded
    return out


def load_moments(optimiser: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`moments` gave.

    Raises:
        WeightsError: a moment has another shape than its parameter, or belongs to none.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for key, value in tensors.items():
        head, _, rest = key.partition("/")
        if head != prefix:
            continue
        number, _, name = rest.partition("/")
        if int(number) >= len(parameters):
            raise WeightsError(f"resume state: {key} belongs to no parameter")
        parameter = parameters[int(number)]
        if name == "step":
            optimiser.state[parameter]["step"] = value.float().to(
                parameter.device
            )  # where a fused Adam wants it
            continue
        if value.shape != parameter.shape:
            raise WeightsError(
                f"resume state: {key} is {tuple(value.shape)}, expected {tuple(parameter.shape)}"
            )
        kept = torch.empty_like(parameter, dtype=torch.float32, memory_format=torch.preserve_format)
        optimiser.state[parameter][name] = kept.copy_(value)


def _parts(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Cut tensors into parts of at most :data:`PART_BYTES`."""
    parts: list[dict[str, Tensor]] = []
    size = PART_BYTES + 1
    for key, value in tensors.items():
        need = value.numel() * value.element_size()
        if size + need > PART_BYTES:
            parts.append({})
            size = 0
        parts[-1][key] = value
        size += need
    return parts


def named(head: str, network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a network whose names begin with ``prefix``, by ``HEAD/NAME``."""
    state = network.state_dict()
    return {f"{head}/{name}": value for name, value in state.items() if name.startswith(prefix)}


def load_named(head: str, network: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Put back what :func:`named` gave.

    Raises:
        WeightsError: a tensor is absent, unknown, or has another shape.
    """
    own = {name: each for name, each in network.state_dict().items() if name.startswith(prefix)}
    start = f"{head}/{prefix}"
    mine = {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(start)}
    if own.keys() != mine.keys():
        other = ", ".join(sorted(own.keys() ^ mine.keys())[:3])
        raise WeightsError(f"resume state, {head}: made for another network; it differs in {other}")
    for name, value in mine.items():
        if own[name].shape != value.shape:
            shapes = f"{tuple(value.shape)}, expected {tuple(own[name].shape)}"
            raise WeightsError(f"resume state, {head}: {name} is {shapes}")
        own[name].copy_(value)


def save_state(out: Path, state: RunState, tensors: Mapping[str, Tensor]) -> None:
    """Save the state of a run in ``out``/resume, in place of the one before.

    Args:
        out: folder of the run.
        state: where it stands.
        tensors: weights and moments, by name.

    Raises:
        OSError: nothing can be written there.
    """
    folder = out / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, part in enumerate(_parts(tensors)):
        names.append(f"state-{state.step:08d}-{number:03d}.safetensors")
        _save(folder / names[-1], part)
    record = {**asdict(state), "parts": names}
    _replace(folder / _STATE, (json.dumps(record, indent=1) + "\n").encode())
    for old in folder.glob("*state-*.safetensors*"):
        if old.name not in names:
            old.unlink(missing_ok=True)


def load_state(out: Path) -> tuple[RunState, dict[str, Tensor]] | None:
    """Read what :func:`save_state` wrote; None where there is nothing to resume.

    Raises:
        WeightsError: the state is damaged or of another version.
    """
    path = out / _FOLDER / _STATE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        parts = [str(name) for name in record.pop("parts")]
        known = {item.name for item in fields(RunState)}
        state = RunState(**{name: value for name, value in record.items() if name in known})
        tensors: dict[str, Tensor] = {}
        for name in parts:
            tensors.update(load_file(path.with_name(name)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as err:
        raise WeightsError(f"{path}: cannot be resumed from: {err}") from err
    return state, tensors


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What a weights file says about itself; all text in its metadata.

    Attributes:
        profile: of the generator.
        part: what was trained last.
        steps: of that training.
        seconds: of that training.
        samples: drawn in that training.
        parent: SHA-256 of the weights that it began with, or nothing.
        config: its settings, TOML.
    """

    profile: str
    part: str
    steps: int
    seconds: float
    samples: int
    parent: str
    config: str


def save_weights(
    path: Path, network: nn.Module, info: WeightsInfo, names: Iterable[str] | None = None
) -> None:
    """Write weights in fp16 (integers as they are), in one step.

    Args:
        path: the file.
        network: whose weights are written.
        info: goes into the file's metadata.
        names: the tensors to write; all by default.
    """
    state = network.state_dict()
    chosen = list(state) if names is None else list(names)
    limit = torch.finfo(torch.float16).max
    tensors = {
        name: state[name].clamp(-limit, limit).half() if state[name].is_floating_point() else state[name]
        for name in chosen
    }
    _save(path, tensors, {name: str(value) for name, value in asdict(info).items()})


def load_weights(path: Path, network: nn.Module) -> list[str]:
    """Take weights from a file that may hold a part of the network.

    Args:
        path: a file of :func:`save_weights`.
        network: changed in place.

    Returns:
        Names of the network's tensors that the file does not hold; they stay as they are.

    Raises:
        WeightsError: the file cannot be read, or holds tensors that the network does not have in this shape.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as err:
        raise WeightsError(f"{path}: cannot be read: {err}") from err
    own = network.state_dict()
    for name, value in tensors.items():
        if name not in own:
            raise WeightsError(f"{path}: holds {name}, which this profile does not have")
        if own[name].shape != value.shape:
            raise WeightsError(
                f"{path}: {name} is {tuple(value.shape)}, this profile has {tuple(own[name].shape)}"
            )
        own[name].copy_(value)
    return [name for name in own if name not in tensors]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
