"""Bytes of a file by offset, from what can seek and from what cannot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from facecodec.errors import BitstreamError, MediaError

BLOCK_BYTES = 1 << 16


class ByteSource:
    """Reads ranges of a file. Only the last range is kept.

    Args:
        source: a path, or a file object opened for bytes; offsets count from where it stands.

    Raises:
        MediaError: the path cannot be opened.
    """

    def __init__(self, source: str | Path | BinaryIO) -> None:
        self._owned = isinstance(source, str | Path)
        self._name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "stream"))
        try:
            self._file: BinaryIO = open(source, "rb") if isinstance(source, str | Path) else source
            self.seekable = self._file.seekable()
            self._base = self._file.tell() if self.seekable else 0
        except OSError as err:
            raise MediaError(self._name, str(err)) from err
        self._place = 0
        self._kept = b""
        self._kept_at = 0

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owned:
            self._file.close()

    def size(self) -> int | None:
        """Bytes of the file; None where it cannot seek."""
        if not self.seekable:
            return None
        try:
            self._place = self._file.seek(0, io.SEEK_END) - self._base
        except OSError as err:
            raise MediaError(self._name, str(err)) from err
        return self._place

    def read(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes from ``offset``; fewer only at the end of the file.

        Raises:
            BitstreamError: the file cannot seek, and ``offset`` is not in or right behind the range before.
            MediaError: the operating system cannot read it.
        """
        start = offset - self._kept_at
        if not 0 <= start <= len(self._kept):
            if not self.seekable:
                raise BitstreamError("the file cannot seek", offset=offset)
            self._kept = b""
            start = 0
        parts = [self._kept[start:]]
        have = len(parts[0])
        if have < size:
            parts += self._fetch(offset + have, size - have)
            self._kept, self._kept_at = b"".join(parts), offset
            start = 0
        return self._kept[start : start + size]

    def _fetch(self, offset: int, size: int) -> list[bytes]:
        """Read from the file in blocks, so that a false length costs no memory."""
        parts = []
        try:
            if self.seekable and self._place != offset:
                self._file.seek(self._base + offset)
                self._place = offset
            while size and (block := self._file.read(min(size, BLOCK_BYTES))):
                parts.append(block)
                size -= len(block)
                self._place += len(block)
        except OSError as err:
            raise MediaError(self._name, str(err)) from err
        return parts
