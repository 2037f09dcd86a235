"""Output files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facecodec.errors import MediaError


def os_reason(err: OSError) -> str:
    """Say in a few words what an ``OSError`` means for somebody who named a file."""
    known = {
        errno.ENOENT: "no such file or folder",
        errno.ENOTDIR: "a part of the path is not a folder",
        errno.EISDIR: "is a folder, not a file",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EROFS: "the file system is read-only",
        errno.ENOSPC: "no space left on the disk",
        errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file would be larger than allowed here",
    }
    return known.get(err.errno or 0, err.strerror or str(err) or type(err).__name__)


class AtomicFile:
    """A file that is written under a temporary name beside its own and renamed when it is done.

    The temporary name is ``.NAME.part-`` and eight random characters, in the same folder, so
    that the rename is one step.
    A symbolic link is written through: its target is replaced, not the link.

    Attributes:
        path: the final file.
        temporary: the file to write to until :meth:`commit`.

    Args:
        path: the final file; its folder must exist.
        overwrite: replace a file that is already there.

    Raises:
        MediaError: the file exists and ``overwrite`` is off, or nothing can be written there.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self.path = Path(path)
        self._overwrite = overwrite
        self._final = Path(os.path.realpath(self.path))
        self._check_target()
        self.temporary = self._final.with_name(f".{self._final.name}.part-{secrets.token_hex(4)}")
        try:
            os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as err:
            raise MediaError(self.path, f"cannot be written: {os_reason(err)}") from err

    def _check_target(self) -> None:
        if self._final.is_dir():
            raise MediaError(self.path, "is a folder, not a file")
        if self._final.exists():
            if not self._final.is_file():
                raise MediaError(self.path, "is not a regular file")
            if not self._overwrite:
                raise MediaError(self.path, "exists already, and overwriting was not asked for")

    def commit(self) -> None:
        """Give the file its final name.

        Raises:
            MediaError: a file of that name has appeared meanwhile, or it cannot be renamed. The
                temporary file is then removed.
        """
        try:
            self._check_target()
            os.replace(self.temporary, self._final)
        except OSError as err:
            self.discard()
            raise MediaError(self.path, f"cannot be written: {os_reason(err)}") from err
        except MediaError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the temporary file. Does nothing after :meth:`commit`."""
        self.temporary.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends, or is removed if it raises.

    Args:
        path: the final file; its folder must exist.
        overwrite: replace a file that is already there.

    Yields:
        The temporary file, empty, in the same folder.

    Raises:
        MediaError: see :class:`AtomicFile`. An ``OSError`` out of the block becomes one too.
    """
    file = AtomicFile(path, overwrite)
    try:
        yield file.temporary
    except OSError as err:
        file.discard()
        raise MediaError(path, f"cannot be written: {os_reason(err)}") from err
    except BaseException:
        file.discard()
        raise
    file.commit()
