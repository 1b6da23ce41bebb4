"""The doctor on the way to a store: endpoint, name, port, TLS, an S3 API, clocks, credentials."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnoses import KEY, diagnosed, first_failure, found, of, statuses, to
from faultproxy import Answer as Instead
from faultproxy import FaultProxy, Rule
from ingest.doctor import STEPS, Check, remedies
from ingest.doctor.reach import _Answer, _clock
from ingest.settings import AccessKey
from ingest.storage.connection import Clients, Connection
from stores import command
from tinys3 import Answer, Asked, TinyS3, certify, refusal, serve

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

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


@pytest.mark.parametrize(
    ("more", "finding", "cure"),
    [
        ({"ENDPOINT_URL": "localhost:9000"}, "ENDPOINT_URL holds 'localhost:9000'", "http://"),
        ({"REGION_NAME": "us east"}, "REGION_NAME holds 'us east'", "correct the setting"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is not set", "correct the setting"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "nobody"},
            "nobody", "correct the setting"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_a_step_of_the_command_too(
    moto_server: S3Server, more: dict[str, str], finding: str, cure: str
) -> None:
    told = command(moto_server, "doctor", "s3://bucket", "--json", **more)
    checks = [Check(*json.loads(line).values()) for line in told.stdout.splitlines()]
    assert tuple(check.name for check in checks) == STEPS
    assert (told.exit_code, told.stderr) == (1, "")
    assert (checks[0].status, {check.status for check in checks[1:]}) == ("failed", {"skipped"})
    assert finding in checks[0].finding
    assert cure in str(checks[0].cure)


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
