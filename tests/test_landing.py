"""Keys become paths that a file system can hold, and files land whole, inside the target."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import StoreError
from ingest.files import landing as module
from ingest.files.landing import Landing
from ingest.files.paths import FileSystem, PathPlan, Place, Problem, probe
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.files.landing import Partial

_POSIX = FileSystem("target")
_MTIME = 1_700_000_000_123_456_789


def in_bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def plan(keys: Iterable[str], names: FileSystem = _POSIX, **sizes: int) -> dict[str, str]:
    """Each key's path, with a ``/`` for a directory, or the kind of its problem as ``!kind``."""
    paths = PathPlan(names)
    answers = {}
    for key in sorted(keys, key=in_bytes):
        match paths.place(key, sizes.get(key.rstrip("/"), 0)):
            case Place(path, is_directory):
                answers[key] = path + "/" * is_directory
            case Problem(of, kind, error):
                assert of == key
                assert repr(key) in str(error)
                assert "\n" not in str(error)
                answers[key] = f"!{kind}"
    return answers


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root``, hidden ones too."""
    files = (path for path in root.rglob("*") if not path.is_dir())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def partials(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.partial"))


def open_files() -> set[str]:
    """What this process has open, by descriptor and name."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(f"{link.name}:{link.readlink()}")
    return {name for name in found if "/proc/" not in name}


def fail_with(code: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# -- keys -> paths -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("../evil", "segment"),
        ("a/../../evil", "segment"),
        ("..", "segment"),
        ("a/..", "segment"),
        ("./a", "segment"),
        ("a/./b", "segment"),
        ("a/.", "segment"),
        ("/", "segment"),
        ("/a", "segment"),
        ("//a", "segment"),
        ("a//b", "segment"),
        ("a//", "segment"),
        ("/../a", "segment"),
        ("../", "segment"),
        ("a\0b", "nul"),
        ("\udcc3\udca9", "encoding"),  # spelled like this, `é` would be one path with `é`
        ("a/" + "x" * 256, "too-long"),
        ("é" * 128, "too-long"),
        ("x/" * 2000 + "x", "too-long"),
        ("a/.b.0123456789abcdef.partial", "reserved"),
    ],
)
def test_a_key_no_path_can_hold_is_a_problem(key: str, kind: str) -> None:
    assert plan([key]) == {key: f"!{kind}"}


def test_a_key_that_is_not_even_bytes_is_a_problem() -> None:
    answer = PathPlan(_POSIX).place("\ud800", 1)
    assert isinstance(answer, Problem)
    assert answer.kind == "encoding"
    assert str(answer.error).isascii()


@pytest.mark.parametrize(
    "key",
    [
        "a\\..\\b",
        "C:/x",
        "con",
        "a b+%2F'\"",
        "...",
        "..a/b..",
        ".hidden",
        "tab\t/line\nend",
        "\x1b[31m",
        "caf\udce9",
        "e\u0301/\u00e9/😀",
        "é" * 127 + "x",
        "a/" * 512,
        "x.partial",
        "a. ",
    ],
)
def test_any_other_key_is_its_own_path(key: str) -> None:
    assert plan([key]) == {key: key}


def test_an_object_wins_over_what_lies_below_it() -> None:
    answers = plan(["a", "a!", "a-/b", "a.txt", "a/", "a/b", "a/b/c", "a0", "ab/c"])
    assert {key for key, answer in answers.items() if answer == "!file-and-directory"} == {
        *("a/", "a/b", "a/b/c")
    }
    assert all(answer in (key, "!file-and-directory") for key, answer in answers.items())


def test_an_object_that_has_no_place_stands_in_nobodys_way() -> None:
    assert plan(["a/..", "a/../b", "a/c"]) == {
        "a/..": "!segment",
        "a/../b": "!segment",
        "a/c": "a/c",
    }


def test_a_directory_marker_makes_a_directory_unless_it_has_content() -> None:
    keys = ["empty/", "full/", "full/x"]
    assert plan(keys, full=7) == {
        "empty/": "empty/",
        "full/": "!marker-with-content",
        "full/x": "full/x",
    }


def test_the_prefix_is_left_off_and_its_own_marker_is_the_target() -> None:
    paths = PathPlan(_POSIX, "data/")
    assert paths.place("data/", 0) == Place("", is_directory=True)
    assert isinstance(paths.place("data//x", 1), Problem)
    assert paths.place("data/a", 1) == Place("a")
    clash = paths.place("data/a/b", 1)
    assert isinstance(clash, Problem)
    assert "'data/a' is an object too" in str(clash.error)
    marker = PathPlan(_POSIX, "data/").place("data/", 3)
    assert isinstance(marker, Problem)
    assert marker.kind == "marker-with-content"


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["\U0001f600", "\uff5e"]])
def test_keys_out_of_order_are_an_error(keys: list[str]) -> None:
    paths = PathPlan(_POSIX)
    paths.place(keys[0], 1)
    with pytest.raises(StoreError, match="out of order"):
        paths.place(keys[1], 1)


def test_a_key_without_the_prefix_is_an_error() -> None:
    with pytest.raises(StoreError, match="out of order"):
        PathPlan(_POSIX, "data/").place("database/x", 1)


def test_a_long_listing_is_planned_in_little_memory() -> None:
    paths = PathPlan(_POSIX)
    for number in range(2_000):
        paths.place(f"d{number // 10:04}/file-{number:05}", 1)
        assert len(paths._files) == 1
    for length in range(1, 300):  # each begins with all before it
        paths.place("e" * length, 1)
    assert len(paths._files) <= 300


def test_where_case_is_folded_the_later_spelling_is_a_problem() -> None:
    names = FileSystem("target", folds_case=True)
    keys = ["Dir/a", "Read", "dir/b", "read", "Straße", "strasse", "é", "e\u0301"]
    assert plan(keys, names) == {
        **{key: key for key in ("Dir/a", "Read", "Straße", "é", "e\u0301")},
        **dict.fromkeys(("dir/b", "read", "strasse"), "!same-name"),
    }
    assert plan(keys) == {key: key for key in keys}


def test_where_accents_are_folded_composed_and_decomposed_are_one() -> None:
    names = FileSystem("target", folds_accents=True)
    answers = plan(["e\u0301/x", "\u00e9/y", "E"], names)
    assert answers == {"e\u0301/x": "e\u0301/x", "\u00e9/y": "!same-name", "E": "E"}


@pytest.mark.parametrize(
    "key", ["C:/x", "a\\..\\b", "a.", "a /b", "nul", "x/Con.txt", "com1", "lpt²", "a?", "a\x01"]
)
def test_what_windows_reserves_is_a_problem_there(key: str) -> None:
    windows = FileSystem("target", fat_names=True, device_names=True)
    assert plan([key], windows) == {key: "!reserved"}
    assert plan(["console", "nulls.txt", "a.b"], windows) == plan(["console", "nulls.txt", "a.b"])


_KEYS = st.lists(
    st.text("aAbé\u0301/.\\\0", max_size=6) | st.text(max_size=4) | st.sampled_from(["ß", "SS"]),
    max_size=12,
    unique_by=lambda key: key.encode("utf-8", "surrogatepass"),
)
_SYSTEMS = st.builds(
    FileSystem, st.just("t"), folds_case=st.booleans(), folds_accents=st.booleans()
)


@given(_KEYS.map(lambda keys: [key for key in keys if key]), _SYSTEMS)
def test_each_key_is_placed_alone_or_reported(keys: list[str], names: FileSystem) -> None:
    answers = plan([key for key in keys if not _lone(key)], names)
    placed = {key: path for key, path in answers.items() if path[0] != "!" or key == path}
    assert all(path == key for key, path in placed.items())
    files = {names.fold(path) for path in placed.values() if path[-1] != "/"}
    assert len(files) == sum(path[-1] != "/" for path in placed.values())
    for path in placed.values():
        parts = path.rstrip("/").split("/")
        above = {names.fold("/".join(parts[:count])) for count in range(1, len(parts))}
        assert not above & files
        assert path[-1] != "/" or names.fold(path.rstrip("/")) not in files


def _lone(key: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in key)


@settings(max_examples=60, deadline=None)
@given(_KEYS.map(lambda keys: [key for key in keys if key and not _lone(key)]))
def test_what_is_placed_can_be_landed_and_nothing_else_appears(keys: list[str]) -> None:
    with tempfile.TemporaryDirectory() as above:
        root = Path(above, "target")
        files = {}
        with Landing(root) as landing:
            paths = PathPlan(probe(root))
            for key in sorted(keys, key=in_bytes):
                place = paths.place(key, 0)
                if isinstance(place, Place) and place.is_directory:
                    landing.make_directory(place.path)
                elif isinstance(place, Place):
                    landing.write(place.path, in_bytes(key))
                    files[place.path] = in_bytes(key)
                    real = os.path.realpath(root / place.path)
                    assert real.startswith(os.path.realpath(root) + "/")
        assert tree(root) == files
        assert [path.name for path in Path(above).iterdir()] == ["target"]


# -- what a file system can hold ---------------------------------------------------------------


def test_probing_leaves_nothing_and_makes_nothing(tmp_path: Path) -> None:
    names = probe(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    assert names.name_max == os.pathconf(tmp_path, "PC_NAME_MAX")
    whole = len(os.fsencode(tmp_path / "not" / "yet")) + 1 + names.path_max + 1
    assert whole == os.pathconf(tmp_path, "PC_PATH_MAX")


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms fold names")
def test_linux_tells_names_apart(tmp_path: Path) -> None:
    names = probe(tmp_path)
    assert names == FileSystem(str(tmp_path), names.name_max, names.path_max)


def test_a_file_system_that_folds_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lexists(path: str | bytes) -> bool:  # as a file system that folds would answer
        folded = {os.fsdecode(path).casefold().replace("e\u0301", "é")}
        return any(str(known).casefold() in folded for known in [tmp_path, *tmp_path.iterdir()])

    monkeypatch.setattr(os.path, "lexists", lexists)
    names = probe(tmp_path)
    assert names.folds_case
    assert names.folds_accents


def test_a_dry_run_probes_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", fail_with(errno.EROFS))
    assert probe(tmp_path, touch=False).name_max == 255
    with pytest.raises(StoreError, match=r"cannot write .*Read-only file system"):
        probe(tmp_path)


def test_a_target_that_is_a_file_is_refused_before_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(StoreError, match=r"'.*file' is not a directory"):
        probe(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="cannot write"):
        Landing(tmp_path / "file")


# -- small files -------------------------------------------------------------------------------


def test_a_file_lands_whole_with_its_time_and_the_umasks_permissions(tmp_path: Path) -> None:
    before, umask = open_files(), os.umask(0o027)
    try:
        with Landing(tmp_path / "new" / "target") as landing:
            assert landing.write("a/b/c.bin", b"content", mtime_ns=_MTIME)
            assert landing.write("empty", b"")
    finally:
        os.umask(umask)
    path = tmp_path / "new/target/a/b/c.bin"
    assert tree(tmp_path) == {"new/target/a/b/c.bin": b"content", "new/target/empty": b""}
    assert path.stat().st_mtime_ns == _MTIME
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
    monkeypatch.setattr(module, "_OPEN_DIRECTORIES", 3)
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


@pytest.mark.parametrize("what", ["link", "dangling", "hard link", "fifo"])
def test_what_is_planted_in_place_of_a_partial_file_is_not_written_to(
    tmp_path: Path, outside: Path, what: str
) -> None:
    target = tmp_path / "target"
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
            landing.write("a", b"new", mtime_ns=_MTIME)
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
        landing.write("d/a", b"new", mtime_ns=_MTIME)
        assert tree(tmp_path) == {"d/a": b"new"}
        (tmp_path / "d").rename(tmp_path / "e")
        (tmp_path / "e" / "a").unlink()
        (tmp_path / "e").rmdir()
        with pytest.raises(StoreError, match="No such file or directory"):
            landing.write("d/a", b"new", mtime_ns=_MTIME)


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


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)


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
            landing.write("a/b", b"1", mtime_ns=_MTIME)
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
        assert landing.write("b", b"new", mtime_ns=_MTIME)
        for name, landed in (("a", False), ("c", True)):
            with landing.open(name, 3, part_size=2, identity="e") as partial:
                assert finish(partial, b"new") is landed
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "link").unlink()
    assert tree(tmp_path) == {"a": b"old", "b": b"new", "c": b"new"}
    assert (tmp_path / "b").stat().st_nlink == 1
    assert (tmp_path / "b").stat().st_mtime_ns == _MTIME


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


# -- files in parts ----------------------------------------------------------------------------


def finish(partial: Partial, content: bytes, **options: Any) -> bool:
    """Write what is missing of ``content``, and commit."""
    for part in partial.missing:
        partial.write_part(part, [content[part.offset : part.offset + part.size]])
    return partial.commit(**options)


def begin(landing: Landing, content: bytes, parts: int, identity: str | None = "e") -> None:
    """Write the first ``parts`` parts, of 10 bytes, and leave it at that."""
    with landing.open("a", len(content), part_size=10, identity=identity) as partial:
        for part in partial.missing[:parts]:
            partial.write_part(part, [content[part.offset : part.offset + part.size]])


def test_parts_land_in_any_order_and_from_any_thread(tmp_path: Path) -> None:
    content, before = os.urandom(1_000_003), open_files()
    with (
        Landing(tmp_path) as landing,
        ThreadPoolExecutor(8) as workers,
        landing.open("new/a", len(content), part_size=65_536, identity="e") as partial,
    ):

        def write(number: int) -> None:
            part = partial.missing[number]
            ours = content[part.offset : part.offset + part.size]
            partial.write_part(part, (ours[at : at + 1000] for at in range(0, len(ours), 1000)))

        list(workers.map(write, reversed(range(16))))
        assert not (tmp_path / "new" / "a").exists()
        assert partial.commit(mtime_ns=_MTIME)
    assert tree(tmp_path) == {"new/a": content}
    assert (tmp_path / "new/a").stat().st_mtime_ns == _MTIME
    assert open_files() == before


def test_an_empty_file_has_no_parts(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing, landing.open("a", 0, part_size=5, identity=None) as partial:
        assert partial.missing == ()
        assert partial.commit()
    assert tree(tmp_path) == {"a": b""}


def test_a_later_run_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    content = os.urandom(45)
    with Landing(tmp_path) as landing:
        begin(landing, content, 3)
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 45, part_size=10, identity="e") as partial,
    ):
        assert [(part.offset, part.size) for part in partial.missing] == [(30, 10), (40, 5)]
        finish(partial, content)
    assert tree(tmp_path) == {"a": content}


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from ingest.files.landing import Landing
landing = Landing(Path(sys.argv[1]))
partial = landing.open("a", 30, part_size=10, identity="e")
partial.write_part(partial.missing[2], [b"2" * 10])
def chunks():
    yield b"0" * 5
    os.kill(os.getpid(), signal.SIGKILL)
partial.write_part(partial.missing[0], chunks())
"""
    assert run(code, tmp_path).returncode == -signal.SIGKILL
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 30, part_size=10, identity="e") as partial,
    ):
        assert [part.offset for part in partial.missing] == [0, 10]
        finish(partial, b"0" * 10 + b"1" * 10 + b"never written again")
    assert tree(tmp_path) == {"a": b"0" * 10 + b"1" * 10 + b"2" * 10}


@pytest.mark.parametrize(
    "change", [{"identity": "other"}, {"size": 44}, {"part_size": 9}, {"boot": "other"}]
)
def test_what_was_left_of_another_content_is_not_gone_on_with_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    facts: dict[str, Any] = {"size": 45, "part_size": 10, "identity": "e", **change}
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)
    if "boot" in facts:
        monkeypatch.setattr(module, "_boot", lambda: facts.pop("boot"))
    content = os.urandom(facts["size"])
    with (
        Landing(tmp_path) as landing,
        landing.open("a", **{k: v for k, v in facts.items() if k != "boot"}) as partial,
    ):
        assert sum(part.size for part in partial.missing) == len(content)
        assert len(partials(tmp_path)) == 2
        finish(partial, content)
    assert tree(tmp_path) == {"a": content}


def test_a_partial_file_of_another_length_is_begun_anew(tmp_path: Path) -> None:
    content = os.urandom(45)
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)
        with (tmp_path / partials(tmp_path)[0]).open("ab") as file:
            file.write(b"\1")
        with landing.open("a", 45, part_size=10, identity="e") as partial:
            assert len(partial.missing) == 5
            partial.write_part(partial.missing[0], [content[:10]])
        with landing.open("a", 45, part_size=10, identity="e") as partial:
            assert len(partial.missing) == 4
            finish(partial, content)
    assert tree(tmp_path) == {"a": content}


def test_a_small_file_too_removes_what_was_left_of_it_alone(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)
    (tmp_path / ".ab.0123456789abcdef.partial").write_bytes(b"another's")
    (tmp_path / ".a.partial").write_bytes(b"a user's")
    with Landing(tmp_path) as landing:
        landing.write("a", b"new")
    assert set(tree(tmp_path)) == {"a", ".a.partial", ".ab.0123456789abcdef.partial"}


def test_a_partial_file_that_someone_writes_is_left_alone(tmp_path: Path) -> None:
    with (
        Landing(tmp_path) as before,
        before.open("a", 2, part_size=1, identity="old") as theirs,
        Landing(tmp_path) as ours,
    ):
        with pytest.raises(StoreError, match="another transfer is writing it"):
            ours.open("a", 2, part_size=1, identity="old")
        ours.write("a", b"new")
        assert len(partials(tmp_path)) == 1
        finish(theirs, b"ab")
    assert tree(tmp_path) == {"a": b"ab"}


def test_a_file_completed_while_it_is_opened_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)

        def complete(fd: int, how: int) -> None:  # by the transfer that had the lock until now
            (tmp_path / partials(tmp_path)[0]).rename(tmp_path / "a")
            monkeypatch.undo()
            fcntl.flock(fd, how)

        monkeypatch.setattr(fcntl, "flock", complete)
        with pytest.raises(StoreError, match="another transfer is writing it"):
            landing.open("a", 45, part_size=10, identity="e")
    assert tree(tmp_path) == {"a": bytes(45) + b"\1\1\1\0\0"}


@pytest.mark.parametrize(("parts", "identity"), [(0, "e"), (3, None)])
def test_what_could_not_be_gone_on_with_is_not_kept(
    tmp_path: Path, parts: int, identity: str | None
) -> None:
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), parts, identity)
        assert tree(tmp_path) == {}


@pytest.mark.parametrize("came", [b"", b"123456789", b"12345678901"])
def test_a_part_of_another_size_is_an_error(tmp_path: Path, came: bytes) -> None:
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 20, part_size=10, identity="e") as partial,
    ):
        partial.write_part(partial.missing[1], [b"x" * 10])
        with pytest.raises(StoreError, match=r"cannot write '.*/a': .*10 bytes"):
            partial.write_part(partial.missing[0], [came[:3], came[3:]])
        with pytest.raises(StoreError, match="1 parts are missing"):
            partial.commit()
        partial.write_part(partial.missing[0], [b"y" * 10])
        partial.commit()
    assert tree(tmp_path) == {"a": b"y" * 10 + b"x" * 10}


def test_an_error_of_the_source_passes_through_unchanged(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"123"
        raise ConnectionResetError("the network")

    with (
        Landing(tmp_path) as landing,
        landing.open("a", 20, part_size=10, identity="e") as partial,
        pytest.raises(ConnectionResetError, match="the network"),
    ):
        partial.write_part(partial.missing[0], chunks())
    assert tree(tmp_path) == {}


def test_a_check_reads_the_content_and_refuses_it_for_good(tmp_path: Path) -> None:
    content, seen = os.urandom(2_500_000), []
    (tmp_path / "a").write_bytes(b"old")

    def check(chunks: Iterator[bytes]) -> None:
        seen.append(b"".join(chunks))
        if len(seen) == 1:
            raise StoreError("another hash")

    with Landing(tmp_path) as landing:
        for landed in (b"old", content):
            with (
                contextlib.suppress(StoreError),
                landing.open("a", len(content), part_size=10**6, identity="e") as partial,
            ):
                assert len(partial.missing) == 3
                finish(partial, content, check=check)
            assert tree(tmp_path) == {"a": landed}
    assert seen == [content] * 2


def test_an_interrupted_check_loses_nothing(tmp_path: Path) -> None:
    def check(_: Iterator[bytes]) -> None:
        raise KeyboardInterrupt

    with Landing(tmp_path) as landing:
        partial = landing.open("a", 20, part_size=10, identity="e")
        with pytest.raises(KeyboardInterrupt), partial:
            finish(partial, b"x" * 20, check=check)
        with landing.open("a", 20, part_size=10, identity="e") as partial:
            assert partial.missing == ()
            partial.commit()
    assert tree(tmp_path) == {"a": b"x" * 20}


def test_a_directory_made_in_its_place_meanwhile_stays(tmp_path: Path) -> None:
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 3, part_size=3, identity="e") as partial,
    ):
        (tmp_path / "a").mkdir()
        with pytest.raises(StoreError, match="Is a directory"):
            finish(partial, b"new")
        with pytest.raises(StoreError, match="it was ended"):
            partial.commit()
    assert (tmp_path / "a").is_dir()
    assert tree(tmp_path) == {}


def test_a_discarded_file_takes_no_more_and_harms_no_other(tmp_path: Path) -> None:
    """A worker that is late must not write to a file which got the same descriptor."""
    started, discarded = threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"1"
        started.set()
        discarded.wait(10)
        yield b"2"

    with Landing(tmp_path) as landing, ThreadPoolExecutor(1) as worker:
        partial = landing.open("a", 2, part_size=2, identity="e")
        late = worker.submit(partial.write_part, partial.missing[0], chunks())
        started.wait(10)
        partial.discard()
        partial.close()
        with (tmp_path / "other").open("wb") as other:
            discarded.set()
            assert isinstance(late.exception(10), StoreError)
            other.write(b"mine")
    assert tree(tmp_path) == {"other": b"mine"}
