"""libopus' own decoder: FFmpeg's wrapper of it neither fills in for lost packets nor reads in-band FEC.

PyAV's wheels bring the library with them; elsewhere the system's is taken.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Self

import av
import numpy as np

from facecodec.media.audio import OPUS_RATE
from facecodec.types import F32Array

GRAIN = OPUS_RATE // 400
"""Sound is filled in for in steps of so many samples: 2.5 ms."""
_PACKET_MAX = OPUS_RATE * 120 // 1000
"""Samples of a packet at most (RFC 6716, section 3.2.5)."""


def _places() -> Iterator[str]:
    """Files that may be libopus."""
    package = Path(av.__file__).parent
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from sorted(str(path) for path in folder.glob("libopus*"))
    named = ctypes.util.find_library("opus")
    if named:
        yield named


@cache
def _library() -> ctypes.CDLL | None:
    """The library with its functions declared (opus.h), or None where there is none."""
    for place in _places():
        try:
            library = ctypes.CDLL(place)
            create, decode, destroy = (
                library.opus_decoder_create,
                library.opus_decode_float,
                library.opus_decoder_destroy,
            )
        except (OSError, AttributeError):
            continue
        create.restype, create.argtypes = ctypes.c_void_p, [ctypes.c_int32, ctypes.c_int, ctypes.c_void_p]
        decode.restype = ctypes.c_int
        decode.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int,
        ]
        destroy.restype, destroy.argtypes = None, [ctypes.c_void_p]
        return library
    return None


class OpusDecoder:
    """One stream of mono sound at 48 kHz; made by :meth:`open`."""

    def __init__(self, library: ctypes.CDLL, state: int) -> None:
        self._library, self._state = library, state

    @classmethod
    def open(cls) -> Self | None:
        """A decoder, or None where libopus is not found."""
        library = _library()
        state = None if library is None else library.opus_decoder_create(OPUS_RATE, 1, None)
        return None if library is None or not state else cls(library, state)

    def __del__(self) -> None:
        self._library.opus_decoder_destroy(self._state)

    def decode(self, packet: bytes) -> F32Array:
        """Decode a packet: [N] float32, none where it cannot be decoded."""
        return self._run(packet, _PACKET_MAX, fec=False)

    def conceal(self, count: int) -> F32Array:
        """Go on with what was heard, ever more softly: [count] float32, of whole :data:`GRAIN`."""
        out = np.zeros(count, np.float32)
        for at in range(0, count, _PACKET_MAX):
            part = self._run(None, min(_PACKET_MAX, count - at), fec=False)
            out[at : at + len(part)] = part
        return out

    def recover(self, packet: bytes, count: int) -> F32Array:
        """The ``count`` samples before a packet, from the copy it holds of them; without one, concealed."""
        return self._run(packet, count, fec=True)

    def _run(self, packet: bytes | None, count: int, *, fec: bool) -> F32Array:
        out = np.zeros(count, np.float32)
        size = 0 if packet is None else len(packet)
        made = self._library.opus_decode_float(self._state, packet, size, out.ctypes.data, count, int(fec))
        return out[: max(made, 0)]
