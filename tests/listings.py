"""What tests of listings share: a peer that answers them as it is told, and what came of it."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote_plus, urlsplit
from xml.sax.saxutils import escape

import pytest

from ingest.errors import IngestError
from ingest.settings import AccessKey
from ingest.storage.listing import list_objects
from ingest.storage.pages import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


KEY = AccessKey("TESTACCESSKEY", "test-secret-key")
_ROW = (
    "<Contents><Key>{}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
    "<ETag>&quot;abc&quot;</ETag><Size>7</Size></Contents>"
)


def xml_of(
    keys: Iterable[str] = (),
    *,
    more: str | None = "false",
    token: str | None = None,
    prefixes: Iterable[str] = (),
    encode: Callable[[str], str] | None = quote_plus,
) -> bytes:
    """Render a page; ``encode`` None is a store that does not url-encode, nor says it does."""
    write = encode or escape
    parts = ["<Prefix/>"]
    parts += [_ROW.format(write(key)) for key in keys]
    parts += [f"<CommonPrefixes><Prefix>{write(p)}</Prefix></CommonPrefixes>" for p in prefixes]
    parts += [f"<IsTruncated>{more}</IsTruncated>"] if more else []
    parts += [f"<NextContinuationToken>{token}</NextContinuationToken>"] if token else []
    parts += ["<EncodingType>url</EncodingType>"] if encode else []
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ListBucketResult xmlns="{namespace}">{"".join(parts)}</ListBucketResult>'.encode()


@dataclass(frozen=True)
class Reply:
    """One answer; ``length`` is the Content-Length it claims, ``drop`` sends nothing at all."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    drop: bool = False


class Peer(ThreadingHTTPServer):
    """A server that answers each listing with ``answer(query)`` and remembers the query."""

    daemon_threads = True

    def __init__(self, answer: Callable[[dict[str, str]], bytes | Reply]) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []
        self.signatures: list[str] = []
        self.connections = 0
        self.hung_up = threading.Event()
        self.third = threading.Event()
        self.targets: list[str] = []
        super().__init__(("127.0.0.1", 0), _PeerHandler)

    def place(self, **changes: Any) -> Place:
        url = f"http://127.0.0.1:{self.server_port}"
        return replace(Place("lake", lambda: KEY, url, wait=lambda _: None), **changes)


class _PeerHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Peer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.server.hung_up.set()

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        query = dict(parse_qsl(urlsplit(self.path).query, errors="surrogateescape"))
        self.server.asked.append(query)
        self.server.signatures.append(self.headers["Authorization"])
        if len(self.server.asked) == 3:
            self.server.third.set()
        answer = self.server.answer(query)
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        if reply.drop or reply.length is not None:
            self.close_connection = True
        if reply.drop:
            return
        self.send_response(reply.status)
        self.send_header(
            "Content-Length", str(len(reply.body) if reply.length is None else reply.length)
        )
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(answer: Callable[[dict[str, str]], bytes | Reply]) -> Iterator[Peer]:
    with Peer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def in_turn(*answers: bytes | Reply) -> Callable[[dict[str, str]], bytes | Reply]:
    """Give one answer after the other, and the last one from then on."""
    left = deque(answers)
    return lambda _: left.popleft() if len(left) > 1 else left[0]


def in_bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


@dataclass
class Honest:
    """What S3 answers for a bucket that has these keys, ``page`` names at a time."""

    keys: Iterable[str]
    page: int = 1000
    encode: Callable[[str], str] | None = lambda key: quote_plus(in_bytes(key))

    def __call__(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("start-after", query.get("marker", ""))
        if token := query.get("continuation-token"):
            after = bytes.fromhex(token[1:]).decode("utf-8", "surrogateescape")
        names: dict[str, bool] = {}
        for key in self.keys:
            rest = key[len(prefix) :]
            head, slash, _ = rest.partition(delimiter) if delimiter else (rest, "", "")
            name = prefix + head + slash
            if key.startswith(prefix) and in_bytes(name) > in_bytes(after):
                names[name] = bool(slash)
        ordered = sorted(names, key=in_bytes)
        page, more = ordered[: self.page], len(ordered) > self.page
        v2 = query.get("list-type") == "2"
        return xml_of(
            [name for name in page if not names[name]],
            prefixes=[name for name in page if names[name]],
            more="true" if more else "false",
            token="T" + in_bytes(page[-1]).hex() if more and v2 else None,
            encode=self.encode,
        )


def keys_of(place: Place, prefix: str = "", start_after: str = "") -> list[str]:
    return [entry.key for entry in list_objects(place, prefix, start_after)]


def failure_of(place: Place, prefix: str = "") -> IngestError:
    """Return the error that the listing ends in, which is one line, with no secret."""
    with pytest.raises(IngestError) as caught:
        keys_of(place, prefix)
    text = str(caught.value)
    assert text.startswith(f"cannot list s3://lake/{prefix} at http://127.0.0.1:")
    assert "\n" not in text
    assert "secret" not in text
    return caught.value
