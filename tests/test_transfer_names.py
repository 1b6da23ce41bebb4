"""Names that a file system cannot hold, links, and whatever else is no plain file."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.sync import Options
from ingest.trees import LocalTree, StoreTree
from runs import files
from stores import contents, fill, store_of, write
from transfers import MODES, failed, run, targets, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.planning.compare import Mode
    from ingest.storage.s3 import S3Store
    from support import S3Server


def test_file_and_directory_of_one_name_are_told_before_anything_is_transferred(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    odd = {"a": b"file", "a/b": b"below", "a/c": b"below", "fine": b"fine"}
    fill(store, odd)
    operations = run(StoreTree(store), LocalTree(tmp_path / "to"))
    assert [each.status for each in operations] == ["failed", "failed", "done", "done"]
    assert ["a/b" in failed(operations)[0], "a/c" in failed(operations)[1]] == [True, True]
    assert files(tmp_path / "to") == {"a": b"file", "fine": b"fine"}


def test_keys_that_no_file_system_holds_are_told_first_and_the_rest_is_transferred(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    good = {"a/b": b"1", "ok": b"2", "\U0001f600/é": b"3", "tab\there": b"4", "x y+%": b"5"}
    bad = ["../up", "a//b", "a/./c", "a/../d", "/root", "marker/", "long/" + "n" * 256, "."]
    fill(store, {**good, **dict.fromkeys(bad, b"bad")})
    target = tmp_path / "deep/er/to"
    for dry_run in (True, False):
        operations = run(StoreTree(store), LocalTree(target), Options(dry_run=dry_run))
        states = [each.status for each in operations]
        assert states[: len(bad)] == ["failed"] * len(bad)
        assert set(states[len(bad) :]) == {"planned" if dry_run else "done"}
        for key in bad:
            assert any(repr(key) in problem for problem in failed(operations)), key
        assert files(target) == ({} if dry_run else good)
        assert target.exists() != dry_run
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    again = run(StoreTree(store), LocalTree(target))
    assert [each.status for each in again] == ["failed"] * len(bad)


def test_keys_without_a_place_prevent_deletes(moto_server: S3Server, tmp_path: Path) -> None:
    store = store_of(moto_server)
    fill(store, {"a//b": b"bad", "c": b"good"})
    here = LocalTree(write(tmp_path / "to", {"extra": b""}))
    operations = run(StoreTree(store), here, Options(delete=True))
    assert len(failed(operations)) == 2
    assert files(here.root) == {"c": b"good", "extra": b""}


@pytest.mark.parametrize("planted", ["directory", "file", "dangling", "root"])
def test_a_planted_symlink_never_leads_outside(
    store: S3Store, tmp_path: Path, planted: str
) -> None:
    fill(store, {"dir/a": b"new", "top": b"new"})
    outside = write(tmp_path / "outside", {"a": b"old", "top": b"old"})
    target = tmp_path / "to"
    target.mkdir()
    if planted == "directory":
        (target / "dir").symlink_to(outside)
    elif planted == "file":
        (target / "top").symlink_to(outside / "top")
    elif planted == "dangling":
        (target / "top").symlink_to(outside / "none")
    else:
        target.rmdir()
        target.symlink_to(write(tmp_path / "real", {}))
    for follow in (False, True):
        operations = run(
            StoreTree(store), LocalTree(target, follow_symlinks=follow), Options(delete=True)
        )
        assert files(outside) == {"a": b"old", "top": b"old"}
        if planted == "directory":
            (problem, *_) = failed(operations)
            assert "symbolic link" in problem
            assert (target / "top").read_bytes() == b"new"
        else:
            assert not failed(operations)
            assert files(target) == {"dir/a": b"new", "top": b"new"}


def test_links_pipes_sockets_and_odd_names_are_told_and_never_opened(
    store: S3Store, tmp_path: Path
) -> None:
    root = write(tmp_path / "here", {"file": b"x", "private/secret": b"y"})
    (root / "link").symlink_to("file")
    (root / "links").symlink_to(root)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "socket"))
    with open(os.fsencode(root) + b"/\xff", "wb"):  # noqa: PTH123 - a name of bytes
        pass
    operations = run(LocalTree(root), StoreTree(store))
    states = {each.target.rpartition("/")[2]: each.status for each in operations}
    assert states == {
        "file": "done",
        "secret": "done",
        "link": "skipped",
        "links": "skipped",
        "pipe": "skipped",
        "socket": "skipped",
        "\\xff": "failed",
    }
    assert set(contents(store)) == {"file", "private/secret"}
    followed = run(LocalTree(root, follow_symlinks=True), StoreTree(store))
    assert set(contents(store)) == {"file", "link", "private/secret"}
    assert any("leads back" in problem for problem in failed(followed))


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_cannot_be_read_fails_alone(
    store: S3Store, local: LocalTree, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    run(local, StoreTree(store))
    write(local.root, {"a.txt": b"ONE", "fine": b"fine"}, None)
    real = os.open

    def deny(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("a.txt"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *arguments, **options)

    # Permissions do not keep a superuser out.
    monkeypatch.setattr(os, "open", deny)
    monkeypatch.setattr("io.open", _denied(deny))
    monkeypatch.setattr("builtins.open", _denied(deny))
    operations = run(local, StoreTree(store), Options(compare=mode))
    expected = [] if mode == "size" else ["a.txt"]
    assert [each.target.rpartition("/")[2] for each in operations if each.error] == expected
    assert all("ermission" in problem for problem in failed(operations))
    assert contents(store)["fine"] == b"fine"


def _denied(deny: Callable[..., int]) -> Callable[..., Any]:
    import io  # noqa: PLC0415 - the one before it is replaced

    real = io.open

    def opened(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str | Path):
            options.setdefault("opener", deny)
        return real(path, *arguments, **options)

    return opened


def test_empty_directories_go_up_and_come_down(moto_server: S3Server, tmp_path: Path) -> None:
    store = store_of(moto_server)
    root = write(tmp_path / "here", {"a": b"x"})
    (root / "empty/inner").mkdir(parents=True)
    assert told(run(LocalTree(root), StoreTree(store))) == [("upload", "done")]
    here = LocalTree(root, empty_dirs=True)
    assert targets(run(here, StoreTree(store)), "upload") == [f"{store.url}/empty/inner/"]
    assert run(here, StoreTree(store)) == []
    made = tmp_path / "made"
    run(StoreTree(store), LocalTree(made))
    assert not (made / "empty").exists()
    down = LocalTree(made, empty_dirs=True)
    assert told(run(StoreTree(store), down)) == [("download", "done")]
    assert (made / "empty/inner").is_dir()
    assert run(StoreTree(store), down, Options(delete=True)) == []
    assert run(down, StoreTree(store), Options(delete=True)) == []
