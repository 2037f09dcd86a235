"""Sizes of the learned generator: one design, several widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Profile:
    """Widths of the networks.

    Attributes:
        name: what users call it.
        widths: channels of the per-frame network at 1/2, 1/4 and 1/8 of the picture's size.
        labels: channels of the embedded label maps.
        features: channels of the reference features that are warped, at 1/4 of the picture's size.
        style: length of the vector from which the SPADE kernels are generated.
        deep_blocks: SPADE blocks at 1/8 of the picture's size.
        restore: channels of the post filter at 1/2, 1/4 and 1/8.
        restore_blocks: its residual blocks at each size.
        refine: channels of the network that refines the motion field.
    """

    name: str
    widths: tuple[int, int, int]
    labels: int
    features: int
    style: int
    deep_blocks: int
    restore: tuple[int, int, int]
    restore_blocks: int
    refine: int


_ALL = (
    Profile("toy", (8, 8, 8), 4, 4, 8, 1, (8, 8, 8), 1, 8),
    Profile("lite", (32, 64, 96), 24, 32, 96, 2, (48, 80, 96), 3, 32),
    Profile("base", (60, 116, 176), 24, 48, 32, 2, (48, 80, 96), 3, 48),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})
"""``lite`` for CPUs, ``base`` for GPUs, ``toy`` for tests."""
