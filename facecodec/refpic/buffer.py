"""The reference buffer: the decoded reference pictures that both ends keep, eight slots at most."""

from __future__ import annotations

from dataclasses import dataclass

from facecodec.errors import MissingReferenceError
from facecodec.refpic.quantiser import COARSEST
from facecodec.types import CropTransform, F64Array, U8Array

SLOTS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A decoded reference picture.

    Attributes:
        ref_id: its slot, 0 to 7.
        pts: time of the picture.
        picture: decoded still, [S, S, 3] uint8.
        mesh: decoded mesh, [478, 3] crop units.
        crop: the square it shows.
        key: its bytes, where others can be predicted from it; else empty.
        q_idx: ``base_q_idx`` of the key picture that it is or follows, 0 to 255; 255 where that is unknown.
    """

    ref_id: int
    pts: int
    picture: U8Array
    mesh: F64Array
    crop: CropTransform
    key: bytes = b""
    q_idx: int = COARSEST


class ReferenceBuffer:
    """Slots 0 to 7; a new picture in a slot replaces the old one.

    The rule of eviction: a new picture goes where nothing has been yet, slot 0 first, else where the picture
    is that was named longest ago. Both ends keep this order, so the decoder knows the place of a lost one.
    """

    def __init__(self) -> None:
        self._slots: dict[int, Reference] = {}
        self._order = list(range(SLOTS))

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, ref_id: int) -> bool:
        return ref_id in self._slots

    def next_slot(self) -> int:
        """Slot for the encoder's next reference picture."""
        return self._order[0]

    def put(self, reference: Reference) -> None:
        """Store a picture in its slot."""
        self._slots[reference.ref_id] = reference
        self.name(reference.ref_id)

    def name(self, ref_id: int) -> None:
        """Note that the slot's picture came, or that motion names it."""
        self._order.remove(ref_id)
        self._order.append(ref_id)

    def drop(self, ref_id: int) -> None:
        """Empty a slot: what was meant for it is lost."""
        self._slots.pop(ref_id, None)
        self.name(ref_id)

    def get(self, ref_id: int) -> Reference:
        """Return the picture of a slot.

        Raises:
            MissingReferenceError: nothing has been received for that slot.
        """
        if ref_id not in self._slots:
            raise MissingReferenceError(ref_id)
        return self._slots[ref_id]

    def all(self) -> list[Reference]:
        """Return every picture in the buffer."""
        return list(self._slots.values())
