"""Trees made alike through ``ingest.sync.sync``: every mode and direction, on every server."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import pytest

from faultproxy import Answer, Before, DropAnswer, FaultProxy, Rule
from ingest.errors import BucketNotFound, CredentialsRefused, IngestError, NotFound, UsageError
from ingest.planning.compare import Mode
from ingest.planning.filters import Rule as Glob
from ingest.settings import AccessKey
from ingest.storage import receiving, sending
from ingest.storage.base import PutItem, Transfer
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from ingest.sync import Options, sync
from ingest.trees import LocalTree, StoreTree
from ingest.uploader import Content
from ingest.verification import compare
from runs import child_environment, files
from stores import (
    contents,
    fill,
    store_of,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.operation import Operation
    from ingest.sync import Tree
    from support import S3Server

MODES: tuple[Mode, ...] = get_args(Mode)
FILES = {
    "a.txt": b"one",
    "dir/b.csv": b"two,2",
    "dir/deeper/c": b"",
    "dir/ é+%20 '\".bin": os.urandom(2000),
    "z/last": b"last" * 1000,
}
MIB = 1 << 20


@pytest.fixture
def local(tmp_path: Path) -> LocalTree:
    return LocalTree(write(tmp_path / "here", FILES))


def run(
    source: Tree, destination: Tree, options: Options | None = None, how: Transfer | None = None
) -> list[Operation]:
    """Do it, and return what was told."""
    return list(sync(source, destination, options or Options(), how or Transfer()))


def told(operations: Iterable[Operation]) -> list[tuple[str, str]]:
    return [(operation.verb, operation.status) for operation in operations]


def failed(operations: Iterable[Operation]) -> list[str]:
    return [str(operation.error) for operation in operations if operation.error]


def targets(operations: Iterable[Operation], verb: str) -> list[str]:
    return sorted(each.target for each in operations if each.verb == verb)


def refuse(*keys: str, method: str = "PUT") -> list[Rule]:
    answer = Answer(status=403, code="AccessDenied", message="No.")
    return [Rule(answer, method, path=f"/{key}", times=None) for key in keys]


# Twice is once


@pytest.mark.parametrize("mode", MODES)
def test_up_and_up_again_does_nothing(store: S3Store, local: LocalTree, mode: Mode) -> None:
    there, options = StoreTree(store, "to/"), Options(compare=mode, delete=True)
    first = run(local, there, options)
    assert told(first) == [("upload", "done")] * len(FILES)
    assert contents(store) == {f"to/{key}": content for key, content in FILES.items()}
    assert run(local, there, options) == []


@pytest.mark.parametrize("mode", MODES)
def test_down_and_down_again_and_up_does_nothing(
    store: S3Store, tmp_path: Path, mode: Mode
) -> None:
    fill(store, {f"from/{key}": content for key, content in FILES.items()})
    there, here = StoreTree(store, "from/"), LocalTree(tmp_path / "made")
    options = Options(compare=mode, delete=True)
    assert told(run(there, here, options)) == [("download", "done")] * len(FILES)
    assert files(here.root) == FILES
    assert run(there, here, options) == []
    assert run(here, there, options) == []


@pytest.mark.parametrize("mode", MODES)
def test_from_bucket_to_bucket_and_again_does_nothing(
    server: S3Server, store: S3Store, tmp_path: Path, local: LocalTree, mode: Mode
) -> None:
    run(local, StoreTree(store, "from/"))
    one, other = StoreTree(store, "from/"), StoreTree(store_of(server), "to/")
    options = Options(compare=mode, delete=True)
    assert told(run(one, other, options)) == [("copy", "done")] * len(FILES)
    assert contents(other.store) == {f"to/{key}": content for key, content in FILES.items()}
    assert run(one, other, options) == []
    assert run(other, one, options) == []
    assert told(run(other, LocalTree(tmp_path / "made"))) == [("download", "done")] * len(FILES)


@pytest.mark.parametrize("mode", MODES)
def test_between_two_services_content_type_and_metadata_go_along(
    rclone_server: S3Server, moto_server: S3Server, mode: Mode
) -> None:
    source, target = store_of(rclone_server), store_of(moto_server)
    items = [PutItem(key, content, "text/csv", {"made": "by me"}) for key, content in FILES.items()]
    assert not [each for each in source.put_many(items) if each.error]
    options = Options(compare=mode)
    first = run(StoreTree(source), StoreTree(target, "to/"), options)
    assert told(first) == [("copy", "done")] * len(FILES)
    assert contents(target) == {f"to/{key}": content for key, content in FILES.items()}
    head = target.head("to/a.txt")
    assert (head.content_type, head.metadata["made"]) == ("text/csv", "by me")
    assert run(StoreTree(source), StoreTree(target, "to/"), options) == []


def test_between_two_services_one_that_fails_does_not_stop_the_others(
    rclone_server: S3Server, moto_server: S3Server
) -> None:
    bucket = rclone_server.new_bucket()
    names = [f"k{number:03}" for number in range(300)]
    fill(store_of(rclone_server, bucket), {name: name.encode() for name in names})
    rules = [*refuse("k000", "k100", method="GET"), *refuse("k200", method="HEAD")]
    target = store_of(moto_server)
    with FaultProxy(rclone_server.endpoint_url, rules) as proxy:
        source = store_of(rclone_server, bucket, endpoint_url=proxy.endpoint_url)
        operations = run(StoreTree(source), StoreTree(target))
    assert len(failed(operations)) == 3
    assert sorted(contents(target)) == sorted(set(names) - {"k000", "k100", "k200"})


@pytest.mark.parametrize("mode", MODES)
def test_objects_that_another_tool_sent_in_other_parts_are_the_same(
    store: S3Store, tmp_path: Path, mode: Mode
) -> None:
    content = os.urandom(11 * MIB)
    client = store.clients.client()
    where = {"Bucket": store.bucket, "Key": "large"}
    upload_id = client.create_multipart_upload(**where)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(content), 5 * MIB), 1):
        sent = client.upload_part(
            **where,
            UploadId=upload_id,
            PartNumber=number,
            Body=content[start : start + 5 * MIB],
        )
        parts.append({"ETag": sent["ETag"], "PartNumber": number})
    client.complete_multipart_upload(
        **where, UploadId=upload_id, MultipartUpload=cast("Any", {"Parts": parts})
    )
    there, same = StoreTree(store), LocalTree(write(tmp_path / "same", {"large": content}))
    options = Options(compare=mode)
    assert run(same, there, options) == []
    assert run(there, LocalTree(tmp_path / "made"), options)
    assert files(tmp_path / "made") == {"large": content}
    assert run(there, LocalTree(tmp_path / "made"), options) == []
    assert run(LocalTree(tmp_path / "made"), there, options) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_large_object_in_parts_is_copied_once(
    server: S3Server, store: S3Store, tmp_path: Path, mode: Mode
) -> None:
    here = LocalTree(write(tmp_path / "here", {"large": os.urandom(17 * MIB)}))
    assert not failed(run(here, StoreTree(store)))
    other = StoreTree(store_of(server))
    assert told(run(StoreTree(store), other, Options(compare=mode))) == [("copy", "done")]
    assert run(StoreTree(store), other, Options(compare=mode)) == []


def test_what_differs_is_sent(store: S3Store, local: LocalTree) -> None:
    there = StoreTree(store)
    run(local, there)
    write(local.root, {"a.txt": b"ONE"}, None)  # same size, later
    write(local.root, {"z/last": b"shorter"})  # same time
    for mode, changed in [
        ("size", ["z/last"]),
        ("size-mtime", ["a.txt"]),
        ("checksum", []),
    ]:
        operations = run(local, there, Options(compare=cast("Mode", mode)))
        assert targets(operations, "upload") == [f"{store.url}/{key}" for key in changed], mode
    assert contents(store)["a.txt"] == b"ONE"
    write(local.root, {"a.txt": b"One"})  # old again: only its hash tells
    assert run(local, there) == []
    assert told(run(local, there, Options(compare="checksum"))) == [("upload", "done")]


@pytest.mark.parametrize("direction", ["up", "down", "copy"])
def test_without_overwrite_what_differs_stays_and_is_told(
    server: S3Server, store: S3Store, tmp_path: Path, local: LocalTree, direction: str
) -> None:
    fill(store, {"a.txt": b"other"})
    source: Tree = local
    destination: Tree = StoreTree(store)
    if direction != "up":
        source = StoreTree(store_of(server))
        run(local, source)
    if direction == "down":
        destination = LocalTree(write(tmp_path / "to", {"a.txt": b"other"}))
    operations = run(source, destination, how=Transfer(overwrite=False))
    (kept,) = [each for each in operations if each.status == "skipped"]
    assert kept.target == destination.shown("a.txt")
    assert kept.reason == "it is there already"
    there = contents(store) if isinstance(destination, StoreTree) else files(destination.root)
    assert there == {**FILES, "a.txt": b"other"}


# Copies within the destination


def test_a_renamed_file_is_copied_by_the_server_and_then_deleted(
    store: S3Store, local: LocalTree
) -> None:
    there = StoreTree(store, "to/")
    run(local, there)
    (local.root / "z").rename(local.root / "b")
    operations = run(local, there, Options(delete=True))
    assert told(operations) == [("copy", "done"), ("delete", "done")]
    assert (operations[0].source, operations[0].target) == (
        f"{store.url}/to/z/last",
        f"{store.url}/to/b/last",
    )
    assert operations[1].target == f"{store.url}/to/z/last"
    assert run(local, there, Options(delete=True)) == []


def test_a_duplicate_is_sent_once(store: S3Store, local: LocalTree) -> None:
    write(local.root, {"again": FILES["z/last"], "dir/again": FILES["z/last"]})
    operations = run(local, StoreTree(store))
    assert sum(each.verb == "upload" for each in operations) == len(FILES)
    assert sum(each.verb == "copy" for each in operations) == 2
    assert not failed(operations)
    assert contents(store) == files(local.root)


def test_a_copy_whose_origin_failed_is_still_sent_or_told(
    moto_server: S3Server, tmp_path: Path
) -> None:
    here = LocalTree(write(tmp_path / "here", {"a": b"same", "b": b"same"}))
    bucket = moto_server.new_bucket()
    with FaultProxy(moto_server.endpoint_url, refuse("a")) as proxy:
        store = store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)
        operations = run(here, StoreTree(store))
    assert len(operations) == 2
    done = {each.target for each in operations if each.status == "done"}
    assert set(contents(store_of(moto_server, bucket))) == {
        target.rpartition("/")[2] for target in done
    }


# Deletes


def test_deletes_come_last(store: S3Store, local: LocalTree) -> None:
    fill(store, {"to/0 first": b"extra", "to/x": b"extra", "together": b"stays"})
    operations = run(local, StoreTree(store, "to/"), Options(delete=True))
    verbs = [each.verb for each in operations]
    assert verbs == sorted(verbs, key=["upload", "copy", "delete"].index)
    assert targets(operations, "delete") == [f"{store.url}/to/0 first", f"{store.url}/to/x"]
    assert set(contents(store)) == {*(f"to/{key}" for key in FILES), "together"}


def test_deletes_of_a_directory_leave_what_is_outside_and_its_directories(
    store: S3Store, local: LocalTree, tmp_path: Path
) -> None:
    run(local, StoreTree(store))
    target = write(tmp_path / "to", {"extra": b"", "old/extra": b""})
    write(tmp_path, {"outside": b""})
    (target / "link").symlink_to(tmp_path / "outside")
    operations = run(StoreTree(store), LocalTree(target), Options(delete=True))
    assert targets(operations, "delete") == [f"{target}/extra", f"{target}/old/extra"]
    assert (target / "link").is_symlink()
    assert (tmp_path / "outside").exists()


def test_nothing_is_deleted_after_a_failure(moto_server: S3Server, local: LocalTree) -> None:
    bucket = moto_server.new_bucket()
    fill(store_of(moto_server, bucket), {"extra": b""})
    with FaultProxy(moto_server.endpoint_url, refuse("a.txt")) as proxy:
        store = store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)
        operations = run(local, StoreTree(store), Options(delete=True))
    first, last = failed(operations)
    assert "a.txt" in first
    assert "nothing was deleted" in last
    assert "1 of the steps before failed" in last
    assert operations[-1].verb == "delete"
    assert set(contents(store_of(moto_server, bucket))) == {*FILES, "extra"} - {"a.txt"}


@pytest.mark.parametrize("most", [0, 1, 2])
@pytest.mark.parametrize("dry_run", [False, True])
def test_more_than_max_delete_deletes_nothing(
    store: S3Store,
    local: LocalTree,
    most: int,
    dry_run: bool,  # noqa: FBT001 - a parameter
) -> None:
    run(local, StoreTree(store))
    fill(store, {"extra1": b"", "extra2": b""})
    operations = run(
        local, StoreTree(store), Options(delete=True, max_delete=most, dry_run=dry_run)
    )
    if most < 2:
        (problem,) = failed(operations)
        assert "--max-delete" in problem
    left = set() if most == 2 and not dry_run else {"extra1", "extra2"}
    assert set(contents(store)) == {*FILES} | left


def test_a_source_that_is_missing_or_empty_deletes_nothing(
    moto_server: S3Server, tmp_path: Path, local: LocalTree
) -> None:
    store = store_of(moto_server)
    run(local, StoreTree(store))
    with pytest.raises(NotFound, match="none"):
        run(LocalTree(tmp_path / "none"), StoreTree(store), Options(delete=True))
    (tmp_path / "empty/dir").mkdir(parents=True)
    for empty in (LocalTree(tmp_path / "empty"), LocalTree(tmp_path / "empty", empty_dirs=True)):
        operations = run(empty, StoreTree(store), Options(delete=True))
        assert "nothing was deleted" in failed(operations)[-1]
    for nothing in (StoreTree(store, "no/such/prefix/"), StoreTree(store, "a.tx/")):
        for target in (local, StoreTree(store, "dir/")):
            operations = run(nothing, target, Options(delete=True))
            assert len(failed(operations)) == 1
    assert set(contents(store)) >= {*FILES}
    assert files(local.root) == FILES


def test_a_bucket_that_is_missing_deletes_nothing(server: S3Server, local: LocalTree) -> None:
    with pytest.raises(BucketNotFound):
        run(StoreTree(store_of(server, "no-such-bucket")), local, Options(delete=True))
    assert files(local.root) == FILES


@pytest.mark.parametrize("direction", ["up", "down", "copy"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(status=403, code="AccessDenied", message="No."), id="refused"),
        pytest.param(DropAnswer(400), id="cut"),
        pytest.param(Answer(status=501, code="NotImplemented", message="No."), id="broken"),
    ],
)
def test_a_listing_that_fails_deletes_nothing(
    moto_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    direction: str,
    answer: Answer | DropAnswer,
) -> None:
    monkeypatch.setattr("ingest.pacing.Backoff.wait_s", lambda *_: 0.0)
    plain = store_of(moto_server)
    names = {f"k{number:04}": b"x" for number in range(1010)}
    list(plain.put_many(PutItem(key, b"x", "text/plain") for key in names))
    here = LocalTree(write(tmp_path / "here", {"0": b"", "z": b""}))
    other = store_of(moto_server)
    fill(other, {"0": b"", "z": b""})
    second_page = Rule(answer, "GET", query="continuation-token", times=None)
    after = Rule(answer, "GET", query="start-after", times=None)
    with FaultProxy(moto_server.endpoint_url, [second_page, after]) as proxy:
        failing = StoreTree(store_of(moto_server, plain.bucket, endpoint_url=proxy.endpoint_url))
        source: Tree = here if direction == "up" else failing
        destination: Tree = failing if direction == "up" else here
        if direction == "copy":
            destination = StoreTree(store_of(moto_server, other.bucket))
        with pytest.raises(IngestError):
            run(source, destination, Options(delete=True))
    assert set(contents(other)) >= {"0", "z"}
    assert set(files(here.root)) >= {"0", "z"}
    assert {entry.key for entry in plain.list()} >= {*names}


def test_a_scan_that_could_not_read_everything_deletes_nothing(
    store: S3Store, local: LocalTree
) -> None:
    run(local, StoreTree(store))
    fill(store, {"extra": b""})
    (local.root / "broken").symlink_to("nowhere")
    followed = LocalTree(local.root, follow_symlinks=True)
    for dry_run in (True, False):
        operations = run(followed, StoreTree(store), Options(delete=True, dry_run=dry_run))
        assert [each.verb for each in operations] == ["scan", "delete"]
        assert len(failed(operations)) == 2
        assert "1 of the steps before failed" in failed(operations)[1]
    assert set(contents(store)) == {*FILES, "extra"}


# Names and the file system


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


# What is chosen


def test_the_last_rule_that_matches_decides_and_what_is_left_out_is_left_alone(
    store: S3Store, local: LocalTree
) -> None:
    fill(store, {"to/old.csv": b"", "to/old.txt": b""})
    rules = (Glob(include=False, pattern="*"), Glob(include=True, pattern="*.csv"))
    operations = run(local, StoreTree(store, "to/"), Options(delete=True, rules=rules))
    assert told(operations) == [("upload", "done"), ("delete", "done")]
    assert set(contents(store)) == {"to/dir/b.csv", "to/old.txt"}


def test_what_is_excluded_is_not_complained_about(store: S3Store, local: LocalTree) -> None:
    (local.root / "dir/link").symlink_to("nowhere")
    (local.root / "broken").mkdir()
    os.mkfifo(local.root / "broken/pipe")
    rules = (Glob(include=False, pattern="broken/*"), Glob(include=False, pattern="dir/*"))
    operations = run(
        LocalTree(local.root, follow_symlinks=True), StoreTree(store), Options(rules=rules)
    )
    assert told(operations) == [("upload", "done")] * 2


def test_an_excluded_key_without_a_place_is_no_problem(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"bad//key": b"", "good": b"x"})
    rules = (Glob(include=False, pattern="bad/*"),)
    operations = run(StoreTree(store), LocalTree(tmp_path / "to"), Options(rules=rules))
    assert told(operations) == [("download", "done")]


def test_a_prefix_is_a_directory_and_never_its_siblings(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"data/a": b"1", "data": b"2", "data2/b": b"3", "data.txt": b"4"})
    run(StoreTree(store, "data/"), LocalTree(tmp_path / "to"))
    assert files(tmp_path / "to") == {"a": b"1"}
    here = LocalTree(write(tmp_path / "here", {"c": b"5"}))
    run(here, StoreTree(store, "data/"), Options(delete=True))
    assert set(contents(store)) == {"data/c", "data", "data2/b", "data.txt"}


# Move


@pytest.mark.parametrize("direction", ["up", "down", "copy"])
def test_a_move_deletes_each_source_once_it_arrived(
    server: S3Server, tmp_path: Path, local: LocalTree, direction: str
) -> None:
    store, other = store_of(server), store_of(server)
    source: Tree = local
    destination: Tree = StoreTree(other)
    if direction != "up":
        source = StoreTree(store)
        run(local, source)
    if direction == "down":
        destination = LocalTree(tmp_path / "to")
    operations = run(source, destination, Options(compare=None, move=True))
    verb = {"up": "upload", "down": "download", "copy": "copy"}[direction]
    assert told(operations) == [(verb, "done")] * len(FILES) + [("delete", "done")] * len(FILES)
    left = files(local.root) if isinstance(source, LocalTree) else contents(store)
    arrived = files(tmp_path / "to") if direction == "down" else contents(other)
    assert (left, arrived) == ({}, FILES)


def test_a_move_keeps_what_did_not_arrive(moto_server: S3Server, local: LocalTree) -> None:
    bucket = moto_server.new_bucket()
    fill(store_of(moto_server, bucket), {"z/last": b"there"})
    with FaultProxy(moto_server.endpoint_url, refuse("a.txt")) as proxy:
        store = store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)
        how = Transfer(overwrite=False)
        run(local, StoreTree(store), Options(compare=None, move=True), how)
    assert files(local.root) == {key: FILES[key] for key in ("a.txt", "z/last")}


def test_what_would_be_moved_onto_or_into_itself_is_refused(
    store: S3Store, local: LocalTree
) -> None:
    run(local, StoreTree(store))
    for source, target in [("", ""), ("dir/", "dir/"), ("dir/", "dir/deeper/"), ("", "dir/")]:
        for options in (Options(compare=None, move=True), Options(compare=None)):
            with pytest.raises(UsageError, match="itself"):
                run(StoreTree(store, source), StoreTree(store, target), options)
    with pytest.raises(UsageError, match="itself"):
        run(StoreTree(store, "dir/"), StoreTree(store), Options(delete=True))
    assert contents(store) == FILES
    operations = run(StoreTree(store, "dir/"), StoreTree(store), Options(compare=None, move=True))
    assert not failed(operations)
    assert set(contents(store)) == {"a.txt", "b.csv", "deeper/c", " é+%20 '\".bin", "z/last"}


def test_two_directories_are_no_transfer(tmp_path: Path, local: LocalTree) -> None:
    with pytest.raises(UsageError):
        run(local, LocalTree(tmp_path / "to"))


# Dry runs


@pytest.mark.parametrize("move", [False, True])
def test_a_dry_run_tells_in_order_what_is_then_done_and_touches_nothing(
    store: S3Store,
    local: LocalTree,
    move: bool,  # noqa: FBT001 - a parameter
) -> None:
    run(local, StoreTree(store, "to/"))
    write(local.root, {"a.txt": b"changed", "new": b"new", "copy of last": FILES["z/last"]}, None)
    (local.root / "dir/b.csv").rename(local.root / "renamed.csv")
    (local.root / "link").symlink_to("a.txt")
    before = contents(store)
    options = Options(
        compare=None if move else "size-mtime", delete=not move, dry_run=True, move=move
    )
    how = Transfer(threads=1)
    planned = run(local, StoreTree(store, "to/"), options, how)
    assert contents(store) == before
    here = files(local.root)
    done = run(local, StoreTree(store, "to/"), replace(options, dry_run=False), how)
    assert not failed(done)

    def told_of(operations: list[Operation]) -> list[tuple[Any, ...]]:
        return [
            (each.verb, each.source, each.target, each.size, each.reason)
            for each in operations
            if each.status in {"planned", "done"}
        ]

    assert told_of(planned) == told_of(done)
    assert {each.status for each in planned} == {"planned", "skipped"}
    (local.root / "link").unlink()
    here.pop("link")
    assert files(local.root) == ({} if move else here)


# Failures on the way


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


# Content types and metadata


def test_types_are_guessed_and_what_is_asked_for_is_written(store: S3Store, tmp_path: Path) -> None:
    here = LocalTree(write(tmp_path / "here", {"a.json": b"1", "b.html": b"2", "c": b"3"}))
    run(here, StoreTree(store))
    kinds = [store.head(key).content_type for key in ("a.json", "b.html", "c")]
    assert kinds == ["application/json", "text/html", "application/octet-stream"]
    content = Content("text/plain", {"made-by": "me"})
    run(here, StoreTree(store), Options(compare=None, content=content))
    head = store.head("a.json")
    assert (head.content_type, head.metadata["made-by"]) == ("text/plain", "me")


# Verification


def verified(one: Tree, other: Tree) -> dict[str, str]:
    return {
        each.target.rpartition("/")[2]: str(each.error or each.reason or each.status)
        for each in compare(one, other, (), Transfer())
    }


def test_verify_finds_what_differs(store: S3Store, local: LocalTree) -> None:
    run(local, StoreTree(store))
    assert set(verified(local, StoreTree(store)).values()) == {"done"}
    assert set(verified(StoreTree(store), local).values()) == {"done"}
    assert set(verified(StoreTree(store), StoreTree(store)).values()) == {"done"}
    assert set(verified(local, local).values()) == {"done"}
    fill(store, {"a.txt": b"ONE", "z/last": b"short", "extra": b""})
    list(store.delete_many(["dir/b.csv"]))
    found = verified(local, StoreTree(store))
    assert found["a.txt"] == "the contents differ"
    assert "bytes differ" in found["last"]
    assert found["extra"] == "it is not in the source"
    assert found["b.csv"] == "it is not in the destination"
    assert found["c"] == "done"


@pytest.mark.parametrize("size", [6 * MIB, 17 * MIB], ids=["one-part", "two-parts"])
def test_verify_of_a_large_object_recomputes_its_etag(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sending, "LARGE", 5 * MIB)
    content = os.urandom(size)
    here = LocalTree(write(tmp_path / "here", {"large": content}))
    run(here, StoreTree(store))
    assert verified(here, StoreTree(store)) == {"large": "done"}
    write(here.root, {"large": content[:-1] + b"?"})
    assert verified(here, StoreTree(store)) == {"large": "the contents differ"}


# Witnesses


def rclone_environment(server: S3Server) -> dict[str, str]:
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": server.endpoint_url,
        "ACCESS_KEY_ID": server.access_key.access_key_id,
        "SECRET_ACCESS_KEY": server.access_key.secret_access_key,
        "FORCE_PATH_STYLE": "true",
    }
    return {
        **child_environment({f"RCLONE_CONFIG_THERE_{key}": text for key, text in remote.items()}),
        "RCLONE_CONFIG": os.devnull,
    }


def rclone(server: S3Server, *arguments: str | Path) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("rclone"), *arguments],
        env=rclone_environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def s5cmd(server: S3Server, *arguments: str | Path) -> str:
    beside = Path(sys.executable).with_name("s5cmd")
    program = beside if beside.exists() else shutil.which("s5cmd")
    if not program:
        pytest.skip("s5cmd is not installed")
    environ = {
        "AWS_ACCESS_KEY_ID": server.access_key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.access_key.secret_access_key,
        "AWS_REGION": "us-east-1",
    }
    done = subprocess.run(
        [program, "--endpoint-url", server.endpoint_url, *arguments],
        env=child_environment(environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WITNESSED = {
    **FILES,
    "large.bin": os.urandom(17 * MIB),
    "\U0001f600/e\u0301 ç": b"x",
    "a b/c": b"y",
}


def test_rclone_reads_back_what_we_uploaded_and_the_reverse(
    server: S3Server, tmp_path: Path
) -> None:
    store, here = store_of(server), LocalTree(write(tmp_path / "here", WITNESSED))
    assert not failed(run(here, StoreTree(store, "to/")))
    listed = rclone(server, "lsf", "-R", "--files-only", f"there:{store.bucket}/to")
    assert sorted(listed.splitlines()) == sorted(WITNESSED)
    rclone(server, "copy", f"there:{store.bucket}/to", tmp_path / "theirs")
    assert files(tmp_path / "theirs") == WITNESSED
    rclone(server, "copy", here.root, f"there:{store.bucket}/from")
    assert not failed(run(StoreTree(store, "from/"), LocalTree(tmp_path / "ours")))
    assert files(tmp_path / "ours") == WITNESSED
    for mode in MODES:
        assert run(here, StoreTree(store, "from/"), Options(compare=mode)) == []


def test_s5cmd_reads_back_what_we_uploaded_and_the_reverse(
    server: S3Server, tmp_path: Path
) -> None:
    store, here = store_of(server), LocalTree(write(tmp_path / "here", WITNESSED))
    assert not failed(run(here, StoreTree(store, "to/")))
    listed = s5cmd(server, "ls", "--show-fullpath", f"s3://{store.bucket}/to/*")
    start = f"s3://{store.bucket}/to/"
    assert sorted(line.removeprefix(start) for line in listed.splitlines()) == sorted(WITNESSED)
    s5cmd(server, "cp", f"s3://{store.bucket}/to/*", f"{tmp_path}/theirs/")
    assert files(tmp_path / "theirs") == WITNESSED
    s5cmd(server, "cp", f"{here.root}/", f"s3://{store.bucket}/from/")
    assert not failed(run(StoreTree(store, "from/"), LocalTree(tmp_path / "ours")))
    assert files(tmp_path / "ours") == WITNESSED
    for mode in MODES:
        assert run(here, StoreTree(store, "from/"), Options(compare=mode)) == []
