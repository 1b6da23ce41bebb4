"""A proxy between an S3 client and a real server that fails as it is told.

Rules are data: what requests they are for, how often, and what happens to them. Requests go on
as they came, with their Host: that is what the client signed, so that it is to be given the
proxy's address as its endpoint. Each connection carries one request.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from types import TracebackType

_BLOCK = 64 << 10
_SOON_S = 30


@dataclass(frozen=True)
class Answer:
    """Answer instead of the server, which does not get the request."""

    status: int = 503
    code: str = "SlowDown"
    message: str = "Please reduce your request rate."
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DropRequest:
    """Close both connections once the server has got ``after`` bytes of the request's body."""

    after: int = 0


@dataclass(frozen=True)
class DropAnswer:
    """Close the client's connection after ``after`` bytes of the answer, its head included."""

    after: int = 0


@dataclass(frozen=True)
class Truncate:
    """Pass on ``after`` bytes of the answer's body; ``relabel`` makes that look like all of it."""

    after: int
    relabel: bool = False


@dataclass(frozen=True)
class Stall:
    """Hold the request's body back after ``after`` bytes until ``release``, or the proxy's end."""

    release: threading.Event
    after: int = 0


@dataclass(frozen=True)
class StallAnswer:
    """Hold the answer back after ``after`` bytes, its head included, until ``release``."""

    release: threading.Event
    after: int = 0


@dataclass(frozen=True)
class Before:
    """Call ``function``, such as one that changes the object, and only then pass the request on."""

    function: Callable[[], object]


Action = Answer | DropRequest | DropAnswer | Truncate | Stall | StallAnswer | Before


@dataclass(frozen=True)
class Rule:
    """What happens to matching requests: those after the first ``skip``, ``times`` times.

    ``path`` is part of the decoded path, ``query`` of the query as sent. ``times`` None is always.
    """

    action: Action
    method: str | None = None
    path: str = ""
    query: str = ""
    times: int | None = 1
    skip: int = 0

    def matches(self, seen: Seen) -> bool:
        return (
            self.method in (None, seen.method)
            and self.path in seen.path
            and self.query in seen.query
        )


@dataclass(eq=False)
class Seen:
    """A request; ``body_size`` is what the server got of it, ``status`` 0 until it is answered."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body_size: int = 0
    status: int = 0
    failed_by: Rule | None = None


@dataclass
class FaultProxy:
    """Serves on loopback within ``with``; ``rules`` may be changed meanwhile."""

    upstream: str
    rules: list[Rule] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._used: dict[int, int] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self

    @property
    def endpoint_url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def seen(self, method: str | None = None, path: str = "", query: str = "") -> list[Seen]:
        """Return the requests there were, in the order they came."""
        wanted = Rule(Answer(), method, path, query)
        with self._changed:
            return [each for each in self.requests if wanted.matches(each)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition``, which is looked at again after each request and answer."""
        with self._changed:
            assert self._changed.wait_for(condition, _SOON_S), "it did not come to that"

    def received(self, seen: Seen) -> Rule | None:
        """Note a request; return the rule that is for it."""
        with self._changed:
            self.requests.append(seen)
            for rule in self.rules:
                if rule.matches(seen):
                    number = self._used.get(id(rule), 0)
                    self._used[id(rule)] = number + 1
                    if number >= rule.skip and (
                        rule.times is None or number < rule.skip + rule.times
                    ):
                        seen.failed_by = rule
                        break
            self._changed.notify_all()
            return seen.failed_by

    def answered(self, seen: Seen, status: int) -> None:
        with self._changed:
            seen.status = status
            self._changed.notify_all()

    @property
    def closing(self) -> bool:
        return self._closing.is_set()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    proxy: FaultProxy


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    rfile: io.BufferedReader

    def handle(self) -> None:
        # A client or server that goes away is what this is for.
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._handle()

    def _handle(self) -> None:
        first = self.rfile.readline().decode("latin-1").split()
        if len(first) != 3:
            return
        lines = list(iter(lambda: self.rfile.readline().rstrip(b"\r\n"), b""))
        pairs = [line.decode("latin-1").partition(":") for line in lines]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        path, _, query = first[1].partition("?")
        seen = Seen(first[0], unquote(path), query, headers)
        rule = self.server.proxy.received(seen)
        action = rule.action if rule else None
        length = int(headers.get("content-length", 0))
        if isinstance(action, Answer):
            self._answer(action, seen, length)
            return
        if isinstance(action, Before):
            action.function()
        if "expect" in headers:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        kept = [line for line in lines if not line.lower().startswith((b"expect:", b"connection:"))]
        head = b"\r\n".join(
            [" ".join(first).encode("latin-1"), *kept, b"Connection: close\r\n\r\n"]
        )
        parts = urlsplit(self.server.proxy.upstream)
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as upstream:
            upstream.sendall(head)
            if self._send_body(upstream, seen, length, action):
                self._relay(upstream.makefile("rb"), seen, action)

    def _answer(self, action: Answer, seen: Seen, length: int) -> None:
        if "expect" not in seen.headers:
            for _ in self._body(length):
                pass
        body = f"<Error><Code>{action.code}</Code><Message>{action.message}</Message></Error>"
        headers = {
            "Content-Type": "application/xml",
            "Content-Length": str(len(body.encode())),
            "Connection": "close",
            **dict(action.headers),
        }
        lines = [f"HTTP/1.1 {action.status} {HTTPStatus(action.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join([*lines, "", body if seen.method != "HEAD" else ""])
        self.server.proxy.answered(seen, action.status)
        self.wfile.write(text.encode())

    def _body(self, length: int) -> Iterator[bytes]:
        while length and (block := self.rfile.read1(min(_BLOCK, length))):
            length -= len(block)
            yield block

    def _send_body(
        self, upstream: socket.socket, seen: Seen, length: int, action: Action | None
    ) -> bool:
        """Pass the body on; return whether an answer is to be waited for."""
        cut = action.after if isinstance(action, (DropRequest, Stall)) else length
        held: list[bytes] = []
        for end in (min(cut, length), length):
            missing = end - seen.body_size - sum(map(len, held))
            for block in itertools.chain(held, self._body(missing)):
                try:
                    upstream.sendall(block)
                except (BrokenPipeError, ConnectionResetError):
                    return True  # an answer before all was read: it is what the client is to see
                seen.body_size += len(block)
            if isinstance(action, DropRequest):
                return False
            if isinstance(action, Stall) and end == cut:
                held = self._hold(action.release, length - end)
        return seen.body_size == length

    def _hold(self, release: threading.Event, left: int = 0) -> list[bytes]:
        """Wait for ``release``; return what came meanwhile, of at most ``left`` bytes.

        Without reading on, the proxy would not learn that the client has gone away.
        """
        held = []
        client = select.poll()
        client.register(self.connection, select.POLLIN)
        while not release.wait(0.01):
            while client.poll(0):
                block = self.rfile.read1(min(left, _BLOCK)) if left else self.rfile.peek(1)
                if not block:
                    raise ConnectionAbortedError
                if not left:
                    break
                held.append(block)
                left -= len(block)
            if self.server.proxy.closing:
                raise ConnectionAbortedError
        return held

    def _relay(self, source: io.BufferedReader, seen: Seen, action: Action | None) -> None:
        lines = list(iter(source.readline, b"\r\n"))
        self.server.proxy.answered(seen, int(lines[0].split()[1]))
        if isinstance(action, Truncate) and action.relabel:
            lines = [line for line in lines if not line.lower().startswith(b"content-length:")]
            lines.append(f"Content-Length: {action.after}\r\n".encode())
        # Else the client takes this connection for one that can be used again, and the request that
        # it sends on it, before it has seen the end of it, is lost.
        lines = [line for line in lines if not line.lower().startswith(b"connection:")]
        head = b"".join([*lines, b"Connection: close\r\n\r\n"])
        after = action.after if isinstance(action, (DropAnswer, StallAnswer, Truncate)) else None
        if after is not None and isinstance(action, Truncate):
            after += len(head)
        for block in itertools.chain([head], iter(lambda: source.read1(_BLOCK), b"")):
            if after is None:
                self.wfile.write(block)
                continue
            self.wfile.write(block[:after])
            if len(block) <= after:
                after -= len(block)
            elif isinstance(action, StallAnswer):
                self._hold(action.release)
                self.wfile.write(block[after:])
                after = None
            else:
                return
