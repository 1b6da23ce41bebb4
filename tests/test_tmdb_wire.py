"""The TMDB client and hostile answers: nothing of the sign-in is told, nothing takes for ever."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from ingest import tmdb as tmdb_module
from ingest.errors import CredentialsRefused, DeadlineExceeded, IngestError, TmdbRefused
from ingest.pacing import Backoff, Deadline
from ingest.sandbox import Fault, Sandbox
from ingest.signin import SignIn, SignIns
from ingest.tmdb import Answer, Tmdb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    StandIn = Callable[..., Sandbox]

KEY = "5ec2e7" + "0" * 26
TOKEN = "eyJ5ec2e7.token-as-long-as-a-key"
MOVIES = "/discover/movie"


def _http(status: str, body: bytes = b"", *headers: str) -> bytes:
    length = len(body.replace(b"SECRET", KEY.encode()))
    head = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@contextmanager
def _server(answer: bytes, *, trickle: int = 0) -> Iterator[str]:
    """Answer each connection with these bytes; the last ``trickle`` of them slowly, one by one."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client may hang up
            connection.recv(65_536)
            connection.sendall(answer[: len(answer) - trickle])
            for byte in answer[len(answer) - trickle :]:
                if stopped.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    def accept() -> None:
        with suppress(OSError):  # until it is closed below
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/3"
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _outcome(
    base_url: str,
    *,
    sign_in: SignIn | None = None,
    seconds: float = 20,
    retries: int = 1,
) -> Answer | IngestError:
    with Tmdb(
        base_url,
        SignIns(lambda: sign_in or SignIn(key=KEY)),
        rate=50,
        deadline=Deadline(seconds),
        backoff=Backoff(retries=retries, base_s=0),
    ) as client:
        future = client.submit(MOVIES, {"page": "1"})
        error = future.exception(timeout=30)
    assert error is None or isinstance(error, IngestError), error
    return error or future.result()


def _failure(base_url: str, **options: object) -> IngestError:
    outcome = _outcome(base_url, **options)  # type: ignore[arg-type]
    assert isinstance(outcome, IngestError)
    assert len(str(outcome).splitlines()) == 1
    return outcome


# The sign-in is never told


def _told(error: BaseException) -> str:
    """Everything an error could tell anyone: its texts, its chain and its traceback."""
    told = "".join(traceback.format_exception(error))
    chain: list[BaseException | None] = [error]
    for link in chain:
        if link is not None and len(chain) < 50:
            told += f"{link} {link!r} {link.args!r} {vars(link)!r}"
            chain += [link.__cause__, link.__context__]
    return told


def _logged(caplog: pytest.LogCaptureFixture) -> str:
    return caplog.text + "".join(
        f"{record.getMessage()} {vars(record)!r} {record.exc_text}" for record in caplog.records
    )


def _echo(status: str) -> bytes:
    """An error in TMDB's shape that quotes the sign-in."""
    return _http(status, b'{"status_code": 7, "status_message": "You sent \\nSECRET, which"}')


HOSTILE = {
    "redirect": _http("302 Found", b"", "Location: /elsewhere"),
    "redirect that echoes": _http("301 Moved", b"", "Location: /3/other?api_key=SECRET"),
    "redirect to nowhere": _http("302 Found", b"", "Location: http://["),
    "404 that echoes": _echo("404 Not Found"),
    "401 that echoes": _echo("401 Unauthorized"),
    "500 that echoes": _echo("500 Internal Server Error"),
    "HTML that echoes": _http("403 Forbidden", b"<p>?api_key=SECRET</p>"),
    "not HTTP": b"api_key=SECRET\r\n\r\n",
    "too many headers": _http("200 OK", b"{}", *(f"X-{n}: SECRET" for n in range(200))),
    "body that is no gzip": _http("200 OK", b"SECRET", "Content-Encoding: gzip"),
    "an array": _http("200 OK", b'["SECRET"]'),
}


@pytest.mark.parametrize(
    ("secret", "sign_in"),
    [(KEY, SignIn(key=KEY)), (TOKEN, SignIn(token=TOKEN))],
    ids=["key", "token"],
)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_hostile_answer_makes_the_client_tell_the_sign_in(
    hostile: str, secret: str, sign_in: SignIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with _server(HOSTILE[hostile].replace(b"SECRET", secret.encode())) as base_url:
        error = _failure(base_url, sign_in=sign_in)
    assert secret not in _told(error) + _logged(caplog)


@pytest.mark.parametrize(
    "kind", "401 404 422 429 500 503 dropped hang truncated truncated-json not-json".split()
)
def test_no_fault_of_the_stand_in_tells_the_key(
    kind: str,
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tmdb_module, "_READ_TIMEOUT_S", 0.1)
    caplog.set_level(logging.DEBUG)
    sandbox = stand_in(faults=[Fault(kind)])
    error = _failure(sandbox.base_url)
    assert sandbox.requests[0].query["api_key"] == [KEY]
    assert KEY not in _told(error) + _logged(caplog)
    assert any(record.name.startswith("urllib3") for record in caplog.records)


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:{port}/3", "https://127.0.0.1:{port}/3", "http://./3"]
)
def test_no_failure_to_connect_tells_the_key(
    base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = _failure(base_url.format(port=port))
    assert KEY not in _told(error) + _logged(caplog)


def test_malformed_headers_do_not_tell_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with _server(_http("200 OK", b"", "no colon in this line", "X-After: 1")) as base_url:
        _outcome(base_url)
    assert caplog.records
    assert KEY not in _logged(caplog)


def test_a_key_is_hidden_from_an_answers_debug_lines_too(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert isinstance(_outcome(stand_in().base_url), Answer)
    assert f"GET /3{MOVIES}?page=1&api_key=*** HTTP/1.1" in caplog.text
    assert KEY not in _logged(caplog)


# Answers of other shapes


def test_a_redirect_is_not_followed() -> None:
    with (
        _server(_http("200 OK", b"{}")) as other,
        _server(_http("302 Found", b"", f"Location: {other}/movie/1")) as base_url,
    ):
        error = _failure(base_url)
    assert isinstance(error, TmdbRefused)
    assert "HTTP 302 Found" in str(error)
    assert "check TMDB_BASE_URL" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (_http("200 OK", b"[]"), TmdbRefused, "a JSON list, not an object"),
        (_http("200 OK", b"null"), TmdbRefused, "a JSON NoneType, not an object"),
        (_http("204 No Content"), TmdbRefused, "HTTP 204 No Content"),
        (
            _http("422 Unprocessable", b'{"errors":["page must be less", "or equal"]}'),
            TmdbRefused,
            "HTTP 422 page must be less; or equal",
        ),
        (_http("404 Not Found", b'{"status_message": 7}'), TmdbRefused, "HTTP 404 Not Found"),
        (_http("404 Not Found", b"[" * 200_000), TmdbRefused, "HTTP 404 Not Found"),
        (
            _http("401 Unauthorized", b"<html><h1>Access denied</h1></html>"),
            CredentialsRefused,
            "HTTP 401 Unauthorized",
        ),
    ],
)
def test_an_answer_of_another_shape_is_described_in_one_line(
    answer: bytes, kind: type[IngestError], told: str
) -> None:
    with _server(answer) as base_url:
        error = _failure(base_url)
    assert type(error) is kind
    assert told in str(error)
    assert "<" not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b'{"page": 1', b"<!DOCTYPE html>", b'{"page": NaN}', b'{"page": 1e999}'),
        *(b'{"page": "\xff"}', b'{"a":' * 100_000),
    ],
    ids=["empty", "cut", "HTML", "NaN", "infinite", "not UTF-8", "deep"],
)
def test_a_body_that_is_no_json_is_tried_again(body: bytes) -> None:
    with _server(_http("200 OK", body)) as base_url:
        assert "2 times in a row" in str(_failure(base_url))


def test_an_endless_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmdb_module, "_LARGEST_BODY", 100_000)
    with _server(_http("200 OK", b'{"a":"' + b"a" * 200_000 + b'"}')) as base_url:
        assert "2 times in a row" in str(_failure(base_url))


@pytest.mark.parametrize(
    "headers",
    [
        ["Age: soon", "Date: yesterday"],
        ["Age: -1", "Date: Fri, 99 Nov 2026 06:00:00 GMT"],
        ["Age: 1.5", "Date: Fri, 31 Dec 9999 23:59:59 -1400"],
        ["Age:", "Date:"],
        [],
    ],
)
def test_headers_that_cannot_be_read_count_as_absent(headers: list[str]) -> None:
    with _server(_http("200 OK", b"{}", *headers)) as base_url:
        answer = _outcome(base_url)
    assert answer == Answer(body={}, etag=None, age_s=None, made_at=None)


# The deadline


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "500 Internal Server Error"])
@pytest.mark.parametrize("framing", ["plain", "gzip", "chunked"])
def test_a_body_that_trickles_is_ended_by_the_deadline(status: str, framing: str) -> None:
    body = bytes(range(256))
    answer = _http(status, body, "Location: /elsewhere")
    if framing == "gzip":
        body = gzip.compress(body)
        answer = _http(status, body, "Location: /elsewhere", "Content-Encoding: gzip")
    if framing == "chunked":
        head = f"HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = head.encode() + b"1\r\n \r\n" * 50
    begun = time.monotonic()
    with _server(answer, trickle=240) as base_url:
        error = _failure(base_url, seconds=0.4, retries=1_000_000)
    assert time.monotonic() - begun < 3
    assert isinstance(error, DeadlineExceeded)
