"""The stand-in of the TMDB API as an HTTP server: sign-in, headers, connections, the command."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ingest.sandbox import SANDBOX_API_KEY, SANDBOX_TOKEN, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 10


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as signed_in:
        signed_in.headers["Authorization"] = f"Bearer {SANDBOX_TOKEN}"
        yield signed_in


# Signing in


def _status(sandbox: Sandbox, path: str = "/authentication", **sent: Any) -> int:
    return requests.get(sandbox.base_url + path, timeout=TIMEOUT_S, **sent).status_code


def test_a_token_goes_into_the_header_and_a_key_into_the_query(sandbox: Sandbox) -> None:
    assert _status(sandbox, headers={"Authorization": f"Bearer {SANDBOX_TOKEN}"}) == 200
    assert _status(sandbox, params={"api_key": SANDBOX_API_KEY}) == 200


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"headers": {"Authorization": f"Bearer {SANDBOX_API_KEY}"}},
        {"headers": {"Authorization": SANDBOX_TOKEN}},
        {"headers": {"Authorization": "Bearer "}},
        {"params": {"api_key": SANDBOX_TOKEN}},
        {"params": {"api_key": SANDBOX_API_KEY[:-1]}},
        {"params": {"api_key": ""}},
    ],
)
@pytest.mark.parametrize("path", ["/authentication", "/discover/movie", "/nowhere"])
def test_anything_else_is_error_7(sandbox: Sandbox, sent: dict[str, Any], path: str) -> None:
    answer = requests.get(sandbox.base_url + path, timeout=TIMEOUT_S, **sent)
    assert answer.status_code == 401
    assert answer.json()["status_code"] == 7


def test_a_sandbox_may_know_its_own_credentials_only() -> None:
    own_key, own_token = "f" * 32, "eyJown"
    with Sandbox(credentials=frozenset({own_key, own_token})) as sandbox:
        assert _status(sandbox, params={"api_key": own_key}) == 200
        assert _status(sandbox, headers={"Authorization": f"Bearer {own_token}"}) == 200
        assert _status(sandbox, params={"api_key": SANDBOX_API_KEY}) == 401
        assert _status(sandbox, headers={"Authorization": f"Bearer {SANDBOX_TOKEN}"}) == 401


# HTTP


def _get(session: requests.Session, sandbox: Sandbox, path: str) -> requests.Response:
    return session.get(sandbox.base_url + path, timeout=TIMEOUT_S)


def test_gzip_is_used_when_accepted_and_only_then(
    session: requests.Session, sandbox: Sandbox
) -> None:
    url = f"{sandbox.base_url}/discover/movie"
    plain = session.get(url, headers={"Accept-Encoding": "identity"}, timeout=TIMEOUT_S)
    assert "Content-Encoding" not in plain.headers
    refused = session.get(url, headers={"Accept-Encoding": "gzip;q=0, br"}, timeout=TIMEOUT_S)
    assert "Content-Encoding" not in refused.headers
    packed = session.get(
        url, headers={"Accept-Encoding": "br, gzip;q=0.5"}, timeout=TIMEOUT_S, stream=True
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    raw = packed.raw.read(decode_content=False)
    assert len(raw) == int(packed.headers["Content-Length"])
    assert gzip.decompress(raw) == plain.content


def test_a_page_that_did_not_change_is_304(session: requests.Session, sandbox: Sandbox) -> None:
    first = _get(session, sandbox, "/discover/movie")
    tag = first.headers["ETag"]
    assert tag == f'W/"{hashlib.md5(first.content, usedforsecurity=False).hexdigest()}"'
    url = f"{sandbox.base_url}/discover/movie"
    again = session.get(url, headers={"If-None-Match": tag}, timeout=TIMEOUT_S)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == tag
    other = session.get(url, headers={"If-None-Match": 'W/"x"'}, timeout=TIMEOUT_S)
    assert other.status_code == 200
    assert _get(session, sandbox, "/discover/movie?page=2").headers["ETag"] != tag


def test_a_page_is_fresh(session: requests.Session, sandbox: Sandbox) -> None:
    answer = _get(session, sandbox, "/discover/movie")
    assert "Age" not in answer.headers
    now = parsedate_to_datetime(_get(session, sandbox, "/genre/tv/list").headers["Date"])
    assert abs((now - parsedate_to_datetime(answer.headers["Date"])).total_seconds()) < 30


def test_what_an_answer_varies_by(session: requests.Session, sandbox: Sandbox) -> None:
    varies = _get(session, sandbox, "/discover/movie").headers["Vary"]
    assert varies.lower().split(", ") == ["accept-encoding", "origin"]


def _connect(sandbox: Sandbox) -> socket.socket:
    host, port = sandbox.base_url.split("/")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def _request(method: str = "GET") -> bytes:
    path = f"/3/genre/tv/list?api_key={SANDBOX_API_KEY}"
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_connections_are_kept(sandbox: Sandbox) -> None:
    """Two requests and their answers on one socket."""
    with _connect(sandbox) as connection:
        for _ in range(2):
            connection.sendall(_request())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_head_is_get_without_the_body(sandbox: Sandbox) -> None:
    with _connect(sandbox) as connection:
        connection.sendall(_request("HEAD"))
        head = connection.recv(65536)
        assert head.endswith(b"\r\n\r\n")
        connection.sendall(_request())
        announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(connection.recv(65536).split(b"\r\n\r\n", 1)[1]) == announced > 0


def test_stop_closes_idle_connections_and_ends_their_threads() -> None:
    before = set(threading.enumerate())
    with Sandbox() as sandbox:
        connection = _connect(sandbox)
        connection.sendall(_request())
        connection.recv(65536)
    with connection:
        assert connection.recv(1) == b""
    _join_all_but(before)


def test_stop_ends_the_threads_of_hanging_answers() -> None:
    before = set(threading.enumerate())
    with Sandbox(faults=[Fault("hang")]) as sandbox:
        connection = _connect(sandbox)
        connection.sendall(_request())
        while not sandbox.requests:
            time.sleep(0)
    connection.close()
    _join_all_but(before)


def _join_all_but(before: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_requests_are_recorded_in_order() -> None:
    with Sandbox() as sandbox:
        for page in (3, 501):
            requests.get(
                f"{sandbox.base_url}/discover/movie",
                params={"api_key": SANDBOX_API_KEY, "page": page, "with_genres": "16,35"},
                headers={"X-Trace": "t"},
                timeout=TIMEOUT_S,
            )
        first, second = sandbox.requests
    assert (first.method, first.path, first.status) == ("GET", "/3/discover/movie", 200)
    assert first.query == {"api_key": [SANDBOX_API_KEY], "page": ["3"], "with_genres": ["16,35"]}
    assert first.headers["x-trace"] == "t"
    assert second.status == 400
    assert first.at <= second.at


def test_ten_connections_are_answered_at_once() -> None:
    """None is answered before all ten are open, then all are let go together."""
    with ThreadPoolExecutor(10) as pool:
        with Sandbox(faults=[Fault("hang")]) as sandbox:
            url = f"{sandbox.base_url}/discover/movie"
            asked = [pool.submit(requests.get, url, timeout=TIMEOUT_S) for _ in range(10)]
            deadline = time.monotonic() + TIMEOUT_S
            while sandbox.peak_connections < 10 and time.monotonic() < deadline:
                time.sleep(0)
        assert sandbox.peak_connections == 10
        assert all(isinstance(each.exception(), requests.ConnectionError) for each in asked)


def test_one_client_is_one_connection(session: requests.Session) -> None:
    with Sandbox() as sandbox:
        for _ in range(5):
            _get(session, sandbox, "/discover/tv")
        assert sandbox.peak_connections == 1


def test_only_the_latest_requests_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.sandbox.server._KEPT_REQUESTS", 3)
    with Sandbox() as sandbox, requests.Session() as session:
        for page in range(5):
            _get(session, sandbox, f"/discover/tv?page={page}")
        assert [seen.query["page"] for seen in sandbox.requests] == [["2"], ["3"], ["4"]]


def test_latency_delays_every_answer() -> None:
    with Sandbox(latency_s=0.1) as sandbox:
        began = time.monotonic()
        assert _status(sandbox, params={"api_key": SANDBOX_API_KEY}) == 200
        assert time.monotonic() - began >= 0.1


def test_the_port_is_free_after_stop() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(RuntimeError):
            sandbox.start()
    sandbox.stop()
    with pytest.raises(RuntimeError):
        _ = sandbox.base_url
    with Sandbox(port=port) as again:
        assert _status(again, params={"api_key": SANDBOX_API_KEY}) == 200


# The command


def _command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ingest.sandbox", *arguments],
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_serves_until_interrupted() -> None:
    process = _command("--port", "0", "--fault", "404:times=1,path=/tv/", "--credential", "a" * 32)
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.split()[1]
    key = {"api_key": "a" * 32}
    assert "a" * 32 in line
    assert requests.get(f"{url}/genre/tv/list", params=key, timeout=TIMEOUT_S).status_code == 404
    assert requests.get(f"{url}/genre/tv/list", params=key, timeout=TIMEOUT_S).status_code == 200
    other = requests.get(url, params={"api_key": SANDBOX_API_KEY}, timeout=TIMEOUT_S)
    assert other.status_code == 401
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_taken_port_is_one_line_and_exit_2(sandbox: Sandbox) -> None:
    process = _command("--port", sandbox.base_url.split(":")[2].split("/")[0])
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert os.strerror(errno.EADDRINUSE) in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "nonsense"],
        ["--fault", "429:times=x"],
        ["--fault", "error:code=99"],
        ["--fault", "slow:seconds=nan"],
        ["--latency", "-1"],
        ["--recorded", "/nowhere"],
        ["--port", "99999"],
        ["--host", "192.0.2.1"],
    ],
)
def test_what_cannot_be_done_is_exit_2(arguments: list[str]) -> None:
    process = _command("--port", "0", *arguments)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out) == (2, "")
    assert err
    assert "Traceback" not in err
