"""Requests to a bucket: what is sent, what comes of the answers, and how connections are kept."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import BucketNotFound, CredentialsRefused, NotFound, StoreError
from ingest.settings import AccessKey
from ingest.storage import api as api_module
from ingest.storage.answers import Failed
from ingest.storage.api import Answer, Api, bucket_url
from stores import store_of
from tinys3 import Answer as Told
from tinys3 import Asked, certify, refusal, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support import S3Server

KEY = AccessKey("key", "secret")


def api_at(url: str, **options: Any) -> Api:
    return Api(f"{url}/b", "us-east-1", lambda: KEY, **options)


@pytest.fixture
def asking() -> Iterator[Callable[[Callable[[Asked], Told]], Api]]:
    """Make an API whose server answers as it is told."""
    ends: list[Any] = []

    def start(answer: Callable[[Asked], Told]) -> Api:
        server = serve(answer)
        api = api_at(server.__enter__())
        ends.extend((server, api))
        return api

    yield start
    for end in reversed(ends):
        if isinstance(end, Api):
            end.close()
        else:
            end.__exit__(None, None, None)


ODD_KEYS = ["a//b", "/a", "a/", "./a", "a/../b", "a b+c%20&=?#", "ü/日本", "a\x01\t\x7f", "'\"<>"]


NOW, IN_10_S = "Fri, 20 Nov 2026 06:00:00 GMT", "Fri, 20 Nov 2026 06:00:10 GMT"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_are_exact(moto_server: S3Server, key: str) -> None:
    store = store_of(moto_server)
    url = bucket_url(store.bucket, moto_server.endpoint_url, "us-east-1", path_style=True)
    with closing(Api(url, "us-east-1", lambda: moto_server.access_key)) as api:
        sent = api.put(key, {}, [b"con", b"tent"], {"content-length": "7"})
        head = api.head(key)
        assert (head.key, head.size, head.etag) == (key, 7, sent.etag)
    client = moto_server.client()
    assert client.get_object(Bucket=store.bucket, Key=key)["Body"].read() == b"content"


@pytest.mark.parametrize("key", ["a b", "a+b", "a%b", "ü"])
def test_signatures_are_right(rclone_server: S3Server, key: str) -> None:
    store = store_of(rclone_server)
    url = bucket_url(store.bucket, rclone_server.endpoint_url, "us-east-1", path_style=True)
    with closing(Api(url, "us-east-1", lambda: rclone_server.access_key)) as api:
        api.put(key, {}, [b"content"], {"content-length": "7", "x-amz-meta-a": "b  c"})
        head = api.head(key)
        assert (head.size, head.metadata["a"].split()) == (7, ["b", "c"])
        api.call("POST", key, {"uploads": ""}, headers={"content-type": "a/b"})


def test_credentials_are_asked_for_each_time(
    asking: Callable[[Callable[[Asked], Told]], Api],
) -> None:
    seen: list[str] = []
    keys = iter([AccessKey("one", "s", "first token"), AccessKey("two", "s")])

    def answer(asked: Asked) -> Told:
        seen.append(asked.headers["authorization"].partition("/")[0].rpartition("=")[2])
        seen.append(asked.headers.get("x-amz-security-token", ""))
        return Told()

    api = asking(answer)
    api._credentials = lambda: next(keys)
    api.call("GET")
    api.call("GET")
    assert seen == ["one", "first token", "two", ""]


@pytest.mark.parametrize(
    ("told", "kind", "text", "later"),
    [
        (refusal(503, "SlowDown"), StoreError, "SlowDown: no", (True, 0.0)),
        (refusal(400, "RequestTimeout"), StoreError, "RequestTimeout: no", (True, 0.0)),
        (refusal(403, "AccessDenied"), CredentialsRefused, "AccessDenied: no", (False, 0.0)),
        (refusal(404, "NoSuchBucket"), BucketNotFound, "NoSuchBucket: no", (False, 0.0)),
        (Told(404), NotFound, "HTTP 404", (False, 0.0)),
        (Told(500, "no XML"), StoreError, "HTTP 500", (True, 0.0)),
        (Told(429, "", {"Retry-After": "7"}), StoreError, "HTTP 429", (True, 7.0)),
        (Told(429, "", {"Retry-After": "86400"}), StoreError, "HTTP 429", (True, 60.0)),
        (Told(429, "", {"Retry-After": "tomorrow"}), StoreError, "HTTP 429", (True, 0.0)),
        (Told(503, "", {"Retry-After": IN_10_S, "Date": NOW}), StoreError, "HTTP 503", (True, 10)),
        (
            refusal(301, "PermanentRedirect", more="<Region>eu-west-1</Region>"),
            StoreError,
            "PermanentRedirect: no; the bucket is in eu-west-1",
            (False, 0.0),
        ),
        (
            Told(301, "", {"x-amz-bucket-region": "eu-west-1"}),
            StoreError,
            "the bucket is in eu-west-1",
            (False, 0.0),
        ),
    ],
)
def test_refusals_are_what_the_store_says(
    asking: Callable[[Callable[[Asked], Told]], Api],
    told: Told,
    kind: type[StoreError],
    text: str,
    later: tuple[bool, float],
) -> None:
    api = asking(lambda _: told)
    with pytest.raises(Failed) as raised:
        api.call("GET", "a")
    error = raised.value.error("cannot do it")
    assert type(error) is kind
    assert f"cannot do it: {text}" in str(error)
    assert (raised.value.passes, raised.value.wait_s) == later


def test_a_port_that_refuses_may_pass() -> None:
    with serve(lambda _: Told()) as url:
        pass
    with closing(api_at(url)) as api, pytest.raises(Failed, match="refused") as raised:
        api.call("GET")
    assert (raised.value.status, raised.value.passes) == (0, True)


def test_a_certificate_that_is_not_trusted_does_not_pass(tmp_path: Path) -> None:
    with (
        serve(lambda _: Told(), certify(tmp_path)) as url,
        closing(api_at(url)) as api,
        pytest.raises(Failed) as raised,
    ):
        api.call("GET")
    assert (raised.value.status, raised.value.passes) == (0, False)
    assert "the certificate is not trusted" in str(raised.value.error("cannot do it"))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<Error><Code>InternalError</Code><Message>late</Message></Error>", "InternalError: late"),
        ("<a><b>", "no XML"),
        ("", "no XML"),
    ],
)
def test_a_document_that_is_an_error_is_one(
    asking: Callable[[Callable[[Asked], Told]], Api], body: str, text: str
) -> None:
    answer = asking(lambda _: Told(body=body)).call("POST")
    with pytest.raises(Failed, match=text) as raised:
        _ = answer.document
    assert raised.value.passes


def test_a_document_may_come_after_spaces(
    asking: Callable[[Callable[[Asked], Told]], Api],
) -> None:
    answer = asking(lambda _: Told(body="  \n<?xml version='1.0'?><a xmlns='x'><b>1</b></a>"))
    assert answer.call("POST").document.findtext("{*}b") == "1"


def test_a_head_without_what_it_must_have_is_a_failure(
    asking: Callable[[Callable[[Asked], Told]], Api],
) -> None:
    api = asking(lambda _: Told(headers={"Last-Modified": "at noon"}))
    with pytest.raises(Failed, match="no date of HTTP"):
        api.head("a")
    headers = api.call("HEAD", "a").headers
    del headers["content-length"]
    with pytest.raises(Failed, match="no Content-Length"):
        _ = Answer(headers, b"").size


@dataclass
class Connections:
    """A server that counts connections, and hangs up when it is told to."""

    url: str = ""
    opened: int = 0
    hang_up: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def connections() -> Iterator[Connections]:
    found = Connections()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            found.opened += 1

        def do_GET(self) -> None:
            self.send_response_only(404 if self.path.endswith("missing") else 200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"body")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


class TestConnections:
    def test_are_kept_from_one_request_to_the_next(self, connections: Connections) -> None:
        with closing(api_at(connections.url)) as api:
            for _ in range(3):
                assert api.call("GET").body == b"body"
                with api.get("a") as answer:
                    content = bytearray(4)
                    answer.fill(memoryview(content))
                    assert answer.at_end()
                    assert content == b"body"
        assert connections.opened == 1

    def test_are_not_kept_where_an_answer_was_not_read(self, connections: Connections) -> None:
        with closing(api_at(connections.url)) as api:
            with api.get("a"):
                pass
            assert api.call("GET").body == b"body"
        assert connections.opened == 2

    def test_are_not_kept_for_long(
        self, connections: Connections, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closing(api_at(connections.url)) as api:
            api.call("GET")
            monkeypatch.setattr(api_module, "_IDLE_S", -1.0)
            api.call("GET")
        assert connections.opened == 2

    def test_are_as_many_as_there_are_requests_at_one_time(self, connections: Connections) -> None:
        with closing(api_at(connections.url)) as api:
            with api.get("a") as one, api.get("b") as other:
                for answer in (one, other):
                    answer.fill(memoryview(bytearray(4)))
            for _ in range(3):
                api.call("GET")
        assert connections.opened == 2

    def test_that_are_in_use_when_it_is_closed_are_closed_after(
        self, connections: Connections
    ) -> None:
        """Else the socket would be found open, which is an error in these tests."""
        api = api_at(connections.url)
        with api.get("a") as answer:
            api.close()
            answer.fill(memoryview(bytearray(4)))


def test_content_that_is_shorter_than_it_should_be_may_pass(connections: Connections) -> None:
    with (
        closing(api_at(connections.url)) as api,
        pytest.raises(Failed, match="cut short") as raised,
        api.get("a") as answer,
    ):
        answer.fill(memoryview(bytearray(5)))
    assert raised.value.passes


def test_what_the_content_of_a_part_raises_is_passed_on() -> None:
    def content() -> Iterator[bytes]:
        yield b"some"
        raise StoreError("no more")

    with (
        serve(lambda _: Told()) as url,
        closing(api_at(url)) as api,
        pytest.raises(StoreError, match="no more"),
    ):
        api.put("a", {}, content(), {"content-length": "9"})


@pytest.mark.parametrize(
    ("endpoint_url", "region", "path_style", "url"),
    [
        (None, "eu-west-1", True, "https://s3.eu-west-1.amazonaws.com/lake"),
        (None, "eu-west-1", False, "https://lake.s3.eu-west-1.amazonaws.com"),
        (None, "cn-north-1", True, "https://s3.cn-north-1.amazonaws.com.cn/lake"),
        ("http://127.0.0.1:9000/", "us-east-1", True, "http://127.0.0.1:9000/lake"),
        ("https://host/s3/", "us-east-1", True, "https://host/s3/lake"),
        ("https://ams3.example.com", "us-east-1", False, "https://lake.ams3.example.com"),
    ],
)
def test_the_address_of_a_bucket(
    endpoint_url: str | None,
    region: str,
    path_style: bool,  # noqa: FBT001 - a parameter
    url: str,
) -> None:
    assert bucket_url("lake", endpoint_url, region, path_style=path_style) == url
