"""What ``import facecodec`` promises, and what it must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import facecodec

PUBLIC_NAMES = [
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


def imported_by(statement: str) -> set[str]:
    """Top-level modules that are loaded once ``statement`` has run in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_public_names_are_those_of_the_checked_in_list():
    assert facecodec.__all__ == PUBLIC_NAMES


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_public_name_is_there(name):
    assert getattr(facecodec, name) is not None
    assert name in dir(facecodec)


def test_every_error_of_the_tree_is_public():
    from facecodec import errors

    tree = {
        n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.FacecodecError)
    }
    assert tree <= set(facecodec.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        facecodec.no_such_name  # noqa: B018


@pytest.mark.parametrize("statement", ["import facecodec", "import facecodec.cli"])
def test_import_loads_nothing_heavy(statement):
    loaded = imported_by(statement)
    assert "facecodec" in loaded
    assert not loaded & {"torch", "av", "cv2", "numpy", "scipy", "ai_edge_litert", "face_alignment"}


@pytest.mark.parametrize("module", ["bitstream", "entropy", "container", "motion.predict"])
def test_the_exact_zone_loads_no_torch(module):
    assert not imported_by(f"import facecodec.{module}") & {"torch", "typer", "rich", "aiortc"}


def test_the_library_is_silent_until_logging_is_configured():
    import logging

    handlers = logging.getLogger("facecodec").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
