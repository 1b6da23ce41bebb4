"""Runs of the main job for tests: in this process, as a program, and through a watched bucket."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import unescape

import requests

import handler
from ingest.pacing import Backoff
from ingest.sandbox import SANDBOX_API_KEY, SANDBOX_TOKEN
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.sandbox import Sandbox
    from support import S3Server

DAY = "2026-11-20"
SCHEDULED = {"scheduled_time": f"{DAY}T06:00:00Z"}
LAKE = Path("lake")
MOVIES = f"raw/TMDB/JSON/Movies/2026/11/20/movies_{DAY}.json"
SERIES = f"raw/TMDB/JSON/Series/2026/11/20/series_{DAY}.json"


def manifest_key(key: str) -> str:
    return key.rpartition("/")[0] + "/_manifest.json"


COMMITTED = {MOVIES, SERIES, manifest_key(MOVIES), manifest_key(SERIES)}
"""The keys that a plain run leaves in the lake."""


def variables(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """The variables of a run over ``sandbox``, as fast as a setting allows."""
    plain = {"TMDB_ACCESS_TOKEN": SANDBOX_TOKEN, "TMDB_RATE": "50"}
    return {"TMDB_BASE_URL": sandbox.base_url, **plain, **more}


class Context:
    """What Lambda passes beside the event, with so much time left."""

    aws_request_id = "request-1"

    def __init__(self, millis: int = 60_000) -> None:
        self._millis = millis

    def get_remaining_time_in_millis(self) -> int:
        return self._millis


@contextlib.contextmanager
def _alone(environ: Mapping[str, str]) -> Iterator[None]:
    """Set ``environ``, let retries follow at once, and leave no log handler behind."""
    logger = logging.getLogger("ingest")
    with (
        mock.patch.dict(os.environ, environ),
        mock.patch("ingest.tmdb.Backoff", return_value=Backoff(base_s=0.0)),
    ):
        try:
            yield
        finally:
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)


def answer(event: object, environ: Mapping[str, str], context: Any = None) -> dict[str, Any]:
    """What ``lambda_handler`` returns."""
    with _alone(environ):
        return handler.lambda_handler(event, context)


def report(event: object, environ: Mapping[str, str], context: Any = None) -> dict[str, Any]:
    """The body of what ``lambda_handler`` returns."""
    body: dict[str, Any] = json.loads(answer(event, environ, context)["body"])
    return body


def statuses(body: Mapping[str, Any]) -> dict[str, str]:
    return {dataset["name"]: dataset["status"] for dataset in body["datasets"]}


@dataclass(frozen=True)
class Ended:
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def main(environ: Mapping[str, str], *arguments: str) -> Ended:
    """What ``python handler.py`` does, in this process and with retries that follow at once."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        _alone(environ),
    ):
        code = handler.main(list(arguments))
    return Ended(code, out.getvalue(), err.getvalue())


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` and what a Python needs to start; nothing of whoever runs the tests."""
    kept = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")
    ours = {name: os.environ[name] for name in kept if name in os.environ}
    ours |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return {**ours, "PYTHONPATH": str(REPOSITORY), **environ}


HANDLER = str(REPOSITORY / "handler.py")


def program(environ: Mapping[str, str], *arguments: str) -> Ended:
    """Run ``python ARGUMENTS`` in the working directory: HANDLER, or -c and code."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=child_environment(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def files(root: Path = LAKE) -> dict[str, bytes]:
    """Every file below ``root``, hidden ones too, as a bucket would name it."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def objects(server: S3Server, bucket: str) -> dict[str, bytes]:
    """Every object of ``bucket``."""
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def manifest(lake: Mapping[str, bytes], key: str) -> dict[str, Any]:
    """The manifest beside the object ``key``."""
    document: dict[str, Any] = json.loads(lake[manifest_key(key)])
    return document


def exact(text: bytes | str) -> Any:
    """JSON with its numbers as they are written, so that 1.0 and 1 differ."""
    return json.loads(text, parse_float=str, parse_int=str)


def served(sandbox: Sandbox, path: str, until: str) -> list[Any]:
    """The first 100 records that TMDB serves for the default filters, as ``exact`` reads them."""
    asked = {
        "api_key": SANDBOX_API_KEY,
        "include_adult": "false",
        "language": "pt-BR",
        "with_genres": "16,35",
        until: "2023-12-31",
    }
    records = []
    for page in range(1, 6):
        params = {**asked, "page": str(page)}
        reply = requests.get(sandbox.base_url + path, params=params, timeout=10)
        records += exact(reply.content)["results"]
    return records


class WatchedBucket:
    """A new bucket of a real server, behind a proxy that notes each request: method and key.

    A bulk delete is noted as a DELETE of each of its keys.
    ``refuse`` gets method and key, and may name the S3 error to answer with instead. It is called
    before the server sees anything.
    """

    def __init__(
        self, server: S3Server, refuse: Callable[[str, str], str | None] = lambda *_: None
    ) -> None:
        self.server = server
        self.bucket = server.new_bucket()
        self.seen: list[tuple[str, str]] = []
        self._refuse = refuse
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._proxy.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._proxy.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._proxy.server_port}"
        return {**self.server.environment(self.bucket), "ENDPOINT_URL": url}

    def objects(self) -> dict[str, bytes]:
        return objects(self.server, self.bucket)

    def changes(self, folder: str) -> list[tuple[str, str]]:
        """Method and name of each request that writes below ``folder``, in order."""
        return [
            (method, key.rpartition("/")[2])
            for method, key in self.seen
            if method in {"PUT", "DELETE"} and f"/{folder}/" in key
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        watched, upstream = self, urlsplit(self.server.endpoint_url)

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                address = urlsplit(self.path)
                asked = [(self.command, unquote(address.path).removeprefix(f"/{watched.bucket}/"))]
                if self.command == "POST" and "delete" in address.query:
                    keys = re.findall("<Key>(.*?)</Key>", body.decode())
                    asked = [("DELETE", unescape(key)) for key in keys]
                watched.seen += asked
                code = next(filter(None, (watched._refuse(*each) for each in asked)), None)
                if code:
                    text = f"<Error><Code>{code}</Code><Message>Not\nhere.</Message></Error>"
                    status = 404 if code.startswith("NoSuch") else 403
                    self._reply(status, [("Content-Type", "application/xml")], text.encode())
                    return
                connection = HTTPConnection(upstream.hostname or "", upstream.port, timeout=10)
                with contextlib.closing(connection):
                    connection.request(self.command, self.path, body, dict(self.headers))
                    reply = connection.getresponse()
                    headers = [
                        (name, value)
                        for name, value in reply.getheaders()
                        if name.lower() not in {"content-length", "transfer-encoding", "connection"}
                    ]
                    self._reply(reply.status, headers, reply.read())

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

            def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in [*headers, ("Content-Length", str(len(body)))]:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: ``seen`` tells."""

        return Handler
