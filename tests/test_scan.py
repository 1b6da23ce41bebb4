"""A directory as an ordered stream of entries, with everything odd that a directory can hold."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import stat
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import NotFound, StoreError
from ingest.files.landing import Landing
from ingest.files.scan import Problem, Scan, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.text(st.sampled_from("ab.-0/~é\uff01😀 \n\\"), min_size=1, max_size=3).filter(
    lambda name: "/" not in name and name not in {".", ".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def no_problem(problem: Problem) -> None:
    pytest.fail(problem.message)


def walk(root: Path, **how: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """The keys and the problems, each with its kind."""
    problems: list[Problem] = []
    keys = [entry.key for entry in scan(root, Scan(problems.append, **how))]
    return keys, [(problem.key, problem.kind) for problem in problems]


def fill(root: Path, *keys: str) -> Path:
    for key in keys:
        path = root / key
        if key.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(key)
    return root


def test_entries_have_key_size_time_and_what_tells_a_change(tmp_path: Path) -> None:
    fill(tmp_path, "a/b.txt")
    os.utime(tmp_path / "a" / "b.txt", ns=(0, 1_700_000_000_123_456_789))
    (entry,) = scan(tmp_path, Scan(no_problem))
    found = (tmp_path / "a" / "b.txt").stat()
    assert (entry.key, entry.size, entry.modified) == ("a/b.txt", 7, found.st_mtime)
    assert entry.etag is None
    assert entry.stat is not None
    assert entry.stat.st_mtime_ns == 1_700_000_000_123_456_789
    assert (entry.stat.st_ino, entry.stat.st_dev) == (found.st_ino, found.st_dev)


def test_a_directory_sorts_as_the_keys_below_it(tmp_path: Path) -> None:
    keys = ["a!", "a-b", "a.txt", "a/x", "a/y/z", "a0", "b", "é", "\uff01", "😀"]
    assert walk(fill(tmp_path, *keys)) == (keys, [])


@given(st.lists(PATHS, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_tree_comes_whole_and_in_the_order_of_utf8_bytes(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for path in paths:
            target = root / path
            if not any(parent.is_file() for parent in target.parents) and not target.exists():
                fill(root, path)
        expected = sorted(
            (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()),
            key=str.encode,
        )
        assert walk(root, follow_symlinks=bool(paths[1:])) == (expected, [])


def test_names_are_exact(tmp_path: Path) -> None:
    keys = sorted(["a\nb", " a ", "a+b%20", "e\u0301", "\u00e9", "..a", "a\\b", '"', "\x7f"])
    assert walk(fill(tmp_path, *keys)) == (keys, [])


def test_a_name_that_is_no_utf8_is_reported_with_its_bytes(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff")).write_text("x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xfe")).mkdir()
    keys, problems = walk(tmp_path)
    assert keys == ["a"]
    assert sorted(problems) == [("b\\xff", "name"), ("d\\xfe", "name")]


def test_a_download_that_is_not_complete_is_no_file_to_send(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        landing.write("whole", b"")
        with landing.open("half", 9, part_size=5, identity="x") as partial:
            partial.write_part(partial.missing[0], [b"12345"])
    keys, problems = walk(tmp_path)
    assert keys == ["whole"]
    assert [kind for _, kind in problems] == ["partial"]
    (key,) = [key for key, _ in problems]
    assert key.startswith(".half.")
    assert walk(fill(tmp_path / "like", ".x.0123456789abcdef.partial/a", "y.partial"))[1] == []


def test_links_are_skipped_and_said(tmp_path: Path) -> None:
    fill(tmp_path, "a", "d/x")
    (tmp_path / "l").symlink_to("a")
    (tmp_path / "m").symlink_to("d")
    (tmp_path / "n").symlink_to("nowhere")
    problems: list[Problem] = []
    keys = [entry.key for entry in scan(tmp_path, Scan(problems.append))]
    assert keys == ["a", "d/x"]
    assert [(problem.key, problem.kind) for problem in problems] == [
        ("l", "symlink"),
        ("m", "symlink"),
        ("n", "symlink"),
    ]
    assert not any(problem.failed for problem in problems)
    assert problems[0].message == f"{tmp_path}/l is a symbolic link and not followed"


def test_links_are_followed_when_asked(tmp_path: Path) -> None:
    fill(tmp_path, "real/x", "real/y/z", "other")
    tree = fill(tmp_path / "tree", "m!")
    (tree / "f").symlink_to(tmp_path / "other")
    (tree / "m").symlink_to(tmp_path / "real")
    keys, problems = walk(tree, follow_symlinks=True)
    assert keys == ["f", "m!", "m/x", "m/y/z"]
    assert problems == []
    (entry, *_) = scan(tree, Scan(no_problem, follow_symlinks=True))
    assert entry.size == len("other")


def test_loops_and_broken_links_are_reported_once(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/x", "c/y")
    (tmp_path / "a" / "b" / "up").symlink_to("../..")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "c" / "gone").symlink_to("nowhere")
    (tmp_path / "c" / "through").symlink_to("y/z")
    keys, problems = walk(tmp_path, follow_symlinks=True)
    assert keys == ["a/b/x", "c/y"]
    assert problems == [
        ("a/b/up/", "loop"),
        ("a/self", "loop"),
        ("c/gone", "broken"),
        ("c/through", "broken"),
    ]


def test_two_links_to_one_directory_are_no_loop(tmp_path: Path) -> None:
    fill(tmp_path, "a/x")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("a")
    assert walk(tmp_path, follow_symlinks=True) == (["a/x", "b/x", "c/x"], [])


def test_pipes_and_sockets_are_reported_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a")
    os.mkfifo(tmp_path / "p")  # opening it would wait for ever
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert walk(tmp_path) == (["a"], [("p", "special"), ("s", "special")])
    (tmp_path / "q").symlink_to("p")
    problems: list[Problem] = []
    list(scan(tmp_path, Scan(problems.append, follow_symlinks=True)))
    assert [problem.message for problem in problems] == [
        f"{tmp_path}/p is a named pipe",
        f"{tmp_path}/q is a named pipe",
        f"{tmp_path}/s is a socket",
    ]


def test_what_vanishes_or_changes_during_the_scan_is_reported(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b", "c", "d/x", "e", "f")
    problems: list[Problem] = []
    entries = scan(tmp_path, Scan(problems.append))
    assert next(entries).key == "a"
    (tmp_path / "b").unlink()
    (tmp_path / "c").unlink()
    (tmp_path / "c").mkdir()
    shutil.rmtree(tmp_path / "d")
    (tmp_path / "e").unlink()
    os.mkfifo(tmp_path / "e")
    assert [entry.key for entry in entries] == ["f"]
    assert [(problem.key, problem.kind, problem.failed) for problem in problems] == [
        ("b", "vanished", True),
        ("c", "vanished", True),
        ("d/", "vanished", True),
        ("e", "special", False),
    ]


def test_a_directory_that_cannot_be_read_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    # Deeper than a path may be long, which stops even root.
    fill(tmp_path, "a", "z")
    here = os.open(fill(tmp_path, "deep/") / "deep", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("n" * 250, dir_fd=here)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    problems: list[Problem] = []
    keys = [entry.key for entry in scan(tmp_path, Scan(problems.append))]
    assert keys == ["a", "z"]
    (problem,) = problems
    assert (problem.kind, problem.failed) == ("unreadable", True)
    assert problem.key.endswith("n/")
    assert problem.message.endswith("cannot be read: File name too long")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    directory = fill(tmp_path, "a", "locked/x", "z") / "locked"
    directory.chmod(0)
    yield tmp_path
    directory.chmod(stat.S_IRWXU)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_directory_without_permission_is_reported(locked: Path) -> None:
    assert walk(locked) == (["a", "z"], [("locked/", "unreadable")])
    with pytest.raises(StoreError, match="locked: Permission denied"):
        scan(locked / "locked", Scan(no_problem))


def test_empty_directories_are_entries_when_asked(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/", "a/c/d/", "e/x", "e!", "f/")
    (tmp_path / "f" / "link").symlink_to("nowhere")
    assert walk(tmp_path)[0] == ["e!", "e/x"]
    keys, problems = walk(tmp_path, empty_dirs=True)
    assert keys == ["a/b/", "a/c/d/", "e!", "e/x", "f/"]
    assert problems == [("f/link", "symlink")]
    (entry, *_) = scan(tmp_path, Scan(lambda _: None, empty_dirs=True))
    assert entry.size == 0
    assert walk(fill(tmp_path / "root", "x/").joinpath("x"), empty_dirs=True) == ([], [])


def test_pruned_directories_are_not_read(tmp_path: Path) -> None:
    fill(tmp_path, "a/x", "b/c/x", "d")
    os.mkfifo(tmp_path / "a" / "p")
    asked: list[str] = []

    def pruned(directory: str) -> bool:
        asked.append(directory)
        return directory in {"a/", "b/c/"}

    assert walk(tmp_path, pruned=pruned) == (["d"], [])
    assert asked == ["a/", "b/", "b/c/"]
    assert walk(tmp_path, pruned=pruned, empty_dirs=True)[0] == ["a/x", "b/c/x", "d"]


def test_a_root_that_is_none(tmp_path: Path) -> None:
    fill(tmp_path, "file")
    with pytest.raises(NotFound, match=r"gone: it does not exist$") as missing:
        scan(tmp_path / "gone", Scan(no_problem))
    assert missing.value.exit_code == 4
    with pytest.raises(StoreError, match="file: it is a file") as wrong:
        scan(tmp_path / "file", Scan(no_problem))
    assert wrong.value.hint
    with pytest.raises(NotFound):
        scan("", Scan(no_problem))


def test_the_root_may_be_a_link_and_may_end_in_a_slash(tmp_path: Path) -> None:
    fill(tmp_path, "real/x")
    (tmp_path / "link").symlink_to("real")
    assert walk(tmp_path / "link") == (["x"], [])
    assert [entry.key for entry in scan(f"{tmp_path}/real/", Scan(no_problem))] == ["x"]


def test_messages_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").symlink_to("nowhere")
    problems: list[Problem] = []
    list(scan(tmp_path, Scan(problems.append)))
    assert problems[0].key == "a\nb"
    assert "\n" not in problems[0].message


def test_a_deep_tree_needs_no_stack(tmp_path: Path) -> None:
    depth = 150
    fill(tmp_path, "d/" * depth + "x")
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack(0)) + depth // 2)
        found = walk(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found == (["d/" * depth + "x"], [])


def test_memory_holds_one_directory_a_level(tmp_path: Path) -> None:
    for directory in range(20):
        fill(tmp_path, *(f"d{directory:02}/{number:03}" for number in range(50)))

    def peak(root: Path) -> int:
        tracemalloc.start()
        assert all(entry.stat for entry in scan(root, Scan(no_problem)))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(tmp_path / "d00")
    assert peak(tmp_path) < 2 * peak(tmp_path / "d00")
