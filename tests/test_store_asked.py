"""What stores are asked, in what order and how much at once; and those that misbehave."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from bulks import TYPE, errors, get, put, text
from faultproxy import Answer, FaultProxy, Rule, Truncate
from ingest.errors import StoreError
from ingest.settings import AccessKey
from ingest.storage import sending
from ingest.storage.base import CopyItem, Entry, GetItem, PutItem, Transfer
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from ingest.storage.sending import Writing
from runs import files
from stores import OLD, clients_of, contents, fill, store_of, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import S3Server


# A store that misbehaves


def test_a_hash_in_the_metadata_that_differs_is_an_error_and_nothing_lands(
    store: S3Store, tmp_path: Path
) -> None:
    fill(store, {"a": b"content"}, sha256=hashlib.sha256(b"other").hexdigest())
    write(tmp_path, {"a": b"old"})
    (entry,) = store.list()
    failed = errors(get(store, tmp_path, [GetItem(entry, "a")]))
    assert f"{store.url}/a" in failed["a"]
    assert files(tmp_path) == {"a": b"old"}


class _Liar(BaseHTTPRequestHandler):
    """Has one object, whose ETag is the MD5 of something else; takes any, and says the same."""

    etag = hashlib.md5(b"other", usedforsecurity=False).hexdigest()
    content = b"content"

    def _answer(self, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("ETag", f'"{self.etag}"')
        self.send_header("Last-Modified", "Fri, 20 Nov 2020 06:00:00 GMT")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer(self.content)

    def do_HEAD(self) -> None:
        self._answer(self.content)

    def do_PUT(self) -> None:
        self._answer(b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def liar() -> Iterator[S3Store]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Liar)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield S3Store("bucket", Clients(Connection(url, "us-east-1", AccessKey("key", "secret"))))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_other_bytes_than_the_etag_says_are_an_error_and_nothing_lands(
    liar: S3Store, tmp_path: Path, key: str
) -> None:
    failed = errors(get(liar, tmp_path, [GetItem(Entry(key, 7, OLD, _Liar.etag), "a")]))
    assert f"{liar.url}/{key}" in failed["a"]
    assert files(tmp_path) == {}


@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_a_store_that_got_other_bytes_is_an_error(liar: S3Store, key: str) -> None:
    failed = errors(put(liar, [text(key)]))
    assert f"{liar.url}/{key}" in failed[key]
    assert "MD5" in failed[key]


def test_an_answer_cut_short_never_lands(moto_server: S3Server, tmp_path: Path) -> None:
    bucket = moto_server.new_bucket()
    fill(store_of(moto_server, bucket), {"a": b"content" * 1000, "odd//b": b"content" * 1000})
    cut = Rule(Truncate(100, relabel=True), method="GET", path="/a", times=None)
    cut_odd = Rule(Truncate(100, relabel=True), method="GET", path="//b", times=None)
    with FaultProxy(moto_server.endpoint_url, [cut, cut_odd]) as proxy:
        store = store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)
        items = [GetItem(Entry(key, 7000, OLD), key[-1]) for key in ("a", "odd//b")]
        failed = errors(get(store, tmp_path, items))
    assert failed.keys() == {"a", "b"}
    assert files(tmp_path) == {}


@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_a_store_that_is_busy_for_a_moment_is_asked_again(
    moto_server: S3Server, tmp_path: Path, key: str
) -> None:
    bucket = moto_server.new_bucket()
    busy = [Rule(Answer(), method, times=2) for method in ("PUT", "GET")]
    with FaultProxy(moto_server.endpoint_url, busy) as proxy:
        store = store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)
        assert not errors(put(store, [text(key)]))
        assert not errors(get(store, tmp_path, [GetItem(Entry(key, 7, OLD), "a")]))
    assert files(tmp_path) == {"a": b"content"}


def test_a_delete_of_many_tells_which_the_store_refused(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    keys = [f"k{number:02}" for number in range(25)]
    put(store, map(text, keys))
    refusing = Rule(
        Answer(status=403, code="AccessDenied", message="No."), method="POST", query="delete"
    )
    with FaultProxy(moto_server.endpoint_url, [refusing]) as proxy:
        behind = store_of(moto_server, store.bucket, endpoint_url=proxy.endpoint_url)
        failed = errors(behind.delete_many(keys))
    assert failed.keys() == set(keys)
    for key, message in failed.items():
        assert f"{store.url}/{key}" in message
    assert set(contents(store)) == set(keys)


# Streams, threads, and an end before the end


def test_outcomes_stream_and_items_are_taken_as_they_are_needed(rclone_server: S3Server) -> None:
    taken = 0

    def items() -> Iterator[PutItem]:
        nonlocal taken
        for number in range(50_000):
            taken += 1
            yield text(f"k{number % 10}")

    outcomes: Any = store_of(rclone_server).put_many(items(), Transfer(threads=4))
    with closing(outcomes):
        assert next(outcomes).error is None
        assert taken < 1_100
    assert taken < 1_200


def test_what_taking_an_item_raises_is_raised(rclone_server: S3Server) -> None:
    def items() -> Iterator[PutItem]:
        yield text("a")
        raise StoreError("the listing broke off")

    with pytest.raises(StoreError, match="broke off"):
        list(store_of(rclone_server).put_many(items()))


def test_once_cancelled_nothing_is_begun(store: S3Store, tmp_path: Path) -> None:
    put(store, [text("a")])
    entry = store.head("a")
    how = Transfer()
    how.cancelled.set()
    many = [f"k{number}" for number in range(30)]
    list(store.put_many(map(text, many), how))
    get(store, tmp_path, [GetItem(entry, key) for key in many], how)
    list(store.copy_many([CopyItem(entry, key) for key in many], how))
    list(store.delete_many(["a"], how))
    list(store.delete_many(["a", *many], how))
    assert contents(store) == {"a": b"content"}
    assert files(tmp_path) == {}


# What is asked of the store


def test_nothing_is_asked_of_the_store_unless_it_is_set(moto_server: S3Server) -> None:
    with FaultProxy(moto_server.endpoint_url) as proxy:
        store = store_of(moto_server, endpoint_url=proxy.endpoint_url)
        put(store, map(text, ["plain", "odd//key"]))
        for seen in proxy.seen("PUT", "key") + proxy.seen("PUT", "plain"):
            asked = {name for name in seen.headers if name.startswith("x-amz-")}
            assert asked <= {"x-amz-date", "x-amz-content-sha256", "x-amz-meta-sha256"}


@pytest.mark.parametrize("key", ["plain", "odd//key"])
@pytest.mark.parametrize("acl", [None, "public-read"])
@pytest.mark.parametrize("way", ["put", "large", "copy", "copy-of-a-bucket"])
def test_what_is_set_is_asked_for_on_every_way(  # noqa: PLR0913, PLR0917 - all of it matters
    moto_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    acl: str | None,
    way: str,
) -> None:
    writing = Writing("STANDARD_IA", "AES256", None, acl)
    store = store_of(moto_server, writing=writing)
    fill(store, {"origin": b"content"})
    if way == "put":
        outcomes = put(store, [text(key)])
    elif way == "large":
        monkeypatch.setattr(sending, "LARGE", 2)
        path = write(tmp_path, {"file": b"content"}) / "file"
        outcomes = put(store, [PutItem(key, path, TYPE)])
    else:
        bucket = store.bucket
        if way == "copy-of-a-bucket":
            other = store_of(moto_server)
            fill(other, {"origin": b"content"})
            bucket = other.bucket
        origin = Entry("origin", 7, OLD)
        outcomes = list(store.copy_many([CopyItem(origin, key, bucket)]))
    assert not errors(outcomes)
    client = store.clients.client()
    head = client.head_object(Bucket=store.bucket, Key=key)
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["ServerSideEncryption"] == "AES256"
    if acl:
        grants = client.get_object_acl(Bucket=store.bucket, Key=key)["Grants"]
        assert any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)


def test_an_endpoint_that_refuses_is_named_and_tried_a_short_while(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = clients_of(moto_server, "http://127.0.0.1:1")
    monkeypatch.setattr("ingest.storage.pages.time.sleep", lambda _: None)
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1"):
        list(S3Store("bucket", clients).list())
