"""Setting the decoded crop back into the whole picture, with a feathered border."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError, ShapeError
from facecodec.types import CropTransform, F64Array, U8Array

FEATHER_DEFAULT = 0.07
"""Width of the feathered border, in crop sides."""

U16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a crop lies in a picture: ``picture[rows, columns]`` shows ``square[inner_rows, inner_columns]``.

    The square is the crop at ``crop.side`` pixels a side; what lies outside the picture is left out.
    """

    rows: slice
    columns: slice
    inner_rows: slice
    inner_columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the visible part."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def place(crop: CropTransform, width: int, height: int) -> Placement:
    """Find the visible part of a crop in a picture of ``width`` x ``height``; it may be empty."""
    left, top = min(max(crop.x, 0), width), min(max(crop.y, 0), height)
    right = max(min(crop.x + crop.side, width), left)
    bottom = max(min(crop.y + crop.side, height), top)
    return Placement(
        slice(top, bottom),
        slice(left, right),
        slice(top - crop.y, bottom - crop.y),
        slice(left - crop.x, right - crop.x),
    )


def enlarge(crop_rgb: U8Array, side: int) -> U8Array:
    """Resize a square picture to ``side``: cubic up, area average down.

    Raises:
        ShapeError: not a square RGB picture.
    """
    if crop_rgb.ndim != 3 or crop_rgb.shape[2] != 3 or crop_rgb.shape[0] != crop_rgb.shape[1]:
        raise ShapeError("crop picture", "[S, S, 3]", crop_rgb.shape)
    size = crop_rgb.shape[0]
    if size == side:
        return crop_rgb
    method = cv2.INTER_CUBIC if side > size else cv2.INTER_AREA
    return np.asarray(cv2.resize(crop_rgb, (side, side), interpolation=method), dtype=np.uint8)


def check_setup(width: int, height: int, crop: CropTransform, backdrop: U8Array, feather: float) -> None:
    """Check what every paster takes.

    Raises:
        ShapeError: ``backdrop`` is not [height, width, 3].
        ConfigError: ``feather`` outside 0 to 0.5, or a crop without area.
    """
    if backdrop.shape != (height, width, 3):
        raise ShapeError("backdrop", f"[{height}, {width}, 3]", backdrop.shape)
    if not 0 <= feather <= 0.5:
        raise ConfigError("feather", feather, "0 to 0.5 crop sides")
    if crop.side < 1:
        raise ConfigError("crop.side", crop.side, "at least 1 pixel")


def _ramp(start: int, side: int, limit: int, width: int) -> F64Array:
    """Weights along one axis of the square: rising over ``width`` pixels at borders inside the picture."""
    centre = np.arange(side) + 0.5
    weight: F64Array = np.ones(side)
    if width and start > 0:
        weight = np.minimum(weight, centre / width)
    if width and start + side < limit:
        weight = np.minimum(weight, (side - centre) / width)
    return weight * weight * (3 - 2 * weight)


def feather_ramps(
    width: int, height: int, crop: CropTransform, feather: float = FEATHER_DEFAULT
) -> tuple[F64Array, F64Array]:
    """Weights of a crop in the visible part of its square, against the backdrop.

    Args:
        width: picture width in pixels.
        height: picture height in pixels.
        crop: where the crop lies.
        feather: width of the feathered border in crop sides.

    Returns:
        One for each row and one for each column of :func:`place`, 0 to 1; a pixel has the product of its two.
    """
    visible, soft = place(crop, width, height), round(feather * crop.side)
    down = _ramp(crop.y, crop.side, height, soft)[visible.inner_rows]
    return down, _ramp(crop.x, crop.side, width, soft)[visible.inner_columns]


class Paster:
    """Pastes crops into a backdrop with a feathered border.

    Where the crop's border lies on the picture's border or beyond, it is not feathered.

    Args:
        width: picture width in pixels.
        height: picture height in pixels.
        crop: where the crop lies.
        backdrop: RGB, [height, width, 3] uint8.
        feather: width of the feathered border in crop sides, 0 to 0.5.

    Raises:
        ShapeError: ``backdrop`` has another shape.
        ConfigError: ``feather`` or the crop's side out of range.
    """

    def __init__(
        self,
        width: int,
        height: int,
        crop: CropTransform,
        backdrop: U8Array,
        feather: float = FEATHER_DEFAULT,
    ) -> None:
        """Work out the mask: the cost of a frame is then resizing and the border."""
        check_setup(width, height, crop, backdrop, feather)
        self._side = crop.side
        self._place = place(crop, width, height)
        self._backdrop = backdrop.copy()
        down, across = feather_ramps(width, height, crop, feather)
        mask = np.rint(np.outer(down, across) * 256).astype(np.uint16)[..., None]
        behind = self._backdrop[self._place.rows, self._place.columns]
        base = behind * (256 - mask) + np.uint16(128)
        self._bands = [
            (rows, columns, mask[rows, columns], base[rows, columns])
            for rows, columns in _frame(down, across)
        ]

    def paste(self, crop_rgb: U8Array) -> U8Array:
        """Set one decoded crop into the backdrop.

        Args:
            crop_rgb: RGB, [S, S, 3] uint8, any S.

        Returns:
            RGB, [height, width, 3] uint8, newly allocated.

        Raises:
            ShapeError: ``crop_rgb`` is not a square RGB picture.
        """
        square = enlarge(crop_rgb, self._side)[self._place.inner_rows, self._place.inner_columns]
        out = self._backdrop.copy()
        target = out[self._place.rows, self._place.columns]
        target[:] = square
        for rows, columns, mask, base in self._bands:
            target[rows, columns] = (square[rows, columns] * mask + base) >> 8
        return out


def _frame(down: F64Array, across: F64Array) -> list[tuple[slice, slice]]:
    """The parts of the rectangle where the weights ``down`` x ``across`` are below 1: at most four strips."""

    def solid(weight: F64Array) -> slice:
        full = np.flatnonzero(weight >= 1 - 1 / 1024)
        return slice(int(full[0]), int(full[-1]) + 1) if len(full) else slice(len(weight), len(weight))

    rows, columns = solid(down), solid(across)
    strips = [
        (slice(0, rows.start), slice(0, len(across))),
        (slice(rows.stop, len(down)), slice(0, len(across))),
        (rows, slice(0, columns.start)),
        (rows, slice(columns.stop, len(across))),
    ]
    return [(r, c) for r, c in strips if r.stop > r.start and c.stop > c.start]
