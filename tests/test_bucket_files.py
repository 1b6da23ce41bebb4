"""Bucket: one object at a time, by methods and operators."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buckets import keys, new_bucket
from faultproxy import DropAnswer, FaultProxy, Rule
from ingest.bucket import Bucket, NoSuchFile
from ingest.bucket.named import NoSuchPath
from ingest.errors import (
    BucketNotFound,
    NotFound,
    StoreError,
    UsageError,
)
from runs import objects

if TYPE_CHECKING:
    from support import S3Server

MIB = 1024**2


def names(directory: str = ".") -> list[str]:
    return sorted(path.name for path in Path(directory).iterdir())


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return new_bucket(s3_server)


# Upload


def test_add_file_by_every_kind_of_path_keeps_the_name(bucket: Bucket) -> None:
    Path("dir").mkdir()
    Path("dir/a b.csv").write_text("x")
    bucket.add_file("dir/a b.csv")
    bucket.add_file(Path("dir/a b.csv"), "by/path")
    bucket.add_file(b"dir/a b.csv", "by/bytes")
    assert keys(bucket) == ["a b.csv", "by/bytes", "by/path"]


def test_an_object_gets_the_content_type_of_its_name(bucket: Bucket, s3_server: S3Server) -> None:
    bucket.add_string("<html>", "page.html")
    bucket.add_string("x", "no-ending")
    client = s3_server.client()
    kinds = [
        client.head_object(Bucket=bucket.uuid, Key=key)["ContentType"]
        for key in ("page.html", "no-ending")
    ]
    assert kinds == ["text/html", "application/octet-stream"]


def test_add_string_is_utf_8(bucket: Bucket, s3_server: S3Server) -> None:
    bucket.add_string("á🎬\n", "a.txt")
    assert objects(s3_server, bucket.uuid) == {"a.txt": "á🎬\n".encode()}


def test_add_file_takes_an_open_file_from_where_it_stands(
    bucket: Bucket, s3_server: S3Server
) -> None:
    Path("a.txt").write_bytes(b"12345")
    with Path("a.txt").open("rb") as file:
        file.read(2)
        bucket.add_file(file)
    bucket.add_file(io.BytesIO(b"x"), "b")
    bucket.add_file(io.BytesIO(), "empty")
    assert objects(s3_server, bucket.uuid) == {"a.txt": b"345", "b": b"x", "empty": b""}


@pytest.mark.parametrize("size", [16 * MIB, 16 * MIB + 1])
def test_add_file_takes_an_open_file_that_is_too_long_for_memory(bucket: Bucket, size: int) -> None:
    content = os.urandom(MIB) * (size // MIB) + b"x" * (size % MIB)
    bucket.add_file(io.BytesIO(content), "large")
    assert [entry.size for entry in bucket] == [size]
    assert Path(bucket.get_file("large")).read_bytes() == content


def test_add_file_refuses_an_open_file_that_is_text_or_has_no_name(bucket: Bucket) -> None:
    with pytest.raises(UsageError, match="binary"):
        bucket.add_file(io.StringIO("x"), "a")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="remote"):
        bucket.add_file(io.BytesIO(b"x"))
    assert keys(bucket) == []


def test_a_local_file_that_is_missing_is_a_file_not_found_error(bucket: Bucket) -> None:
    with pytest.raises(NoSuchPath, match=r"nothing\.csv does not exist") as caught:
        bucket.add_file("nothing.csv")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, NotFound)


def test_a_pipe_is_refused_and_never_opened(bucket: Bucket) -> None:
    os.mkfifo("pipe")
    with pytest.raises(StoreError, match="no regular file"):
        bucket.add_file("pipe")


def test_a_file_whose_name_is_no_utf_8_needs_a_key_of_its_own(
    bucket: Bucket, s3_server: S3Server
) -> None:
    path = b"caf\xe9"
    with open(path, "wb") as file:  # noqa: PTH123 - a name of bytes
        file.write(b"x")
    with pytest.raises(UsageError, match="UTF-8"):
        bucket.add_file(path)
    bucket.add_file(path, "café")
    assert objects(s3_server, bucket.uuid) == {"café": b"x"}


ODD = ["a//b", " a ", "a/b ", "/lead", "dir/", "./x", "x/../y", "a+b%20c", "q'\"&<", "é/🎬"]


@pytest.mark.parametrize("key", ODD)
def test_a_key_is_exact_in_every_method(moto_server: S3Server, key: str) -> None:
    bucket = new_bucket(moto_server)
    bucket.add_string("x", key)
    assert keys(bucket) == [key]
    assert key in bucket
    assert Path(bucket.get_file(key, "here")).read_text() == "x"
    bucket.copy_file(key, f"{key}~")
    del bucket[key]
    assert keys(bucket) == [f"{key}~"]


def test_delete_of_an_odd_key_leaves_the_one_it_looks_like(moto_server: S3Server) -> None:
    bucket = new_bucket(moto_server)
    for key in ("a//b", "a/b", " c ", "c"):
        bucket.add_string("x", key)
    bucket.delete_file("a//b")
    bucket.delete_file(" c ")
    bucket.delete_file("/a/b")
    assert keys(bucket) == ["a/b", "c"]


@pytest.mark.parametrize("key", ["", "caf\udce9", 5, None])
def test_what_can_be_no_key_is_refused(bucket: Bucket, key: Any) -> None:
    for call in (bucket.get_file, bucket.delete_file, bucket.presign, bucket.__contains__):
        with pytest.raises(UsageError):
            call(key)
    with pytest.raises(UsageError):
        bucket.add_string("x", key)


# Download


def test_get_file_goes_where_it_is_told(bucket: Bucket) -> None:
    bucket.add_string("x", "in/a.txt")
    Path("here").mkdir()
    assert bucket.get_file("in/a.txt") == "a.txt"
    assert bucket.get_file("in/a.txt", "here") == "here/a.txt"
    assert bucket.get_file("in/a.txt", "new/") == "new/a.txt"
    assert bucket.get_file("in/a.txt", Path("deep/er/b.txt")) == "deep/er/b.txt"
    assert bucket.get_file("in/a.txt", b"c.txt") == "c.txt"
    for path in ("a.txt", "here/a.txt", "new/a.txt", "deep/er/b.txt", "c.txt"):
        assert Path(path).read_text() == "x"


def test_what_a_listing_tells_can_be_fetched(bucket: Bucket) -> None:
    bucket.add_string("x", "a")
    bucket.add_string("y", "b")
    assert [bucket.get_file(entry) for entry in bucket] == ["a", "b"]


def test_get_file_of_a_missing_object_is_a_value_error_and_leaves_the_local_file(
    bucket: Bucket,
) -> None:
    Path("a.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"in/a\.txt") as caught:
        bucket.get_file("in/a.txt")
    assert isinstance(caught.value, NotFound)
    assert not isinstance(caught.value, BucketNotFound)
    with pytest.raises(ValueError, match="nothing"):
        bucket.get_file("nothing", "new/nothing")
    assert names() == ["a.txt"]
    assert Path("a.txt").read_text() == "mine"


def test_get_file_that_fails_midway_leaves_the_local_file_and_nothing_else(
    s3_server: S3Server,
) -> None:
    rules = [Rule(DropAnswer(after=1_000), "GET", times=None)]
    with FaultProxy(s3_server.endpoint_url, rules) as proxy:
        bucket = new_bucket(s3_server, proxy)
        bucket.add_string("x" * 100_000, "a.txt")
        Path("a.txt").write_text("mine")
        with pytest.raises(StoreError, match=r"cannot read s3://.*/a\.txt"):
            bucket.get_file("a.txt")
    assert names() == ["a.txt"]
    assert Path("a.txt").read_text() == "mine"


@pytest.mark.parametrize("key", ["in/..", "in/.", "in/"])
def test_get_file_never_leaves_the_directory_it_is_told(moto_server: S3Server, key: str) -> None:
    bucket = new_bucket(moto_server)
    bucket.add_string("x", key)
    Path("here").mkdir()
    for local in (None, "here", "new/"):
        with pytest.raises(UsageError, match="name the file"):
            bucket.get_file(key, local)
    assert names() == ["here"]
    assert Path(bucket.get_file(key, "here/f")).read_text() == "x"


def test_get_file_replaces_a_link_and_not_what_it_leads_to(bucket: Bucket) -> None:
    bucket.add_string("new", "a")
    Path("precious").write_text("mine")
    Path("a").symlink_to("precious")
    bucket.get_file("a")
    assert (Path("a").read_text(), Path("precious").read_text()) == ("new", "mine")


def test_progress_is_called_with_read_total_and_name(bucket: Bucket) -> None:
    bucket.add_string("x" * 1_000, "a")
    bucket.add_string("", "empty")
    told: list[tuple[float, float, str]] = []
    bucket.get_file("a", "b", lambda *step: told.append(step))
    bucket.get_file("empty", progress=lambda *step: told.append(step))
    assert told == [(1_000, 1_000, "b"), (0, 0, "empty")]


def test_progress_of_a_large_object_grows_to_the_whole(rclone_server: S3Server) -> None:
    bucket = new_bucket(rclone_server)
    size = 20 * MIB
    bucket.add_file(io.BytesIO(bytes(size)), "large")
    told: list[float] = []
    bucket.get_file("large", progress=lambda read, total, _: told.append(read / total))
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == 1


def test_progress_true_draws_a_bar_on_stderr(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.add_string("x", "a")
    bucket.get_file("a", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("\ra [")
    assert err.endswith("100%\n")


# The rest


def test_copy_file_is_done_by_the_store(s3_server: S3Server) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        bucket = new_bucket(s3_server, proxy)
        bucket.add_string("x" * 10_000, "a b+é")
        bucket.copy_file("a b+é", "deep/ü")
        assert all(seen.body_size < 10_000 for seen in proxy.seen("PUT", "deep/"))
        assert proxy.seen("GET", "a b") == []
        with pytest.raises(NoSuchFile, match="nothing"):
            bucket.copy_file("nothing", "b")
    assert objects(s3_server, bucket.uuid)["deep/ü"] == b"x" * 10_000


def test_delete_file_of_a_missing_object_is_done_already(bucket: Bucket) -> None:
    bucket.add_string("x", "a")
    bucket.delete_file("b")
    bucket.delete_file("a")
    assert keys(bucket) == []


def test_operators(bucket: Bucket, s3_server: S3Server) -> None:
    Path("a.txt").write_text("a")
    Path("dir/sub").mkdir(parents=True)
    Path("dir/sub/b.txt").write_text("b")
    bucket["in/a.txt"] = "a.txt"
    bucket["tree"] = Path("dir")
    bucket["open"] = io.BytesIO(b"o")
    expected = {"in/a.txt": b"a", "open": b"o", "tree/sub/b.txt": b"b"}
    assert objects(s3_server, bucket.uuid) == expected
    assert bucket["tree/sub/b.txt"] == "b.txt"
    assert Path("b.txt").read_text() == "b"
    assert "open" in bucket
    assert bucket.list_files()[0] in bucket
    assert "ope" not in bucket
    del bucket["open"]
    assert "open" not in bucket


def test_operators_raise_a_key_error_that_reads_as_one_line(bucket: Bucket) -> None:
    with pytest.raises(KeyError) as caught:
        bucket["nothing"]
    with pytest.raises(KeyError):
        del bucket["nothing"]
    assert names() == []
    assert str(caught.value).startswith(f"cannot look at s3://{bucket.uuid}/nothing at http")
