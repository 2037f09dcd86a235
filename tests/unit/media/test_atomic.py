"""Output files appear whole or not at all."""

import errno

import pytest

from facecodec.errors import MediaError
from facecodec.media import atomic_path


def test_appears_only_at_the_end(tmp_path):
    target = tmp_path / "out.bin"
    with atomic_path(target) as part:
        part.write_bytes(b"abc")
        assert part.parent == tmp_path
        assert part.name.startswith(".out.bin.part-")
        assert not target.exists()
    assert target.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [target]


def write_half(target, overwrite=False):
    with atomic_path(target, overwrite) as part:
        part.write_bytes(b"half")
        raise RuntimeError


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_media_error(tmp_path):
    with pytest.raises(MediaError, match="no space left"), atomic_path(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept_unless_asked(tmp_path):
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(MediaError, match="exists"), atomic_path(target):
        pytest.fail("the block must not run")
    assert target.read_bytes() == b"old"
    with pytest.raises(RuntimeError):
        write_half(target, overwrite=True)
    assert target.read_bytes() == b"old"
    with atomic_path(target, overwrite=True) as part:
        part.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    target = tmp_path / "out"
    writing = atomic_path(target)
    writing.__enter__().write_bytes(b"mine")
    target.write_bytes(b"theirs")
    with pytest.raises(MediaError, match="exists"):
        writing.__exit__(None, None, None)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"theirs"]


def test_a_link_is_written_through(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_path(link, overwrite=True) as part:
        part.write_bytes(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "reason"), [("no/folder/out", "no such file or folder"), (".", "is a folder")]
)
def test_impossible_targets(tmp_path, name, reason):
    with pytest.raises(MediaError, match=reason), atomic_path(tmp_path / name):
        pytest.fail("the block must not run")


def test_devices_are_not_replaced():
    with pytest.raises(MediaError, match="not a regular file"), atomic_path("/dev/null", overwrite=True):
        pytest.fail("the block must not run")
