"""Buckets made, listed and removed; links that work for whoever has them; leftovers cleaned up."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ingest import admin
from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    SettingsError,
    StoreError,
    UsageError,
)
from ingest.settings import AccessKey
from ingest.storage.connection import Clients, Connection
from tinys3 import Answer, Asked, TinyS3, refusal, serve

if TYPE_CHECKING:
    from ingest.storage.base import Outcome
    from support import S3Server

KEY = AccessKey("TESTACCESSKEY", "test-secret-key")
ODD = ["plain", "a b", "a+b", "100%", "%20", "ü/日本.txt", "q?a=b&c#d", "~'(*)!", "a:b;c,d=@$"]


def of(server: S3Server, provider: str | None = None, region: str = "us-east-1") -> Clients:
    return Clients(Connection(server.endpoint_url, region, server.access_key, provider))


def at(url: str) -> Clients:
    return Clients(Connection(url, "us-east-1", KEY))


def names(clients: Clients) -> list[str]:
    return [bucket.name for bucket in admin.list_buckets(clients)]


# Listing


def test_buckets_are_listed_with_their_times(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    created = {each.name: each.created for each in admin.list_buckets(of(s3_server))}[bucket]
    assert created
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(created)) < timedelta(hours=1)


def test_buckets_are_listed_page_by_page() -> None:
    sizes = []

    def answer(asked: Asked) -> Answer:
        sizes.append(asked.query["max-buckets"])
        page = int(asked.query.get("continuation-token", "1"))
        more = f"<ContinuationToken>{page + 1}</ContinuationToken>" if page < 3 else ""
        listed = f"<Buckets><Bucket><Name>number-{page}</Name></Bucket></Buckets>{more}"
        return Answer(body=f"<ListAllMyBucketsResult>{listed}</ListAllMyBucketsResult>")

    with serve(answer) as url:
        clients = Clients(Connection(url, "us-east-1", KEY, "aws"))
        assert names(clients) == ["number-1", "number-2", "number-3"]
    assert sizes == ["1000"] * 3


def test_pages_that_go_round_in_circles_end() -> None:
    more = "<ContinuationToken>again</ContinuationToken>"
    page = Answer(body=f"<ListAllMyBucketsResult>{more}</ListAllMyBucketsResult>")
    with serve(lambda _: page) as url, pytest.raises(StoreError, match="cannot list the buckets"):
        names(at(url))


def test_the_time_of_a_bucket_is_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=3)))
    assert admin._iso(moment) == "2025-12-31T22:02:03Z"


def test_only_aws_is_asked_for_pages() -> None:
    queries = []

    def answer(asked: Asked) -> Answer:
        queries.append(asked.query)
        return TinyS3()(asked)

    with serve(answer) as url:
        assert list(admin.list_buckets(at(url))) == [admin.Bucket("data", None)]
    assert queries == [{}]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(403, "AccessDenied"), CredentialsRefused),
        (refusal(301, "PermanentRedirect"), StoreError),
        (refusal(400, "Odd"), StoreError),
    ],
)
def test_a_refused_list(answer: Answer, error: type[Exception]) -> None:
    with serve(lambda _: answer) as url, pytest.raises(error) as raised:
        names(at(url))
    assert url in str(raised.value)
    assert re.search("AccessDenied|PermanentRedirect|Odd", str(raised.value))


# Making


def test_a_bucket_is_made_once(s3_server: S3Server) -> None:
    name = s3_server.new_bucket() + "-more"
    assert admin.make_bucket(of(s3_server), name) is True
    assert name in names(of(s3_server))
    assert admin.make_bucket(of(s3_server), name) is False


@pytest.mark.parametrize(
    ("provider", "region", "placed"),
    [("aws", "eu-west-1", True), ("aws", "us-east-1", False), ("minio", "eu-west-1", False)],
)
def test_aws_is_told_the_region(provider: str, region: str, placed: bool) -> None:  # noqa: FBT001
    bodies = []

    def answer(asked: Asked) -> Answer:
        bodies.append(asked.body)
        return TinyS3()(asked) if asked.method == "GET" else Answer()

    with serve(answer) as url:
        clients = Clients(Connection(url, region, KEY, provider))
        assert admin.make_bucket(clients, "new-one") is True
    asked_for = f"<LocationConstraint>{region}</LocationConstraint>".encode()
    assert (asked_for in bodies[-1]) == placed


def test_a_bucket_in_another_region_for_real(moto_server: S3Server) -> None:
    name = moto_server.new_bucket() + "-eu"
    admin.make_bucket(of(moto_server, "aws", "eu-west-1"), name)
    located = moto_server.client().get_bucket_location(Bucket=name)
    assert located["LocationConstraint"] == "eu-west-1"


def test_a_bucket_of_somebody_else() -> None:
    def taken(asked: Asked) -> Answer:
        return TinyS3()(asked) if asked.method == "GET" else refusal(409, "BucketAlreadyExists")

    with serve(taken) as url, pytest.raises(StoreError, match="another account") as raised:
        admin.make_bucket(at(url), "taken")
    assert f"cannot make s3://taken at {url}: BucketAlreadyExists" in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "made"), [(Answer(), True), (refusal(409, "BucketAlreadyOwnedByYou"), False)]
)
def test_keys_that_may_not_list_buckets_may_make_one(answer: Answer, made: bool) -> None:  # noqa: FBT001
    def limited(asked: Asked) -> Answer:
        return refusal(403, "AccessDenied") if asked.method == "GET" else answer

    with serve(limited) as url:
        assert admin.make_bucket(at(url), "mine") is made


def test_a_bucket_of_ones_own_is_not_made_again() -> None:
    methods = []

    def answer(asked: Asked) -> Answer:
        methods.append(asked.method)
        return TinyS3()(asked)

    with serve(answer) as url:
        assert admin.make_bucket(at(url), "data") is False
    assert methods == ["GET"]


def test_a_name_that_is_not_allowed(s3_server: S3Server) -> None:
    with pytest.raises(StoreError, match="cannot make"):
        admin.make_bucket(of(s3_server), "Not!Allowed")


# Removing


@pytest.mark.parametrize("force", [False, True])
def test_an_empty_bucket_is_removed(s3_server: S3Server, force: bool) -> None:  # noqa: FBT001
    bucket = s3_server.new_bucket()
    admin.remove_bucket(of(s3_server), bucket, force=force)
    assert bucket not in names(of(s3_server))


def test_a_bucket_that_is_not_empty_stays(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    s3_server.client().put_object(Bucket=bucket, Key="a", Body=b"x")
    with pytest.raises(StoreError, match=f"cannot remove s3://{bucket}.*--force"):
        admin.remove_bucket(of(s3_server), bucket)
    assert s3_server.client().get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


@pytest.mark.parametrize("force", [False, True])
def test_a_bucket_that_is_not_there(s3_server: S3Server, force: bool) -> None:  # noqa: FBT001
    with pytest.raises(BucketNotFound):
        admin.remove_bucket(of(s3_server), "no-such-bucket", force=force)


def test_a_full_bucket_is_emptied_first(s3_server: S3Server) -> None:
    bucket, client = s3_server.new_bucket(), s3_server.client()
    keys = [f"dir/{number}" for number in range(12)] + ["a b+%ü"]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.create_multipart_upload(Bucket=bucket, Key="begun")
    told: list[Outcome] = []
    admin.remove_bucket(of(s3_server), bucket, force=True, told=told.append)
    assert bucket not in names(of(s3_server))
    assert sorted(outcome.key for outcome in told) == sorted([*keys, "begun"])
    assert not any(outcome.error for outcome in told)


@pytest.mark.parametrize("provider", ["other", "gcs"])
def test_all_versions_go(moto_server: S3Server, provider: str) -> None:
    bucket, client = moto_server.new_bucket(), moto_server.client()
    enabled: Any = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    for key in ("a", "a", "b//c", "ü +%"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.delete_object(Bucket=bucket, Key="a")
    admin.remove_bucket(of(moto_server, provider), bucket, force=True)
    assert bucket not in names(of(moto_server))


class Versions:
    """A bucket of a version of each of ``keys``, of which those of ``locked`` keys stay."""

    def __init__(self, keys: str = "free held", locked: str = "", *, bulk: bool = True) -> None:
        self.keys = keys.split(" ")
        self.locked = locked.split()
        self.bulk = bulk
        self.asked: list[tuple[str, str]] = []

    def __call__(self, asked: Asked) -> Answer:
        key = asked.path.removeprefix("/data").removeprefix("/")
        self.asked.append((asked.method, key))
        if "versions" in asked.query:
            version = "<Version><Key>{}</Key><VersionId>1</VersionId></Version>"
            listed = "".join(version.format(quote(key)) for key in self.keys)
            listed += "<EncodingType>url</EncodingType>"
            return Answer(body=f"<ListVersionsResult>{listed}</ListVersionsResult>")
        if "uploads" in asked.query:
            return refusal(501, "NotImplemented")
        if asked.method == "POST" and not self.bulk:
            return refusal(400, "MissingContentMD5")
        if asked.method == "POST":
            kept = "<Error><Key>{}</Key><VersionId>1</VersionId><Code>AccessDenied</Code></Error>"
            return Answer(
                body=f"<DeleteResult>{''.join(map(kept.format, self.locked))}</DeleteResult>"
            )
        return refusal(403, "AccessDenied") if key in self.locked else Answer(204)


@pytest.mark.parametrize("bulk", [True, False])
def test_what_cannot_be_deleted_is_named(bulk: bool) -> None:  # noqa: FBT001
    told: list[Outcome] = []
    answer = Versions(locked="held", bulk=bulk)
    with serve(answer) as url, pytest.raises(StoreError) as raised:
        admin.remove_bucket(at(url), "data", force=True, told=told.append)
    assert "1 of what it holds could not be deleted, first: cannot delete s3://data/held" in str(
        raised.value
    )
    assert {outcome.key: outcome.error is None for outcome in told} == {"free": True, "held": False}
    assert ("DELETE", "") not in answer.asked  # the bucket stays


def test_a_store_that_knows_no_delete_of_many() -> None:
    answer = Versions(bulk=False)
    with serve(answer) as url:
        admin.remove_bucket(at(url), "data", force=True)
    deleted = {key for method, key in answer.asked if method == "DELETE"}
    assert deleted == {"free", "held", ""}


def test_a_key_that_xml_cannot_carry_is_deleted_alone() -> None:
    answer = Versions("plain line\nbreak")
    with serve(answer) as url:
        admin.remove_bucket(at(url), "data", force=True)
    changes = {each for each in answer.asked if each[0] != "GET"}
    assert changes == {("DELETE", "plain"), ("DELETE", "line\nbreak"), ("DELETE", "")}


# Links


@pytest.mark.parametrize("key", ODD)
def test_a_link_reads_and_writes(s3_server: S3Server, key: str) -> None:
    bucket, clients = s3_server.new_bucket(), of(s3_server)
    put = requests.put(admin.presign_put(clients, bucket, key), data=b"by a link", timeout=10)
    assert put.status_code == 200, put.text
    listed = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in listed] == [key]
    got = requests.get(admin.presign_get(clients, bucket, key), timeout=10)
    assert (got.status_code, got.content) == (200, b"by a link")


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "//"])
def test_a_link_to_a_key_with_odd_slashes(moto_server: S3Server, key: str) -> None:
    bucket, clients = moto_server.new_bucket(), of(moto_server)
    requests.put(admin.presign_put(clients, bucket, key), data=b"x", timeout=10).raise_for_status()
    listed = moto_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in listed] == [key]
    assert requests.get(admin.presign_get(clients, bucket, key), timeout=10).content == b"x"


@pytest.mark.parametrize("provider", ["aws", "other"])
def test_a_link_needs_the_type_it_was_signed_with(rclone_server: S3Server, provider: str) -> None:
    bucket, clients = rclone_server.new_bucket(), of(rclone_server, provider)
    link = admin.presign_put(clients, bucket, "page", content_type="text/html")
    assert requests.put(link, data=b"<p>", timeout=10).status_code == 403
    headers = {"Content-Type": "text/html"}
    assert requests.put(link, data=b"<p>", headers=headers, timeout=10).status_code == 200
    assert rclone_server.client().head_object(Bucket=bucket, Key="page")["ContentType"] == (
        "text/html"
    )


def test_a_link_is_of_one_object_and_one_method(rclone_server: S3Server) -> None:
    bucket, clients = rclone_server.new_bucket(), of(rclone_server)
    link = admin.presign_get(clients, bucket, "mine")
    assert requests.put(link, data=b"x", timeout=10).status_code == 403
    other = link.replace("/mine?", "/other?")
    assert requests.get(other, timeout=10).status_code == 403


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(1, 604_800))
def test_the_key_is_exactly_in_the_link(key: str, expires_s: int) -> None:
    parts = urlsplit(admin.presign_get(_CLIENTS, "data", key, expires_s))
    query = parse_qs(parts.query)
    assert parts.netloc == "127.0.0.1:9000"
    assert unquote(parts.path) == f"/data/{key}"
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == [str(expires_s)]


_CLIENTS = at("http://127.0.0.1:9000")


@pytest.mark.parametrize("expires_s", [0, -1, 604_801, 10**9])
def test_a_link_that_nobody_would_take(expires_s: int) -> None:
    with pytest.raises(UsageError, match=f"expire in {expires_s} seconds; .*1 to 604,800"):
        admin.presign_get(_CLIENTS, "data", "key", expires_s)
    with pytest.raises(UsageError, match="604,800"):
        admin.presign_put(_CLIENTS, "data", "key", expires_s)


@pytest.mark.parametrize(("bucket", "key"), [("data", ""), ("data", "\udce9"), ("no bucket", "a")])
def test_a_link_that_cannot_be_signed(bucket: str, key: str) -> None:
    with pytest.raises(UsageError, match="cannot sign a link to s3://"):
        admin.presign_get(_CLIENTS, bucket, key)


def test_a_link_without_credentials() -> None:
    with pytest.raises(SettingsError, match="no S3 credentials"):
        admin.presign_get(Clients(Connection("http://127.0.0.1:9000", "us-east-1")), "data", "key")


# Uploads that were never completed


@pytest.fixture
def begun(s3_server: S3Server) -> str:
    """A bucket with two unfinished uploads."""
    bucket = s3_server.new_bucket()
    for key in ("old/one", "other"):
        s3_server.client().create_multipart_upload(Bucket=bucket, Key=key)
    return bucket


def left(server: S3Server, bucket: str) -> list[str]:
    # rclone says NoSuchUpload where there are none.
    try:
        uploads = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    except server.client().exceptions.ClientError:
        return []
    return [upload["Key"] for upload in uploads]


def test_unfinished_uploads_are_aborted(s3_server: S3Server, begun: str) -> None:
    aborted = list(admin.clean_up(of(s3_server), begun, "old/", -60))
    assert [(upload.key, error) for upload, error in aborted] == [("old/one", None)]
    assert left(s3_server, begun) == ["other"]


def test_young_uploads_stay(rclone_server: S3Server) -> None:  # those of moto are from 2010
    bucket = rclone_server.new_bucket()
    rclone_server.client().create_multipart_upload(Bucket=bucket, Key="young")
    assert list(admin.clean_up(of(rclone_server), bucket, "", admin.parse_age("1h"))) == []
    assert left(rclone_server, bucket) == ["young"]


def test_a_dry_run_aborts_nothing(s3_server: S3Server, begun: str) -> None:
    shown = admin.clean_up(of(s3_server), begun, "", -60, dry_run=True)
    assert [upload.key for upload, _ in shown] == ["old/one", "other"]
    assert left(s3_server, begun) == ["old/one", "other"]


def test_cleaning_up_where_there_is_no_bucket(moto_server: S3Server) -> None:
    with pytest.raises(BucketNotFound):
        list(admin.clean_up(of(moto_server), "no-such-bucket", "", 0))


@given(st.integers(0, 999_999), st.sampled_from([("d", 86_400), ("h", 3_600), ("m", 60)]))
def test_an_age_is_a_number_and_a_unit(number: int, unit: tuple[str, int]) -> None:
    assert admin.parse_age(f"{number}{unit[0]}") == number * unit[1]


@given(st.text().filter(lambda text: not re.fullmatch("[0-9]{1,6}[dhm]", text)))
def test_nothing_else_is_an_age(text: str) -> None:
    with pytest.raises(UsageError, match="such as 7d, 12h or 90m"):
        admin.parse_age(text)


@pytest.mark.parametrize("age", ["", "7", "d", "7 d", "-7d", "7D", "1.5h", "7w", "\u0667d", "7d\n"])
def test_an_age_that_is_none(age: str) -> None:
    with pytest.raises(UsageError, match="such as 7d, 12h or 90m"):
        admin.parse_age(age)
