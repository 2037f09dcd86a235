"""Setting the decoded crop back into the whole picture in the gradient domain.

After P. Perez, M. Gangnet and A. Blake, "Poisson Image Editing", SIGGRAPH 2003, with a temporal term so
that the seam does not flicker. In a band around the crop's border the picture I minimises ::

    sum |dI/dx - Gx|^2 + |dI/dy - Gy|^2 + temporal * |dI/dt - Gt|^2

where G are the gradients of the hard paste C (the crop inside, the backdrop outside), spatially 0 from one
to the other. Outside the band I = C. With the correction E = I - C this is the linear system ::

    (L + temporal * 1) E[t] = -X C[t] + temporal * E[t - 1],   E = 0 outside the band

with L the Laplacian of the pixel grid in the band and X the Laplacian of those edges that cross the seam.
The matrix changes with the reference picture only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from facecodec.composite.paste import FEATHER_DEFAULT, check_setup, enlarge, place
from facecodec.errors import ConfigError
from facecodec.types import CropTransform, F64Array, U8Array

TEMPORAL_DEFAULT = 0.05
"""Weight of the temporal term against the spatial ones."""
_MAX_HALF_BAND_PX = 16
_LEAST_STIFFNESS = 1e-6
"""Keeps the system regular where the band covers the whole picture, so that nothing holds it."""

BoolArray = npt.NDArray[np.bool_]


class PoissonPaster:
    """Pastes the crops of a sequence, in order, into a backdrop without a step at the seam.

    Args:
        width: picture width in pixels.
        height: picture height in pixels.
        crop: where the crop lies.
        backdrop: RGB, [height, width, 3] uint8.
        feather: width of the band in crop sides, half of it on each side of the seam (16 pixels at most).
        temporal: weight of the temporal term, 0 or more.

    Raises:
        ShapeError: ``backdrop`` has another shape.
        ConfigError: ``feather``, ``temporal`` or the crop's side out of range.
    """

    def __init__(
        self,
        width: int,
        height: int,
        crop: CropTransform,
        backdrop: U8Array,
        feather: float = FEATHER_DEFAULT,
        temporal: float = TEMPORAL_DEFAULT,
    ) -> None:
        """Find the band and factorise its system."""
        check_setup(width, height, crop, backdrop, feather)
        if not temporal >= 0:
            raise ConfigError("temporal", temporal, "0 or more")
        self._side = crop.side
        self._place = place(crop, width, height)
        self._backdrop = backdrop.copy()
        self._temporal = temporal
        half = min(max(1, round(feather * crop.side / 2)), _MAX_HALF_BAND_PX)
        inside = np.zeros((height, width), bool)
        inside[self._place.rows, self._place.columns] = True
        self._band = np.flatnonzero(_band(inside, half))
        laplacian, self._seam = band_system(inside, self._band)
        eye = sparse.eye_array(len(self._band), format="csc")
        self._first = _factorise(laplacian + _LEAST_STIFFNESS * eye) if len(self._band) else None
        self._next = _factorise(laplacian + temporal * eye) if len(self._band) and temporal else self._first
        self._correction: F64Array | None = None

    def reset(self) -> None:
        """Forget the previous frame: the next one stands alone."""
        self._correction = None

    def paste(self, crop_rgb: U8Array) -> U8Array:
        """Set the next decoded crop into the backdrop.

        Args:
            crop_rgb: RGB, [S, S, 3] uint8, any S.

        Returns:
            RGB, [height, width, 3] uint8, newly allocated.

        Raises:
            ShapeError: ``crop_rgb`` is not a square RGB picture.
        """
        square = enlarge(crop_rgb, self._side)[self._place.inner_rows, self._place.inner_columns]
        out = self._backdrop.copy()
        out[self._place.rows, self._place.columns] = square
        if self._first is None or self._next is None:
            return out
        flat = out.reshape(-1, 3)
        load = -(self._seam @ flat.astype(np.float64))
        if self._correction is None:
            correction: F64Array = self._first.solve(load)
        else:
            correction = self._next.solve(load + self._temporal * self._correction)
        self._correction = correction
        flat[self._band] = np.rint(np.clip(flat[self._band] + correction, 0, 255)).astype(np.uint8)
        return out


def _band(inside: BoolArray, half: int) -> BoolArray:
    """Pixels within ``half`` pixels (along rows and columns) of a change of ``inside``."""
    near = np.zeros_like(inside)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return near
    height, width = inside.shape
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    outer = (slice(max(0, top - half), bottom + half), slice(max(0, left - half), right + half))
    near[outer] = True
    core_top, core_left = (top + half if top else 0), (left + half if left else 0)
    core_bottom = bottom - half if bottom < height else height
    core_right = right - half if right < width else width
    near[core_top : max(core_top, core_bottom), core_left : max(core_left, core_right)] = False
    return near


def band_system(inside: BoolArray, band: npt.NDArray[np.int64]) -> tuple[sparse.csc_array, sparse.csr_array]:
    """The matrices of the band.

    Args:
        inside: [H, W], True where the crop shows.
        band: [N], flat indices of the unknown pixels, ascending.

    Returns:
        ``laplacian`` [N, N], the grid's Laplacian with neighbours outside the band held at 0, and ``seam``
        [N, H * W], the Laplacian of the edges that cross the seam.
    """
    height, width = inside.shape
    number = np.full(height * width, -1)
    number[band] = np.arange(len(band))
    flat, count = inside.reshape(-1), len(band)
    laplacian = sparse.csr_array((count, count))
    seam = sparse.csr_array((count, height * width))
    row, column = band // width, band % width
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        there = (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        own = np.flatnonzero(there)
        pixel, other = band[own], band[own] + dy * width + dx
        unknown = number[other] >= 0
        ones = np.ones(len(own))
        laplacian = laplacian + sparse.csr_array((ones, (own, own)), shape=laplacian.shape)
        links = (ones[unknown], (own[unknown], number[other][unknown]))
        laplacian = laplacian - sparse.csr_array(links, shape=laplacian.shape)
        cross = flat[pixel] != flat[other]
        rows = np.concatenate([own[cross], own[cross]])
        values = np.concatenate([ones[cross], -ones[cross]])
        ends = np.concatenate([pixel[cross], other[cross]])
        seam = seam + sparse.csr_array((values, (rows, ends)), shape=seam.shape)
    return sparse.csc_array(laplacian), seam


def _factorise(matrix: sparse.csc_array) -> SuperLU:
    return splu(
        sparse.csc_array(matrix),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
