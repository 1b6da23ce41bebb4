"""Bucket: making the one side like the other, and what is deleted on the way."""

from __future__ import annotations

import io
import json
import logging
import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buckets import keys, new_bucket, tree
from faultproxy import Answer, FaultProxy, Rule
from ingest.errors import CredentialsRefused, StoreError, UsageError
from ingest.planning.filters import Rule as Pattern
from runs import files, objects

if TYPE_CHECKING:
    from ingest.bucket import Bucket
    from ingest.operation import Operation
    from support import S3Server

MIB = 1024**2


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


# sync_directory, sync_files


def test_sync_directory_makes_the_bucket_like_the_directory(
    bucket: Bucket, s3_server: S3Server
) -> None:
    bucket.add_string("gone", "gone.txt")
    bucket.add_string("old", "sub/b.txt")
    bucket.add_string("same", "same.txt")
    tree("in", a="new", sub__b="NEW", same="same")
    done = bucket.sync_directory("in")
    assert told(done) == ["upload a.txt", "upload b.txt", "delete gone.txt"]
    expected = {"a.txt": b"new", "same.txt": b"same", "sub/b.txt": b"NEW"}
    assert objects(s3_server, bucket.uuid) == expected
    assert bucket.sync_directory("in") == []


def test_sync_directory_of_an_empty_directory_deletes_nothing(bucket: Bucket) -> None:
    bucket.add_string("mine", "a")
    Path("in/sub").mkdir(parents=True)
    with pytest.raises(StoreError, match="nothing was deleted"):
        bucket.sync_directory("in")
    with pytest.raises(StoreError, match="nothing was deleted"):
        bucket.sync_files({})
    assert keys(bucket) == ["a"]


def test_sync_of_nothing_to_nothing_is_nothing(bucket: Bucket) -> None:
    Path("in").mkdir()
    assert bucket.sync_directory("in") == []
    assert bucket.sync_files({}) == []


@pytest.mark.parametrize("remote", ["data", "data/"])
def test_sync_directory_touches_no_sibling_that_begins_the_same(
    bucket: Bucket, remote: str
) -> None:
    for key in ("data/old", "data.txt", "data2", "database/z"):
        bucket.add_string("x", key)
    bucket.sync_directory(tree("in", a="1"), remote=remote)
    assert keys(bucket) == ["data.txt", "data/a.txt", "data2", "database/z"]


def test_deletes_come_after_uploads(s3_server: S3Server) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        bucket = new_bucket(s3_server, proxy)
        bucket.add_string("old", "a.txt")
        bucket.add_string("gone", "gone")
        proxy.requests.clear()
        bucket.sync_directory(tree("in", a="changed", b="new"))
        writes = [seen.method for seen in proxy.requests if seen.method in {"PUT", "DELETE"}]
    assert writes == ["PUT", "PUT", "DELETE"]


def test_an_upload_that_fails_keeps_everything_from_being_deleted(s3_server: S3Server) -> None:
    rules = [Rule(Answer(403, "AccessDenied", "no"), "PUT", "b.txt", times=None)]
    with FaultProxy(s3_server.endpoint_url, rules) as proxy:
        bucket = new_bucket(s3_server, proxy)
        for key in ("b.txt", "gone"):
            bucket.add_string("old", key.replace("b.txt", "c.txt"))
        with pytest.raises(CredentialsRefused, match=r"b\.txt") as caught:
            bucket.sync_directory(tree("in", a="1", b="2", c="old"))
        assert "nothing was deleted" in caught.value.__notes__[0]
        assert keys(bucket) == ["a.txt", "c.txt", "gone"]


def test_a_rename_and_duplicates_are_copied_by_the_store(s3_server: S3Server) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        bucket = new_bucket(s3_server, proxy)
        bucket.add_string("x" * 10_000, "before.txt")
        proxy.requests.clear()
        done = bucket.sync_directory(tree("in", after="x" * 10_000, twin="x" * 10_000))
        sent = sum(seen.body_size for seen in proxy.seen("PUT"))
    assert sent < 10_000
    assert told(done) == ["copy after.txt", "copy twin.txt", "delete before.txt"]


def test_two_files_that_swap_their_content_are_both_right_at_every_moment(
    bucket: Bucket, s3_server: S3Server
) -> None:
    tree("in", a="one", b="two")
    bucket.sync_directory("in")
    tree("in", a="two", b="one")
    bucket.sync_directory("in")
    assert objects(s3_server, bucket.uuid) == {"a.txt": b"two", "b.txt": b"one"}


def test_a_name_with_spaces_around_it_settles(bucket: Bucket) -> None:
    Path("in").mkdir()
    Path("in/ a ").write_text("x")
    bucket.sync_directory("in")
    assert keys(bucket) == [" a "]
    assert bucket.sync_directory("in") == []


def test_an_object_that_only_looks_like_a_file_goes_and_the_file_stays(
    moto_server: S3Server,
) -> None:
    bucket = new_bucket(moto_server)
    tree("in", a__b="good")
    bucket.sync_directory("in")
    bucket.add_string("good", "a//b.txt")
    assert told(bucket.sync_directory("in")) == ["delete b.txt"]
    assert objects(moto_server, bucket.uuid) == {"a/b.txt": b"good"}


def test_what_another_tool_sent_in_other_part_sizes_is_not_sent_again(
    moto_server: S3Server,
) -> None:
    bucket, client = new_bucket(moto_server), moto_server.client()
    content = os.urandom(12 * MIB)
    Path("in").mkdir()
    Path("in/large").write_bytes(content)
    where = {"Bucket": bucket.uuid, "Key": "large"}
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    parts = []
    for number in (1, 2, 3):
        part = content[(number - 1) * 5 * MIB : number * 5 * MIB]
        etag = client.upload_part(**upload, PartNumber=number, Body=part)["ETag"]
        parts.append({"ETag": etag, "PartNumber": number})
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert bucket.sync_directory("in") == []


def test_a_change_that_size_and_time_do_not_show_is_sent(
    bucket: Bucket, s3_server: S3Server
) -> None:
    tree("in", a="one")
    bucket.sync_directory("in")
    tree("in", a="two")
    os.utime("in/a.txt", (0, 0))
    assert told(bucket.sync_directory("in")) == ["upload a.txt"]
    assert objects(s3_server, bucket.uuid) == {"a.txt": b"two"}


def test_a_marker_of_a_directory_that_has_files_stays(moto_server: S3Server) -> None:
    bucket = new_bucket(moto_server)
    bucket.add_string("", "sub/")
    bucket.add_string("", "gone/")
    bucket.sync_directory(tree("in", sub__a="1"))
    assert keys(bucket) == ["sub/", "sub/a.txt"]


def test_sync_files_sends_files_from_anywhere_under_keys_of_their_own(
    moto_server: S3Server,
) -> None:
    bucket = new_bucket(moto_server)
    tree("one", a="1")
    tree("two", b="2")
    Path("link").symlink_to("two/b.txt")
    bucket.add_string("gone", "run/gone")
    bucket.add_string("mine", "running")
    chosen = {"x//first": "one/a.txt", "second": Path("two/b.txt").absolute(), "link": "link"}
    done = bucket.sync_files(chosen, remote="run")
    assert objects(moto_server, bucket.uuid) == {
        "run/link": b"2",
        "run/second": b"2",
        "run/x//first": b"1",
        "running": b"mine",
    }
    assert done[-1].target.endswith("run/gone")
    assert bucket.sync_files(chosen, remote="run") == []


def test_sync_files_with_one_that_is_missing_changes_nothing(bucket: Bucket) -> None:
    tree("in", a="1")
    bucket.add_string("x", "old")
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt does not exist"):
        bucket.sync_files({"a": "in/a.txt", "b": "in/nothing.txt"})
    assert keys(bucket) == ["old"]


@pytest.mark.parametrize("key", ["", "dir/", "caf\udce9"])
def test_sync_files_refuses_what_can_be_no_files_key(bucket: Bucket, key: str) -> None:
    tree("in", a="1")
    with pytest.raises(UsageError):
        bucket.sync_files({key: "in/a.txt"})
    assert keys(bucket) == []


def test_verbose_tells_each_step_and_a_sum_on_stderr(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.add_string("old", "gone")
    bucket.sync_directory(tree("in", a="12"), verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"upload in/a.txt -> s3://{bucket.uuid}/a.txt (new)",
        f"delete s3://{bucket.uuid}/gone",
        "1 upload, 1 delete; 2 bytes",
    ]
    bucket.sync_files({"a.txt": "in/a.txt"}, verbose=True)
    assert capsys.readouterr().err == "nothing to do\n"


def test_without_verbose_nothing_is_told(
    bucket: Bucket, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ingest"):
        bucket.sync_directory(tree("in", a="1"))
        bucket.get_all_files("out")
    assert capsys.readouterr() == ("", "")
    assert [each for each in caplog.records if each.name.startswith("ingest")] == []


# sync


def test_a_dry_run_says_exactly_what_would_be_done_and_touches_nothing(
    bucket: Bucket, s3_server: S3Server
) -> None:
    bucket.add_string("old", "run/gone")
    tree("in", a="1", b="2")
    planned = bucket.sync("in", "run", delete=True, dry_run=True)
    assert {each.status for each in planned} == {"planned"}
    assert str(planned[0]) == f"would upload in/a.txt -> s3://{bucket.uuid}/run/a.txt (new)"
    assert objects(s3_server, bucket.uuid) == {"run/gone": b"old"}
    done = bucket.sync("in", "run", delete=True)
    assert told(done) == told(planned) == ["upload a.txt", "upload b.txt", "delete gone"]
    json.dumps([each.as_json() for each in done])


def test_a_dry_run_of_a_download_makes_no_file(bucket: Bucket) -> None:
    bucket.add_string("x", "a")
    assert told(bucket.sync("out", download=True, dry_run=True)) == ["download a"]
    assert not Path("out").exists()


def test_a_dry_run_tells_that_deletes_would_be_refused(bucket: Bucket) -> None:
    for key in ("a", "b"):
        bucket.add_string("x", key)
    tree("in", c="1")
    planned = bucket.sync("in", delete=True, max_delete=1, dry_run=True)
    assert planned[-1].status == "failed"
    assert "more than the 1" in str(planned[-1].error)


def test_sync_deletes_only_if_asked_and_no_more_than_allowed(bucket: Bucket) -> None:
    for key in ("a", "b"):
        bucket.add_string("x", key)
    tree("in", c="1")
    bucket.sync("in")
    assert keys(bucket) == ["a", "b", "c.txt"]
    with pytest.raises(StoreError, match="more than the 1"):
        bucket.sync("in", delete=True, max_delete=1)
    assert keys(bucket) == ["a", "b", "c.txt"]
    bucket.sync("in", delete=True, max_delete=2)
    assert keys(bucket) == ["c.txt"]


def test_sync_of_what_did_not_change_reads_no_file(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in tree("in", a="1", sub__b="2").rglob("*.txt"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert len(bucket.sync("in")) == 2
    monkeypatch.setattr("ingest.content.etag_of", lambda *_: pytest.fail("a file was read"))
    assert bucket.sync("in") == []


def test_sync_takes_rules(bucket: Bucket) -> None:
    tree("in", a="1", b="2")
    bucket.sync("in", rules=(Pattern(include=False, pattern="*b*"),))
    assert keys(bucket) == ["a.txt"]


def test_sync_takes_empty_directories_where_they_are_wanted(moto_server: S3Server) -> None:
    bucket = new_bucket(moto_server)
    tree("in", a="1")
    Path("in/empty").mkdir()
    bucket.sync("in", empty_dirs=True)
    assert keys(bucket) == ["a.txt", "empty/"]


def test_a_file_that_is_interrupted_leaves_nothing_half_written(bucket: Bucket) -> None:
    bucket.add_file(io.BytesIO(bytes(20 * MIB)), "large")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bucket.get_all_files("out", progress=interrupt)
    assert set(files(Path("out"))) <= {"large"}
