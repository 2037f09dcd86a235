"""What entries of a palette save: the error of what the decoder would show, region by region."""

from __future__ import annotations

import numpy as np

from facecodec.motion.expression import distances, entry_weights
from facecodec.types import F32Array, F64Array

CODING_LOSS = 0.15
"""Share of an entry's energy that coding is reckoned to lose."""


class RegionShown:
    """The entries of one region, the reference picture first, as the decoder chooses among them by shape.

    A texture is what a region holds in a frame less what the reference picture holds, both without shape.

    Args:
        region: 0 right eye, 1 left eye, 2 mouth.
        reference: [478, 3], the reference picture's mesh.
        size: numbers of a texture.
    """

    def __init__(self, region: int, reference: F64Array, size: int) -> None:
        self._region = region
        self._shapes = [reference]
        self._textures = [np.zeros(size, np.float32)]

    def add(self, shape: F64Array, texture: F32Array) -> None:
        """Take in an entry."""
        self._shapes.append(shape)
        self._textures.append(texture)

    def gains(self, wanted: F64Array, shapes: F64Array, textures: F32Array) -> F64Array:
        """Squared error that each frame would save if it became an entry.

        Args:
            wanted: [T, 478, 3], the faces that the decoder has, without pose.
            shapes: [T, 478, 3], the same as entries.
            textures: [T, P].

        Returns:
            [T], summed over the frames; negative where the decoder would show it in wrong places.
        """
        away = distances(wanted, np.stack(self._shapes), self._region)
        between = distances(wanted, shapes, self._region)
        entries = np.stack(self._textures)
        error = _squares(textures, entries) + CODING_LOSS * (entries**2).sum(1)
        fresh = _squares(textures, textures) + CODING_LOSS * (textures**2).sum(1)
        now = (entry_weights(away) * error).sum()
        out = np.zeros(len(shapes))
        for c in range(len(shapes)):
            weights = entry_weights(np.column_stack([away, between[:, c]]))
            out[c] = now - (weights * np.column_stack([error, fresh[:, c]])).sum()
        return out


def _squares(a: F32Array, b: F32Array) -> F64Array:
    """Squared distances of lines, [A, B]."""
    product = a.astype(np.float64) @ b.T.astype(np.float64)
    return np.asarray(np.maximum((a**2).sum(1)[:, None] - 2 * product + (b**2).sum(1)[None], 0.0))
