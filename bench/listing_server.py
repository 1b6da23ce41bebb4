"""A bucket of any number of objects that exist only in its listing, for benchmarks.

::

    python bench/listing_server.py --objects 1000000

prints its endpoint and serves until it is stopped. The bucket may have any name, signatures are
not looked at. Objects are ``data/00000/000.bin``, ``data/00000/001.bin`` …, a thousand a
directory, all of one size and time. It answers ListObjectsV2 (prefix, delimiter ``/``,
start-after, max-keys, encoding-type) and HEAD. A page of 1,000 that begins with a directory is
one rendered page with the directory's number put in, which takes a fraction of what any client
needs to read it.
"""

from __future__ import annotations

import argparse
import base64
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit

PAGE = 1000
_HOLE = b"@@@@@"
_AFTER_ALL = "\U0010ffff"
_ROW = (
    '<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>"{etag}"</ETag>'
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


@dataclass(frozen=True)
class Objects:
    """``count`` synthetic objects, each of ``size`` bytes, last modified at ``modified``."""

    count: int
    size: int = 4096
    modified: str = "2026-01-01T00:00:00.000Z"
    etag: str = "620f0b67a91f7f74151bc5be745b7110"  # of 4,096 zero bytes

    def key(self, index: int) -> str:
        return f"data/{index // PAGE:05d}/{index % PAGE:03d}.bin"

    def row(self, key: str) -> str:
        return _ROW.format(key=key, modified=self.modified, etag=self.etag, size=self.size)

    def holds(self, key: str) -> bool:
        index = bisect_left(range(self.count), key, key=self.key)
        return index < self.count and self.key(index) == key

    @cached_property
    def _directory(self) -> bytes:
        hole = _HOLE.decode()
        return "".join(self.row(f"data/{hole}/{i:03d}.bin") for i in range(PAGE)).encode()

    def page(self, query: dict[str, str]) -> bytes:
        """Return the XML of one page."""
        prefix = query.get("prefix", "")
        limit = min(int(query.get("max-keys", PAGE)), PAGE)
        after = query.get("start-after", "")
        if "continuation-token" in query:
            after = base64.b64decode(query["continuation-token"]).decode()
        every = range(self.count)
        start = max(
            bisect_left(every, prefix, key=self.key), bisect_right(every, after, key=self.key)
        )
        stop = bisect_left(every, prefix + _AFTER_ALL, key=self.key)
        if query.get("delimiter") == "/":
            count, last, body = self._folded(start, stop, prefix, limit)
        else:
            count = max(0, min(limit, stop - start))
            last, body = self.key(start + count - 1) if count else "", self._rows(start, count)
        more = bool(count) and bisect_right(every, last, key=self.key) < stop
        return _render(query, body, count, last if more else None)

    def _rows(self, start: int, count: int) -> bytes:
        if count == PAGE and start % PAGE == 0:
            return self._directory.replace(_HOLE, b"%05d" % (start // PAGE))
        return "".join(self.row(self.key(i)) for i in range(start, start + count)).encode()

    def _folded(self, start: int, stop: int, prefix: str, limit: int) -> tuple[int, str, bytes]:
        """Return count, the last key that is covered, and the rows with common prefixes."""
        count, last, rows = 0, "", []
        while start < stop and count < limit:
            last = self.key(start)
            directory, slash, _ = last[len(prefix) :].partition("/")
            if slash:
                rows.append(
                    f"<CommonPrefixes><Prefix>{prefix}{directory}/</Prefix></CommonPrefixes>"
                )
                start = bisect_left(
                    range(self.count), f"{prefix}{directory}/{_AFTER_ALL}", key=self.key
                )
                last = self.key(start - 1)
            else:
                rows.append(self.row(last))
                start += 1
            count += 1
        return count, last, "".join(rows).encode()


def _render(query: dict[str, str], body: bytes, count: int, token: str | None) -> bytes:
    encoding = query.get("encoding-type")
    prefix = query.get("prefix", "")
    prefix = quote(prefix, safe="/") if encoding else escape(prefix)
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
        f"<Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
        f"<IsTruncated>{'false' if token is None else 'true'}</IsTruncated>"
    )
    if encoding:
        head += f"<EncodingType>{encoding}</EncodingType>"
    if token is not None:
        encoded = base64.b64encode(token.encode()).decode()
        head += f"<NextContinuationToken>{encoded}</NextContinuationToken>"
    return head.encode() + body + b"</ListBucketResult>"


class Handler(BaseHTTPRequestHandler):
    """Answers for the objects of its server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if "location" in query:
            self._answer(200, b"<LocationConstraint/>")
        else:
            self._answer(200, self.server.objects.page(query))

    def do_HEAD(self) -> None:
        _, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        objects = self.server.objects
        if key and not objects.holds(key):
            self._answer(404, b"")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(objects.size if key else 0))
        self.send_header("ETag", f'"{objects.etag}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet: a line a request would be most of the work."""


class Server(ThreadingHTTPServer):
    """Serves ``objects`` on a free port of loopback."""

    daemon_threads = True

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=4096, help="bytes of each object")
    arguments = parser.parse_args()
    server = Server(Objects(arguments.objects, arguments.size))
    print(server.endpoint_url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
