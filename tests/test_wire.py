"""One connection: what is sent and answered, and what a connection that fails is taken for."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ingest.storage.wire import Unreachable, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.mark.parametrize("proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_that_is_not_spoken_to_in_the_clear_is_refused(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(Unreachable, match=proxy.partition("//")[0]):
        Wire("http://store.invalid")
