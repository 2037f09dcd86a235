"""A picture to measure distances on."""

import numpy as np


def picture(noise: float) -> np.ndarray:
    """A seeded pattern of 64 x 80 with noise of a given amplitude in grey levels."""
    y, x = np.mgrid[0:64, 0:80]
    base = 127 + 80 * np.sin(x / 7)[..., None] * np.cos(y[..., None] / 9 + np.arange(3))
    rng = np.random.default_rng(11)
    return np.clip(np.rint(base + noise * rng.uniform(-1, 1, base.shape)), 0, 255).astype(np.uint8)
