"""The error tree, and what its messages name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facecodec import errors
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

PARENTS = {
    ConfigError: (FacecodecError, ValueError),
    ShapeError: (FacecodecError, ValueError),
    MediaError: (FacecodecError,),
    NoFaceError: (MediaError,),
    BitstreamError: (FacecodecError, ValueError),
    BadMagicError: (BitstreamError,),
    UnsupportedVersionError: (BitstreamError,),
    TruncatedError: (BitstreamError,),
    ChecksumError: (BitstreamError,),
    LimitError: (BitstreamError,),
    MissingReferenceError: (FacecodecError,),
    WeightsError: (FacecodecError,),
    WeightsMismatchError: (WeightsError,),
    TransportError: (FacecodecError,),
    RefusedError: (TransportError,),
}

MESSAGES = [
    (ConfigError("qp", 99, "0 to 51"), "qp is 99; allowed: 0 to 51"),
    (ShapeError("points", "[N, 3]", (5, 2)), "points: expected shape [N, 3], got (5, 2)"),
    (MediaError(Path("a.mp4"), "no video stream"), "a.mp4: no video stream"),
    (NoFaceError("a.mp4", "no face in 50 frames"), "a.mp4: no face in 50 frames"),
    (BitstreamError("odd", unit="motion", offset=12), "motion unit at byte 12: odd"),
    (BitstreamError("odd", unit="motion"), "motion unit: odd"),
    (BitstreamError("odd", offset=0), "stream at byte 0: odd"),
    (BitstreamError("odd"), "stream: odd"),
    (UnsupportedVersionError(9, 1), "header unit: bitstream version 9, but this facecodec reads version 1"),
    (TruncatedError(8, 3, unit="index", offset=40), "index unit at byte 40: needs 8 bytes, 3 left"),
    (LimitError("frames", 99, "1 to 64", unit="motion"), "motion unit: frames is 99; limit: 1 to 64"),
    (MissingReferenceError(3), "reference picture 3 has not been received"),
    (WeightsMismatchError("aa", ("bb", "cc")), "the stream was made for model aa; this facecodec has bb, cc"),
]


@pytest.mark.parametrize("kind", PARENTS, ids=lambda kind: kind.__name__)
def test_bases_are_those_of_the_tree(kind):
    assert kind.__bases__ == PARENTS[kind]


def test_the_tree_in_the_docstring_lists_every_error():
    drawn = set(re.findall(r"\b\w+Error\b", errors.__doc__)) - {"ValueError"}
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")
    }
    assert drawn == defined
    assert {kind.__name__ for kind in PARENTS} == defined - {"FacecodecError"}


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_messages_name_what_was_wrong(error, message):
    assert str(error) == message


def test_values_can_be_read_by_programs():
    assert (LimitError("w", 9, "8", unit="header", offset=4).field, TruncatedError(8, 3).have) == ("w", 3)
    assert MediaError(Path("a.mp4"), "x").path == "a.mp4"
    assert UnsupportedVersionError(9, 1).found == 9
    assert WeightsMismatchError("aa", ("bb",)).local_ids == ("bb",)
