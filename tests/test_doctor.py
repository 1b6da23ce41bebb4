"""The doctor: a healthy store passes, and each thing that can be wrong is named with its cure."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from diagnoses import diagnosed, first_failure, found, of, statuses, to
from ingest.doctor import STEPS, Check, diagnose, remedies
from tinys3 import Answer, Asked, TinyS3, certify, refusal, serve

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

XML = {"Content-Type": "application/xml"}


# A store that is well


def test_everything_passes_and_nothing_is_left_behind(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    checks = found(of(s3_server), bucket, "some/where/")
    assert statuses(checks) == {"TLS": "skipped"}
    assert f"s3://{bucket}/some/where/ingest-doctor-" in checks["write"].finding
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=bucket)


def test_without_a_bucket_it_stops_after_the_credentials(s3_server: S3Server) -> None:
    checks = found(of(s3_server), None)
    rest = dict.fromkeys(STEPS[STEPS.index("addressing") :], "skipped")
    assert statuses(checks) == {"TLS": "skipped"} | rest
    assert checks["list"].finding == "no bucket was named"
    assert checks["list"].cure


def test_other_objects_stay(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    s3_server.client().put_object(Bucket=bucket, Key="ingest-doctor-", Body=b"mine")
    found(of(s3_server), bucket)
    listed = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["ingest-doctor-"]


def test_no_version_of_the_probe_is_left(moto_server: S3Server) -> None:
    bucket, client = moto_server.new_bucket(), moto_server.client()
    enabled = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    assert found(of(moto_server), bucket)["delete"].status == "ok"
    left = client.list_object_versions(Bucket=bucket)
    assert not {"Versions", "DeleteMarkers"} & set(left)


def test_the_probe_goes_when_the_caller_stops_early(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    checks = diagnose(of(s3_server), bucket)
    assert next(check for check in checks if check.name == "write").status == "ok"
    assert len(s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]) == 1
    checks.close()  # type: ignore[attr-defined]
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=bucket)


# The bucket


def test_a_bucket_that_does_not_exist(s3_server: S3Server) -> None:
    failed = first_failure(found(of(s3_server), "no-such-bucket"))
    assert failed.name == "addressing"
    assert "there is no such bucket here" in failed.finding
    assert "ingest mb" in str(failed.cure)


@pytest.mark.parametrize("where", ["header", "body", "message"])
def test_a_bucket_of_another_region(where: str) -> None:
    headers = {"x-amz-bucket-region": "eu-west-1"} if where == "header" else {}
    more = "<Region>eu-west-1</Region>" if where == "body" else ""
    message = "is wrong; expecting 'eu-west-1'" if where == "message" else "use the other endpoint"
    tiny = TinyS3()

    def elsewhere(asked: Asked) -> Answer:
        if asked.path == "/":
            return tiny(asked)
        moved = refusal(301, "PermanentRedirect", message, more)
        return Answer(301, moved.body, headers | XML)

    failed = first_failure(diagnosed(elsewhere))
    assert failed.name == "addressing"
    assert failed.cure == "give --region eu-west-1 (or REGION_NAME)"


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every name below localhost this machine's, as some systems do."""
    real = socket.getaddrinfo

    def look_up(host: str, *args: object, **options: object) -> object:
        known = isinstance(host, str) and host.endswith(".localhost")
        return real("127.0.0.1" if known else host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.usefixtures("resolving")
def test_a_store_of_virtual_hosts_alone() -> None:
    tiny = TinyS3()

    def virtual(asked: Asked) -> Answer:
        bucket = asked.host.removesuffix("localhost").removesuffix(".")
        if not bucket and asked.path != "/":
            return refusal(301, "PermanentRedirect", "use the host of the bucket")
        return tiny.answer(asked, bucket, asked.path[1:])

    with serve(virtual) as url:
        address = url.replace("127.0.0.1", "localhost")
        failed = first_failure(found(to(address)))
        cured = found(to(address, path_style=False))["addressing"]
    assert failed.name == "addressing"
    assert "path style is used, but virtual-hosted style works" in failed.finding
    assert failed.cure == "choose --addressing-style virtual"
    assert cured.finding == "virtual-hosted style works, and is used; path style does not"


@pytest.mark.usefixtures("resolving")
def test_a_store_of_paths_alone() -> None:
    with serve(TinyS3()) as url:
        check = found(to(url.replace("127.0.0.1", "localhost")))["addressing"]
    assert check == Check(
        "addressing", "ok", "path style works, and is used; virtual-hosted style does not"
    )


@pytest.mark.usefixtures("resolving")
def test_a_store_of_both_styles() -> None:
    tiny = TinyS3()

    def both(asked: Asked) -> Answer:
        bucket = asked.host.removesuffix("localhost").removesuffix(".")
        return tiny.answer(asked, bucket, asked.path[1:]) if bucket else tiny(asked)

    with serve(both) as url:
        check = found(to(url.replace("127.0.0.1", "localhost")))["addressing"]
    assert check.finding == "path style works, and is used; virtual-hosted style works too"


def test_checksums_that_are_stored_with_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, certificate = TinyS3(), certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with serve(tiny, certificate) as url:
        bad = found(to(url, provider="aws"))
        good = found(to(url, provider="other"))
    assert "framing of the upload" in bad["checksums"].finding
    assert "--provider other" in str(bad["checksums"].cure)
    assert bad["checksums"].status == "failed"
    assert statuses(good) == {}
    assert tiny.objects == {}


@pytest.mark.parametrize(
    ("status", "code"),
    [(411, "MissingContentLength"), (501, "NotImplemented"), (400, "XAmzContentSHA256Mismatch")],
)
def test_checksums_that_are_refused(status: int, code: str) -> None:
    tiny = TinyS3()

    def strict(asked: Asked) -> Answer:
        unknown = "x-amz-checksum-crc32" in asked.headers
        return refusal(status, code) if unknown else tiny(asked)

    with serve(strict) as url:
        check = found(to(url, provider="aws"))["checksums"]
    assert (check.status, code in check.finding) == ("failed", True)
    assert "--provider other" in str(check.cure)


def test_a_store_that_knows_only_the_older_list() -> None:
    tiny = TinyS3()

    def older(asked: Asked) -> Answer:
        newer = asked.query.get("list-type") == "2"
        return refusal(501, "NotImplemented", "list-type") if newer else tiny(asked)

    checks = diagnosed(older)
    assert statuses(checks) == {"TLS": "skipped", "list": "failed"}
    assert checks["list"].cure == "choose --provider ceph"


def test_a_list_that_does_not_show_what_is_there() -> None:
    tiny, empty = TinyS3(), TinyS3()

    def late(asked: Asked) -> Answer:
        return empty(asked) if asked.path == "/data" else tiny(asked)

    checks = diagnosed(late)
    assert statuses(checks) == {"TLS": "skipped", "list": "failed"}
    assert "just written" in checks["list"].finding


def test_a_bucket_that_may_not_be_listed() -> None:
    tiny = TinyS3()

    def unlisted(asked: Asked) -> Answer:
        hidden = asked.path in {"/", "/data"}
        return refusal(403, "AccessDenied") if hidden else tiny(asked)

    checks = diagnosed(unlisted)
    assert statuses(checks) == {
        "TLS": "skipped",
        "credentials": "warning",
        "addressing": "warning",
        "list": "failed",
    }
    assert "s3:ListBucket" in str(checks["list"].cure)


def test_keys_that_may_only_read() -> None:
    tiny = TinyS3()

    def reading(asked: Asked) -> Answer:
        return tiny(asked) if asked.method == "GET" else refusal(403, "AccessDenied")

    checks = diagnosed(reading)
    assert statuses(checks) == {
        "TLS": "skipped",
        "checksums": "failed",
        "write": "failed",
        "read": "skipped",
        "delete": "failed",
    }
    assert "s3:PutObject" in str(checks["write"].cure)


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_keys_that_may_not_delete_or_look(method: str) -> None:
    tiny = TinyS3()

    def answer(asked: Asked) -> Answer:
        return refusal(403, "AccessDenied") if asked.method == method else tiny(asked)

    check = diagnosed(answer)["delete"]
    assert check.status == ("failed" if method == "DELETE" else "ok")
    assert len(tiny.objects) == (method == "DELETE")


def test_a_delete_that_does_nothing() -> None:
    tiny = TinyS3()

    def keeping(asked: Asked) -> Answer:
        return Answer(204) if asked.method == "DELETE" else tiny(asked)

    check = diagnosed(keeping)["delete"]
    assert check.status == "warning"
    assert f"/{next(iter(tiny.objects))}" in check.finding


def test_content_that_is_changed_on_the_way() -> None:
    tiny = TinyS3()

    def changing(asked: Asked) -> Answer:
        told = tiny(asked)
        if asked.method != "GET" or asked.path.count("/") < 2 or told.status != 200:
            return told
        return Answer(200, told.body + b"!", told.headers)  # type: ignore[operator]

    checks = diagnosed(changing)
    assert statuses(checks) == {"TLS": "skipped", "checksums": "failed", "read": "failed"}
    assert "bytes came back where" in checks["read"].finding
    assert tiny.objects == {}


@pytest.mark.parametrize("step", ["list", "write", "read"])
def test_the_probe_goes_when_a_step_fails(step: str) -> None:
    tiny = TinyS3()
    writes = 0

    def failing(asked: Asked) -> Answer:
        nonlocal writes
        writes += asked.method == "PUT"
        below = asked.path.count("/") > 1
        fails = {
            "list": asked.query.get("prefix", "") != "",
            "write": asked.method == "PUT" and writes > 1,
            "read": asked.method == "GET" and below and writes > 1,
        }
        return refusal(400, "InvalidRequest") if fails[step] else tiny(asked)

    checks = diagnosed(failing)
    assert checks[step].status == "failed"
    assert checks["delete"].status == "ok"
    assert tiny.objects == {}


# Causes and cures


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("cannot list s3://b/ at http://h: NoSuchBucket: x", "no such bucket"),
        ("cannot list s3://b/AccessDenied: NoSuchBucket: x", "no such bucket"),
        ("cannot list s3://certificate/ at http://h: SlowDown: x", "overloaded"),
        ("cannot write s3://b/k: AccessDenied: no checksum", "policy"),
        ('cannot list: Could not connect to the endpoint URL: "http://h/"', "nothing listens"),
        ("cannot write s3://b/k: in 2s, after 6 retries, retry_timeout: 15s - odd", ""),
        ("cannot list s3://b/: Name or service not known", "does not resolve"),
        ("cannot list s3://b/: operation timed out", "in time"),
        ("cannot write s3://b/k: InvalidRequest: Value for x-amz-checksum-crc32", "checksums"),
        ("cannot write s3://b/k: QuotaExceeded", "full"),
        ("cannot make s3://B/: InvalidBucketName", "name"),
        ("cannot list s3://b/: HTTP 301", "another address"),
    ],
)
def test_a_cause_is_found_in_what_the_store_said(message: str, cause: str) -> None:
    remedy = remedies.remedy_for(message)
    assert bool(remedy) == bool(cause)
    assert not remedy or cause in remedy.cause


def test_no_cause_is_made_up() -> None:
    assert remedies.remedy_for("cannot list s3://AccessDenied/: TeapotError: I am one") is None
