"""One connection: what is sent and answered, and what a connection that fails is taken for."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from ingest.storage.reply import Unreachable
from ingest.storage.wire import Wire
from tinys3 import Answer, Asked, certify, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def _answering(*answers: bytes) -> Iterator[str]:
    """Serve one connection for each of ``answers``, and close it then."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(30)


def _body(wire: Wire, url: str) -> bytes:
    wire.send("GET", url, {})
    return wire.body(wire.answer(), 100)


@pytest.mark.parametrize("length", [0, 5, 20, len(_WHOLE) - 1])
def test_an_answer_that_is_cut_short_is_none_and_the_next_request_connects_anew(
    length: int,
) -> None:
    with _answering(_WHOLE[:length], _WHOLE) as url, closing(Wire(url)) as wire:
        with pytest.raises(Unreachable) as caught:
            _body(wire, url)
        assert not caught.value.is_final
        assert _body(wire, url) == b"ok"


def test_who_hurries_waits_but_a_moment() -> None:
    release = threading.Event()

    def answer(asked: Asked) -> Answer:
        assert asked.path != "/slow" or release.wait(60)
        return Answer(body=b"ok")

    with serve(answer) as url, closing(Wire(url, answer_s=300)) as wire:
        wire.send("GET", f"{url}/slow", {})
        wire.hurry()
        with pytest.raises(Unreachable, match="timed out"):
            wire.answer()
        release.set()
        assert _body(wire, url) == b"ok"


def test_who_has_hurried_waits_for_the_next_answer_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.storage.wire._MOMENT_S", 30.0)
    waits = []
    wait = socket.socket.settimeout

    def noted(connected: socket.socket, seconds: float | None) -> None:
        waits.append(seconds)
        wait(connected, seconds)

    with serve(lambda _: Answer(body=b"ok")) as url, closing(Wire(url, answer_s=300)) as wire:
        wire.send("GET", url, {})
        monkeypatch.setattr(socket.socket, "settimeout", noted)
        wire.hurry()
        assert wire.body(wire.answer(), 100) == b"ok"
        assert waits == [30.0, 300]


@pytest.mark.parametrize("proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_that_is_not_spoken_to_in_the_clear_is_refused(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(Unreachable, match=proxy.partition("//")[0]):
        Wire("http://store.invalid")


class _Tunnel:
    """A proxy that connects to where it is told, for who gives its password."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"me:secret@127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = client.recv(65_536).decode()
        self.heads.append(head)
        with client, suppress(OSError):
            if "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" not in head:
                client.sendall(b"HTTP/1.1 407 Who is it?\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = head.split()[1].rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Go on\r\nVia: here\r\n\r\n")
                back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
                back.start()
                self._pass_on(client, server)
                back.join(30)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_tls_goes_through_a_proxy_that_is_told_no_more_than_where_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    monkeypatch.setenv("no_proxy", "")
    with serve(lambda _: Answer(body=b"ok"), certificate) as url, closing(_Tunnel()) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        with closing(Wire(url)) as wire:
            wire.send("GET", f"{url}/key?query", {"Authorization": "signed"})
            assert wire.body(wire.answer(), 100) == b"ok"
        monkeypatch.setenv("https_proxy", f"http://{proxy.address.partition('@')[2]}")
        with closing(Wire(url)) as wire, pytest.raises(Unreachable, match="HTTP 407"):
            wire.send("GET", f"{url}/key", {})
    where = url.removeprefix("https://")
    assert [head.splitlines()[0] for head in proxy.heads] == [f"CONNECT {where} HTTP/1.1"] * 2
    assert not any("signed" in head or "key" in head for head in proxy.heads)
