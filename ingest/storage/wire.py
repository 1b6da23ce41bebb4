"""One kept-alive HTTP connection to a store, through the proxy that the environment names.

A request is one piece of memory and one call of the system where its body is small; the next one
may be sent before its answer is wanted.
"""

from __future__ import annotations

import base64
import select
import socket
import sys
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from ingest import __version__
from ingest.settings.environment import environment
from ingest.storage.reply import Malformed, Reply, Unreachable
from ingest.storage.signing import host_and_target

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Mapping

    from _typeshed import ReadableBuffer

CONNECT_S, ANSWER_S = 5.0, 30.0
"""How long to wait for a connection, and then each time for some bytes of an answer."""
_MOMENT_S = 0.1
"""Long enough for what is there already."""
_BLOCK = 262_144
"""Bytes that are sent by one call: the time to wait is for all of them."""
_SMALL = 65_536
"""Bytes of a body that are copied to be sent with the head: two calls take longer than that."""
_ALWAYS = f"User-Agent: ingest/{__version__}\r\nAccept-Encoding: identity\r\n"


class Wire:
    """A connection to the server of ``url``, for one thread at a time.

    The first request opens it, and so does the next one after it was closed. Methods raise
    ``Unreachable``, and have closed it then.
    """

    def __init__(self, url: str, *, answer_s: float = ANSWER_S) -> None:
        """Open nothing yet. ``answer_s`` is how long to wait for some bytes of an answer.

        Raises ``Unreachable`` where the proxy is of a kind that is not known here.
        """
        self._server = urlsplit(url)
        self._proxy = _proxy(self._server)
        self._answer_s = answer_s
        self._socket: socket.socket | None = None
        self._stream: BufferedReader | None = None
        self._method = ""
        self._broken: OSError | None = None

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[ReadableBuffer] | None = None,
    ) -> None:
        """Send a request to ``url``, of the same server; the one before is answered by now.

        A body that is no ``bytes`` has its ``content-length`` among the headers, which end in no
        line breaks. What it raises is passed on, once the connection is closed.
        """
        host, target = host_and_target(url)
        if self._proxy and self._server.scheme == "http":
            target, headers = url, {**headers, **_authorization(self._proxy)}
        if isinstance(body, bytes) or (body is None and method in {"PUT", "POST"}):
            headers = {**headers, "content-length": str(len(body or b""))}
        try:
            head = _head(f"{method} {target}", host, headers)
            self._connect()
            self._method = method
            self._push(head, body)
        except (OSError, Malformed, ValueError) as error:
            self.close()
            raise Unreachable(error) from None
        except BaseException:
            self.close()
            raise

    def answer(self) -> Reply:
        """Return the answer to what was sent; it is to be read to its end before the next one."""
        if self._stream is None:
            raise Unreachable(Malformed("nothing was sent"))
        try:
            reply = Reply(self._stream, self._method)
        except Unreachable:
            broken = self._broken
            self.close()
            if broken:  # why no more could be sent says more than that nothing came
                raise Unreachable(broken) from None
            raise
        if self._broken:
            if reply.status < HTTPStatus.MULTIPLE_CHOICES:  # to what it has not got all of
                broken = self._broken
                self.close()
                raise Unreachable(broken)
            reply.persistent = False
        return reply

    def body(self, answer: Reply, most: int) -> bytes:
        """Return the body of ``answer``, or the first ``most`` bytes of a longer one."""
        try:
            body = answer.read(most)
        except Unreachable:
            self.close()
            raise
        self.done(answer)
        return body

    def done(self, answer: Reply) -> None:
        """Close the connection unless another request can follow ``answer``."""
        if not (answer.persistent and answer.ended):
            self.close()
        elif self._socket and self._socket.gettimeout() != self._answer_s:
            self._socket.settimeout(self._answer_s)

    def hurry(self) -> None:
        """Wait but a moment for what there is of the answer that is under way."""
        if self._socket:
            self._socket.settimeout(_MOMENT_S)

    def close(self) -> None:
        """Close the connection, and whatever answer is under way."""
        stream, connected = self._stream, self._socket
        self._stream = self._socket = self._broken = None
        for each in (stream, connected):
            if each:
                with suppress(OSError):
                    each.close()

    def _is_quiet(self) -> bool:
        """Whether the server has neither hung up since its last answer, nor sent what is none."""
        if not (self._socket and self._stream) or _is_readable(self._socket):
            return False
        if self._method != "HEAD":
            return True
        # A body after all, which came with the head.
        self._socket.settimeout(0)
        try:
            return not self._stream.peek(1)
        except OSError:  # nothing is there
            return True
        finally:
            self._socket.settimeout(self._answer_s)

    def _connect(self) -> None:
        if self._is_quiet():
            return
        self.close()
        nearest = self._proxy or self._server
        port = nearest.port or (443 if nearest.scheme == "https" else 80)
        self._socket = socket.create_connection((nearest.hostname or "", port), CONNECT_S)
        # A head and a large body are two calls; the second is not to wait for the first.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._server.scheme == "https":
            if self._proxy:
                _tunnel(self._socket, self._server, self._proxy)
            self._socket = _secured(self._socket, self._server.hostname)
        self._socket.settimeout(self._answer_s)
        self._stream = self._socket.makefile("rb")

    def _push(self, head: bytes, body: bytes | Iterable[ReadableBuffer] | None) -> None:
        if not self._socket:
            raise Malformed("not connected")
        for block in _blocks(head, body):
            try:
                self._socket.sendall(block)
            except TimeoutError:
                raise
            except OSError as error:
                # A server that refuses need not read all of it: what it says is what counts.
                self._broken = error
                return


def _is_readable(connected: socket.socket) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([connected], [], [], 0)[0])
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))


def _blocks(head: bytes, body: bytes | Iterable[ReadableBuffer] | None) -> Iterator[ReadableBuffer]:
    if body is None or (isinstance(body, bytes) and len(body) <= _SMALL):
        yield head + (body or b"")
        return
    yield head
    if isinstance(body, bytes):
        view = memoryview(body)
        body = (view[start : start + _BLOCK] for start in range(0, len(view), _BLOCK))
    yield from body


def _head(line: str, host: str, headers: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header has a line break")
    return f"{line} HTTP/1.1\r\nHost: {host}\r\n{_ALWAYS}{lines}\r\n".encode("latin-1")


def _tunnel(connected: socket.socket, server: SplitResult, proxy: SplitResult) -> None:
    """Have the proxy connect to ``server``. Raises ``Malformed`` where it refuses."""
    name = f"[{server.hostname}]" if ":" in (server.hostname or "") else server.hostname
    where = f"{name}:{server.port or 443}"
    connected.sendall(_head(f"CONNECT {where}", where, _authorization(proxy)))
    head = bytearray()
    # Byte by byte: what comes after the head is already TLS.
    while not head.endswith(b"\r\n\r\n") and len(head) < _SMALL and (byte := connected.recv(1)):
        head += byte
    reply = Reply(BufferedReader(BytesIO(head)), "HEAD")
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise Malformed(f"the proxy refuses to connect to {where}: HTTP {reply.status}")


def _secured(connected: socket.socket, name: str | None) -> socket.socket:
    """Return ``connected`` with TLS. Raises ``Unreachable`` where none is spoken there."""
    import ssl  # noqa: PLC0415 - only for TLS, as it takes long to load

    trusted = _trust(environment().get("SSL_CERT_FILE"))
    try:
        return trusted.wrap_socket(connected, server_hostname=name)
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            raise Unreachable(error, is_final=True) from None
        raise


@lru_cache(maxsize=8)
def _trust(file: str | None) -> ssl.SSLContext:  # noqa: ARG001 - what the default depends on
    import ssl  # noqa: PLC0415 - only for TLS, as it takes long to load

    import certifi  # noqa: PLC0415 - as above

    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())  # some Pythons know of no system's
    return trusted


def _proxy(server: SplitResult) -> SplitResult | None:
    """Return the proxy for ``server``, which is spoken to in the clear, as is usual."""
    if sys.platform not in {"darwin", "win32"} and not any(
        name.lower().endswith("_proxy") for name in environment()
    ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - takes long to load

    proxies = getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(server.hostname or ""):
        return None
    try:
        found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        _ = found.port
    except ValueError:  # whose text may have a password in it
        raise Unreachable(ValueError("the proxy of the environment is no address")) from None
    if found.scheme != "http":
        raise Unreachable(
            ValueError(f"the proxy of the environment is {found.scheme}://, not http://")
        )
    return found


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
