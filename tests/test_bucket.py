"""Bucket: what it is, what it lists, and the addresses of its objects."""

from __future__ import annotations

import inspect
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buckets import connect, keys, missing_bucket, new_bucket
from faultproxy import Answer, FaultProxy, Rule
from ingest.bucket import Bucket
from ingest.bucket.resources import BucketPrefixFiltering, PrefixResourcesTransformation
from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    SettingsError,
    StoreError,
    UsageError,
)
from ingest.settings import AccessKey
from ingest.storage.connection import Connection
from runs import program

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import S3Server

NOWHERE = Connection("http://127.0.0.1:9", "us-east-1", AccessKey("ID", "very-secret"))


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return new_bucket(s3_server)


# Construction


def test_arguments_have_the_names_and_the_order_of_qarnot() -> None:
    expected = {
        "__init__": "connection name create filtering resources_transformation cacheTTLSec",
        "from_json": "connection json_bucket",
        "with_filtering": "filtering",
        "with_resource_transformation": "resource",
        "with_cache_ttl": "ttl",
        "directory": "directory",
        "sync_directory": "directory verbose remote",
        "sync_files": "files verbose remote",
        "sync_remote_to_local": "local_directoy remote_directory",
        "add_string": "string remote",
        "add_file": "local_or_file remote",
        "add_directory": "local remote",
        "get_all_files": "output_dir progress",
        "get_file": "remote local progress",
        "copy_file": "source dest",
        "delete_file": "remote",
        "update": "flush",
        **dict.fromkeys(["to_json", "list_files", "delete", "flush"], ""),
    }
    for method, names in expected.items():
        found = list(inspect.signature(getattr(Bucket, method)).parameters)
        assert [name for name in found if name != "self"] == names.split(), method
    assert inspect.signature(Bucket).parameters["create"].default is True


def test_create_makes_the_bucket_and_is_fine_with_ones_own(s3_server: S3Server) -> None:
    name = f"{s3_server.new_bucket()}-made"
    first = Bucket(connect(s3_server), name)
    first.add_string("x", "a")
    assert keys(Bucket(connect(s3_server), name, create=True)) == ["a"]


def test_create_reports_a_name_that_is_somebody_elses(s3_server: S3Server) -> None:
    taken = Rule(Answer(409, "BucketAlreadyExists", "it is taken"), "PUT", times=None)
    says = r"cannot make s3://taken at .*BucketAlreadyExists"
    with (
        FaultProxy(s3_server.endpoint_url, [taken]) as proxy,
        pytest.raises(StoreError, match=says),
    ):
        Bucket(connect(s3_server, proxy), "taken")


def test_without_create_no_request_is_made() -> None:
    bucket = Bucket(NOWHERE, "results", create=False)
    assert (bucket.uuid, bucket.description) == ("results", "results")
    assert repr(bucket) == "<Bucket s3://results at http://127.0.0.1:9>"


@pytest.mark.parametrize("name", ["results", "s3://results", "s3://results/"])
def test_open_takes_a_name_or_a_url(name: str) -> None:
    bucket = Bucket.open(name, endpoint_url="http://h:1/", access_key="a", secret_key="b")
    assert repr(bucket) == "<Bucket s3://results at http://h:1>"


def test_open_has_from_the_environment_what_is_not_given(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = s3_server.new_bucket()
    for variable, value in s3_server.environment(name).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("TMDB_LANGUAGE", "a wrong setting of another part")
    Bucket.open(name).add_string("x", "a")
    assert keys(Bucket.open(name)) == ["a"]
    other = Bucket.open(name, endpoint_url="http://h:1", access_key="a", secret_key="b")
    assert repr(other).endswith("at http://h:1>")


def test_open_with_create(s3_server: S3Server) -> None:
    name = f"{s3_server.new_bucket()}-opened"
    key = s3_server.access_key
    bucket = Bucket.open(
        name,
        create=True,
        endpoint_url=s3_server.endpoint_url,
        access_key=key.access_key_id,
        secret_key=key.secret_access_key,
    )
    assert keys(bucket) == []


def test_open_with_a_profile_that_is_named_takes_its_keys(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = s3_server.access_key
    Path("credentials").write_text(
        f"[lab]\naws_access_key_id={key.access_key_id}\n"
        f"aws_secret_access_key={key.secret_access_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "WRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    at = {"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"}
    bucket = Bucket.open(s3_server.new_bucket(), profile="lab", **at)
    bucket.add_string("x", "a")
    assert keys(bucket) == ["a"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("s3://results/a.csv", {}, "a bucket alone"),
        ("https://results", {}, "such as s3://"),
        ("results", {"access_key": "a"}, "both or not at all"),
        ("results", {"endpoint_url": "localhost:9000"}, "http://"),
        ("results", {"provider": "azure"}, "'azure' is not known.*minio"),
        ("a b", {"endpoint_url": "http://127.0.0.1:9"}, "'a b' should be a bucket's name"),
    ],
)
def test_open_refuses_what_makes_no_sense(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises((UsageError, SettingsError), match=says):
        Bucket.open(name, **arguments)


@pytest.mark.parametrize("name", ["a b", "b", "a/b", "s3://results", "ção"])
def test_what_is_no_name_of_a_bucket_is_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(UsageError, match="should be a bucket's name"):
        Bucket(NOWHERE, name)


def test_a_secret_is_in_no_text_of_it(rclone_server: S3Server) -> None:
    connection = Connection(rclone_server.endpoint_url, "us-east-1", AccessKey("ID", "very-secret"))
    bucket = Bucket(connection, rclone_server.new_bucket(), create=False)
    with pytest.raises(CredentialsRefused) as caught:
        bucket.list_files()
    assert "very-secret" not in f"{bucket!r} {caught.value!r} {caught.value} {bucket.to_json()}"


def test_equal_buckets_are_equal_and_hash_alike() -> None:
    bucket = Bucket(NOWHERE, "results", create=False)
    same = Bucket(Connection(NOWHERE.endpoint_url, "r", NOWHERE.access_key), "results", False)  # noqa: FBT003
    elsewhere = Connection("http://127.0.0.1:8", "us-east-1", NOWHERE.access_key)
    assert bucket == same
    assert {bucket, same} == {bucket}
    assert bucket != Bucket(NOWHERE, "other", create=False)
    assert bucket != Bucket(elsewhere, "results", create=False)
    assert bucket != "results"


# As data


def test_json_round_trip_keeps_everything() -> None:
    bucket = Bucket(
        NOWHERE,
        "results",
        False,  # noqa: FBT003 - by position, as in Qarnot's
        BucketPrefixFiltering("in/"),
        PrefixResourcesTransformation("in/"),
        60,
    )
    fields = {
        "bucketName": "results",
        "filtering": {"prefixFiltering": {"prefix": "in/"}},
        "resourcesTransformation": {"stripPrefix": {"prefix": "in/"}},
        "cacheTTLSec": 60,
    }
    assert json.loads(json.dumps(bucket.to_json())) == fields
    assert Bucket.from_json(NOWHERE, fields).to_json() == fields
    plain = {
        "bucketName": "bucket",
        "filtering": {},
        "resourcesTransformation": {},
        "cacheTTLSec": None,
    }
    assert Bucket(NOWHERE, "bucket", create=False).to_json() == plain


@pytest.mark.parametrize("filtering", [None, {}, {"suffixFiltering": {"suffix": "x"}}])
def test_from_json_takes_what_is_missing_or_not_known(filtering: Any) -> None:
    bucket = Bucket.from_json(NOWHERE, {"bucketName": "bucket", "filtering": filtering})
    assert bucket.to_json()["filtering"] == {}


def test_with_makes_copies_that_keep_the_rest_cache_ttl_too() -> None:
    bucket = Bucket(NOWHERE, "bucket", create=False).with_cache_ttl(60)
    made = bucket.with_filtering(BucketPrefixFiltering("a")).with_resource_transformation(
        PrefixResourcesTransformation("b")
    )
    assert bucket.to_json()["filtering"] == {}
    assert made.to_json()["cacheTTLSec"] == 60
    assert made.to_json()["filtering"] == {"prefixFiltering": {"prefix": "a"}}
    assert made.with_cache_ttl(None).to_json()["cacheTTLSec"] is None
    assert made == bucket


def test_update_and_flush_do_nothing_and_say_so() -> None:
    bucket = Bucket(NOWHERE, "bucket", create=False)
    with pytest.warns(DeprecationWarning, match="does nothing"):
        bucket.update(flush=True)
    with pytest.warns(DeprecationWarning, match="does nothing"):
        bucket.flush()


# Listings


def test_iteration_streams_a_page_at_a_time(rclone_server: S3Server) -> None:
    with FaultProxy(rclone_server.endpoint_url) as proxy:
        bucket = new_bucket(rclone_server, proxy)
        files = Path("files")
        files.mkdir()
        for number in range(1_500):
            (files / f"{number:04}").write_bytes(b"")
        bucket.add_directory(files)
        proxy.requests.clear()
        entries = iter(bucket)
        assert next(entries).key == "0000"
        assert len(proxy.seen(query="list-type")) == 1
        assert len(list(entries)) == 1_499


def test_directory_is_a_directory_and_no_beginning_of_a_name(bucket: Bucket) -> None:
    for key in ("data/a", "data/b/c", "database/z", "data.txt"):
        bucket.add_string("x", key)
    found = [entry.key for entry in bucket.directory("data")]
    assert found == ["data/a", "data/b/c"]
    assert [entry.key for entry in bucket.directory("data/")] == found
    assert len(bucket.directory()) == 4
    assert bucket.directory("dat") == []


@pytest.mark.parametrize(
    "call",
    [
        lambda bucket: bucket.list_files(),
        lambda bucket: bucket.directory("a"),
        lambda bucket: next(iter(bucket)),
        lambda bucket: "a" in bucket,
        lambda bucket: bucket.add_string("x", "a"),
        lambda bucket: bucket.add_file("here/file"),
        lambda bucket: bucket.add_directory("here"),
        lambda bucket: bucket.sync_directory("here"),
        lambda bucket: bucket.sync_files({"a": "here/file"}),
        lambda bucket: bucket.sync_remote_to_local("here"),
        lambda bucket: bucket.sync("here", download=True, dry_run=True),
        lambda bucket: bucket.get_file("a"),
        lambda bucket: bucket.get_all_files("here"),
        lambda bucket: bucket["a"],
        lambda bucket: bucket.__delitem__("a"),
        lambda bucket: bucket.copy_file("a", "b"),
        lambda bucket: bucket.delete_file("a"),
        lambda bucket: bucket.delete(),
    ],
)
def test_a_bucket_that_is_missing_is_the_same_typed_error_everywhere(
    s3_server: S3Server, call: Callable[[Bucket], object]
) -> None:
    Path("here").mkdir()
    Path("here/file").write_text("mine")
    with pytest.raises(BucketNotFound, match="s3://nobody-made-this") as caught:
        call(missing_bucket(s3_server))
    assert not isinstance(caught.value, KeyError)
    assert "string" not in str(caught.value)
    assert Path("here/file").read_text() == "mine"


def test_an_endpoint_that_refuses_is_one_error_and_no_endless_loop() -> None:
    with pytest.raises(StoreError, match=r"cannot list s3://bucket/ at http://127\.0\.0\.1:9"):
        Bucket(NOWHERE, "bucket", create=False).list_files()


# Links


def fetched(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, method=method)  # noqa: S310 - of a server of ours
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
        return bytes(answer.read())


def test_presigned_urls_read_and_write_without_credentials(rclone_server: S3Server) -> None:
    bucket = new_bucket(rclone_server)
    fetched(bucket.presign("in/a b+é.txt", put=True), "PUT", b"x")
    assert fetched(bucket.presign("in/a b+é.txt", expires=60)) == b"x"
    with pytest.raises(urllib.error.HTTPError, match=r"40[03]"):
        fetched(bucket.url("in/a b+é.txt"))


def test_url_is_where_the_object_is() -> None:
    bucket = Bucket(NOWHERE, "bucket", create=False)
    assert bucket.url("in/a b.txt") == "http://127.0.0.1:9/bucket/in/a%20b.txt"
    aws = Bucket(Connection(None, "us-east-1", NOWHERE.access_key), "results", create=False)
    assert aws.url("a") == "https://results.s3.amazonaws.com/a"


@pytest.mark.parametrize("expires", [0, -1, 604_801])
def test_presign_refuses_what_no_store_would_accept(expires: int) -> None:
    with pytest.raises(UsageError, match="604,800"):
        Bucket(NOWHERE, "bucket", create=False).presign("a", expires=expires)


# Laws


OFFLINE = Bucket(NOWHERE, "bucket", create=False)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_an_address_spells_any_key_exactly(key: str) -> None:
    address = OFFLINE.url(key)
    assert address.isascii()
    assert unquote(address) == f"http://127.0.0.1:9/bucket/{key}"


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = "import sys, ingest; print([m for m in ('ingest.bucket', 'boto3') if m in sys.modules])"
    done = program({}, "-c", code)
    assert done.out.strip() == "[]", done.err
