"""The TMDB API: sign-in, allowed parameters, retries, rate and deadline.

``Tmdb.submit`` asks for one JSON object and is all that the fetcher needs. What it guarantees:

* A parameter that the endpoint does not know is an error, because TMDB ignores it and answers
  200 with an unfiltered result.
* 429, 500, 502, 503, 504, timeouts, dropped connections and bodies that are cut short or are not
  JSON are retried with jittered waits, ``Retry-After`` honoured in both its forms. 401 ends the
  whole run, unless there is another sign-in to try; every other answer fails at once.
* Neither token nor key is ever in an error, in its chain, or in a log line. A v3 key travels in
  the URL, and the exceptions of requests and urllib3 carry the URL: so none of those is ever
  shown, chained or left as the context of ours.
"""

from __future__ import annotations

import contextvars
import json
import logging
import math
import re
import threading
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3

from ingest.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    TmdbRefused,
    TmdbUnavailable,
    UnknownParameter,
)
from ingest.pacing import Backoff, Deadline, RateLimit, moment_of, retry_after_s
from ingest.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from datetime import datetime

    from ingest.signin import SignIn, SignIns

logger = logging.getLogger(__name__)

CONNECTIONS = 10
"""TMDB's founder speaks of 20 connections an address; half of that leaves room for others."""

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 20.0
_LAST_WORDS_S = 0.5
"""How long after the deadline a request may still say by itself what it waited for."""
_LARGEST_BODY = 32_000_000
"""Bytes; a page has some 12,000. More than this is not an answer of TMDB."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})

# Names as in TMDB's own description of its API (version 3, OpenAPI document of 2026).
_COMMON_FILTERS = frozenset(
    "include_adult language page sort_by vote_average.gte vote_average.lte vote_count.gte "
    "vote_count.lte watch_region with_companies with_genres with_keywords with_origin_country "
    "with_original_language with_runtime.gte with_runtime.lte with_watch_monetization_types "
    "with_watch_providers without_companies without_genres without_keywords "
    "without_watch_providers".split()
)
_DETAILS = frozenset({"append_to_response", "language"})
PARAMETERS: Mapping[str, frozenset[str]] = {
    "/discover/movie": _COMMON_FILTERS
    | frozenset(
        "certification certification.gte certification.lte certification_country include_video "
        "primary_release_date.gte primary_release_date.lte primary_release_year region "
        "release_date.gte release_date.lte with_cast with_crew with_people with_release_type "
        "year".split()
    ),
    "/discover/tv": _COMMON_FILTERS
    | frozenset(
        "air_date.gte air_date.lte first_air_date.gte first_air_date.lte first_air_date_year "
        "include_null_first_air_dates screened_theatrically timezone with_networks with_status "
        "with_type".split()
    ),
    "/movie/{id}": _DETAILS,
    "/tv/{id}": _DETAILS,
}
"""The parameters each endpoint knows, beside the sign-in."""


def check_parameters(endpoint: str, params: Mapping[str, str]) -> None:
    """Raise ``UnknownParameter`` unless ``endpoint`` knows every one of ``params``."""
    unknown = sorted(set(params) - PARAMETERS[endpoint])
    if unknown:
        raise UnknownParameter(
            f"{endpoint} does not know the parameter {', '.join(unknown)}; "
            "TMDB would ignore it and answer unfiltered"
        )


class _Session(requests.Session):
    """Follows no redirect, and does not even read where one leads or what comes with it."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - as inherited
        return None


class _HideKey(logging.Filter):
    """Takes v3 keys out of urllib3's own log lines, which quote the URL with its query."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"api_key=[^&\s\"']+", "api_key=***", record.getMessage())
        record.args = None
        return True


_hide_key = _HideKey()
_QUOTING_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object TMDB sent, and what its headers say of when it was made.

    ``made_at`` is the header ``Date``: a cache keeps the origin's and adds ``Age``, the seconds
    it has held the answer since.
    """

    body: dict[str, Any]
    etag: str | None
    age_s: int | None
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came of an endpoint so far: whole answers, and tries that were made again."""

    answers: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class _Received:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Setback:
    """A failure that another try may mend."""

    reason: str
    retry_after_s: float | None = None


class Tmdb:
    """A client for one run. Close it, or use it as a context manager.

    All requests of the run share its connections, its rate and its ``deadline``.
    """

    def __init__(
        self,
        base_url: str,
        sign_ins: SignIns,
        *,
        rate: float,
        deadline: Deadline,
        backoff: Backoff | None = None,
    ) -> None:
        """``base_url`` ends in ``/3``; ``rate`` is the most requests in any second."""
        self._base_url = base_url
        self._sign_ins = sign_ins
        self._limit = RateLimit(rate)
        self._deadline = deadline
        self._backoff = backoff or Backoff()
        self._answers: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._closed = threading.Event()
        self._workers = Workers(CONNECTIONS, "tmdb")
        self._session = _Session()
        self._session.headers["Accept"] = "application/json"
        # The stand-in is on this machine, where no proxy would find it.
        self._session.trust_env = urlsplit(base_url).hostname not in _LOOPBACK
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS)
        self._session.mount(base_url, adapter)
        for name in _QUOTING_LOGGERS:
            logging.getLogger(name).addFilter(_hide_key)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Drop what is queued, end every wait, and close the connections."""
        self._closed.set()
        self._workers.close()
        self._session.close()

    def submit(
        self, endpoint: str, params: Mapping[str, str], *, title: int | None = None
    ) -> Future[Answer]:
        """Ask for ``endpoint`` (of the title whose id is ``title``) in the background.

        The future's result is an ``Answer``; its errors are those of ``ingest.errors``:
        ``TmdbRefused``, ``TmdbUnavailable``, ``CredentialsRefused``, ``DeadlineExceeded``.
        """
        check_parameters(endpoint, params)
        path = endpoint if title is None else endpoint.format(id=title)
        url, asked = self._base_url + path, dict(params)
        context = contextvars.copy_context()
        return self._workers.submit(lambda: context.run(self._get, endpoint, url, asked))

    def traffic(self, endpoint: str) -> Traffic:
        """Return what came of ``endpoint`` so far."""
        with self._counting:
            return Traffic(self._answers[endpoint], self._retries[endpoint])

    def result(self, answer: Future[Answer]) -> Answer:
        """Return what ``submit`` promised, or raise its error; at the latest at the deadline.

        Timeouts of a connection are not enough: a server that sends a header a second, or a host
        with many dead addresses, outlasts them.
        """
        try:
            return answer.result(max(self._deadline.remaining_s() + _LAST_WORDS_S, _LAST_WORDS_S))
        except CancelledError:  # it was queued still when this was closed
            raise TmdbUnavailable("TMDB was not asked: the run was stopped") from None
        except FutureTimeoutError:
            pass
        raise DeadlineExceeded("TMDB has not answered, and the time for this run is used up")

    def _get(self, endpoint: str, url: str, params: dict[str, str]) -> Answer:
        outcome = self._try(url, params)
        for attempt in range(self._backoff.retries):
            if isinstance(outcome, Answer):
                break
            pause_s = self._pause_s(outcome, attempt)
            logger.info("%s: %s; trying again in %.1f s", url, outcome.reason, pause_s)
            self._wait(pause_s, f"{url}: {outcome.reason}")
            self._count(self._retries, endpoint)
            outcome = self._try(url, params)
        if isinstance(outcome, Answer):
            self._count(self._answers, endpoint)
            return outcome
        tries = self._backoff.retries + 1
        raise TmdbUnavailable(f"{url}: {outcome.reason}, {tries} times in a row")

    def _count(self, counter: Counter[str], endpoint: str) -> None:
        with self._counting:
            counter[endpoint] += 1

    def _pause_s(self, setback: _Setback, attempt: int) -> float:
        wait_s = self._backoff.wait_s(attempt)
        if setback.retry_after_s is None:
            return wait_s
        self._limit.pause(setback.retry_after_s)
        return max(wait_s, setback.retry_after_s)

    def _wait(self, seconds: float, why: str) -> None:
        """Wait, unless the client is closed meanwhile or the deadline comes first."""
        if seconds > self._deadline.remaining_s():
            raise DeadlineExceeded(
                f"{why}; the next try is due in {max(seconds, 0):.1f} s, "
                f"but only {max(self._deadline.remaining_s(), 0):.1f} s are left for this run"
            )
        if seconds > 0:
            self._closed.wait(seconds)

    def _try(self, url: str, params: dict[str, str]) -> Answer | _Setback:
        self._wait(self._limit.delay_s(), f"{url}: the rate limit is reached")
        while self._limit.is_quiet() and not self._closed.is_set():
            # Asked for in the meantime; a new start, lest all that wait now go at once.
            self._wait(self._limit.delay_s(), f"{url}: TMDB has asked for quiet")
        sign_in = self._sign_ins.current()
        if self._closed.is_set():
            raise TmdbUnavailable(f"{url}: the run was stopped")
        outcome = self._send(url, params, sign_in)
        if isinstance(outcome, _Setback):
            return outcome
        if outcome.status == HTTPStatus.OK:
            return _parse(outcome, sign_in)
        what = _describe(outcome, sign_in)
        if outcome.status in _RETRIED_STATUSES:
            return _Setback(what, retry_after_s(outcome.headers))
        if outcome.status == HTTPStatus.UNAUTHORIZED:
            refusal = CredentialsRefused(f"{url}: {what}", hint=sign_in.hint)
            self._sign_ins.replace(sign_in, refusal)
            return _Setback(what)
        redirects = outcome.status in range(300, 400)
        hint = "it redirects; check TMDB_BASE_URL" if redirects else None
        raise TmdbRefused(f"{url}: {what}", hint=hint)

    def _send(self, url: str, params: dict[str, str], sign_in: SignIn) -> _Received | _Setback:
        left_s = max(self._deadline.remaining_s(), 0.001)
        try:
            with self._session.get(
                url,
                params=params,
                auth=sign_in,
                timeout=(min(_CONNECT_TIMEOUT_S, left_s), min(_READ_TIMEOUT_S, left_s)),
                allow_redirects=False,
                stream=True,
            ) as response:
                return _Received(response.status_code, response.headers, self._read(response))
        except (OSError, urllib3.exceptions.HTTPError) as error:  # requests' own are OSErrors
            # Only a description leaves this block: the exception holds the URL.
            reason = _describe_failure(error)
        return _Setback(reason)

    def _read(self, response: requests.Response) -> bytes:
        """Read the body, which a server may send so slowly that no read times out."""
        body = bytearray()
        # read1 returns with what has come; iter_content would wait until its piece is full.
        while piece := response.raw.read1(65_536, decode_content=True):
            body += piece
            if len(body) > _LARGEST_BODY:
                raise requests.exceptions.ContentDecodingError("larger than any answer of TMDB")
            if self._deadline.remaining_s() < 0:
                raise requests.exceptions.ReadTimeout("the deadline has passed")
        return bytes(body)


def _describe(received: _Received, sign_in: SignIn) -> str:
    """Return the status with TMDB's own words, which come in two shapes or as a CDN's HTML."""
    try:
        body = json.loads(received.body)
        words = body.get("status_message") or "; ".join(body["errors"])
        code = body.get("status_code")
        code = f" (code {code})" if type(code) is int else ""
        return f"HTTP {received.status} {sign_in.hide(words)}{code}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        known = received.status in {status.value for status in HTTPStatus}
        phrase = HTTPStatus(received.status).phrase if known else ""
        return f"HTTP {received.status} {phrase}".rstrip()


def _parse(received: _Received, sign_in: SignIn) -> Answer | _Setback:
    try:
        body = json.loads(received.body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        start = received.body[:1]
        return _Setback("the answer is cut short" if start == b"{" else "the answer is not JSON")
    if not isinstance(body, dict):
        raise TmdbRefused(f"TMDB answered with a JSON {type(body).__name__}, not an object")
    age, etag = received.headers.get("Age", ""), received.headers.get("ETag")
    return Answer(
        body=body,
        etag=sign_in.hide(etag) if etag is not None else None,
        age_s=int(age) if re.fullmatch("[0-9]{1,9}", age) else None,
        made_at=moment_of(received.headers.get("Date")),
    )


def _finite(text: str) -> float:
    """Read a number. NaN and Infinity, which Python knows, are no JSON; nor is 1e999 a number."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _describe_failure(error: OSError | urllib3.exceptions.HTTPError) -> str:
    """Say what happened to a request in words of our own, since its text holds the URL."""
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (requests.ConnectTimeout, "no connection in time"),
        (requests.ReadTimeout, "no answer in time"),
        (urllib3.exceptions.ReadTimeoutError, "no answer in time"),
        (requests.exceptions.SSLError, "the TLS handshake failed"),
        (requests.exceptions.ProxyError, "the proxy failed"),
        (requests.exceptions.ContentDecodingError, "the answer cannot be decoded"),
        (urllib3.exceptions.DecodeError, "the answer cannot be decoded"),
        (urllib3.exceptions.ProtocolError, "the answer is cut short"),
        (requests.ConnectionError, "the connection failed"),
    )
    what = next((words for kind, words in kinds if isinstance(error, kind)), type(error).__name__)
    cause = _system_error(error)
    return f"{what}: {cause}" if cause else what


def _system_error(error: BaseException | None) -> str | None:
    """Return the operating system's words at the bottom of a chain of exceptions, if any."""
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - chains are short; never loop
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        reason = getattr(error.args[0], "reason", None) if error.args else None
        error = reason if isinstance(reason, BaseException) else error.__context__
        seen += 1
    return None
