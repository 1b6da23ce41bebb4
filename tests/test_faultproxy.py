"""The fault proxy does what its rules say, and nothing to what they are not for."""

from __future__ import annotations

import threading
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from faultproxy import (
    Answer,
    Before,
    DropAnswer,
    DropRequest,
    FaultProxy,
    Rule,
    Stall,
    StallAnswer,
    Truncate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import S3Server

BODY = bytes(range(256)) * 2048


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    bucket = s3_server.new_bucket()
    s3_server.client().put_object(Bucket=bucket, Key="a", Body=BODY)
    return bucket


@pytest.fixture
def client(s3_server: S3Server, proxy: FaultProxy) -> Any:
    return client_of(s3_server, proxy.endpoint_url)


def client_of(server: S3Server, endpoint_url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=server.access_key.access_key_id,
        aws_secret_access_key=server.access_key.secret_access_key,
        region_name="us-east-1",
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )


def test_without_rules_everything_passes_with_its_signature(
    proxy: FaultProxy, client: Any, bucket: str
) -> None:
    client.put_object(Bucket=bucket, Key="é +%", Body=BODY)
    assert client.get_object(Bucket=bucket, Key="é +%")["Body"].read() == BODY
    assert [each.method for each in proxy.requests] == ["PUT", "GET"]
    put = proxy.requests[0]
    assert (put.path, put.status) == (f"/{bucket}/é +%", 200)
    assert put.body_size == int(put.headers["content-length"])


class _Silent(BaseHTTPRequestHandler):
    """Closes its connections where it is asked to, and does not say so."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_an_answer_says_that_its_connection_ends() -> None:
    """Else the client may send its next request there, which is lost."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
            client = HTTPConnection(proxy.endpoint_url.removeprefix("http://"), timeout=30)
            with closing(client):
                client.request("GET", "/")
                assert client.getresponse().getheader("Connection") == "close"
        server.shutdown()


def test_a_server_that_checks_signatures_refuses_another_host(rclone_server: S3Server) -> None:
    bucket = rclone_server.new_bucket()
    with FaultProxy(rclone_server.endpoint_url) as proxy:
        elsewhere = client_of(rclone_server, proxy.endpoint_url)
        elsewhere.meta.events.register(
            "before-send.s3.*", lambda request, **_: request.headers.__setitem__("Host", "other")
        )
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            elsewhere.list_objects_v2(Bucket=bucket)


def test_answers_as_often_as_told_and_only_what_matches(
    proxy: FaultProxy, client: Any, bucket: str
) -> None:
    proxy.rules.append(Rule(Answer(503), "PUT", f"/{bucket}/b", times=2, skip=1))
    client.put_object(Bucket=bucket, Key="b", Body=BODY)
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            client.put_object(Bucket=bucket, Key="b", Body=BODY)
        client.put_object(Bucket=bucket, Key="c", Body=BODY)
    client.put_object(Bucket=bucket, Key="b", Body=BODY)
    assert [each.status for each in proxy.seen("PUT", f"/{bucket}/b")] == [200, 503, 503, 200]


def test_drops_a_request_after_so_many_bytes(proxy: FaultProxy, client: Any, bucket: str) -> None:
    proxy.rules.append(Rule(DropRequest(after=100_000), "PUT"))
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=bucket, Key="b", Body=BODY)
    assert proxy.requests[0].body_size == 100_000
    client.put_object(Bucket=bucket, Key="b", Body=BODY)


def test_drops_an_answer_to_what_the_server_did(
    proxy: FaultProxy, client: Any, bucket: str
) -> None:
    proxy.rules.append(Rule(DropAnswer(), "PUT"))
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=bucket, Key="b", Body=BODY)
    assert proxy.requests[0].status == 200
    assert client.get_object(Bucket=bucket, Key="b")["Body"].read() == BODY


def test_truncates_visibly_and_invisibly(proxy: FaultProxy, client: Any, bucket: str) -> None:
    proxy.rules += [Rule(Truncate(1000), "GET"), Rule(Truncate(1000, relabel=True), "GET", skip=1)]
    with pytest.raises(BotoCoreError):
        client.get_object(Bucket=bucket, Key="a")["Body"].read()
    proxy.rules.pop(0)
    client.get_object(Bucket=bucket, Key="a")["Body"].read()
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == BODY[:1000]


@pytest.mark.parametrize("kind", [Stall, StallAnswer])
def test_stalls_until_released(
    proxy: FaultProxy, client: Any, bucket: str, kind: type[Stall | StallAnswer]
) -> None:
    release = threading.Event()
    proxy.rules.append(Rule(kind(release, after=10), "PUT"))
    done = threading.Event()

    def put() -> None:
        client.put_object(Bucket=bucket, Key="b", Body=BODY)
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    proxy.wait_until(lambda: bool(proxy.requests))
    assert not done.is_set()
    release.set()
    thread.join(30)
    assert done.is_set()


def test_changes_an_object_between_two_requests(
    s3_server: S3Server, proxy: FaultProxy, client: Any, bucket: str
) -> None:
    direct = s3_server.client()
    change = Before(lambda: direct.put_object(Bucket=bucket, Key="a", Body=b"new"))
    proxy.rules.append(Rule(change, "GET", skip=1))
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == BODY
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"new"
