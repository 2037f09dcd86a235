"""Every error that facecodec raises on purpose.

::

    FacecodecError
    |- ConfigError(ValueError)            a setting out of its range: field, value, allowed
    |- ShapeError(ValueError)             an array of the wrong shape: what, expected, got
    |- MediaError                         a picture or sound file that cannot be read or written: path
    |  `- NoFaceError                     no face in the whole input
    |- BitstreamError(ValueError)         bytes that are not a facecodec stream: unit, offset
    |  |- BadMagicError
    |  |- UnsupportedVersionError         found, supported
    |  |- TruncatedError                  need, have
    |  |- ChecksumError
    |  `- LimitError                      field, value, limit
    |- MissingReferenceError              a motion unit names a reference picture that is not there
    |- WeightsError                       a model file absent, damaged or of another kind
    |  `- WeightsMismatchError            the stream was made for another model
    `- TransportError                     a network peer that cannot be reached, or breaks the rules
       `- RefusedError                    a server or peer says no: code

A status (need more data, key frame needed) is never an exception.
"""

from __future__ import annotations

from pathlib import Path


class FacecodecError(Exception):
    """Base of every error that facecodec raises on purpose."""


class ConfigError(FacecodecError, ValueError):
    """A setting is outside its range."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field} is {value!r}; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class ShapeError(FacecodecError, ValueError):
    """An array does not have the shape that the function takes."""

    def __init__(self, what: str, expected: str, got: object) -> None:
        super().__init__(f"{what}: expected shape {expected}, got {got}")
        self.what = what


class MediaError(FacecodecError):
    """A media file cannot be read or written."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class NoFaceError(MediaError):
    """No face was found anywhere in the input."""


class BitstreamError(FacecodecError, ValueError):
    """Bytes that cannot be a facecodec stream.

    Args:
        message: what is wrong.
        unit: name of the unit being read, such as ``"motion"``.
        offset: byte offset of that unit in the file or buffer, where known.
    """

    def __init__(self, message: str, *, unit: str = "", offset: int | None = None) -> None:
        where = f"{unit} unit" if unit else "stream"
        if offset is not None:
            where += f" at byte {offset}"
        super().__init__(f"{where}: {message}")
        self.message = message
        self.unit = unit
        self.offset = offset


class BadMagicError(BitstreamError):
    """The first bytes are not those of a facecodec stream."""


class UnsupportedVersionError(BitstreamError):
    """The stream has a bitstream version that this decoder does not know."""

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"bitstream version {found}, but this facecodec reads version {supported}", unit="header"
        )
        self.found = found
        self.supported = supported


class TruncatedError(BitstreamError):
    """The bytes end before the unit does."""

    def __init__(self, need: int, have: int, *, unit: str = "", offset: int | None = None) -> None:
        super().__init__(f"needs {need} bytes, {have} left", unit=unit, offset=offset)
        self.need = need
        self.have = have


class ChecksumError(BitstreamError):
    """A unit's checksum does not match its bytes."""


class LimitError(BitstreamError):
    """A field holds a value outside the limits of FORMAT.md."""

    def __init__(
        self,
        field: str,
        value: int,
        limit: str,
        *,
        unit: str = "",
        offset: int | None = None,
    ) -> None:
        super().__init__(f"{field} is {value}; limit: {limit}", unit=unit, offset=offset)
        self.field = field
        self.value = value
        self.limit = limit


class MissingReferenceError(FacecodecError):
    """A motion unit names a reference picture that the decoder does not hold."""

    def __init__(self, ref_id: int) -> None:
        super().__init__(f"reference picture {ref_id} has not been received")
        self.ref_id = ref_id


class WeightsError(FacecodecError):
    """A model file is absent, damaged, or not what its name says."""


class WeightsMismatchError(WeightsError):
    """The stream names a model that this installation does not have."""

    def __init__(self, stream_id: str, local_ids: tuple[str, ...]) -> None:
        super().__init__(
            f"the stream was made for model {stream_id}; this facecodec has {', '.join(local_ids)}"
        )
        self.stream_id = stream_id
        self.local_ids = local_ids


class TransportError(FacecodecError):
    """A network peer cannot be reached, or broke the transport's rules."""


class RefusedError(TransportError):
    """A server or peer refuses; ``code`` says why, for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
