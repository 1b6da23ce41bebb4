"""``--files-from``: a transfer of the names in a list, of a file or of standard input."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackpearl import Blackpearl
from faultproxy import Answer, FaultProxy, Rule
from ingest import trees
from ingest.planning.names import Names, read_names
from pearls import told
from runs import files
from stores import command, contents, fill, placed, program, store_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

FILES = {"a.txt": b"one", "dir/b.csv": b"two,2", "dir/deeper/c": b"", " é+%20'\"": b"x" * 3000}
KEYS = st.lists(st.text("ab/.é", min_size=1, max_size=5))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


def listed(tmp_path: Path, *names: str, end: str = "\n") -> Path:
    path = tmp_path / "list"
    path.write_bytes("".join(name + end for name in names).encode(errors="surrogateescape"))
    return path


# Names


@given(KEYS, KEYS)
def test_names_are_those_that_were_given_in_the_order_of_a_bucket(
    given: list[str], others: list[str]
) -> None:
    names = Names(given)
    assert list(names) == sorted({*given}, key=str.encode)
    for key in given + others:
        assert (key in names) == (key in given)
        assert names.after(key) == [name for name in names if name.encode() > key.encode()]
        directory = key + "/"
        assert names.are_below(directory) == any(name.startswith(directory) for name in given)


@given(st.sets(st.text(min_size=1).filter(lambda name: "\0" not in name)))
def test_every_name_goes_between_nuls(given: set[str]) -> None:
    content = b"".join(name.encode() + b"\0" for name in given)
    assert set(read_names(content, of_files=False)) == given


@pytest.mark.parametrize(
    ("content", "of_files", "expected"),
    [
        (b"", False, []),
        (b"b\na", False, ["a", "b"]),
        (b"a\r\n\n b \n", False, [" b ", "a"]),
        (b"./a\n../b\n", True, ["../b", "a"]),
        (b"./a\n", False, ["./a"]),
        (b"a\nb\0c", False, ["a\nb", "c"]),
        (b"\xff\n", True, ["\udcff"]),
        (b"\xef\xbb\xbfa\n", False, ["a"]),
    ],
)
def test_a_list_has_one_name_a_line(content: bytes, of_files: bool, expected: list[str]) -> None:  # noqa: FBT001 - a parameter
    assert list(read_names(content, of_files=of_files)) == expected


# Transfers


@pytest.mark.parametrize("words", [["upload"], ["sync"], ["cp", "--recursive"]])
def test_the_files_that_are_named_are_sent_and_no_other(
    moto_server: S3Server, here: Path, tmp_path: Path, words: list[str]
) -> None:
    store, chosen = store_of(moto_server), ["a.txt", "dir/deeper/c", " é+%20'\""]
    names = listed(tmp_path, *(f"./{name}" for name in chosen))
    done = command(moto_server, *words, here, f"{store.url}/to", "--files-from", names)
    assert done.exit_code == 0, done.stderr
    assert contents(store) == placed("to/", {name: FILES[name] for name in chosen})


@pytest.mark.parametrize("words", [["download"], ["sync"], ["cp", "--recursive"]])
def test_the_objects_that_are_named_are_fetched_and_no_other(
    moto_server: S3Server, tmp_path: Path, words: list[str]
) -> None:
    store, chosen = store_of(moto_server), ["a.txt", "dir/deeper/c", " é+%20'\""]
    fill(store, placed("of/", FILES))
    names = listed(tmp_path, *chosen, end="\0")
    to = tmp_path / "to"
    done = command(moto_server, *words, f"{store.url}/of", to, "--files-from", names)
    assert done.exit_code == 0, done.stderr
    assert files(to) == {name: FILES[name] for name in chosen}


def test_a_few_objects_are_asked_for_and_nothing_is_listed(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, FILES)
    names = listed(tmp_path, "a.txt", "dir/b.csv")
    with FaultProxy(moto_server.endpoint_url) as proxy:
        done = command(
            *(moto_server, "download", f"{store.url}/", tmp_path / "to", "--files-from", names),
            endpoint_url=proxy.endpoint_url,
        )
        asked = sorted((each.method, posixpath.basename(each.path)) for each in proxy.seen())
    assert done.exit_code == 0
    assert asked == [("GET", "a.txt"), ("GET", "b.csv"), ("HEAD", "a.txt"), ("HEAD", "b.csv")]


def test_each_name_that_is_not_there_is_told_and_the_others_go(
    moto_server: S3Server, here: Path, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    outside = write(tmp_path / "outside", {"secret": b"s"})
    (here / "link").symlink_to(outside)
    unfit = {
        "nope": "does not exist",
        "dir": "is a directory",
        "../outside/secret": "is no path below",
        str(outside / "secret"): "is no path below",
        "dir//b.csv": "is no path below",
        "link/secret": "is behind a symbolic link",
        "\udcff": "does not exist",
    }
    names = listed(tmp_path, "a.txt", *unfit)
    done = command(moto_server, "upload", here, store.url, "--files-from", names)
    assert done.exit_code == 1
    assert contents(store) == {"a.txt": b"one"}
    failures = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failures) == len(unfit)
    for name, why in unfit.items():
        shown = name.encode(errors="backslashreplace").decode()
        assert [line for line in failures if f" {shown}: " in line and why in line], (
            name,
            failures,
        )


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_each_object_that_is_not_there_is_told_and_the_others_come(
    moto_server: S3Server, tmp_path: Path, dry_run: list[str]
) -> None:
    store, to = store_of(moto_server), tmp_path / "to"
    fill(store, FILES)
    names = listed(tmp_path, "a.txt", "nope", "dir", "x" * 300)
    done = command(moto_server, "download", f"{store.url}/", to, "--files-from", names, *dry_run)
    assert done.exit_code == 1
    assert done.stderr.count("does not exist") == 3
    assert f"{store.url}/nope does not exist" in done.stderr
    assert ("would " in done.stdout) == bool(dry_run)
    assert (files(to) if to.exists() else {}) == ({} if dry_run else {"a.txt": b"one"})


def test_a_link_that_is_named_is_skipped_or_followed(
    moto_server: S3Server, here: Path, tmp_path: Path
) -> None:
    (here / "link").symlink_to("a.txt")
    for more, expected in ((["--follow-symlinks"], {"link": b"one"}), ([], {})):
        store = store_of(moto_server)
        names = listed(tmp_path, "link")
        done = command(moto_server, "upload", here, store.url, "--files-from", names, *more)
        assert (done.exit_code, contents(store)) == (0, expected)


def test_a_sync_of_names_deletes_nothing(moto_server: S3Server, here: Path, tmp_path: Path) -> None:
    store = store_of(moto_server)
    fill(store, {"old": b""})
    up = ("sync", here, store.url, "--files-from", listed(tmp_path, "a.txt"))
    assert command(moto_server, *up).exit_code == 0
    assert command(moto_server, *up).stderr == "nothing to do\n"
    done = command(moto_server, *up, "--delete")
    assert (done.exit_code, "--delete is for what is not" in done.stderr) == (2, True)
    assert set(contents(store)) == {"a.txt", "old"}


def test_nothing_that_is_not_named_is_looked_at(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(moto_server)
    here = write(tmp_path / "here", {"a/b/c": b"1", "a/x/y": b"2", "z/1": b"3"})
    opened: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> Any:
        opened.append(os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    words = ("--files-from", listed(tmp_path, "a/b/c"))
    assert command(moto_server, "upload", here, store.url, *words).exit_code == 0
    assert [path.rstrip("/") for path in opened] == [
        f"{here}{below}" for below in ("", "/a", "/a/b")
    ]


def test_what_else_is_in_the_target_is_nobodys_business(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"1"})
    here = write(tmp_path / "here", {"\udcff": b""})
    words = ("--files-from", listed(tmp_path, "a"))
    done = command(moto_server, "sync", store.url, here, *words)
    assert (done.exit_code, (here / "a").read_bytes()) == (0, b"1"), done.stderr


@pytest.mark.parametrize("status", [400, 403])
def test_a_name_that_is_refused_does_not_keep_the_others(
    moto_server: S3Server, tmp_path: Path, status: int
) -> None:
    store = store_of(moto_server)
    fill(store, FILES)
    names = listed(tmp_path, "a.txt", "dir/b.csv", "refused")
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(Answer(status, "", ""), "HEAD", "/refused", times=None)]
        done = command(
            *(moto_server, "download", f"{store.url}/", tmp_path / "to", "--files-from", names),
            endpoint_url=proxy.endpoint_url,
        )
    assert (done.exit_code, done.stderr.count("failed: ")) == (1, 1), done.stderr
    assert files(tmp_path / "to") == {name: FILES[name] for name in ("a.txt", "dir/b.csv")}


def test_wrong_keys_are_told_once(moto_server: S3Server, tmp_path: Path) -> None:
    store = store_of(moto_server)
    names = listed(tmp_path, "a", "b", "c")
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [
            Rule(Answer(403, "", ""), "HEAD", times=None),
            Rule(Answer(403, "InvalidAccessKeyId", "No."), "GET", times=None),
        ]
        done = command(
            *(moto_server, "download", f"{store.url}/", tmp_path / "to", "--files-from", names),
            endpoint_url=proxy.endpoint_url,
        )
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1), done.stderr


def test_as_many_names_are_asked_for_at_once_as_is_said(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    made = trees.in_threads

    def noted(work: Any, items: Any, threads: int) -> Any:
        asked.append(threads)
        return made(work, items, threads)

    monkeypatch.setattr(trees, "in_threads", noted)
    store = store_of(moto_server)
    fill(store, FILES)
    words = ("--files-from", listed(tmp_path, "a.txt"), "--concurrency", "3")
    assert command(moto_server, "download", store.url, tmp_path / "to", *words).exit_code == 0
    assert asked == [3]


def test_rules_choose_among_the_names(moto_server: S3Server, here: Path, tmp_path: Path) -> None:
    store = store_of(moto_server)
    names = ("--files-from", listed(tmp_path, "a.txt", "dir/b.csv", "no.csv"), "--exclude", "*.csv")
    assert command(moto_server, "upload", here, store.url, *names).exit_code == 0
    assert set(contents(store)) == {"a.txt"}
    fill(store, FILES)
    assert command(moto_server, "download", f"{store.url}/", tmp_path / "to", *names).exit_code == 0
    assert set(files(tmp_path / "to")) == {"a.txt"}


def test_names_are_of_directories(moto_server: S3Server, here: Path, tmp_path: Path) -> None:
    names, store = listed(tmp_path, "a.txt"), store_of(moto_server)
    for words in (["cp", here, store.url], ["upload", here / "a.txt", store.url]):
        done = command(moto_server, *words, "--files-from", names)
        assert (done.exit_code, "below a directory" in done.stderr) == (2, True)
    done = command(moto_server, "upload", here, store.url, "--files-from", tmp_path / "none")
    assert (done.exit_code, "No such file" in done.stderr) == (2, True)
    done = command(moto_server, "upload", here, store.url, "--files-from", tmp_path)
    assert (done.exit_code, contents(store)) == (2, {})


def test_no_such_bucket_is_told_once(moto_server: S3Server, tmp_path: Path) -> None:
    names = listed(tmp_path, "a", "b")
    done = command(moto_server, "download", "s3://no-such-bucket/", tmp_path, "--files-from", names)
    assert (done.exit_code, done.stderr.count("NoSuchBucket")) == (4, 1)


def test_more_names_than_are_kept_to_be_planned_from(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.downloader._KEPT", 2)
    store, to = store_of(moto_server), tmp_path / "to"
    fill(store, FILES)
    names = listed(tmp_path, *FILES, "zz")
    done = command(moto_server, "download", f"{store.url}/", to, "--files-from", names)
    assert (done.exit_code, done.stderr.count("zz does not exist")) == (1, 1)
    assert files(to) == FILES


def test_a_list_goes_to_a_blackpearl_and_comes_back(here: Path, tmp_path: Path) -> None:
    names = listed(tmp_path, "a.txt", "dir/b.csv")
    expected = {name: FILES[name] for name in ("a.txt", "dir/b.csv")}
    with Blackpearl(blob_size=10, chunk_blobs=2) as pearl:
        bucket = pearl.new_bucket()
        for words in ([here, f"ds3://{bucket}/to"], [f"ds3://{bucket}/to", tmp_path / "back"]):
            verb = "upload" if words[0] == here else "download"
            done = told(pearl, verb, *words, "--files-from", names)
            assert done.exit_code == 0, done.stderr
        assert pearl.contents(bucket) == placed("to/", expected)
        assert files(tmp_path / "back") == expected
        missing = listed(tmp_path, "dir/b.csv", "nope")
        done = told(
            pearl, "download", f"ds3://{bucket}/to", tmp_path / "2", "--files-from", missing
        )
        assert (done.exit_code, "to/nope does not exist" in done.stderr) == (1, True)
        assert files(tmp_path / "2") == {"dir/b.csv": FILES["dir/b.csv"]}


def test_names_come_from_standard_input(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    read, written = os.pipe()
    os.write(written, b"a.txt\n")
    os.close(written)
    with program(
        moto_server, "upload", str(here), store.url, "--files-from", "-", stdin=read
    ) as running:
        os.close(read)
        assert running.wait(timeout=30) == 0
    assert set(contents(store)) == {"a.txt"}
