"""The way from an exception to an exit code and a line on standard error.

The codes are listed in the docstring of :mod:`facecodec.cli`.
"""

from __future__ import annotations

import typer

from facecodec.cli.paths import OutputError
from facecodec.errors import (
    BitstreamError,
    ConfigError,
    FacecodecError,
    MediaError,
    MissingReferenceError,
    TransportError,
    WeightsError,
)

EXIT_OK, EXIT_INTERNAL, EXIT_USAGE, EXIT_MEDIA, EXIT_BITSTREAM, EXIT_WEIGHTS, EXIT_NETWORK = range(7)
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, EXIT_USAGE),
    (OutputError, EXIT_USAGE),
    (WeightsError, EXIT_WEIGHTS),
    (BitstreamError, EXIT_BITSTREAM),
    (MissingReferenceError, EXIT_BITSTREAM),
    (MediaError, EXIT_MEDIA),
    (TransportError, EXIT_NETWORK),
    (OSError, EXIT_MEDIA),
    (FacecodecError, EXIT_INTERNAL),
)


def explain(err: Exception) -> int:
    """Say what went wrong in one line; return the exit code for it."""
    for kind, code in _EXIT_CODES:
        if isinstance(err, kind):
            complain(str(err))
            return code
    describe = getattr(err, "format_message", None)  # typer's usage errors, whose base is private
    if describe is not None:
        message = describe()
        if message:
            complain(message)
        return EXIT_USAGE
    complain(f"unexpected {type(err).__name__}: {err} (--debug shows where)")
    return EXIT_INTERNAL


def complain(message: str) -> None:
    """Print an error in one line on standard error."""
    typer.echo(f"facecodec: error: {' '.join(message.split())}", err=True)
