"""Whether the face of the other side is still the one that the call began with.

The first reference picture of a call is pinned; every further one is compared with it. With the weights of
SFace at hand the cosine of the two embeddings decides: on pictures of ten validation clips it was .65 and
more for one person, .36 and less for two. Without them the form of the head does: distances between points
that no expression moves. That tells a wholly different head, not a similar one: a quarter of 903 pairs of
two people, and none of 87 pairs of one.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from facecodec.call.status import Identity, IdentityBy
from facecodec.errors import WeightsError
from facecodec.metrics.identity import WEIGHTS, SFace, align
from facecodec.motion.face import align as align_points
from facecodec.refpic.buffer import Reference
from facecodec.types import F64Array

_log = logging.getLogger(__name__)

ABSENT = (
    f"SFace is not installed ({WEIGHTS.install}): whether the face stays the same is judged by the form of "
    "the head, which tells only wholly different heads"
)
"""What is said where that is so."""
SAME_FACE = 0.363
"""Cosine from which SFace takes two pictures for one person (OpenCV's figure for this network)."""
SAME_FORM = 0.07
"""Distance of two forms, in RMS radii, up to which they can be one person's."""
_FIRM = (33, 133, 362, 263, 168, 6, 197, 4, 2, 98, 327, 10, 234, 454, 127, 356, 48, 278)
"""Mesh points on bone: corners of the eyes, nose, forehead, cheekbones."""


class FacePin:
    """Pins the first face, and compares those that follow.

    Attributes:
        identity: ``unknown`` before the first one, ``pinned`` while it is the same, ``changed`` once it was
            not: it stays so for the rest of the call.
        likeness: of the last one compared: cosine with SFace, else distance of forms; None before.
    """

    def __init__(self) -> None:
        self.identity: Identity = "unknown"
        self.likeness: float | None = None
        self._seen: Reference | None = None
        self._form: F64Array | None = None
        self._face: torch.Tensor | None = None
        self._network: SFace | None = None
        self._loaded = False

    @property
    def by(self) -> IdentityBy:
        """What faces are compared by; empty before :meth:`load`."""
        return "" if not self._loaded else "form" if self._network is None else "face"

    def see(self, reference: Reference) -> None:
        """Look at a reference picture; the same one twice costs nothing."""
        if reference is self._seen:
            return
        self._seen = reference
        if self._form is None:
            self._pin(reference)
            return
        if self._network is not None and self._face is not None:
            face = self._embed(reference)
            self.likeness = float(cosine_similarity(face, self._face, dim=0))
            same = self.likeness >= SAME_FACE
        else:
            self.likeness = form_distance(self._form, reference.mesh)
            same = self.likeness <= SAME_FORM
        if not same:
            _log.warning("the other side's face has changed: likeness %.2f", self.likeness)
            self.identity = "changed"

    def load(self) -> None:
        """Load SFace, where it is installed: work that :meth:`see` then does not have."""
        if self._loaded:
            return
        self._loaded = True
        try:
            self._network = SFace()
        except WeightsError:
            _log.warning(ABSENT)

    def _pin(self, reference: Reference) -> None:
        self.load()
        self._form, self.identity = reference.mesh, "pinned"
        if self._network is not None:
            self._face = self._embed(reference)

    @torch.no_grad()
    def _embed(self, reference: Reference) -> torch.Tensor:
        assert self._network is not None  # noqa: S101  asked for by the callers
        picture = torch.from_numpy(reference.picture.copy()).permute(2, 0, 1)[None].float() / 255
        mesh = torch.from_numpy(reference.mesh[None].astype(np.float32))
        embedding: torch.Tensor = self._network(align(picture, mesh))[0]
        return embedding


def form_distance(one: F64Array, two: F64Array) -> float:
    """RMS distance of the firm points of two meshes, brought onto each other, in RMS radii."""
    source, target = (_normalised(mesh) for mesh in (one, two))
    _, rotation, _, _ = align_points(source, target, np.ones(len(_FIRM)))
    return float(np.sqrt(((source @ rotation.T - target) ** 2).sum(1).mean()))


def _normalised(mesh: F64Array) -> F64Array:
    firm = np.asarray(mesh, np.float64)[list(_FIRM)]
    firm = firm - firm.mean(0)
    return np.asarray(firm / np.sqrt((firm**2).sum(1).mean()))
