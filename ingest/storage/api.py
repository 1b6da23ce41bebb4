"""Requests to the S3 API of one bucket, over kept-alive connections that threads share.

boto3 takes longer to load than 100 MiB take to travel, and twenty times as long for a small object;
it copies what it reads three times.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import quote, urlsplit

from ingest.storage.answers import Failed, refusal_in, refusal_of
from ingest.storage.base import Head
from ingest.storage.reply import Unreachable
from ingest.storage.signing import NOTHING, UNSIGNED, signed
from ingest.storage.wire import CONNECT_S, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from _typeshed import ReadableBuffer

    from ingest.settings import AccessKey
    from ingest.storage.connection import Clients
    from ingest.storage.reply import Reply

_P = ParamSpec("_P")
_T = TypeVar("_T")

METADATA = "x-amz-meta-"
"""What the names of headers begin with that are metadata."""
_ANSWER_S = 60.0
"""How long to wait each time for some bytes of an answer, or for some to be taken: a store may
stall for a while."""
_IDLE_S = 4.0
"""How long a connection may have been idle: many servers hang up after five seconds."""
_DOCUMENT = 16 * 1_048_576
"""Bytes, well above what a document of 1,000 items takes."""
_REFUSAL = 65_536
_DATE = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end: its headers, by lower-case names, and its body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str:
        """The ETag without quotes, empty where there is none."""
        return self.headers.get("etag", "").strip('"')

    @property
    def size(self) -> int:
        """The bytes of the object, as an answer to HEAD tells them. Raises ``Failed``."""
        size = self.headers.get("content-length", "")
        if not size.isdecimal():  # as where the head was cut short
            raise Failed("", "the answer has no Content-Length", passes=True)
        return int(size)

    @property
    def modified(self) -> float:
        """When the object was written, in seconds of Unix time; 0 where that is not told."""
        try:
            return http_date(self.headers.get("last-modified", ""))
        except ValueError:
            return 0.0

    @property
    def document(self) -> ET.Element:
        """The body as XML. Raises ``Failed`` where it is none, or tells of an error."""
        try:
            root = ET.fromstring(self.body.strip())  # noqa: S314 - expat bounds what entities expand to
        except ET.ParseError as error:
            raise Failed("", f"the answer is no XML: {error}", passes=True) from None
        if root.tag.rpartition("}")[2] == "Error":  # S3 may find out after it has said 200
            raise refusal_in(root, self.headers, HTTPStatus.OK, "")
        return root


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    ``digest`` is the SHA-256 of ``content``, for the signature; ``answer_s`` a patience of its own.
    Of an answer's body ``most`` bytes are read.
    """

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes | Iterable[ReadableBuffer] | None = None
    digest: str = NOTHING
    answer_s: float | None = None
    most: int = _DOCUMENT


class Api:
    """The S3 API of a bucket. Methods may be called from any thread, and raise ``Failed``."""

    def __init__(
        self,
        url: str,
        region: str,
        credentials: Callable[[], AccessKey],
        *,
        at: str = "",
        answer_s: float = _ANSWER_S,
    ) -> None:
        """Open no connection yet.

        ``url`` is the bucket's, without a slash at its end. ``credentials`` is asked before each
        request, so that temporary keys can be renewed. ``at`` ends what errors say of where they
        were. ``answer_s`` is how long to wait each time for some bytes to come, or to be taken.
        """
        self.at = at
        self._address = url
        self._root = url if urlsplit(url).path else f"{url}/"
        self._region = region
        self._credentials = credentials
        self._answer_s = answer_s
        self._idle: list[tuple[float, Wire]] = []
        self._answered = False
        self._closed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections; one that is in use, once it is not."""
        self._closed = True
        self._hang_up()

    def call(  # noqa: PLR0913 - what a request is made of
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] = _NONE,
        *,
        headers: Mapping[str, str] = _NONE,
        body: bytes = b"",
        answer_s: float | None = None,
        most: int = _DOCUMENT,
    ) -> Answer:
        """Send a small request, or one without a body, and return the answer.

        ``answer_s`` is for what takes a store long. Of a body of more than ``most`` bytes only so
        many are returned.
        """
        digest = hashlib.sha256(body).hexdigest() if body else NOTHING
        content = body or None
        return self.answer_to(Request(method, key, query, headers, content, digest, answer_s, most))

    def head(self, key: str) -> Head:
        """Return what the store tells of an object."""
        answer = self.call("HEAD", key)
        headers = answer.headers
        try:
            modified = http_date(headers.get("last-modified", ""))
        except ValueError as error:
            raise Failed("", f"it answers as no S3 API does: {error}") from None
        return Head(
            key,
            answer.size,
            modified,
            answer.etag or None,
            headers.get("content-type"),
            metadata_in(headers),
        )

    def put(
        self,
        key: str,
        query: Mapping[str, str],
        content: Iterable[ReadableBuffer],
        headers: Mapping[str, str],
    ) -> Answer:
        """Send ``content``, whose ``content-length`` is among the headers, piece by piece.

        The signature does not cover it: the ETag of the answer is to be compared. What ``content``
        raises is passed on, but for ``OSError``.
        """
        return self.answer_to(Request("PUT", key, query, headers, content, UNSIGNED))

    @contextmanager
    def get(
        self, key: str, headers: Mapping[str, str] = _NONE, query: Mapping[str, str] = _NONE
    ) -> Iterator[Reply]:
        """Ask for an object; its content is to be read within ``with``."""
        request = Request("GET", key, query, headers)
        with self._answer(request, self._begin(request)) as reply:
            yield reply

    def answer_to(self, request: Request) -> Answer:
        """Send a request, and return the answer."""
        return self._read(request, self._begin(request))

    def burst(self, requests: Iterable[Request]) -> list[Answer | Failed]:
        """Send small requests one after the other, and return what each is answered, in order.

        Each over a connection of its own, all from this thread: threads that wait for answers
        wait for each other as well, for Python's lock, and longer than a small object takes.
        Nothing is sent again. Once something has been waited for in vain, nothing else is: the
        rest has what is there by then.
        """
        begun: list[tuple[Request, Wire | Failed]] = []
        answers: list[Answer | Failed] = []
        remaining = iter(requests)
        is_late = False
        try:
            for request in remaining:
                sent, in_vain = _tried(CONNECT_S, self._begin, request)
                begun.append((request, sent))
                if in_vain:
                    begun.extend((request, sent) for request in remaining)
            for request, wire in begun:
                if isinstance(wire, Failed):
                    answers.append(wire)
                    continue
                if is_late:
                    wire.hurry()
                answer, in_vain = _tried(self._answer_s, self._read, request, wire)
                answers.append(answer)
                is_late |= in_vain
        finally:
            for _, wire in begun[len(answers) :]:
                if isinstance(wire, Wire):
                    wire.close()
        return answers

    def _read(self, request: Request, wire: Wire) -> Answer:
        with self._answer(request, wire) as reply:
            return Answer(reply.headers, wire.body(reply, request.most))

    def _begin(self, request: Request) -> Wire:
        """Send a request over the connection that was used last, or a new one."""
        url = self._url(request.key, request.query)
        try:
            headers = signed(
                *(request.method, url, self._credentials(), self._region),
                headers=request.headers,
                payload_hash=request.digest,
            )
            patience = request.answer_s
            wire = Wire(self._address, answer_s=patience) if patience else self._idle_wire()
            wire.send(request.method, url, headers, request.content)
        except UnicodeEncodeError:
            raise Failed("", "a header has a character that HTTP does not carry") from None
        except Unreachable as error:
            raise self._unreached(error) from None
        return wire

    @contextmanager
    def _answer(self, request: Request, wire: Wire) -> Iterator[Reply]:
        """Give the answer to what was sent, and keep the connection where it can be used again."""
        refused = None
        try:
            reply = wire.answer()
            self._answered = True
            if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
                refused = wire.body(reply, _REFUSAL)
                if request.content:  # of which the rest may still be waited for
                    wire.close()
            else:
                yield reply
                wire.done(reply)
        except Unreachable as error:
            wire.close()
            raise self._unreached(error) from None
        except BaseException:
            wire.close()
            raise
        self._keep(request, wire)
        if refused is not None:
            raise refusal_of(reply.headers, refused, reply.status, self._region)

    def _unreached(self, error: Unreachable) -> Failed:
        passes = not error.is_final
        return Failed("", str(error), passes=passes, unreached=not self._answered)

    def _keep(self, request: Request, wire: Wire) -> None:
        with self._lock:
            if not request.answer_s and not self._closed:
                self._idle.append((time.monotonic(), wire))
                return
        wire.close()

    def _idle_wire(self) -> Wire:
        latest = time.monotonic() - _IDLE_S
        with self._lock:
            if self._idle and self._idle[-1][0] >= latest:
                return self._idle.pop()[1]
        self._hang_up()
        return Wire(self._address, answer_s=self._answer_s)

    def _hang_up(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, wire in idle:
            wire.close()

    def _url(self, key: str, query: Mapping[str, str]) -> str:
        url = f"{self._address}/{quote(_bytes(key))}" if key else self._root
        asked = "&".join(f"{name}={quote(_bytes(query[name]), safe='')}" for name in sorted(query))
        return f"{url}?{asked}" if asked else url


def api_of(clients: Clients, bucket: str) -> Api:
    """Return the API of ``bucket``. Raises ``SettingsError``."""
    connection, style = clients.connection, clients.is_path_style(bucket)
    url = bucket_url(bucket, connection.endpoint_url, clients.region, path_style=style)
    answer_s = min(_ANSWER_S, connection.patience_s)
    return Api(url, clients.region, clients.access_key, at=clients.at, answer_s=answer_s)


def metadata_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata among the headers of an answer."""
    return {
        name.removeprefix(METADATA): text
        for name, text in headers.items()
        if name.startswith(METADATA)
    }


@lru_cache(maxsize=256)
def http_date(text: str) -> float:
    """Return what a header such as Last-Modified says, in seconds of Unix time.

    Raises ``ValueError``. The standard library's reader of e-mail's dates takes long to load.
    """
    found = _DATE.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no date of HTTP")
    day, month, year, hour, minute, second = found.groups()
    at = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    return datetime(*at, tzinfo=UTC).timestamp()


def bucket_url(bucket: str, endpoint_url: str | None, region: str, *, path_style: bool) -> str:
    """Return the URL of a bucket, without a slash at its end; no endpoint is AWS itself."""
    china = ".cn" if region.startswith("cn-") else ""
    parts = urlsplit(endpoint_url or f"https://s3.{region}.amazonaws.com{china}")
    name, path = quote(bucket, safe=""), parts.path.rstrip("/")
    if path_style:
        return f"{parts.scheme}://{parts.netloc}{path}/{name}"
    return f"{parts.scheme}://{name}.{parts.netloc}{path}"


def _tried(
    most_s: float, call: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs
) -> tuple[_T | Failed, bool]:
    """Return what ``call`` does, or how it failed, and whether ``most_s`` went by in vain."""
    since = time.monotonic()
    try:
        return call(*arguments, **named), False
    except Failed as failed:
        return failed, time.monotonic() - since >= most_s


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
