"""Which generator shows a stream: by name, by the stream's model id, by what lies on the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from facecodec.errors import ConfigError, WeightsError, WeightsMismatchError
from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.patches import lay_over
from facecodec.generator.profile import PROFILES
from facecodec.generator.restore import COARSEST
from facecodec.weights import registry

if TYPE_CHECKING:
    from facecodec.generator.adaptive import AdaptiveGenerator
    from facecodec.weights.store import Weights

WARP = WarpGenerator.model_id
"""Model id of ``warp-0``. A stream that carries it may be shown by any generator."""
WARP_NAME = WARP.rstrip(b"\0").decode("ascii")


class RenderState(Protocol):
    """What a generator remembers from frame to frame."""

    def reset(self) -> None:
        """Forget all frames."""


class Generator(Protocol):
    """What the decoder needs of a generator; what ``prepare`` makes is its own affair.

    Attributes:
        sequential: frames depend on those before, so they are rendered one after another.
    """

    sequential: bool

    def prepare(self, picture: Tensor, mesh: Tensor, q_idx: int = COARSEST) -> Any:
        """Take in a reference picture [3, S, S] in [0, 1], its mesh [478, 3] and AV1's ``base_q_idx``."""

    def new_state(self) -> RenderState:
        """State of a stream before its first frame."""

    def geometry(self, reference: Any) -> ReferenceState:
        """The picture that patches shall fit, and its mesh, of what ``prepare`` made."""

    def patch_side(self, size: int) -> int:
        """Side of the region patches that it takes beside reference pictures of a side, pixels."""

    def render(
        self,
        references: Sequence[Any],
        mesh: Tensor,
        scene: Tensor | None,
        state: Any,
        patches: Tensor | None = None,
    ) -> Tensor:
        """Make n consecutive frames.

        Args:
            references: what ``prepare`` made of 1 to 4 reference pictures, first the one of ``scene``.
            mesh: [n, 478, 3], crop units.
            scene: [n, G, G, 2], or None.
            state: what ``new_state`` gave; moved on.
            patches: region patches in their places, [n, 4, S', S'], or None.

        Returns:
            [n, 3, S, S] in [0, 1].
        """


class NoState:
    """State of a generator that makes every frame on its own."""

    def reset(self) -> None:
        """Forget nothing."""


class WarpRenderer:
    """:class:`WarpGenerator` as the decoder drives generators: the first reference picture alone, bent.

    Args:
        device: where it runs.
    """

    sequential = False

    def __init__(self, device: torch.device) -> None:
        self._warp = WarpGenerator().to(device).eval()

    def prepare(self, picture: Tensor, mesh: Tensor, q_idx: int = COARSEST) -> ReferenceState:
        """See :meth:`WarpGenerator.prepare`; pictures are shown as they were coded."""
        return self._warp.prepare(picture, mesh)

    def geometry(self, reference: ReferenceState) -> ReferenceState:
        """See :class:`Generator`."""
        return reference

    def patch_side(self, size: int) -> int:
        """See :class:`Generator`."""
        return size

    def new_state(self) -> NoState:
        """State of a stream: nothing."""
        return NoState()

    def render(
        self,
        references: Sequence[ReferenceState],
        mesh: Tensor,
        scene: Tensor | None,
        state: NoState,
        patches: Tensor | None = None,
    ) -> Tensor:
        """See :class:`Generator`."""
        picture: Tensor = self._warp(references[0], mesh, scene)
        return picture if patches is None else lay_over(picture, patches)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedGenerator:
    """A generator ready to run.

    Attributes:
        name: for people and metadata: ``warp-0``, or profile and model id such as ``lite-0123456789abcdef``.
        model_id: 8 bytes, as streams carry it.
        model: the generator.
        size_multiple: sides of its pictures are multiples of this.
    """

    name: str
    model_id: bytes
    model: Generator
    size_multiple: int


def pick_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("device", name, "cpu or auto: this machine has no CUDA device")
    return torch.device("cuda" if name != "cpu" and there else "cpu")


def load_generator(
    name: str, device: torch.device, weights: str | Path | None = None, *, stream: bytes = WARP
) -> LoadedGenerator:
    """Load the generator that shows a stream.

    Args:
        name: ``warp-0``; a profile such as ``lite``, whatever the stream was made for; or ``auto``: the model
            that the stream names, and where that is ``warp-0`` the best one for the device that has weights.
        device: where it runs.
        weights: file to take instead of one of the registry.
        stream: model id in the stream's header.

    Raises:
        ConfigError: ``name`` is unknown, or is ``warp-0`` and ``weights`` are given.
        WeightsError: the weights are absent or damaged, or of another profile than ``name``.
        WeightsMismatchError: ``name`` is ``auto``, and the stream names a model that is not here, or another
            than ``weights`` hold.
    """
    if name == WARP_NAME:
        if weights is not None:
            raise ConfigError("weights", str(weights), f"nothing with generator {WARP_NAME}, which has none")
        return LoadedGenerator(WARP_NAME, WARP, WarpRenderer(device), 1)
    if name == "auto":
        path = _automatic(stream, device) if weights is None else Path(weights)
        loaded = _load(path, None, device) if path else load_generator(WARP_NAME, device)
        if stream not in (WARP, loaded.model_id):
            raise WeightsMismatchError(stream.hex(), (f"{loaded.name} ({weights})",))
        return loaded
    if name not in PROFILES:
        raise ConfigError("generator", name, f"auto, {WARP_NAME}, {', '.join(PROFILES)}")
    path = registry.find_profile(name) if weights is None else Path(weights)
    if path is None:
        looked = ", ".join(str(folder) for folder in registry.folders())
        file = f"{name}-<id>.safetensors"
        raise WeightsError(f"no weights of generator {name} are installed: no {file} in {looked}")
    return _load(path, name, device)


def _automatic(stream: bytes, device: torch.device) -> Path | None:
    """Weights that a stream asks for; None is warp-0."""
    if stream != WARP:
        path = registry.find_model(stream)
        if path is None:
            here = sorted({entry.model_id.hex() for entry in registry.entries()})
            raise WeightsMismatchError(stream.hex(), (WARP_NAME, *here))
        return path
    profiles = ("base", "lite") if device.type == "cuda" else ("lite",)
    return next((path for path in map(registry.find_profile, profiles) if path), None)


def check_weights(path: str | Path, profile: str | None = None) -> Weights:
    """Read a weights file and make sure that it fills the network of its profile.

    Args:
        path: the file.
        profile: what it must be; None takes any.

    Raises:
        WeightsError: the file is absent or damaged, of another profile, or a tensor does not fit.
    """
    return _build(Path(path), profile)[0]


def _build(path: Path, profile: str | None) -> tuple[Weights, AdaptiveGenerator]:
    """A weights file, and the network that it fills."""
    from facecodec.generator.adaptive import AdaptiveGenerator
    from facecodec.weights.store import fill, load_weights

    weights = load_weights(path)
    if weights.profile not in PROFILES or profile not in (None, weights.profile):
        raise WeightsError(
            f"{path}: weights of profile {weights.profile}, expected {profile or ' or '.join(PROFILES)}"
        )
    model = AdaptiveGenerator(PROFILES[weights.profile])
    fill(model, weights)
    return weights, model


def _load(path: Path, profile: str | None, device: torch.device) -> LoadedGenerator:
    """A generator with the weights of a file."""
    from facecodec.generator.adaptive import SIZE_MULTIPLE
    from facecodec.generator.streaming import Stream

    weights, model = _build(path, profile)
    model.to(device).eval().requires_grad_(False)
    stream = Stream(model, sequential=weights.sequential)
    return LoadedGenerator(
        f"{weights.profile}-{weights.model_id.hex()}", weights.model_id, stream, SIZE_MULTIPLE
    )
