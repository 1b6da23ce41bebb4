"""The HTTP server: connections, sign-in, faults of the wire, and what was asked of it."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qs, unquote

from ingest.sandbox import api, catalogue, recorded, replies
from ingest.sandbox.faults import LIST_KINDS, Fault, FaultPlan
from ingest.sandbox.query import Parameters
from ingest.sandbox.replies import Reply
from ingest.sandbox.scaled import Scaled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ingest.sandbox.catalogue import Dataset
    from ingest.sandbox.scaled import Titles

# Accepted by every sandbox that is not limited to credentials of its own. Not secrets.
SANDBOX_TOKEN: Final = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJzYW5kYm94In0.sandbox"  # noqa: S105
SANDBOX_API_KEY: Final = "0123456789abcdef0123456789abcdef"

_KEPT_REQUESTS: Final = 100_000  # the oldest are forgotten, so that a long run stays small
_SLOW_S: Final = 1.0
_STOP_POLL_S: Final = 0.02
_LARGEST_BODY: Final = 1 << 20

_Answer = Callable[[str, Parameters, Fault | None], Reply]


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as it came in; ``status`` is None while, or if, nothing is answered.

    ``headers`` have lower-case names, ``at`` is on the clock of ``time.monotonic()``.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    at: float
    status: int | None = None


class Sandbox:
    """A stand-in of the TMDB API on loopback, for as long as the ``with`` block lasts.

    Every request waits ``latency_s`` seconds first. ``recorded`` names a directory whose bodies
    are served instead of the invented catalogue; ``titles`` says how many titles each dataset has
    instead, in all or on each day. ``credentials`` limits sign-in to exactly these tokens and
    keys; without it anything of the right shape is accepted.

    Raises:
        ValueError: a fault that bends lists, or ``titles``, is asked for with ``recorded``.
        FileNotFoundError: ``recorded`` holds no lists.

    """

    def __init__(  # noqa: PLR0913 - each is an independent, keyword-only option
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        faults: Iterable[Fault] = (),
        recorded: Path | None = None,
        titles: Mapping[Dataset, Titles] | None = None,
        credentials: frozenset[str] | None = None,
    ) -> None:
        """Take the options; nothing listens before ``start()``."""
        faults = tuple(faults)
        if recorded is not None and titles is not None:
            message = "recorded bodies are served as they are, and have the titles they have"
            raise ValueError(message)
        if recorded is not None and any(fault.kind in LIST_KINDS for fault in faults):
            message = "recorded bodies are served as they are: faults of lists cannot be applied"
            raise ValueError(message)
        self._address = (host, port)
        self._latency_s = latency_s
        self._credentials = credentials
        self._answer = _answers(recorded, titles)
        self._plan = FaultPlan(faults)
        self._log = _Log()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen, and answer from threads of its own until ``stop()``.

        Raises:
            OSError: the port is taken, or the address is not of this machine.
            RuntimeError: it has been started already.

        """
        if self._server is not None:
            message = "the sandbox has been started already"
            raise RuntimeError(message)
        server = _Server(self._address, self._reply_to, self._log)
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_STOP_POLL_S,), name="sandbox", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection, answered or not, and free the port. Does nothing twice."""
        if self._server is None or self._thread is None:
            return
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()
        self._server = None

    def __enter__(self) -> Self:
        """Start, and give itself."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop, whatever happened."""
        self.stop()

    @property
    def base_url(self) -> str:
        """The API's root, such as ``http://127.0.0.1:8080/3``.

        Raises:
            RuntimeError: it is not listening.

        """
        if self._server is None:
            message = "the sandbox is not listening"
            raise RuntimeError(message)
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/3"

    @property
    def requests(self) -> list[SeenRequest]:
        """What was asked so far, in order of arrival: the last 100,000."""
        return self._log.seen()

    @property
    def peak_connections(self) -> int:
        """The most requests that were being answered at one time."""
        return self._log.peak

    def _reply_to(self, request: SeenRequest, stopping: threading.Event) -> _Sent | None:
        """Decide what to send, or None to close the connection without an answer."""
        fault = self._plan.take(request.path, _page_asked(request))
        kind = fault.kind if fault else ""
        wait_s = self._latency_s
        if fault and kind == "slow":
            wait_s += _SLOW_S if fault.seconds is None else fault.seconds
        if kind == "hang":
            stopping.wait()
        if kind in {"hang", "dropped"} or (wait_s and stopping.wait(wait_s)):
            return None
        reply = fault.error_reply() if fault else None
        if reply is None:
            reply = self._honest_reply(request, fault if kind in LIST_KINDS else None)
        if kind == "truncated-json":
            reply = replace(reply, body=reply.body[: len(reply.body) // 2])
        return _Sent(reply, cut=kind == "truncated")

    def _honest_reply(self, request: SeenRequest, fault: Fault | None) -> Reply:
        """Say what TMDB would. Sign-in comes before everything else, as it does there."""
        if not _signed_in(request, self._credentials):
            return replies.error(7)
        if request.method not in {"GET", "HEAD"}:
            return replies.error(42)
        parameters = {name: values[-1] for name, values in request.query.items()}
        reply = self._answer(unquote(request.path), parameters, fault)
        held = request.headers.get("if-none-match")
        tag = next((value for name, value in reply.headers if name.lower() == "etag"), None)
        return replies.not_modified(reply) if tag and held in {tag, "*"} else reply


@dataclass(frozen=True, slots=True)
class _Sent:
    """A reply and whether its body is to be cut off half-way."""

    reply: Reply
    cut: bool


class _Log:
    """The requests seen and how many were open at once. Safe between threads."""

    def __init__(self) -> None:
        self.peak = 0
        self._open = 0
        self._next = 0
        self._seen: dict[int, SeenRequest] = {}
        self._lock = threading.Lock()

    def begin(self, request: SeenRequest) -> int:
        """Note an arrival; the number it gets is for ``end()``."""
        with self._lock:
            number = self._next
            self._next += 1
            self._seen[number] = request
            self._seen.pop(number - _KEPT_REQUESTS, None)
            self._open += 1
            self.peak = max(self.peak, self._open)
            return number

    def end(self, number: int, status: int | None) -> None:
        """Note what is about to be sent: before it is, so that a client never reads ahead."""
        with self._lock:
            self._open -= 1
            if number in self._seen:
                self._seen[number] = replace(self._seen[number], status=status)

    def seen(self) -> list[SeenRequest]:
        with self._lock:
            return list(self._seen.values())


class _Server(ThreadingTCPServer):
    """A listening socket, a thread a connection, and the means to close them all at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        reply_to: Callable[[SeenRequest, threading.Event], _Sent | None],
        log: _Log,
    ) -> None:
        """Bind the address, or raise OSError."""
        self.reply_to = reply_to
        self.log = log
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Remember the connection, then serve it from a thread."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Forget the connection and close it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End every connection; the threads that read from them then end by themselves."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hung up; report everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, sends what the sandbox decided in a single write."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        self._discard_body()
        path, _, query = self.path.partition("?")
        request = SeenRequest(
            method=self.command,
            path=path,
            query=parse_qs(query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            at=time.monotonic(),
        )
        number = self.server.log.begin(request)
        sent = None
        try:
            sent = self.server.reply_to(request, self.server.stopping)
        finally:
            self.server.log.end(number, sent.reply.status if sent else None)
        if sent is None:
            self.close_connection = True
        else:
            self._send(sent)

    # The names that the base class looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815

    def _discard_body(self) -> None:
        """Read what a request carries, so that the next one on this connection is found."""
        length = self.headers.get("Content-Length", "0")
        known = length.isdecimal() and "Transfer-Encoding" not in self.headers
        if known and int(length) <= _LARGEST_BODY:
            self.rfile.read(int(length))
        else:
            self.close_connection = True

    def _send(self, sent: _Sent) -> None:
        reply, body = sent.reply, sent.reply.body
        head = [f"HTTP/1.1 {reply.status} {_reason(reply.status)}"]
        head += [f"{name}: {value}" for name, value in reply.headers]
        if body and _accepts_gzip(self.headers.get("Accept-Encoding", "")):
            body = _gzip(body)
            head.append("Content-Encoding: gzip")
        if reply.status != HTTPStatus.NOT_MODIFIED:
            head.append(f"Content-Length: {len(body)}")
        if sent.cut:
            body = body[: len(body) // 2]
            self.close_connection = True
        if self.close_connection:
            head.append("Connection: close")
        if self.command == "HEAD":
            body = b""
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    def log_message(self, *_: object) -> None:
        """Write nothing: what was asked is in ``Sandbox.requests``."""


def _answers(directory: Path | None, titles: Mapping[Dataset, Titles] | None) -> _Answer:
    if directory is not None:
        return recorded.load(directory).answer
    if titles is not None:
        return partial(api.answer, titles=Scaled(titles))
    for dataset in catalogue.SIZES:
        catalogue.by_id(dataset)  # made now, so that no first request pays for it
    return api.answer


def _signed_in(request: SeenRequest, credentials: frozenset[str] | None) -> bool:
    """Know a token in the header or a key in the query; neither works in the other's place."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.startswith("eyJ"):
        return credentials is None or token in credentials
    key = request.query.get("api_key", [""])[-1]
    if not re.fullmatch("[0-9a-f]{32}", key):
        return False
    return credentials is None or key in credentials


def _page_asked(request: SeenRequest) -> int | None:
    """Read the page of a list request, None for every other one."""
    if unquote(request.path) not in api.DISCOVER:
        return None
    text = request.query.get("page", ["1"])[-1]
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


def _accepts_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip, or anything, without refusing it by ``q=0``."""
    for part in accepted.split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding in {"gzip", "*"}:
            return not re.fullmatch(r"q=0(\.0*)?", weight)
    return False


@lru_cache(maxsize=1024)
def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
