"""Eyes and mouth as openings: how far they stand open, and moving their edges to where they shall be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facecodec.types import F64Array

EYE_CLOSED = 0.07
"""Lid distance of a closed eye over its width, as the tracker sees it (median over training clips)."""
_EYE_OPEN = 0.15
"""From this lid distance on an eye is open enough to tell how far it opens."""
_SLOPES = (0.5, 2.0)
_TINY = 1e-9
SIZE_RATIOS = (0.6, 1.6)
"""Ratios of one face's features to another's are kept within these."""


class Opening(NamedTuple):
    """An opening of the face.

    Attributes:
        corners: its two ends.
        pairs: points that meet when it closes, the upper one first; the first three lie in its middle.
        reach: how far from it the skin goes along when its edges are moved, in its widths.
    """

    corners: tuple[int, int]
    pairs: tuple[tuple[int, int], ...]
    reach: float

    def width(self, shape: F64Array) -> F64Array:
        """Distance of the corners of [..., 478, 3]: [...]."""
        first, last = self.corners
        return np.asarray(np.linalg.norm(shape[..., first, :] - shape[..., last, :], axis=-1))

    def gap(self, shape: F64Array) -> F64Array:
        """Distance of the edges in the middle over the width, of [..., 478, 3]: [...]."""
        upper, lower = (list(points) for points in zip(*self.pairs[:3], strict=True))
        apart = np.linalg.norm(shape[..., upper, :] - shape[..., lower, :], axis=-1).mean(-1)
        return np.asarray(apart / np.maximum(self.width(shape), _TINY))

    def nearness(self, mean: F64Array, reach: float) -> F64Array:
        """How near the points of the mean mesh lie to it: 1 at it, 0 from ``reach`` widths on, [478]."""
        edge = [point for pair in self.pairs for point in pair] + list(self.corners)
        away = np.linalg.norm(mean[:, None, :2] - mean[None, edge, :2], axis=-1).min(axis=1)
        return fade(away / (reach * float(self.width(mean))))

    def ratio(self, own: F64Array, other: F64Array) -> float:
        """Its width in one face [478, 3] over that in another, within :data:`SIZE_RATIOS`."""
        return float(np.clip(self.width(own) / np.maximum(self.width(other), _TINY), *SIZE_RATIOS))


RIGHT_EYE = Opening(
    (33, 133), ((159, 145), (158, 153), (160, 144), (157, 154), (161, 163), (173, 155), (246, 7)), 0.55
)
LEFT_EYE = Opening(
    (263, 362), ((386, 374), (385, 380), (387, 373), (384, 381), (388, 390), (398, 382), (466, 249)), 0.55
)
MOUTH = Opening(
    (78, 308),
    ((13, 14), (312, 317), (82, 87), (311, 402), (81, 178), (310, 318), (80, 88), (415, 324), (191, 95)),
    0.45,
)
UPPER_SHARES = (0.85, 0.85, 0.5)
"""How much of a change of the opening its upper edge makes: right eye, left eye, mouth."""


class OpeningMap:
    """Sets the distance of the edges of an eye or a mouth; shapes are canonical.

    Args:
        opening: which one.
        upper_share: how much of a change its upper edge makes.
        reference: [478, 3], the face to change.
        match: [478, 3], the driver's face that corresponds to it.
        mean: [478, 3], the mean face.
    """

    def __init__(
        self, opening: Opening, upper_share: float, reference: F64Array, match: F64Array, mean: F64Array
    ) -> None:
        self._opening = opening
        self._upper_share = upper_share
        self._upper = np.array([pair[0] for pair in opening.pairs])
        self._lower = np.array([pair[1] for pair in opening.pairs])
        self._is_mouth = opening is MOUTH
        self._size = opening.ratio(reference, match)
        self._own_gap = float(opening.gap(reference))
        self._own_edges = self._edges(reference)
        self._slope = self._find_slope(float(opening.gap(match)))
        self._handle, self._share = self._skin(mean)

    def correct(self, shape: F64Array, driver: F64Array) -> F64Array:
        """Shapes [T, 478, 3] with the edges set apart as the driver's [T, 478, 3] ask."""
        change = self._wanted(driver) - self._edges(shape)
        moves = np.concatenate([-self._upper_share * change, (1 - self._upper_share) * change], axis=1)
        return np.asarray(shape + self._share[:, None] * moves[:, self._handle])

    def _edges(self, shape: F64Array) -> F64Array:
        """From each upper point to its lower one: [..., P, 3]."""
        return np.asarray(shape[..., self._lower, :] - shape[..., self._upper, :])

    def _wanted(self, driver: F64Array) -> F64Array:
        """From each upper point to its lower one, as they shall stand: [T, P, 3]."""
        edges = self._size * self._edges(driver)
        if self._is_mouth:
            return np.asarray(edges)
        seen = self._opening.gap(driver)
        gap = np.where(seen > EYE_CLOSED, EYE_CLOSED + self._slope * (seen - EYE_CLOSED), seen)
        if self._own_gap >= _EYE_OPEN:
            return np.asarray(self._own_edges * (gap / self._own_gap)[:, None, None])
        ratio = gap / np.maximum(seen, _TINY)
        return np.asarray(edges * ratio[:, None, None])

    def _find_slope(self, match_gap: float) -> float:
        """How much the reference's eye opens while the driver's opens by one."""
        if self._own_gap < _EYE_OPEN or match_gap < _EYE_OPEN:
            return 1.0
        return float(np.clip((self._own_gap - EYE_CLOSED) / (match_gap - EYE_CLOSED), *_SLOPES))

    def _skin(self, mean: F64Array) -> tuple[npt.NDArray[np.intp], F64Array]:
        """For every point the edge point that it goes with, [478], and how far, [478]."""
        edge = np.concatenate([self._upper, self._lower])
        away = np.linalg.norm(mean[:, None, :2] - mean[None, edge, :2], axis=-1)
        handle = away.argmin(axis=1)
        share = fade(away.min(axis=1) / (self._opening.reach * float(self._opening.width(mean))))
        share[list(self._opening.corners)] = 0.0
        share[468:] = 0.0
        return handle, share


def fade(distance: F64Array) -> F64Array:
    """1 at 0, falling smoothly to 0 at 1."""
    t = np.clip(1 - distance, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))
