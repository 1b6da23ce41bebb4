"""Files land whole, at once and inside the target, or leave what was there."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import StoreError
from ingest.files.attributes import Attributes
from ingest.files.landing import Landing
from landings import MTIME, fail_with, finish, open_files, partials, run, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# -- small files -------------------------------------------------------------------------------


def test_a_file_lands_whole_with_its_time_and_the_umasks_permissions(tmp_path: Path) -> None:
    before, umask = open_files(), os.umask(0o027)
    try:
        with Landing(tmp_path / "new" / "target") as landing:
            assert landing.write("a/b/c.bin", b"content", attributes=Attributes(MTIME))
            assert landing.write("empty", b"")
    finally:
        os.umask(umask)
    path = tmp_path / "new/target/a/b/c.bin"
    assert tree(tmp_path) == {"new/target/a/b/c.bin": b"content", "new/target/empty": b""}
    assert path.stat().st_mtime_ns == MTIME
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750
    assert open_files() == before


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a longer old content")
    with (tmp_path / "a").open("rb") as reader, Landing(tmp_path) as landing:
        landing.write("a", memoryview(b"new"))
        assert reader.read() == b"a longer old content"
    assert tree(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a//x", "", "x/", ".", "a\0"])
def test_a_path_that_is_none_is_refused_here_too(tmp_path: Path, path: str) -> None:
    with Landing(tmp_path / "target") as landing:
        with pytest.raises(StoreError, match="has no place"):
            landing.write(path, b"evil")
        with pytest.raises(StoreError, match="has no place"):
            landing.open(path, 1, part_size=1, identity="e")
        with pytest.raises(StoreError, match="has no place"):
            landing.make_directory(path or "..")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127 + "x", "x" * 230, "x" * 229])
def test_the_longest_names_land(tmp_path: Path, name: str) -> None:
    with Landing(tmp_path) as landing:
        landing.write(name, b"1")
        with landing.open(f"below/{name}", 1, part_size=1, identity="e") as partial:
            assert len(os.fsencode(partials(tmp_path)[0])) <= 255
            finish(partial, b"2")
    assert tree(tmp_path) == {name: b"1", f"below/{name}": b"2"}


def test_a_path_512_directories_deep_lands(tmp_path: Path) -> None:
    path = "d/" * 511 + "x"
    with Landing(tmp_path) as landing:
        landing.write(path, b"deep")
    assert (tmp_path / path).read_bytes() == b"deep"


def test_directories_are_made_once_whoever_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.files.directories._OPEN_DIRECTORIES", 3)
    before = open_files()
    files = {f"new/d{number % 7}/e/f{number}": b"%d" % number for number in range(300)}
    with Landing(tmp_path) as landing, ThreadPoolExecutor(16) as workers:
        list(workers.map(landing.write, files, files.values()))
        assert len(landing._directories._open) <= 3 + 16
    assert tree(tmp_path) == files
    assert open_files() == before


def test_directories_for_markers(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        landing.make_directory("")
        landing.make_directory("a/b")
        landing.make_directory("a/b")
        landing.write("file", b"")
        with pytest.raises(StoreError, match="'file' is a file"):
            landing.make_directory("file")
    assert (tmp_path / "a/b").is_dir()


# -- nothing leads outside ---------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory that no write may reach; its file is as it was at the end."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "file").write_bytes(b"untouched")
    yield place
    assert tree(place) == {"file": b"untouched"}
    assert (place / "file").stat().st_nlink <= 2


def test_a_planted_directory_link_is_named_and_not_followed(tmp_path: Path, outside: Path) -> None:
    target = tmp_path / "target"
    (target / "real").mkdir(parents=True)
    (target / "real" / "link").symlink_to(outside, target_is_directory=True)
    with Landing(target) as landing:
        for path in ("real/link/file", "real/link/deeper/file"):
            with pytest.raises(StoreError, match=r"'real/link' is a symbolic link"):
                landing.write(path, b"evil")
            with pytest.raises(StoreError, match=r"'real/link' is a symbolic link"):
                landing.open(path, 4, part_size=4, identity="e")
        with pytest.raises(StoreError, match=r"'real/link' is a symbolic link"):
            landing.make_directory("real/link/new")
    assert partials(tmp_path) == []


def test_a_link_swapped_in_for_a_directory_is_not_followed(tmp_path: Path, outside: Path) -> None:
    target = tmp_path / "target"
    with Landing(target) as landing:
        landing.make_directory("later")
        landing.make_directory("now")
    with Landing(target) as landing:
        landing.write("now/first", b"1")
        for name in ("now", "later"):
            (target / name).rename(tmp_path / f"was-{name}")
            (target / name).symlink_to(outside, target_is_directory=True)
        landing.write("now/file", b"2")  # goes where the directory went
        with pytest.raises(StoreError, match=r"'later' is a symbolic link"):
            landing.write("later/file", b"3")
    assert tree(tmp_path / "was-now") == {"first": b"1", "file": b"2"}


@pytest.mark.parametrize("dangling", [False, True])
def test_a_planted_file_link_is_replaced(tmp_path: Path, outside: Path, *, dangling: bool) -> None:
    (tmp_path / "target").mkdir()
    for name in "ab":
        (tmp_path / "target" / name).symlink_to(outside / ("none" if dangling else "file"))
    with Landing(tmp_path / "target") as landing:
        landing.write("a", b"new")
        with landing.open("b", 3, part_size=3, identity="e") as partial:
            finish(partial, b"new")
    assert tree(tmp_path / "target") == {"a": b"new", "b": b"new"}
    assert not (tmp_path / "target" / "b").is_symlink()


def test_the_target_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Landing(tmp_path / "link") as landing:
        landing.write("a/b", b"1")
    assert tree(tmp_path / "real") == {"a/b": b"1"}


# -- failures ----------------------------------------------------------------------------------


def test_a_directory_in_the_place_of_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inside").write_bytes(b"kept")
    for overwrite in (True, False):
        with Landing(tmp_path, overwrite=overwrite) as landing:
            with pytest.raises(StoreError, match=r"cannot write '.*a': Is a directory"):
                landing.write("a", b"new")
            with pytest.raises(StoreError, match="Is a directory"):
                landing.open("a", 3, part_size=3, identity="e")
            with pytest.raises(StoreError, match="'a/inside' is a file"):
                landing.write("a/inside/file", b"new")
    assert tree(tmp_path) == {"a/inside": b"kept"}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("pwrite", errno.ENOSPC),
        ("open", errno.EROFS),
        ("open", errno.EACCES),
        ("open", errno.ENAMETOOLONG),
        ("utime", errno.EPERM),
        ("rename", errno.ENOSPC),
        ("close", errno.EDQUOT),
    ],
)
def test_a_failure_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    before = open_files()
    with Landing(tmp_path) as landing:
        close = os.close if call == "close" else lambda _: None
        fail = fail_with(code)
        monkeypatch.setattr(os, call, lambda *a, **k: (close(a[0]), fail(*a, **k)))
        with pytest.raises(StoreError) as caught:
            landing.write("a", b"new", attributes=Attributes(MTIME))
        monkeypatch.undo()
    assert str(caught.value) == f"cannot write {str(tmp_path / 'a')!r}: {os.strerror(code)}"
    assert tree(tmp_path) == {"a": b"old"}
    assert open_files() == before


def test_a_write_that_fails_late_is_told_before_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Landing(tmp_path) as landing:
        partial = landing.open("a", 3, part_size=3, identity="e")
        monkeypatch.setattr(os, "dup", fail_with(errno.EDQUOT))
        with pytest.raises(StoreError, match="quota"):
            finish(partial, b"new")
    assert tree(tmp_path) == {}


def test_a_partial_file_that_another_run_removed_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed, utime = [], os.utime

    def remove(fd: int, **times: Any) -> None:
        if not removed:
            removed.extend(partials(tmp_path))
            (tmp_path / "d" / removed[0]).unlink()
        utime(fd, **times)

    monkeypatch.setattr(os, "utime", remove)
    with Landing(tmp_path) as landing:
        landing.write("d/a", b"new", attributes=Attributes(MTIME))
        assert tree(tmp_path) == {"d/a": b"new"}
        (tmp_path / "d").rename(tmp_path / "e")
        (tmp_path / "e" / "a").unlink()
        (tmp_path / "e").rmdir()
        with pytest.raises(StoreError, match="No such file or directory"):
            landing.write("d/a", b"new", attributes=Attributes(MTIME))


def test_a_full_disk_midway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    room, write = 5, os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:  # writes short, then fails
        if offset >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[:2], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with Landing(tmp_path) as landing:
        landing.write("short", b"12345")
        with pytest.raises(StoreError, match="No space left on device"):
            landing.write("a", b"123456789")
        with landing.open("a", 9, part_size=9, identity="e") as partial:
            with pytest.raises(StoreError, match="No space left on device"):
                partial.write_part(partial.missing[0], [b"123456789"])
            partial.discard()
    assert tree(tmp_path) == {"a": b"old", "short": b"12345"}


def test_a_real_limit_of_the_file_size(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from ingest.errors import StoreError
from ingest.files.landing import Landing
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Landing(Path(sys.argv[1])) as landing:
    landing.write("fits", bytes(1000))
    for write in (
        lambda: landing.write("a", bytes(1001)),
        lambda: landing.open("a", 5000, part_size=500, identity="e"),
    ):
        try:
            write()
        except StoreError as error:
            sys.stderr.write(f"{error}\\n")
"""
    (tmp_path / "a").write_bytes(b"old")
    done = run(code, tmp_path)
    assert (
        done.stderr.decode().splitlines()
        == [f"cannot write {str(tmp_path / 'a')!r}: {os.strerror(errno.EFBIG)}"] * 2
    )
    assert {**tree(tmp_path), "fits": b""} == {"a": b"old", "fits": b""}


def test_what_must_last_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "rename", "mkdir"):
        whole = getattr(os, name)
        monkeypatch.setattr(
            os,
            name,
            lambda *a, name=name, whole=whole, **k: (calls.append(name), whole(*a, **k))[1],
        )
    for sync in (True, False):
        with Landing(tmp_path / str(sync), sync=sync) as landing:
            calls.clear()
            landing.write("a/b", b"1", attributes=Attributes(MTIME))
        expected = ["mkdir", "fsync", "fsync", "rename", "fsync"]
        assert calls == expected if sync else ["mkdir", "rename"]


# -- no overwriting ----------------------------------------------------------------------------


@pytest.fixture(params=["links", "no links"])
def _links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hard links, and as on a file system that has none."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", fail_with(errno.EPERM))


@pytest.mark.usefixtures("_links")
def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("nowhere")
    with Landing(tmp_path, overwrite=False) as landing:
        assert not landing.write("a", b"new")
        assert not landing.write("link", b"new")
        assert landing.write("b", b"new", attributes=Attributes(MTIME))
        for name, landed in (("a", False), ("c", True)):
            with landing.open(name, 3, part_size=2, identity="e") as partial:
                assert finish(partial, b"new") is landed
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "link").unlink()
    assert tree(tmp_path) == {"a": b"old", "b": b"new", "c": b"new"}
    assert (tmp_path / "b").stat().st_nlink == 1
    assert (tmp_path / "b").stat().st_mtime_ns == MTIME


@pytest.mark.usefixtures("_links")
def test_a_name_that_could_not_be_given_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.link.__module__ == "posix":
        monkeypatch.setattr(os, "link", fail_with(errno.ENOSPC))
    monkeypatch.setattr(os, "rename", fail_with(errno.ENOSPC))
    (tmp_path / "directory").mkdir()
    with Landing(tmp_path, overwrite=False) as landing:
        with pytest.raises(StoreError, match="No space left"):
            landing.write("a", b"new")
        with pytest.raises(StoreError, match=r"No space left|Is a directory"):
            landing.write("directory", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


@pytest.mark.usefixtures("_links")
def test_of_two_that_write_a_file_at_once_one_does(tmp_path: Path) -> None:
    with (
        Landing(tmp_path, overwrite=False) as first,
        Landing(tmp_path, overwrite=False) as second,
        ThreadPoolExecutor(2) as workers,
    ):
        barrier = threading.Barrier(2)

        def write(landing: Landing, path: str, content: bytes) -> bool:
            barrier.wait()
            return landing.write(path, content)

        for number in range(50):
            path = f"d{number}/file"
            pair = [
                workers.submit(write, landing, path, content)
                for landing, content in ((first, b"first"), (second, b"second"))
            ]
            won = [future.result() for future in pair]
            assert sorted(won) == [False, True]
            assert (tmp_path / path).read_bytes() == (b"first" if won[0] else b"second")
    assert partials(tmp_path) == []
