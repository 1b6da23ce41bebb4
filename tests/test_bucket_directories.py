"""Bucket: whole directories, there and back."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buckets import keys, new_bucket, tree
from faultproxy import Answer, FaultProxy, Rule
from ingest.bucket.named import NoSuchPath
from ingest.errors import CredentialsRefused, StoreError
from runs import files, objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.bucket import Bucket
    from ingest.operation import Operation
    from support import S3Server


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return new_bucket(s3_server)


def told(operations: list[Operation]) -> list[str]:
    """Verb and last name of each target; those that go side by side, by name."""
    steps = [(each.verb, each.target.rpartition("/")[2]) for each in operations]
    return [
        f"{verb} {name}"
        for verb, group in groupby(steps, lambda step: step[0])
        for _, name in sorted(group)
    ]


# add_directory


def test_add_directory_keeps_the_hierarchy_below_remote(moto_server: S3Server) -> None:
    bucket = new_bucket(moto_server)
    tree("in", a="1", sub__b="2", sub__deep__c="3")
    Path("in/empty").mkdir()
    assert len(bucket.add_directory("in", "x//s")) == 3
    bucket.add_directory(Path("in/sub"))
    assert objects(moto_server, bucket.uuid) == {
        "b.txt": b"2",
        "deep/c.txt": b"3",
        "x//s/a.txt": b"1",
        "x//s/sub/b.txt": b"2",
        "x//s/sub/deep/c.txt": b"3",
    }


def test_add_directory_deletes_nothing_and_replaces_what_is_there(
    bucket: Bucket, s3_server: S3Server
) -> None:
    bucket.add_string("old", "d/a.txt")
    bucket.add_string("mine", "d/other")
    bucket.add_directory(tree("in", a="new"), "d/")
    assert objects(s3_server, bucket.uuid) == {"d/a.txt": b"new", "d/other": b"mine"}


def test_add_directory_follows_no_link_and_a_broken_one_stops_nothing(bucket: Bucket) -> None:
    tree("elsewhere", secret="x")
    tree("in", a="1", z="2")
    Path("in/broken").symlink_to("nowhere")
    Path("in/dir").symlink_to("../elsewhere")
    Path("in/file").symlink_to("../elsewhere/secret.txt")
    done = bucket.add_directory("in")
    assert keys(bucket) == ["a.txt", "z.txt"]
    assert sorted(each.target for each in done if each.status == "skipped") == [
        "broken",
        "dir",
        "file",
    ]


@pytest.mark.parametrize("directory", ["nothing", "a-file", b"nothing", Path("nothing")])
def test_a_directory_that_is_none_is_an_os_error_and_no_empty_one(
    bucket: Bucket, directory: str
) -> None:
    Path("a-file").write_text("x")
    bucket.add_string("mine", "a")
    calls: list[Callable[[], object]] = [
        lambda: bucket.add_directory(directory),
        lambda: bucket.sync_directory(directory),
        lambda: bucket.sync(directory, delete=True),
    ]
    for call in calls:
        with pytest.raises(OSError, match="cannot read the directory") as caught:
            call()
        assert isinstance(caught.value, NoSuchPath)
    assert keys(bucket) == ["a"]


def test_a_file_whose_name_is_no_utf_8_is_named_and_the_rest_is_sent(bucket: Bucket) -> None:
    tree("in", a="1", z="2")
    with open(b"in/caf\xe9", "wb"):  # noqa: PTH123 - a name of bytes
        pass
    with pytest.raises(StoreError, match=r"caf\\xe9 has a name that is no UTF-8"):
        bucket.add_directory("in")
    assert keys(bucket) == ["a.txt", "z.txt"]


def test_files_that_fail_are_each_named_and_the_rest_is_sent(s3_server: S3Server) -> None:
    rules = [Rule(Answer(403, "AccessDenied", "no"), "PUT", "/no/", times=None)]
    with FaultProxy(s3_server.endpoint_url, rules) as proxy:
        bucket = new_bucket(s3_server, proxy)
        with pytest.raises(CredentialsRefused, match="AccessDenied") as caught:
            bucket.add_directory(tree("in", no__a="1", no__b="2", no__c="3", yes="4"))
    named = " ".join([str(caught.value), *caught.value.__notes__])
    assert set(re.findall(r"no/(.)\.txt", named)) == {"a", "b", "c"}
    assert objects(s3_server, bucket.uuid) == {"yes.txt": b"4"}


def test_of_many_failures_some_are_named_and_the_rest_is_counted(s3_server: S3Server) -> None:
    rules = [Rule(Answer(403, "AccessDenied", "no"), "PUT", times=None)]
    many = tree("in", **{f"f{number:02}": "x" for number in range(30)})
    with FaultProxy(s3_server.endpoint_url, rules) as proxy:
        bucket = new_bucket(s3_server, proxy)
        with pytest.raises(CredentialsRefused) as caught:
            bucket.add_directory(many)
    assert len(caught.value.__notes__) == 21
    assert caught.value.__notes__[-1] == "and 9 more"


# get_all_files, sync_remote_to_local


def test_get_all_files_writes_over_what_is_there_and_keeps_the_rest(bucket: Bucket) -> None:
    bucket.add_string("new", "a.txt")
    bucket.add_string("b", "sub/deep/b.txt")
    tree("out", a="OLD", mine="mine")
    done = bucket.get_all_files("out")
    assert told(done) == ["download a.txt", "download b.txt"]
    assert files(Path("out")) == {"a.txt": b"new", "mine.txt": b"mine", "sub/deep/b.txt": b"b"}


def test_get_all_files_tells_progress_of_each_file(bucket: Bucket) -> None:
    bucket.add_string("x" * 10, "a")
    bucket.add_string("", "b")
    steps: list[tuple[float, float, str]] = []
    bucket.get_all_files("out", lambda *step: steps.append(step))
    assert sorted(steps) == [(0, 0, "out/b"), (10, 10, "out/a")]


def test_get_all_files_with_a_bar(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.add_string("x", "a")
    bucket.get_all_files("out", progress=True)
    assert "out/a [####" in capsys.readouterr().err


def test_a_file_in_the_place_of_a_directory_is_named_and_the_rest_arrives(
    moto_server: S3Server,
) -> None:
    bucket = new_bucket(moto_server)
    for key in ("a", "a/b", "z"):
        bucket.add_string("x", key)
    with pytest.raises(StoreError, match=r"'a/b' has no place in 'out'.*'a' is an object too"):
        bucket.get_all_files("out")
    assert files(Path("out")) == {"a": b"x", "z": b"x"}


@pytest.mark.parametrize("key", ["../outside", "sub/../../outside", "/outside", "./outside"])
def test_no_key_leads_outside_of_the_directory(moto_server: S3Server, key: str) -> None:
    bucket = new_bucket(moto_server)
    bucket.add_string("evil", key)
    bucket.add_string("x", "good")
    with pytest.raises(StoreError, match="has no place"):
        bucket.get_all_files("here/out")
    with pytest.raises(StoreError, match="has no place"):
        bucket.sync_remote_to_local("here/out")
    assert files(Path("here")) == {"out/good": b"x"}
    assert not Path("outside").exists()


def test_a_planted_link_is_not_followed(bucket: Bucket) -> None:
    bucket.add_string("evil", "dir/file")
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/dir").symlink_to("../elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        bucket.get_all_files("out")
    assert files(Path("elsewhere")) == {}


def test_sync_remote_to_local_compares_and_deletes(s3_server: S3Server) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        bucket = new_bucket(s3_server, proxy)
        for key, text in {"data/a.txt": "new", "data/same.txt": "same", "database/z": "z"}.items():
            bucket.add_string(text, key)
        tree("out", a="OLD", same="same", gone="gone")
        proxy.requests.clear()
        done = bucket.sync_remote_to_local("out", "data")
        assert told(done) == ["download a.txt", "delete gone.txt"]
        assert proxy.seen("GET", "same.txt") == []
        assert bucket.sync_remote_to_local("out", "data/") == []
    assert files(Path("out")) == {"a.txt": b"new", "same.txt": b"same"}


def test_sync_remote_to_local_of_an_empty_prefix_deletes_nothing(bucket: Bucket) -> None:
    bucket.add_string("z", "database/z")
    tree("out", mine="mine")
    with pytest.raises(StoreError, match="nothing was deleted"):
        bucket.sync_remote_to_local("out", "data")
    assert files(Path("out")) == {"mine.txt": b"mine"}


def test_same_content_twice_arrives_twice(bucket: Bucket) -> None:
    for key in ("a", "b", "sub/c"):
        bucket.add_string("same", key)
    bucket.get_all_files("out")
    assert files(Path("out")) == dict.fromkeys(("a", "b", "sub/c"), b"same")


def test_markers_of_directories_become_directories(moto_server: S3Server) -> None:
    bucket = new_bucket(moto_server)
    bucket.add_string("", "empty/")
    bucket.add_string("", "full/")
    bucket.add_string("x", "full/a")
    bucket.get_all_files("out")
    bucket.sync_remote_to_local("also")
    for root in (Path("out"), Path("also")):
        assert files(root) == {"full/a": b"x"}
        assert (root / "empty").is_dir()
    assert bucket.sync_remote_to_local("also") == []


def test_there_and_back_is_the_same(bucket: Bucket) -> None:
    tree("in", a="1", sub__b="2", sub__é="3")
    Path("in/sub/empty file").write_bytes(b"")
    bucket.sync_directory("in", remote="deep/er")
    bucket.sync_remote_to_local("out", "deep/er")
    assert files(Path("out")) == files(Path("in"))
    assert bucket.sync_remote_to_local("out", "deep/er") == []
    assert bucket.sync_directory("out", remote="deep/er") == []
