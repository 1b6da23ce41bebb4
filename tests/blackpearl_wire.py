"""The connections of the BlackPearl of tests: HTTP/1.1 by hand, and what goes wrong on it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections import deque
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from blackpearl_faults import Corrupt, Faults
from blackpearl_messages import Refused, Reply, Request, bad_request
from faultproxy import Answer, Before, DropAnswer, DropRequest, Seen, Stall, StallAnswer, Truncate

if TYPE_CHECKING:
    import io
    import ssl
    from collections.abc import Callable

    from faultproxy import Rule

_KEPT_REQUESTS = 100_000  # the oldest are forgotten, so that a long run stays small
_SOON_S = 30
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Wire(socketserver.ThreadingTCPServer):
    """Serves ``answer`` to each request that no rule is for; ``refuse`` writes errors.

    ``clock_offset_s`` is how much its clock is ahead.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        answer: Callable[[Request], Reply],
        refuse: Callable[[Refused, str], bytes],
        clock_offset_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        if tls:
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.answer = answer
        self.refuse = refuse
        self.clock_offset_s = clock_offset_s
        self.faults = Faults()
        self.requests: deque[Seen] = deque(maxlen=_KEPT_REQUESTS)
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self.crashes: list[str] = []
        self.numbers = itertools.count(1)
        self._open: set[socket.socket] = set()

    def received(self, seen: Seen) -> Rule | None:
        """Note a request; return the rule that is for it."""
        with self.changed:
            self.requests.append(seen)
            seen.failed_by = self.faults.for_request(seen)
            self.changed.notify_all()
            return seen.failed_by

    def answered(self, seen: Seen, status: int) -> None:
        with self.changed:
            seen.status = status
            self.changed.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, _SOON_S), "it did not come to that"

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.changed:
            self._open.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        """Stop serving and close every connection, answered or not."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self.changed:
            left = list(self._open)
        for each in left:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    server: Wire
    rfile: io.BufferedReader
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # A client that goes away, or trusts no certificate of ours, is its own affair.
        with contextlib.suppress(OSError):
            while self._exchange():
                pass

    def _exchange(self) -> bool:
        """Carry out one request; return whether another may come."""
        seen, path = self._head()
        if not seen:
            return False
        rule = self.server.received(seen)
        action = rule.action if rule else None
        if isinstance(action, Before):
            action.function()
        body = self._body(seen, action)
        if body is None:
            return False
        request = Request(seen.method, path, seen.query, seen.headers, body)
        reply = self._told(request, action) if isinstance(action, Answer) else self._answer(request)
        return self._send(seen, reply, action) and not _is_last(seen)

    def _head(self) -> tuple[Seen | None, str]:
        """Return a request without its body, and its path as it was sent."""
        first = self.rfile.readline().decode("latin-1").split()
        headers: dict[str, str] = {}
        for line in iter(self.rfile.readline, b"\r\n"):
            if not line:
                return None, ""
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        if len(first) != 3:
            return None, ""
        method, target, _ = first
        if not target.startswith("/"):  # as a proxy gets it: this server stands behind itself
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("?")
        return Seen(method, unquote(path), query, headers), path

    def _body(self, seen: Seen, action: object) -> bytes | None:
        """Return the body of a request; None where it does not come to its end."""
        length = _length(seen.headers)
        if "expect" in seen.headers and not isinstance(action, Answer):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        cut = min(action.after, length) if isinstance(action, DropRequest | Stall) else length
        body = self.rfile.read(cut) if cut else b""
        if isinstance(action, Stall):
            self._hold(action.release)
            body += self.rfile.read(length - cut)
        seen.body_size = len(body)
        return None if isinstance(action, DropRequest) or len(body) < length else body

    def _hold(self, release: threading.Event) -> None:
        while not release.wait(0.01):
            if self.server.closing.is_set():
                raise ConnectionAbortedError

    def _answer(self, request: Request) -> Reply:
        try:
            _check_length(request)
            return self.server.answer(request)
        except Refused as refused:
            return self._refusal(refused, request.path)
        except Exception:  # noqa: BLE001 - a defect of this server, told as one
            crash = traceback.format_exc()
            self.server.crashes.append(crash)
            sys.stderr.write(crash)
            return self._refusal(Refused(500, "InternalError", crash), request.path)

    def _told(self, request: Request, action: Answer) -> Reply:
        """Return the answer of a rule; one without a code has its message for a body."""
        headers = dict(action.headers)
        if not action.code:
            return Reply(action.status, action.message.encode(), headers)
        refused = Refused(action.status, action.code, action.message, headers)
        return self._refusal(refused, request.path)

    def _refusal(self, refused: Refused, path: str) -> Reply:
        return Reply(refused.status, self.server.refuse(refused, path), refused.headers)

    def _send(self, seen: Seen, reply: Reply, action: object) -> bool:
        """Send an answer, or what a rule leaves of it; return whether the connection can go on."""
        body = b"" if seen.method == "HEAD" else reply.body
        length = len(body) if reply.length is None else reply.length
        if isinstance(action, Corrupt) and body:
            at = min(action.at, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        if isinstance(action, Truncate) and action.after < len(body):
            body = body[: action.after]
            length = len(body) if action.relabel else length
        whole = len(body) == length or seen.method == "HEAD"
        data = self._written(reply, length, is_last=_is_last(seen)) + body
        self.server.answered(seen, reply.status)
        if isinstance(action, DropAnswer | StallAnswer):
            self.wfile.write(data[: action.after])
            data = data[action.after :]
            if isinstance(action, DropAnswer):
                return False
            self._hold(action.release)
        # Before it is written: whoever has read it may ask on another connection what it did.
        if reply.delivered and len(body) == len(reply.body):
            reply.delivered()
            with self.server.changed:
                self.server.changed.notify_all()
        self.wfile.write(data)
        return whole

    def _written(self, reply: Reply, length: int, *, is_last: bool) -> bytes:
        """Return the head of an answer."""
        lines = [
            f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}",
            f"Date: {_date(int(time.time() + self.server.clock_offset_s))}",
            "RequestHandler-Version: 1.0",
            f"x-amz-request-id: {next(self.server.numbers)}",
        ]
        if is_last:
            lines.append("Connection: close")
        if reply.body and "Content-Type" not in reply.headers:
            lines.append("Content-Type: text/xml")
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_last(seen: Seen) -> bool:
    """Whether the client wants no other request on its connection."""
    return seen.headers.get("connection", "").lower() == "close"


def _check_length(request: Request) -> None:
    if not request.headers.get("content-length", "0").isdigit():
        raise bad_request("Content-Length is no number")
    if request.method == "PUT" and "content-length" not in request.headers:
        raise Refused(411, "MissingContentLength", "Content-Length is required")


def _length(headers: dict[str, str]) -> int:
    told = headers.get("content-length", "0")
    return int(told) if told.isdigit() else 0


@lru_cache(2)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
