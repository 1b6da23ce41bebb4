"""What others have put in the place of a partial file, whose name can be guessed."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import StoreError
from ingest.files.attributes import Attributes
from ingest.files.landing import Landing
from landings import MTIME, finish, open_files, partials, tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRIVATE = Attributes(MTIME, mode=0o600)
OPTIONS: dict[str, Any] = {"part_size": 1, "identity": "e"}


def begun(root: Path, **options: Any) -> Path:
    """Write one part of two, and return the partial file."""
    with Landing(root) as landing, landing.open("a", 2, **OPTIONS, **options) as partial:
        partial.write_part(partial.missing[0], [b"x"])
    return root / partials(root)[0]


def landed(root: Path, **options: Any) -> int:
    """Land the file; return how many parts were missing."""
    with Landing(root) as landing, landing.open("a", 2, **OPTIONS, **options) as partial:
        missing = len(partial.missing)
        finish(partial, b"ab")
    return missing


@pytest.fixture
def of_another(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Have a file be another user's, which nobody but root can do in earnest."""

    def give(path: Path) -> None:
        number, fstat = path.stat().st_ino, os.fstat

        def told(fd: int) -> os.stat_result:
            found = fstat(fd)
            owner = found.st_uid + (found.st_ino == number)
            return os.stat_result((*found[:4], owner, *found[5:]))

        monkeypatch.setattr(os, "fstat", told)

    return give


@pytest.mark.parametrize("what", ["link", "dangling", "hard link", "fifo"])
def test_what_is_planted_in_place_of_a_partial_file_is_not_written_to(
    tmp_path: Path, what: str
) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    (outside / "file").write_bytes(b"kept")
    with Landing(target) as landing:
        with landing.open("a", 2, part_size=1, identity="e") as partial:
            partial.write_part(partial.missing[0], [b"x"])
        planted = target / partials(target)[0]
        planted.unlink()
        if what == "fifo":
            os.mkfifo(planted)
        elif what == "hard link":
            os.link(outside / "file", planted)
        else:
            planted.symlink_to(outside / ("file" if what == "link" else "none"))
        with landing.open("a", 2, part_size=1, identity="e") as partial:
            assert len(partial.missing) == 2
            finish(partial, b"ab")
    assert tree(target) == {"a": b"ab"}
    assert tree(outside) == {"file": b"kept"}


@pytest.mark.parametrize("attributes", [None, Attributes(MTIME), PRIVATE])
def test_a_partial_file_of_another_user_is_not_written_to(
    tmp_path: Path, of_another: Callable[[Path], None], attributes: Attributes | None
) -> None:
    planted, before = begun(tmp_path, attributes=attributes), open_files()
    with planted.open("rb") as theirs:
        content = theirs.read()
        of_another(planted)
        assert landed(tmp_path, attributes=attributes) == 2
        assert os.pread(theirs.fileno(), 9, 0) == content
        assert not os.path.samestat(os.fstat(theirs.fileno()), (tmp_path / "a").stat())
    assert tree(tmp_path) == {"a": b"ab"}
    assert open_files() == before


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o601])
def test_a_private_one_that_others_may_open_is_not_written_to(tmp_path: Path, mode: int) -> None:
    planted = begun(tmp_path, attributes=PRIVATE)
    planted.chmod(mode)
    with planted.open("rb") as theirs:
        content = theirs.read()
        assert landed(tmp_path, attributes=PRIVATE) == 2
        assert os.pread(theirs.fileno(), 9, 0) == content
    assert tree(tmp_path) == {"a": b"ab"}


def test_what_a_lax_umask_gave_is_gone_on_with(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        assert begun(tmp_path).stat().st_mode & 0o777 == 0o666
        begun(tmp_path / "private", attributes=PRIVATE)
    finally:
        os.umask(umask)
    assert landed(tmp_path) == 1
    assert landed(tmp_path / "private", attributes=PRIVATE) == 1


@pytest.mark.parametrize("readable", [False, True])
def test_one_that_another_user_writes_now_is_told_and_stays(
    tmp_path: Path,
    of_another: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    readable: bool,
) -> None:
    planted = begun(tmp_path)
    content = planted.read_bytes()
    of_another(planted)
    if readable:  # and no more than that
        refuse_writing(planted, monkeypatch, PermissionError())
    with planted.open("rb+") as theirs, Landing(tmp_path) as landing:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another transfer is writing it"):
            landing.open("a", 2, **OPTIONS)
    assert planted.read_bytes() == content
    assert landed(tmp_path) == 2
    assert tree(tmp_path) == {"a": b"ab"}


def test_one_that_somebody_has_a_lease_of_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = begun(tmp_path)
    refuse_writing(planted, monkeypatch, BlockingIOError(errno.EWOULDBLOCK, "leased"))
    with pytest.raises(StoreError, match="leased"):
        landed(tmp_path)
    assert partials(tmp_path) == [planted.name]


def refuse_writing(path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Have a file that is there be opened for reading alone, as where we are not root."""
    whole = os.open

    def opened(name: str, flags: int, *more: Any, **where: Any) -> int:
        if name == path.name and flags & os.O_RDWR and not flags & os.O_EXCL:
            raise error
        return whole(name, flags, *more, **where)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "supports_dir_fd", {*os.supports_dir_fd, opened})
