"""Keys become paths, as far as a file system can hold them, and never another one's."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import StoreError
from ingest.files.landing import Landing
from ingest.files.paths import FileSystem, PathPlan, Place, Problem, probe
from landings import fail_with, tree

if TYPE_CHECKING:
    from collections.abc import Iterable


_POSIX = FileSystem("target")


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
