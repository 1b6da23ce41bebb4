"""The doctor: a healthy store passes, and each thing that can be wrong is named with its cure."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultproxy import Answer as Instead
from faultproxy import FaultProxy, Rule
from ingest.doctor import STEPS, Check, diagnose, remedies
from ingest.doctor.reach import _Answer, _clock
from ingest.settings import AccessKey
from ingest.storage.connection import Clients, Connection
from tinys3 import Answer, Asked, TinyS3, certify, refusal, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import S3Server

KEY = AccessKey("TESTACCESSKEY", "test-secret-key", "test-session-token")
XML = {"Content-Type": "application/xml"}


def to(url: str, **options: str) -> Clients:
    return Clients(Connection(url, "us-east-1", KEY, **options))  # type: ignore[arg-type]


def of(server: S3Server, url: str | None = None) -> Clients:
    return Clients(Connection(url or server.endpoint_url, "us-east-1", server.access_key))


def found(clients: Clients, bucket: str | None = "data", prefix: str = "") -> dict[str, Check]:
    """Return the checks by name, all of them in their order, each with cause and cure."""
    checks = list(diagnose(clients, bucket, prefix))
    assert tuple(check.name for check in checks) == STEPS
    for check in checks:
        assert "\n" not in check.finding
        assert check.finding
        assert check.cure or check.status != "failed"
    told = repr(checks)
    assert KEY.secret_access_key not in told
    assert KEY.session_token not in told  # type: ignore[operator]
    return {check.name: check for check in checks}


def diagnosed(answer: Callable[[Asked], Answer], bucket: str | None = "data") -> dict[str, Check]:
    with serve(answer) as url:
        return found(to(url), bucket)


def statuses(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in checks.items() if check.status != "ok"}


def first_failure(checks: dict[str, Check]) -> Check:
    """Return the one that failed, after which all are skipped."""
    failed = [check for check in checks.values() if check.status == "failed"]
    assert len(failed) == 1
    after = STEPS[STEPS.index(failed[0].name) + 1 :]
    assert {checks[name].status for name in after} <= {"skipped"}
    return failed[0]


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


# The way there


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("localhost:9000", "has no scheme"),
        ("store.example", "has no scheme"),
        ("ftp://store.example", "is no address of an S3 API"),
        ("http://", "is no address of an S3 API"),
        ("http://store.example:port", "is no address of an S3 API"),
        ("https://me:test-secret-key@store.example", "has a user"),
        ("https://store.example/?X-Amz-Security-Token=test-session-token", "a query"),
    ],
)
def test_a_malformed_endpoint(url: str, cause: str) -> None:
    failed = first_failure(found(to(url)))
    assert failed.name == "endpoint"
    assert cause in failed.finding


@pytest.mark.parametrize("path", ["/data", "/data/"])
def test_an_endpoint_with_the_bucket_in_it(path: str) -> None:
    def nested(asked: Asked) -> Answer:
        return (
            tiny.answer(asked, *asked.path[1:].split("/", 2)[1:])
            if "/" in asked.path[1:]
            else (refusal(404, "NoSuchKey"))
        )

    tiny = TinyS3()
    with serve(nested) as url:
        check = found(to(url + path))["endpoint"]
    assert check.status == "warning"
    assert check.cure == "leave the bucket out of --endpoint-url"


def test_an_unknown_profile() -> None:
    clients = Clients(Connection("http://127.0.0.1:1", profile="nobody"))
    assert "nobody" in first_failure(found(clients)).finding


def test_a_name_that_does_not_resolve() -> None:
    failed = first_failure(found(to("http://store.invalid:9000")))
    assert failed.name == "name"
    assert "store.invalid" in failed.finding
    assert "spelling" in str(failed.cure)


def test_a_port_that_refuses() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        failed = first_failure(found(to(f"http://127.0.0.1:{port}")))
    assert failed.name == "port"
    assert f"refuses port {port}: nothing listens there" in failed.finding
    assert "start the service" in str(failed.cure)


def test_a_port_that_nobody_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    failed = first_failure(found(to("http://127.0.0.1:9000")))
    assert (failed.name, "firewall" in failed.finding) == ("port", True)


def test_a_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    with serve(TinyS3(), certify(tmp_path)) as url:
        failed = first_failure(found(to(url)))
    assert failed.name == "TLS"
    assert "local issuer" in failed.finding
    assert "SSL_CERT_FILE" in str(failed.cure)


def test_an_authority_that_boto3_has_not_been_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    monkeypatch.setattr("time.sleep", lambda _: None)
    with serve(TinyS3(), certificate) as url:
        failed = first_failure(found(to(url)))
    assert failed.name == "credentials"
    assert "AWS_CA_BUNDLE" in str(failed.cure)


@pytest.mark.parametrize(
    ("days", "name", "cure"), [(-1, "127.0.0.1", "renewed"), (1, "127.0.0.2", "host name")]
)
def test_a_certificate_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, name: str, cure: str
) -> None:
    certificate = certify(tmp_path, days=days, name=name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with serve(TinyS3(), certificate) as url:
        failed = first_failure(found(to(url)))
    assert failed.name == "TLS"
    assert cure in str(failed.cure)


def test_https_where_plain_http_is_spoken() -> None:
    with serve(TinyS3()) as url:
        failed = first_failure(found(to(url.replace("http", "https"))))
    assert failed.name == "TLS"
    assert "http://" in str(failed.cure)


def test_http_where_tls_is_spoken(tmp_path: Path) -> None:
    with serve(TinyS3(), certify(tmp_path)) as url:
        failed = first_failure(found(to(url.replace("https", "http"))))
    assert failed.name == "S3"
    assert "https://" in str(failed.cure)


@pytest.mark.parametrize(
    ("answer", "finding", "cure"),
    [
        (Answer(200, "<!doctype html>", {"Content-Type": "text/html"}), "no S3 API", "9001"),
        (Answer(404, '{"no": 1}', {"Content-Type": "application/json"}), "no S3 API", "9000"),
        (Answer(200, "<html><Error></html>", {"Content-Type": "text/html"}), "no S3", "console"),
        (Answer(502, "<html>"), "no S3 API behind it", "state and log"),
        (Answer(400, "sent an HTTP request to an HTTPS server"), "wants TLS", "https://"),
        (
            Answer(301, headers={"Location": "https://u:p@other.example/x"}),
            "redirects to https://other.example,",
            "that address",
        ),
    ],
)
def test_an_endpoint_that_is_not_s3(answer: Answer, finding: str, cure: str) -> None:
    failed = first_failure(diagnosed(lambda _: answer))
    assert failed.name == "S3"
    assert finding in failed.finding
    assert cure in str(failed.cure)


@pytest.mark.parametrize(("server", "provider"), [("AmazonS3", "aws"), ("Ceph (squid)", "ceph")])
def test_a_provider_is_known_by_its_answer(server: str, provider: str) -> None:
    checks = diagnosed(lambda _: Answer(403, "<Error/>", {"Server": server}), None)
    assert checks["S3"].status == "warning"
    assert checks["S3"].cure == f"choose --provider {provider}"


def test_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = TinyS3()
    with serve(tiny) as url:
        monkeypatch.setenv("http_proxy", url.replace("://", "://user:proxy-password@"))
        monkeypatch.setenv("no_proxy", "")
        checks = found(to("http://store.invalid"), None)
    assert checks["name"].status == checks["port"].status == "skipped"
    assert checks["credentials"].status == "ok"
    assert "proxy-password" not in repr(checks)


# The clock


def test_a_clock_that_is_an_hour_off() -> None:
    def early(_: Asked) -> Answer:
        return Answer(
            403,
            refusal(403, "RequestTimeTooSkewed", "The difference is too large.").body,
            {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"},
        )

    checks = diagnosed(early)
    assert checks["clock"].status == checks["credentials"].status == "failed"
    assert "s ahead" in checks["clock"].finding
    assert "clocks" in checks["credentials"].finding
    assert checks["clock"].cure == checks["credentials"].cure == remedies.CLOCKS.cure
    assert checks["list"].status == "skipped"


def test_a_store_that_does_not_mind_the_clock() -> None:
    tiny = TinyS3()

    def early(asked: Asked) -> Answer:
        told = tiny(asked)
        return Answer(told.status, told.body, {**told.headers, "Date": "Thu, 01 Jan 1998 0:0:0"})

    checks = diagnosed(early)
    assert statuses(checks) == {"TLS": "skipped", "clock": "failed"}


@given(st.integers(-100_000, 100_000))
def test_the_clock_is_judged_by_its_distance(ahead: int) -> None:
    date = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    check = _clock(_Answer(200, date, b"", 1_767_225_600 + ahead))
    distance = abs(ahead)
    assert check.status == ("failed" if distance > 900 else "warning" if distance > 300 else "ok")
    if distance > 300:
        assert f"{distance:,} s {'ahead' if ahead > 0 else 'behind'}" in check.finding


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Jan 2026 00:00:00 GMT"])
def test_a_store_without_a_clock(date: str) -> None:
    check = _clock(_Answer(200, {"date": date}, b"", 0))
    assert check.status == "skipped"


# Credentials


@pytest.mark.parametrize(
    ("status", "code", "cause", "cure"),
    [
        (403, "SignatureDoesNotMatch", "secret key is wrong", "version 4"),
        (403, "InvalidAccessKeyId", "does not know the access key", "issued"),
        (400, "ExpiredToken", "expired", "sign in"),
        (400, "InvalidToken", "session token", "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "clocks", "clock"),
        (301, "PermanentRedirect", "another address", "--region"),
        (400, "AuthorizationHeaderMalformed", "another region", "--region"),
        (401, "Unauthorized", "checksums", "--provider"),
        (403, "AccountProblem", "AccountProblem", "log of the store"),
    ],
)
def test_refused_credentials(status: int, code: str, cause: str, cure: str) -> None:
    echo = f"with {KEY.secret_access_key} and {KEY.session_token}"
    failed = first_failure(diagnosed(lambda _: refusal(status, code, echo)))
    assert failed.name == "credentials"
    assert code in failed.finding
    assert cause in failed.finding
    assert cure in str(failed.cure)
    # botocore itself fails on that redirect, and loses the message.
    assert "with *** and ***" in failed.finding or code == "PermanentRedirect"


def test_a_wrong_secret_is_told_by_a_real_server(rclone_server: S3Server) -> None:
    wrong = AccessKey(rclone_server.access_key.access_key_id, "another-secret")
    clients = Clients(Connection(rclone_server.endpoint_url, "us-east-1", wrong))
    failed = first_failure(found(clients))
    assert "SignatureDoesNotMatch" in failed.finding


def test_no_credentials() -> None:
    with serve(TinyS3()) as url:
        failed = first_failure(found(Clients(Connection(url, "us-east-1"))))
    assert failed.name == "credentials"
    assert "AWS_ACCESS_KEY_ID" in str(failed.cure)


def test_keys_of_one_bucket_alone(rclone_server: S3Server) -> None:
    bucket = rclone_server.new_bucket()
    # The first GET has no signature, the second asks for the buckets.
    denied = Rule(Instead(403, "AccessDenied", "Access Denied"), method="GET", skip=1)
    with FaultProxy(rclone_server.endpoint_url, [denied]) as proxy:
        checks = found(of(rclone_server, proxy.endpoint_url), bucket)
    assert statuses(checks) == {"TLS": "skipped", "credentials": "warning"}
    assert "limited to some buckets" in checks["credentials"].finding


def test_keys_of_one_bucket_alone_need_its_name() -> None:
    checks = diagnosed(lambda _: refusal(403, "AccessDenied"), None)
    assert checks["credentials"].status == "warning"
    assert "name the bucket" in str(checks["credentials"].cure)


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
        failed = first_failure(found(to(url.replace("127.0.0.1", "localhost"))))
    assert failed.name == "addressing"
    assert "path style is used, but virtual-hosted style works" in failed.finding
    assert "path style" in str(failed.cure)


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
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.authority))
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
        ("cannot list s3://b/: SSL validation failed", "certificate"),
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
