"""Bucket: made once, and removed with everything that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buckets import connect, keys, missing_bucket, new_bucket
from faultproxy import Answer, FaultProxy, Rule
from ingest.bucket import Bucket
from ingest.errors import BucketNotFound, StoreError

if TYPE_CHECKING:
    from support import S3Server


def exists(server: S3Server, name: str) -> bool:
    return name in {each["Name"] for each in server.client().list_buckets()["Buckets"]}


@pytest.mark.parametrize("count", [0, 1, 12])
def test_delete_removes_the_objects_and_the_bucket(s3_server: S3Server, count: int) -> None:
    bucket = new_bucket(s3_server)
    for number in range(count):
        bucket.add_string("x", f"dir/a b+{number}")
    bucket.delete()
    assert not exists(s3_server, bucket.uuid)
    with pytest.raises(BucketNotFound, match="s3://"):
        bucket.delete()


def test_delete_removes_versions_and_delete_markers(moto_server: S3Server) -> None:
    bucket, client = new_bucket(moto_server), moto_server.client()
    status = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=bucket.uuid, VersioningConfiguration=status)
    for text in ("1", "2", "3"):
        bucket.add_string(text, "a")
        bucket.add_string(text, "gone é")
    bucket.delete_file("gone é")
    assert keys(bucket) == ["a"]
    bucket.delete()
    assert not exists(moto_server, bucket.uuid)


def test_delete_aborts_uploads_that_were_never_completed(s3_server: S3Server) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        bucket = new_bucket(s3_server, proxy)
        where = {"Bucket": bucket.uuid, "Key": "large"}
        upload = s3_server.client().create_multipart_upload(**where)["UploadId"]
        bucket.delete()
        aborted = [seen.query for seen in proxy.seen("DELETE", "large")]
    assert [upload in query for query in aborted] == [True]
    assert not exists(s3_server, bucket.uuid)


def test_delete_reports_what_the_store_refuses_and_leaves_the_bucket(
    s3_server: S3Server,
) -> None:
    rules = [Rule(Answer(403, "AccessDenied", "it is locked"), "DELETE", "locked", times=None)]
    rules += [Rule(Answer(403, "AccessDenied", "no"), "POST", query="delete", times=None)]
    with FaultProxy(s3_server.endpoint_url, rules) as proxy:
        bucket = new_bucket(s3_server, proxy)
        bucket.add_string("x", "free")
        bucket.add_string("x", "locked")
        with pytest.raises(StoreError, match=r"locked.*AccessDenied"):
            bucket.delete()
        assert keys(bucket) == ["locked"]


def test_delete_of_a_bucket_that_is_missing_says_so(s3_server: S3Server) -> None:
    with pytest.raises(BucketNotFound, match="s3://nobody-made-this"):
        missing_bucket(s3_server).delete()


def test_a_bucket_can_be_made_again(s3_server: S3Server) -> None:
    bucket = new_bucket(s3_server)
    bucket.add_string("x", "a")
    bucket.delete()
    assert keys(Bucket(connect(s3_server), bucket.uuid)) == []
