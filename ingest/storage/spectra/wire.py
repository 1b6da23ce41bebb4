"""Requests to a BlackPearl: signed, timed out, repeated where that can help, and never for ever.

An appliance says that it is busy with 307 or 503, and with ``Retry-After`` for how long: its
cache is full, or an object is on its way from tape. That is waited for, at the same address, as
long as ``Patience`` allows; a ``Location`` is not followed. What fails on the way is repeated a few
times. A body is opened anew for each attempt.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL, InvalidURL, RequestException, SSLError
from requests.models import PreparedRequest
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from ingest import __version__
from ingest.errors import BucketNotFound, CredentialsRefused, IngestError, NotFound, StoreError
from ingest.pacing import retry_after_s
from ingest.storage.spectra import documents
from ingest.storage.spectra.headers import many_headers
from ingest.storage.spectra.patience import Passing, Patience, retried
from ingest.storage.spectra.signature import (
    amz_headers,
    authorization,
    escaped_query,
    string_to_sign,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, NoReturn, Self

    from requests.models import Response

    Body = bytes | Callable[[], Iterator[bytes]]

    from ingest.settings import AccessKey
    from ingest.storage.spectra.patience import Stop

Parsed = TypeVar("Parsed")

_CONNECTIONS = 256
"""As many as there can be threads."""
_UNREACHED_ATTEMPTS = 3
"""An endpoint that has not answered once is more often wrong than overloaded."""
_PIECE = 1024**2
_LARGEST_ANSWER = 512 * 1024**2
"""Bytes: well above the plan of a job of 500,000 objects."""
_LARGEST_REFUSAL = 64 * 1024
_BUSY = frozenset(
    {
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
_FAILING = frozenset(
    {
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_HINTS = {
    "AccessDenied": "the user may lack permission on the bucket or its data policy",
    "InvalidAccessKeyId": "check DS3_ACCESS_KEY",
    "NoSuchBucket": "check the URL and DS3_ENDPOINT",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SignatureDoesNotMatch": "check DS3_SECRET_KEY",
}


@dataclass(frozen=True, slots=True)
class Appliance:
    """Where a BlackPearl is, and who asks.

    ``endpoint`` has a scheme and no ``/`` at its end; ``proxy`` is the URL of what requests go
    through, if anything.
    """

    endpoint: str
    key: AccessKey = field(repr=False)
    proxy: str | None = field(default=None, repr=False)
    patience: Patience = field(default=Patience())


@dataclass(frozen=True, slots=True)
class Request:
    """A request; ``what`` begins the text of its errors, as in "cannot read ds3://b/k".

    ``path`` is escaped. ``body`` is what is sent, or opens it: then ``length`` is its bytes.
    """

    what: str
    method: str
    path: str
    query: Mapping[str, str | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    length: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BadRequest(StoreError):
    """The appliance takes a request for wrong: status 400."""


class Conflict(StoreError):
    """It does not fit what is there: status 409."""


class Gone(StoreError):
    """It is for something that is over: status 410."""


_ERRORS: dict[int, type[IngestError]] = {
    HTTPStatus.BAD_REQUEST: BadRequest,
    HTTPStatus.UNAUTHORIZED: CredentialsRefused,
    HTTPStatus.FORBIDDEN: CredentialsRefused,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
}


class Reply:
    """An answer whose body is still to be read. Closed early, it costs the connection."""

    def __init__(self, response: Response, what: str, at: str) -> None:
        """Take what requests has received."""
        self._response = response
        self._what = what
        self._at = at
        self.status: int = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close."""
        self._response.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body piece by piece. Raises ``Passing`` where it is cut short."""
        try:
            yield from self._response.raw.stream(_PIECE, decode_content=False)
        except (HTTPError, OSError) as error:
            raise Passing(StoreError(f"{self._what}{self._at}: {reason(error)}")) from None

    def read(self, most: int = _LARGEST_ANSWER) -> bytes:
        """Return the body. Raises ``StoreError`` where it has more than ``most`` bytes."""
        pieces, size = [], 0
        for piece in self.chunks():
            size += len(piece)
            if size > most:
                raise StoreError(f"{self._what}{self._at}: an answer of more than {most:,} bytes")
            pieces.append(piece)
        return b"".join(pieces)


class Wire:
    """The way to one appliance, which any number of threads share."""

    def __init__(self, appliance: Appliance) -> None:
        """Make no connection yet."""
        self.appliance = appliance
        self.clock_ahead_s = 0.0
        """How far the appliance's clock was ahead of this machine's, when it last answered."""
        self._has_answered = False
        self._adapter = _adapter(appliance)
        scheme = appliance.endpoint.partition(":")[0]
        self._proxies = {scheme: appliance.proxy} if appliance.proxy else {}

    @property
    def at(self) -> str:
        """The endpoint, as it ends a message."""
        return f" at {self.appliance.endpoint}"

    def call(self, request: Request, stop: Stop) -> Answer:
        """Return the answer to ``request``, which is a success.

        Raises ``CredentialsRefused``, ``NotFound``, ``BucketNotFound``, ``BadRequest``,
        ``Conflict``, ``Gone`` or ``StoreError``.
        """

        def once() -> Answer:
            with self.open(request) as reply:
                return Answer(reply.status, reply.headers, reply.read())

        return retried(once, self.appliance.patience, stop)

    def read(self, request: Request, parsed: Callable[[bytes], Parsed], stop: Stop) -> Parsed:
        """Return what ``parsed`` makes of the answer; one that was cut short is asked for again.

        For what can be asked twice. Raises as ``call`` does.
        """

        def once() -> Parsed:
            with self.open(request) as reply:
                return self.parsed(request, reply.read(), parsed)

        return retried(once, self.appliance.patience, stop)

    def parsed(self, request: Request, body: bytes, parsed: Callable[[bytes], Parsed]) -> Parsed:
        """Return what ``parsed`` makes of ``body``. Raises ``StoreError``, or ``Passing``."""
        try:
            return parsed(body)
        except documents.Unreadable as error:
            unreadable = StoreError(
                f"{request.what}{self.at}: {error}", hint="is DS3_ENDPOINT that of a BlackPearl?"
            )
            failure = Passing(unreadable) if error.cut_short else unreadable
        raise failure

    def open(self, request: Request, *, within_s: float | None = None) -> Reply:
        """Make ``request`` once and return the answer, a success.

        Raises ``Passing`` for what may be repeated, and for the rest as ``call`` does. With
        ``within_s``, connection and answer are not waited for any longer.
        """
        patience = self.appliance.patience
        timeout = (within_s or patience.connect_s, within_s or patience.answer_s)
        try:
            with many_headers() if request.method == "HEAD" else nullcontext():
                response = self._adapter.send(
                    self._prepared(request), stream=True, timeout=timeout, proxies=self._proxies
                )
        except (RequestException, HTTPError) as error:
            self._failed(request, error)
        self._has_answered = True
        reply = Reply(response, request.what, self.at)
        self._note_clock(reply.headers.get("date", ""))
        if not HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
            with reply:
                self._refuse(request, reply)
        return reply

    def _failed(self, request: Request, error: Exception) -> NoReturn:
        why, proxy = reason(error), urlsplit(self.appliance.proxy or "").netloc
        through = f" through the proxy {proxy.rpartition('@')[2]}" if proxy else ""
        failure = StoreError(f"{request.what}{self.at}{through}: {why}")
        final = isinstance(error, InvalidURL | InvalidProxyURL) or (
            isinstance(error, SSLError) and "CERTIFICATE" in why.upper()
        )
        attempts = None if self._has_answered else _UNREACHED_ATTEMPTS
        raise (failure if final else Passing(failure, attempts=attempts)) from None

    def _refuse(self, request: Request, reply: Reply) -> NoReturn:
        said = documents.Refusal()
        with suppress(Passing, StoreError):
            said = documents.refusal(reply.read(_LARGEST_REFUSAL))
        error = self.error_of(request.what, said, reply.status)
        if reply.status in _BUSY:
            raise Passing(error, is_busy=True, after_s=retry_after_s(reply.headers))
        raise Passing(error) if reply.status in _FAILING else error

    def error_of(self, what: str, said: documents.Refusal, status: int) -> IngestError:
        """Return the error that says ``what`` failed, and what the appliance said."""
        kind = BucketNotFound if said.code == "NoSuchBucket" else _ERRORS.get(status, StoreError)
        told = ": ".join(filter(None, (said.code, said.message))) or f"HTTP {status}"
        hint = _HINTS.get(said.code)
        if kind is CredentialsRefused and not said.code:  # the answer to a HEAD has no body
            hint = "check DS3_ACCESS_KEY and DS3_SECRET_KEY, and what the user may do"
        return kind(f"{what}{self.at}: {told}", hint=hint)

    def _prepared(self, request: Request) -> PreparedRequest:
        """Return the signed request; its URL is set as it is, which requests would change."""
        headers = {**request.headers, "Date": formatdate(usegmt=True)}
        body: Any = request.body
        if body is not None:
            headers["Content-Length"] = str(
                len(body) if isinstance(body, bytes) else request.length
            )
            headers.setdefault("Content-Type", "application/octet-stream")
            body = body if isinstance(body, bytes) else body()
        signed = amz_headers(headers.items())
        headers = {name: text for name, text in headers.items() if name.lower() not in signed}
        headers |= signed
        key = self.appliance.key
        text = string_to_sign(request.method, request.path, request.query, headers)
        headers["Authorization"] = authorization(key.access_key_id, key.secret_access_key, text)
        headers["User-Agent"] = f"ingest/{__version__}"
        prepared = PreparedRequest()
        prepared.method = request.method
        query = f"?{escaped_query(request.query)}" if request.query else ""
        prepared.url = f"{self.appliance.endpoint}{request.path}{query}"
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.body = body
        return prepared

    def _note_clock(self, date: str) -> None:
        with suppress(ValueError):
            self.clock_ahead_s = parsedate_to_datetime(date).timestamp() - time.time()


def _adapter(appliance: Appliance) -> HTTPAdapter:
    adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS)
    if appliance.endpoint.startswith("https:"):
        import ssl  # noqa: PLC0415 - with TLS alone

        # What SSL_CERT_FILE names is trusted as well as certifi's, which requests adds.
        trusted = ssl.create_default_context()
        adapter.init_poolmanager(1, _CONNECTIONS, ssl_context=trusted)
        if appliance.proxy:
            adapter.proxy_manager_for(appliance.proxy, ssl_context=trusted)
    return adapter


def reason(error: BaseException) -> str:
    """Return what went wrong on the way: the system's words where it has some."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = getattr(cause, "reason", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    first = error.args[0] if error.args else ""
    return first if isinstance(first, str) and first else str(error) or type(error).__name__
