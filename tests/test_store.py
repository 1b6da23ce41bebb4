"""What every store promises (``ingest.storage.base.Store``), on every server."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from bulks import SMALL_LARGE, TYPE, errors, get, put, text
from ingest.errors import BucketNotFound, CredentialsRefused, NotFound
from ingest.settings import AccessKey
from ingest.storage import receiving, sending
from ingest.storage.base import CopyItem, Entry, GetItem, Prefix, PutItem, Transfer
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from runs import files
from stores import OLD, contents, fill, store_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.storage.base import Outcome
    from support import S3Server


# Keys

ODD_KEYS = {
    "double-slash": "a//b",
    "only-slashes-inside": "a///b/c",
    "dot-segment": "a/./b",
    "dot-dot-segment": "a/../b",
    "leading-dot-dot": "../a",
    "only-dot": ".",
    "trailing-slash": "a/b/",
    "leading-slash": "/a",
    "newline": "a\nb",
    "carriage-return": "a\rb",
    "tab": "a\tb",
    "control": "a\x01b\x1f",
    "delete": "a\x7fb",
    "c1-control": "a\x85b",
    "space": "a b/ c /d ",
    "plus": "a+b",
    "percent": "100%",
    "percent-encoded": "a%20b%2Fc%25",
    "quotes": "a'b\"c`d",
    "xml": "a<b>&amp;c&",
    "url": "a?b=c&d#e;f:@!$*(),[]{}|^~\\",
    "hash": "#a",
    "hidden": ".a/.b",
    "dots": "a/.../b..",
    "latin": "ação",
    "combining": "e\u0301",
    "composed": "\u00e9",
    "astral": "\U0001f600/\U00020000",
    "right-to-left": "\u202eabc",
    "line-separator": "a\u2028b",
    "no-break": "a\u00a0b",
    "non-character": "a\ufffeb",
    "1024-bytes": "/".join(["k" * 127] * 8) + "k",
    "1024-bytes-of-unicode": "/".join(["é" * 63] * 8)[:516],
    "reserved-names": "con/nul.txt",
}


def carry(server: S3Server, bucket: str, key: str) -> None:
    """Skip the test where ``server`` refuses or changes ``key``, whoever asks."""
    client = server.client()
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
        found = [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        read = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        client.copy_object(Bucket=bucket, Key=f"{key}2", CopySource={"Bucket": bucket, "Key": key})
        for each in (key, f"{key}2"):
            client.delete_object(Bucket=bucket, Key=each)
        left = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    except (ClientError, BotoCoreError) as error:
        pytest.skip(f"{server.name} refuses this key: {error}")
    if found != [key] or read != b"x" or left:
        pytest.skip(f"{server.name} changes this key: {found}, {left}")


@pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
def test_a_key_comes_back_exactly_as_it_was_written(
    server: S3Server, tmp_path: Path, key: str
) -> None:
    bucket = server.new_bucket()
    carry(server, bucket, key)
    store = store_of(server, bucket)
    (put_it,) = put(store, [text(key)])
    assert (put_it.key, put_it.error) == (key, None)
    (entry,) = store.list()
    assert (entry.key, entry.size) == (key, 7)
    head = store.head(key)
    assert (head.key, head.size, head.etag) == (key, 7, entry.etag)
    assert store.read(key) == b"content"
    assert b"".join(store.stream(key)) == b"content"
    (got,) = get(store, tmp_path, [GetItem(entry, "file")])
    assert (got.key, got.error) == ("file", None)
    assert (tmp_path / "file").read_bytes() == b"content"
    (copied,) = store.copy_many([CopyItem(entry, f"{key}2")])
    assert copied.error is None
    assert contents(store) == {key: b"content", f"{key}2": b"content"}
    assert not errors(store.delete_many([key, f"{key}2"]))
    assert contents(store) == {}


@pytest.mark.parametrize(
    "name",
    "double-slash dot-dot-segment trailing-slash tab control delete xml non-character astral "
    "percent-encoded carriage-return".split(),
)
def test_an_odd_key_is_deleted_among_many(server: S3Server, name: str) -> None:
    bucket, key = server.new_bucket(), ODD_KEYS[name]
    carry(server, bucket, key)
    store = store_of(server, bucket)
    plain = [f"p{number}" for number in range(20)]
    assert not errors(put(store, map(text, [key, *plain, "stays"])))
    outcomes = list(store.delete_many([*plain, key]))
    assert sorted(outcome.key for outcome in outcomes) == sorted([*plain, key])
    assert not errors(outcomes)
    assert contents(store) == {"stays": b"content"}


def test_a_list_is_in_the_order_of_the_keys_bytes(store: S3Store) -> None:
    keys = ["a b", "a-b", "a.b", "a/b", "a0", "B", "\ue000", "\U0001f600", "é", "z"]
    put(store, map(text, reversed(keys)))
    listed = [entry.key for entry in store.list()]
    assert listed == sorted(keys, key=str.encode)


def test_a_prefix_lists_what_begins_with_it_and_nothing_else(store: S3Store) -> None:
    put(store, map(text, ["data/a", "data/b/c", "database/d", "dat", "other"]))
    assert [entry.key for entry in store.list("data/")] == ["data/a", "data/b/c"]
    assert list(store.list("nothing/")) == []


def test_a_directory_lists_one_level(store: S3Store) -> None:
    put(store, map(text, ["a", "b/c", "b/d/e", "b/d/f", "b2/g"]))
    assert [item.key for item in store.list_directory()] == ["a", "b/", "b2/"]
    found = list(store.list_directory("b/"))
    assert [item.key for item in found] == ["b/c", "b/d/"]
    assert [isinstance(item, Prefix) for item in found] == [False, True]


def test_names_are_the_keys_directly_in_a_directory(store: S3Store) -> None:
    put(store, map(text, ["a", "b/c", "b/d e", "b/f/g", "b2/h"]))
    assert store.names("b/") == {"b/c", "b/d e"}
    assert store.names("none/") == set()


def test_names_survive_an_odd_neighbour(server: S3Server) -> None:
    bucket = server.new_bucket()
    carry(server, bucket, "b//x")
    store = store_of(server, bucket)
    put(store, map(text, ["b/c", "b//x"]))
    assert store.names("b/") == {"b/c"}


# Content


@pytest.mark.parametrize(
    "size", [0, 1, 1000, SMALL_LARGE - 1, SMALL_LARGE, SMALL_LARGE + 1, 5 * SMALL_LARGE + 7]
)
def test_what_arrives_is_what_was_sent(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sending, "LARGE", SMALL_LARGE)
    monkeypatch.setattr(receiving, "LARGE", SMALL_LARGE)
    monkeypatch.setattr(receiving, "_PART", SMALL_LARGE // 2)
    content = os.urandom(size)
    moved: list[int] = []
    how = Transfer(moved=moved.append)
    path = write(tmp_path / "from", {"file": content}) / "file"
    item = PutItem("dir/file", path, TYPE, {"made-by": "me"}, path.stat())
    (put_it,) = put(store, [item], how)
    assert (put_it.error, put_it.size, put_it.existed) == (None, size, False)
    assert sum(moved) == size
    head = store.head("dir/file")
    assert (head.size, head.content_type) == (size, TYPE)
    assert head.metadata["made-by"] == "me"
    assert store.read("dir/file") == content
    (entry,) = store.list()
    moved.clear()
    (got,) = get(store, tmp_path / "to", [GetItem(entry, "a/b")], how)
    assert (got.error, got.size) == (None, size)
    assert sum(moved) == size
    assert files(tmp_path / "to") == {"a/b": content}
    assert (tmp_path / "to/a/b").stat().st_mtime == pytest.approx(entry.modified, abs=1)


def test_a_small_object_carries_the_hash_of_its_content(store: S3Store) -> None:
    put(store, [text("a"), text("b", b"")])
    for key, content in {"a": b"content", "b": b""}.items():
        assert store.head(key).metadata["sha256"] == hashlib.sha256(content).hexdigest()


def test_type_and_metadata_are_kept_by_a_copy(store: S3Store) -> None:
    put(store, [PutItem("a", b"x", "text/csv", {"one": "1", "two": "2 and more"})])
    assert not errors(store.copy_many([CopyItem(store.head("a"), "b")]))
    head = store.head("b")
    assert head.content_type == "text/csv"
    assert (head.metadata["one"], head.metadata["two"]) == ("1", "2 and more")


def test_a_copy_comes_from_another_bucket_of_the_same_service(server: S3Server) -> None:
    source, target = store_of(server), store_of(server)
    put(source, [PutItem("a b/ç+%", b"x", "text/csv", {"one": "1"})])
    (entry,) = source.list()
    bucket = target.copies_from(source)
    assert bucket == source.bucket
    assert not errors(target.copy_many([CopyItem(entry, "c", bucket)]))
    assert contents(target) == {"c": b"x"}
    assert target.head("c").metadata["one"] == "1"


def test_a_large_object_is_copied_between_buckets(server: S3Server) -> None:
    source, target = store_of(server), store_of(server)
    content = os.urandom(9 * 1024**2)
    put(source, [text("a", content)])
    (entry,) = source.list()
    assert not errors(target.copy_many([CopyItem(entry, "b", source.bucket)]))
    assert target.read("b") == content
    assert target.head("b").etag == entry.etag


def test_an_origin_that_changed_since_it_was_listed_is_an_error(store: S3Store) -> None:
    fill(store, {"a": b"content"})
    (entry,) = store.list()
    fill(store, {"a": b"CONTENT"})
    (outcome,) = store.copy_many([CopyItem(entry, "b")])
    assert outcome.error
    assert f"{store.url}/b" in str(outcome.error)


def test_nothing_is_copied_directly_from_another_service(
    rclone_server: S3Server, moto_server: S3Server
) -> None:
    assert store_of(moto_server).copies_from(store_of(rclone_server)) is None


@pytest.mark.parametrize("source", ["bytes", "small-file", "large-file"])
def test_without_overwrite_what_is_there_stays(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    if source == "large-file":
        monkeypatch.setattr(sending, "LARGE", 2)
    path = write(tmp_path, {"file": b"newer"}) / "file"
    content: bytes | Path = b"newer" if source == "bytes" else path
    fill(store, {"a": b"old"})
    outcomes = put(
        store,
        [PutItem("a", content, TYPE), PutItem("b", content, TYPE)],
        Transfer(overwrite=False),
    )
    if contents(store)["a"] == b"newer" and source != "large-file":
        client = store.clients.client()
        client.put_object(Bucket=store.bucket, Key="a", Body=b"x", IfNoneMatch="*")
        pytest.skip("the server takes no notice of If-None-Match")
    assert not errors(outcomes)
    assert [outcome.existed for outcome in outcomes] == [True, False]
    assert contents(store) == {"a": b"old", "b": b"newer"}


def test_without_overwrite_a_copy_leaves_what_is_there(store: S3Store) -> None:
    put(store, [text("a", b"new"), text("b", b"old")])
    origin = store.head("a")
    outcomes = sorted(
        store.copy_many([CopyItem(origin, "b"), CopyItem(origin, "c")], Transfer(overwrite=False)),
        key=lambda outcome: outcome.key,
    )
    assert [outcome.existed for outcome in outcomes] == [True, False]
    assert contents(store) == {"a": b"new", "b": b"old", "c": b"new"}


def test_without_overwrite_a_file_that_is_there_stays(store: S3Store, tmp_path: Path) -> None:
    put(store, [text("a"), text("b")])
    write(tmp_path, {"a": b"old"})
    items = [GetItem(entry, entry.key) for entry in store.list()]
    outcomes = get(store, tmp_path, items, Transfer(overwrite=False))
    assert [outcome.existed for outcome in outcomes] == [True, False]
    assert files(tmp_path) == {"a": b"old", "b": b"content"}


# One that fails


def test_one_that_fails_does_not_stop_the_others(store: S3Store, tmp_path: Path) -> None:
    path = write(tmp_path, {"file": b"x"}) / "file"
    items = [
        PutItem("a", path, TYPE),
        PutItem("gone", tmp_path / "none", TYPE),
        PutItem("b", path, TYPE),
    ]
    failed = errors(put(store, items, Transfer(threads=1)))
    assert failed.keys() == {"gone"}
    assert f"{store.url}/gone at {store.clients.connection.endpoint_url}" in failed["gone"]
    assert contents(store) == {"a": b"x", "b": b"x"}

    missing = Entry("gone", 1, OLD)
    gets = [GetItem(entry, entry.key) for entry in (*store.list(), missing)]
    failed = errors(get(store, tmp_path / "to", gets, Transfer(threads=1)))
    assert failed.keys() == {"gone"}
    assert files(tmp_path / "to") == {"a": b"x", "b": b"x"}

    copies = [CopyItem(missing, "c"), CopyItem(store.head("a"), "d")]
    failed = errors(store.copy_many(copies, Transfer(threads=1)))
    assert failed.keys() == {"c"}
    assert set(contents(store)) == {"a", "b", "d"}


def test_what_is_not_there_is_not_found_and_deleting_it_is_done(store: S3Store) -> None:
    for look in (store.head, store.read, lambda key: b"".join(store.stream(key))):
        with pytest.raises(NotFound) as found:
            look("a/none")
        assert f"{store.url}/a/none" in str(found.value)
        assert not isinstance(found.value, BucketNotFound)
    assert not errors(store.delete_many(["none"]))
    assert not errors(store.delete_many([f"none{number}" for number in range(30)]))


def test_a_bucket_that_does_not_exist_is_named(server: S3Server, tmp_path: Path) -> None:
    store = store_of(server, "no-such-bucket-here")
    (outcome,) = put(store, [text("a")])
    assert isinstance(outcome.error, BucketNotFound)
    assert "no-such-bucket-here" in str(outcome.error)
    with pytest.raises(BucketNotFound):
        list(store.list())
    (got,) = get(store, tmp_path, [GetItem(Entry("a", 1, OLD), "a")])
    assert isinstance(got.error, BucketNotFound)
    assert files(tmp_path) == {}


def test_refused_credentials_are_told_as_such(rclone_server: S3Server, tmp_path: Path) -> None:
    bucket = rclone_server.new_bucket()
    wrong = AccessKey("TESTACCESSKEY", "other-secret-key")
    store = S3Store(bucket, Clients(Connection(rclone_server.endpoint_url, "us-east-1", wrong)))
    (outcome,) = put(store, [text("a")])
    (got,) = get(store, tmp_path, [GetItem(Entry("a", 1, OLD), "a")])
    (deleted,) = store.delete_many(["a"])
    (copied,) = store.copy_many([CopyItem(Entry("a", 1, OLD), "b")])
    for each in (outcome, got, deleted, copied):
        assert isinstance(each.error, CredentialsRefused)
        assert "other-secret-key" not in str(each.error)
    for look in (store.head, store.read, store.names, lambda key: list(store.list(key))):
        with pytest.raises(CredentialsRefused):
            look("a/")


# A source that changes


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("change", ["grown", "touched", "replaced", "removed", "pipe"])
def test_a_file_that_is_another_than_was_scanned_is_an_error(
    moto_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    if large:
        monkeypatch.setattr(sending, "LARGE", 2)
    store = store_of(moto_server)
    path = write(tmp_path, {"file": b"content"}) / "file"
    item = PutItem("a", path, TYPE, {}, path.stat())
    if change == "grown":
        write(tmp_path, {"file": b"content and more"})
    elif change == "touched":
        write(tmp_path, {"file": b"CONTENT"}, OLD + 1)
    elif change == "replaced":
        write(tmp_path, {"other": b"CONTENT"})
        (tmp_path / "other").replace(path)
    else:
        path.unlink()
    if change == "pipe":
        os.mkfifo(path)
    outcomes: list[Outcome] = []
    # A pipe that was opened would wait for its writer for ever.
    work = threading.Thread(target=lambda: outcomes.extend(put(store, [item])), daemon=True)
    work.start()
    work.join(10)
    assert [outcome.key for outcome in outcomes if outcome.error] == ["a"]
    assert contents(store) == {}
    uploads = store.clients.client().list_multipart_uploads(Bucket=store.bucket)
    assert not uploads.get("Uploads")


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_an_object_that_changed_since_it_was_listed_never_lands_mixed(
    store: S3Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    if large:
        monkeypatch.setattr(receiving, "LARGE", 2)
    fill(store, {"a": b"content"})
    (entry,) = store.list()
    fill(store, {"a": b"longer content"})
    failed = errors(get(store, tmp_path, [GetItem(entry, "a")]))
    assert failed.keys() == {"a"}
    assert f"{store.url}/a" in failed["a"]
    assert files(tmp_path) == {}
