"""A transfer on which something fails: it is named, and the rest is done."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from faultproxy import Answer, Before, FaultProxy, Rule
from ingest.errors import CredentialsRefused
from ingest.settings import AccessKey
from ingest.storage import receiving
from ingest.storage.base import Transfer
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from ingest.sync import Options
from ingest.trees import LocalTree, StoreTree
from runs import files
from stores import contents, fill, store_of, write
from transfers import FILES, failed, refuse, run, targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.sync import Tree
    from support import S3Server


@pytest.mark.parametrize("direction", ["up", "down", "copy"])
def test_one_that_fails_is_named_and_the_rest_is_done(
    moto_server: S3Server, tmp_path: Path, local: LocalTree, direction: str
) -> None:
    source, target = store_of(moto_server), store_of(moto_server)
    run(local, StoreTree(source))
    rules = refuse("a.txt", method="GET" if direction == "down" else "PUT")
    with FaultProxy(moto_server.endpoint_url, rules) as proxy:
        url = proxy.endpoint_url
        there = StoreTree(store_of(moto_server, target.bucket, endpoint_url=url))
        ends: tuple[Tree, Tree] = (local, there)
        if direction == "down":
            behind = store_of(moto_server, source.bucket, endpoint_url=url)
            ends = (StoreTree(behind), LocalTree(tmp_path / "to"))
        elif direction == "copy":
            ends = (StoreTree(store_of(moto_server, source.bucket, endpoint_url=url)), there)
        operations = run(*ends)
    (problem,) = failed(operations)
    for part in ("a.txt", proxy.endpoint_url, "AccessDenied", "No."):
        assert part in problem
    rest = {key: content for key, content in FILES.items() if key != "a.txt"}
    assert (files(tmp_path / "to") if direction == "down" else contents(target)) == rest


def test_a_file_removed_or_grown_between_scan_and_read_is_an_error_for_it_alone(
    moto_server: S3Server, local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = LocalTree.side

    def late(tree: LocalTree, *arguments: Any, **options: Any) -> Any:
        side = scanned(tree, *arguments, **options)

        def entries() -> Iterator[Any]:
            for entry in side.entries:
                if entry.key == "a.txt":
                    (tree.root / "a.txt").unlink()
                if entry.key == "dir/b.csv":
                    write(tree.root, {"dir/b.csv": b"grown and grown"})
                yield entry

        return replace(side, entries=entries())

    monkeypatch.setattr(LocalTree, "side", late)
    store = store_of(moto_server)
    operations = run(local, StoreTree(store), Options(compare=None))
    assert targets([each for each in operations if each.error], "upload") == [
        f"{store.url}/a.txt",
        f"{store.url}/dir/b.csv",
    ]
    assert set(contents(store)) == {*FILES} - {"a.txt", "dir/b.csv"}


def test_an_object_that_vanished_since_the_listing_fails_alone(
    moto_server: S3Server, tmp_path: Path, local: LocalTree
) -> None:
    plain = store_of(moto_server)
    run(local, StoreTree(plain))
    gone = Rule(Before(lambda: list(plain.delete_many(["a.txt"]))), "GET", path="/a.txt")
    with FaultProxy(moto_server.endpoint_url, [gone]) as proxy:
        store = store_of(moto_server, plain.bucket, endpoint_url=proxy.endpoint_url)
        operations = run(StoreTree(store), LocalTree(tmp_path / "to"))
    assert [each.target for each in operations if each.error] == [f"{tmp_path}/to/a.txt"]
    assert files(tmp_path / "to") == {key: FILES[key] for key in FILES if key != "a.txt"}


def test_refused_credentials_fail_every_item_or_the_listing(
    rclone_server: S3Server, local: LocalTree
) -> None:
    wrong = AccessKey("TESTACCESSKEY", "wrong")
    store = S3Store(
        rclone_server.new_bucket(),
        Clients(Connection(rclone_server.endpoint_url, "us-east-1", wrong)),
    )
    with pytest.raises(CredentialsRefused):
        run(local, StoreTree(store))
    operations = run(local, StoreTree(store), Options(compare=None))
    assert all(isinstance(each.error, CredentialsRefused) for each in operations)


@pytest.mark.parametrize("large", [False, True])
def test_a_full_disk_midway_fails_what_has_no_room_and_leaves_nothing_partial(
    moto_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    if large:
        monkeypatch.setattr("ingest.storage.receiving.LARGE", 100)
    store = store_of(moto_server)
    sizes = {"a": b"x" * 10, "b": b"x" * 5000, "c": b"x" * 20}
    fill(store, sizes)
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    target = write(tmp_path / "to", {"b": b"old"})
    operations = run(StoreTree(store), LocalTree(target), Options(compare="size"))
    (problem,) = failed(operations)
    assert "No space left" in problem
    assert files(target) == {"a": sizes["a"], "b": b"old", "c": sizes["c"]}


@pytest.mark.parametrize("keep", [True, False])
def test_a_download_goes_on_from_its_partial_file(
    moto_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: bool,  # noqa: FBT001 - a parameter
) -> None:
    monkeypatch.setattr(receiving, "LARGE", 10_000)
    monkeypatch.setattr(receiving, "_PART", 10_000)
    monkeypatch.setattr(receiving, "_PARTS_AT_ONCE", 1)
    plain, content = store_of(moto_server), os.urandom(75_000)
    fill(plain, {"large": content})
    gone = Rule(Answer(status=400, code="Gone", message="No."), "GET", "/large", skip=4)
    with FaultProxy(moto_server.endpoint_url, [gone]) as proxy:
        store = store_of(moto_server, plain.bucket, endpoint_url=proxy.endpoint_url)
        how, target = Transfer(keep_partial=keep), LocalTree(tmp_path / "to")
        assert len(failed(run(StoreTree(store), target, how=how))) == 1
        assert list(files(target.root)) == [] or keep
        assert not (target.root / "large").exists()
        first = len(proxy.seen("GET", "/large"))
        assert not failed(run(StoreTree(store), target, how=how))
        assert len(proxy.seen("GET", "/large")) - first == (4 if keep else 8)
    assert files(target.root) == {"large": content}


def test_a_partial_file_of_another_object_is_not_gone_on_with(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "LARGE", 10_000)
    monkeypatch.setattr(receiving, "_PART", 10_000)
    plain, content = store_of(moto_server), os.urandom(75_000)
    fill(plain, {"large": os.urandom(75_000)})
    gone = Rule(Answer(status=400, code="Gone", message="No."), "GET", "/large", skip=4)
    with FaultProxy(moto_server.endpoint_url, [gone]) as proxy:
        store = store_of(moto_server, plain.bucket, endpoint_url=proxy.endpoint_url)
        target = LocalTree(tmp_path / "to")
        assert len(failed(run(StoreTree(store), target))) == 1
        fill(plain, {"large": content})
        assert not failed(run(StoreTree(store), target))
    assert files(target.root) == {"large": content}
