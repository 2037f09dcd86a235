"""facecodec: a codec for talking-head video.

The encoder sends a reference picture now and then and, for every frame, the motion of facial and
scene keypoints; the decoder makes the frames from them. ``ARCHITECTURE.md`` in this folder is the
map, ``bitstream/FORMAT.md`` the format.

The names in ``__all__`` are the public interface. All but settings and errors load when they are
first used, so that ``import facecodec`` costs neither torch nor numpy.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.errors import (
    BadMagicError,
    BitstreamError,
    ChecksumError,
    ConfigError,
    FacecodecError,
    LimitError,
    MediaError,
    MissingReferenceError,
    NoFaceError,
    RefusedError,
    ShapeError,
    TransportError,
    TruncatedError,
    UnsupportedVersionError,
    WeightsError,
    WeightsMismatchError,
)

if TYPE_CHECKING:
    from facecodec.api import decode_file, encode_file, probe
    from facecodec.bitstream import BITSTREAM_VERSION
    from facecodec.decoder import Decoder
    from facecodec.encoder import Encoder
    from facecodec.types import Frame, Packet

__version__ = "0.1.0"

__all__ = [
    "BITSTREAM_VERSION",
    "BadMagicError",
    "BitstreamError",
    "ChecksumError",
    "ConfigError",
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "FacecodecError",
    "Frame",
    "LimitError",
    "MediaError",
    "MissingReferenceError",
    "NoFaceError",
    "Packet",
    "RefusedError",
    "ShapeError",
    "SpeedConfig",
    "TransportError",
    "TruncatedError",
    "UnsupportedVersionError",
    "WeightsError",
    "WeightsMismatchError",
    "__version__",
    "decode_file",
    "encode_file",
    "probe",
]

_LAZY = {
    "BITSTREAM_VERSION": "facecodec.bitstream",
    "Decoder": "facecodec.decoder",
    "Encoder": "facecodec.encoder",
    "Frame": "facecodec.types",
    "Packet": "facecodec.types",
    "decode_file": "facecodec.api",
    "encode_file": "facecodec.api",
    "probe": "facecodec.api",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
