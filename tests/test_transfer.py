"""Trees made alike through ``ingest.sync.sync``: every mode and direction, on every server."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from faultproxy import FaultProxy
from ingest.errors import UsageError
from ingest.planning.filters import Rule as Glob
from ingest.storage.base import PutItem, Transfer
from ingest.sync import Options
from ingest.trees import LocalTree, StoreTree
from ingest.uploader import Content
from runs import files
from stores import contents, fill, store_of, write
from transfers import FILES, MIB, MODES, failed, refuse, run, targets, told

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.operation import Operation
    from ingest.planning.compare import Mode
    from ingest.storage.s3 import S3Store
    from ingest.sync import Tree
    from support import S3Server


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
