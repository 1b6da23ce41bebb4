"""The objects of a bucket, streamed in order and never collected.

boto3's paginator spends 50 µs an object, nearly all of it on the way from XML to a dictionary.
Here botocore only signs; a page of 1,000 is fetched over one kept-alive connection, read by
``xml.etree`` and checked. What a page must hold, or the listing ends in an error, never short:

* an ``IsTruncated``, and where it is true a continuation token other than the one it was asked
  with: if not, the listing goes on with ``StartAfter`` the last key, which is as good;
* names in strictly increasing UTF-8 byte order, all below the prefix, at most 1,000. A page that
  does not go on where the one before ended is asked for once more, with ``StartAfter``.

A store that says ``IsTruncated`` is false while it has more cannot be found out.
"""

from __future__ import annotations

import logging
import time
import xml.etree.ElementTree as ET
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from http import HTTPStatus
from itertools import count, pairwise
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import quote, unquote_plus, urlsplit
from xml.parsers.expat import errors as expat

from ingest.errors import IngestError, StoreError
from ingest.pacing import Backoff
from ingest.storage.answers import error_of
from ingest.storage.base import Entry, Prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from urllib3 import PoolManager

    from ingest.settings import AccessKey

logger = logging.getLogger(__name__)

_PAGE = 1_000
_PAGE_BYTES = 16 * 1_048_576
"""Well above 1,000 keys of 1,024 bytes, each byte written as ``%XX``."""
_IDLE_PAGES = 100
"""Pages in a row without anything new. A few are usual where a store hides deleted objects."""
_UNREACHED_RETRIES = 2
"""An endpoint that has not answered once is more often wrong than overloaded."""
_CONNECT_S, _READ_S = 5.0, 30.0
_BACKOFF = Backoff(retries=6, base_s=0.25)

_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"})
_CUT_SHORT = frozenset(
    expat.codes[message]
    for message in (
        expat.XML_ERROR_NO_ELEMENTS,
        expat.XML_ERROR_PARTIAL_CHAR,
        expat.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.XML_ERROR_UNCLOSED_TOKEN,
    )
)
_NOT_S3 = "is ENDPOINT_URL the address of an S3 API?"


@dataclass(frozen=True, slots=True)
class ListingStyle:
    """How a store wants to be asked.

    ``version`` 1 is ``ListObjects``, for stores that know no other. ``url_encode`` asks for names
    with percent signs, without which XML cannot carry control characters and makes a carriage
    return a line feed. With ``path_style`` the bucket is in the path, else in the host's name.
    """

    version: Literal[1, 2] = 2
    url_encode: bool = True
    path_style: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is, and how to list it.

    ``credentials`` is asked before each request, so that temporary keys can be renewed while a
    listing goes on. Without ``endpoint_url`` it is AWS itself. ``wait`` sleeps between retries.
    """

    bucket: str
    credentials: Callable[[], AccessKey]
    endpoint_url: str | None = None
    region: str = "us-east-1"
    style: ListingStyle = ListingStyle()
    backoff: Backoff = _BACKOFF
    wait: Callable[[float], None] = field(default=time.sleep, repr=False)


def list_objects(place: Place, prefix: str = "", start_after: str = "") -> Iterator[Entry]:
    """Yield the objects below ``prefix`` whose keys come after ``start_after``, by key.

    Keys come in strictly increasing order of their UTF-8 bytes, exactly as they were written;
    bytes that are no UTF-8 become lone surrogates (``surrogateescape``). One page of 1,000 is
    held at a time. An object written or deleted meanwhile may or may not be there.

    Raises ``BucketNotFound``, ``CredentialsRefused`` or ``StoreError``, after a bounded number of
    retries where those can help. What was yielded before an error is right, but not all.
    """
    for page in _walk(place, prefix, "", start_after):
        yield from cast("list[Entry]", page)


def list_directory(place: Place, prefix: str = "") -> Iterator[Entry | Prefix]:
    """Yield what is directly below ``prefix``: objects, and one ``Prefix`` for each directory.

    ``prefix`` is empty or ends in ``/``. Order, exactness and errors are ``list_objects``'.
    """
    for page in _walk(place, prefix, "/", ""):
        yield from page


@dataclass(frozen=True, slots=True)
class _Page:
    items: list[Entry | Prefix]
    truncated: bool
    token: str | None


class _Passing(Exception):
    """A failure that may be over at the next try; ``error`` is raised when no try is left."""

    def __init__(self, error: IngestError) -> None:
        super().__init__(str(error))
        self.error = error


def _walk(
    place: Place, prefix: str, delimiter: str, start_after: str
) -> Iterator[list[Entry | Prefix]]:
    """Yield pages, each of which begins after the end of the one before."""
    start, last = _bytes(prefix), start_after
    token: str | None = None
    idle = 0
    with closing(_Client(place, prefix)) as client:
        while idle < _IDLE_PAGES:
            idle += 1
            page = client.page(_query(place.style, prefix, delimiter, last, token))
            items = page.items
            if items and isinstance(items[0], Prefix) and items[0].key == last:
                items = items[1:]  # a store that takes StartAfter or a token to mean "within"
            _check(client, items, start, folded=bool(delimiter))
            if items and _bytes(items[0].key) <= _bytes(last):
                if token is None:
                    client.fail(f"asked for what comes after {last!r}, got {items[0].key!r}")
                logger.warning("%s went back to %r: going on after %r", client, items[0].key, last)
                token = None
                continue
            if items:
                idle, last = 0, items[-1].key
                yield items
            if not page.truncated:
                return
            if place.style.version == 1 or page.token is None or page.token == token:
                if not items:
                    client.fail("there is said to be more, but not how to come to it")
                token = None
            else:
                token = page.token
        client.fail(f"{_IDLE_PAGES} pages without a new key after {last!r}")


def _query(
    style: ListingStyle, prefix: str, delimiter: str, last: str, token: str | None
) -> dict[str, str]:
    where = {"marker": last} if style.version == 1 else {"list-type": "2"}
    if style.version == 2:  # noqa: PLR2004 - the name of a version
        where |= {"continuation-token": token} if token else {"start-after": last}
    query = where | {
        "delimiter": delimiter,
        "encoding-type": "url" if style.url_encode else "",
        "max-keys": str(_PAGE),
        "prefix": prefix,
    }
    return {name: value for name, value in query.items() if value}


def _check(client: _Client, items: list[Entry | Prefix], start: bytes, *, folded: bool) -> None:
    """Fail unless ``items`` is a page as it should be, and below the prefix ``start``."""
    if not folded and any(isinstance(item, Prefix) for item in items):
        client.fail("some keys are folded into common prefixes, which was not asked for")
    if len(items) > _PAGE:
        client.fail(f"{len(items):,} names on a page, which holds {_PAGE:,} at most")
    names = [_bytes(item.key) for item in items]
    for before, name in pairwise(names):
        if before >= name:
            client.fail(f"the keys are not in order: {_text(before)!r}, then {_text(name)!r}")
    # In order, so that what lies between two names below a prefix is below it too.
    for name in (*names[:1], *names[-1:]):
        if not name.startswith(start):
            client.fail(f"the key {_text(name)!r} is outside of the prefix")


class _Client:
    """One kept-alive connection to a bucket's store, which repeats what failed on the way."""

    def __init__(self, place: Place, prefix: str) -> None:
        self._place = place
        self._address = _address(place)
        self._connections = _connections(self._address)
        self._answered = False
        at = f" at {place.endpoint_url}" if place.endpoint_url else ""
        self._what = f"cannot list s3://{place.bucket}/{prefix}{at}"

    def __str__(self) -> str:
        return self._what.removeprefix("cannot list ")

    def close(self) -> None:
        self._connections.clear()

    def fail(self, why: str, *, hint: str | None = None) -> NoReturn:
        raise StoreError(f"{self._what}: {why}", hint=hint)

    def page(self, query: dict[str, str]) -> _Page:
        """Return one page, after retries where they can help."""
        url = f"{self._address}?{_encoded(query)}"
        for attempt in count():
            try:
                return self._read(*self._get(url))
            except _Passing as passing:
                retries = self._place.backoff.retries
                if attempt >= (retries if self._answered else min(retries, _UNREACHED_RETRIES)):
                    raise passing.error from None
            self._place.wait(self._place.backoff.wait_s(attempt))
        raise AssertionError  # pragma: no cover - count() does not end

    def _get(self, url: str) -> tuple[int, str, bytes]:
        """Return status, the region of the bucket where the store says it, and the body."""
        from urllib3 import exceptions  # noqa: PLC0415 - nothing is loaded before it is needed

        try:
            answer = self._connections.urlopen(
                *("GET", url),
                headers=_signed(self._place, url),
                redirect=False,
                retries=False,
                preload_content=False,
            )
            self._answered = True
            with closing(answer):  # read to its end, the connection is free for the next page
                body = answer.read(_PAGE_BYTES + 1)
        except exceptions.HTTPError as error:
            reason = _reason(error)
            if isinstance(error, exceptions.LocationValueError) or "CERTIFICATE" in reason:
                self.fail(reason)
            raise _Passing(StoreError(f"{self._what}: {reason}")) from None
        if len(body) > _PAGE_BYTES:
            self.fail(f"an answer of more than {_PAGE_BYTES:,} bytes", hint=_NOT_S3)
        return answer.status, answer.headers.get("x-amz-bucket-region", ""), body

    def _read(self, status: int, region: str, body: bytes) -> _Page:
        try:
            root = ET.fromstring(body)  # noqa: S314 - expat itself bounds what entities expand to
        except ET.ParseError as error:
            if status != HTTPStatus.OK:
                self._refused(status, "", "", region)
            if error.code in _CUT_SHORT:
                raise _Passing(StoreError(f"{self._what}: the answer was cut short")) from None
            self.fail(f"the answer is no XML: {error}", hint=_NOT_S3)
        namespace, brace, name = root.tag.rpartition("}")
        if status != HTTPStatus.OK or name == "Error":
            code, message = root.findtext("{*}Code", ""), root.findtext("{*}Message", "")
            self._refused(status, code, message, region or root.findtext("{*}Region", ""))
        if name != "ListBucketResult":
            self.fail(f"the answer is no listing, but <{name}>", hint=_NOT_S3)
        try:
            return _page(root, namespace + brace)
        except ValueError as error:
            self.fail(f"the listing cannot be read: {error}")

    def _refused(self, status: int, code: str, message: str, region: str) -> NoReturn:
        where = f"the bucket is in {region}" if region and region != self._place.region else ""
        error = error_of(self._what, code, "; ".join(filter(None, (message, where))), status)
        if status in _PASSING_STATUS or code in _PASSING_CODES:
            raise _Passing(error)
        raise error


def _page(root: ET.Element, namespace: str) -> _Page:
    """Return what is in ``root``. Raises ``ValueError`` where something is missing or malformed."""
    key, size, modified, etag = (namespace + tag for tag in ("Key", "Size", "LastModified", "ETag"))
    contents = root.findall(namespace + "Contents")
    prefixes = root.findall(f"{namespace}CommonPrefixes/{namespace}Prefix")
    names = [item.findtext(key, "") for item in contents]
    folded = [item.text or "" for item in prefixes]
    # AWS, MinIO and rclone write a space as "+", others as "%20"; all of them "+" as "%2B". A
    # store that encodes nothing, though asked to, does not say that it does.
    if root.findtext(namespace + "EncodingType", "") == "url":
        names, folded = _unquoted(names), _unquoted(folded)
    items: list[Entry | Prefix] = [
        Entry(
            name,
            int(item.findtext(size, "")),
            _seconds(item.findtext(modified, "")),
            item.findtext(etag, "").strip('"') or None,
        )
        for name, item in zip(names, contents, strict=True)
    ]
    if folded:
        items = list(merge(items, map(Prefix, folded), key=lambda item: _bytes(item.key)))
    truncated = root.findtext(namespace + "IsTruncated", "").strip()
    if truncated not in {"true", "false"}:
        raise ValueError("it does not say whether there is more")
    token = root.findtext(namespace + "NextContinuationToken", "")
    return _Page(items, truncated == "true", token or None)


def _unquoted(names: list[str]) -> list[str]:
    # All at once takes a third of the time; the separator cannot stand in XML.
    whole = unquote_plus("\0".join(names), errors="surrogateescape").split("\0")
    if len(whole) == len(names):
        return whole
    return [unquote_plus(name, errors="surrogateescape") for name in names]


def _seconds(moment: str) -> float:
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _encoded(query: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(_bytes(query[name]), safe='')}" for name in sorted(query))


def _address(place: Place) -> str:
    """Return the URL of the bucket."""
    china = ".cn" if place.region.startswith("cn-") else ""
    endpoint = place.endpoint_url or f"https://s3.{place.region}.amazonaws.com{china}"
    parts = urlsplit(endpoint)
    bucket, path = quote(place.bucket, safe=""), parts.path.rstrip("/")
    if place.style.path_style:
        return f"{parts.scheme}://{parts.netloc}{path}/{bucket}"
    return f"{parts.scheme}://{bucket}.{parts.netloc}{path}/"


def _signed(place: Place, url: str) -> dict[str, str]:
    """Return the headers that sign a GET of ``url``."""
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - a tenth of a second
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    key = place.credentials()
    credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token)
    request = AWSRequest("GET", url)
    S3SigV4Auth(credentials, "s3", place.region).add_auth(request)
    return dict(request.headers.items())


def _connections(address: str) -> PoolManager:
    """Return a pool of one connection, through the proxy that the environment names, if any."""
    import ssl  # noqa: PLC0415 - as above
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    import certifi  # noqa: PLC0415
    from urllib3 import PoolManager, ProxyManager, Timeout  # noqa: PLC0415

    parts = urlsplit(address)
    timeout = Timeout(connect=_CONNECT_S, read=_READ_S)
    trusted = None
    if parts.scheme == "https":
        trusted = ssl.create_default_context()
        trusted.load_verify_locations(certifi.where())  # some Pythons know of no system's
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(parts.hostname or ""):
        return ProxyManager(proxy, timeout=timeout, ssl_context=trusted)
    return PoolManager(timeout=timeout, ssl_context=trusted)


def _reason(error: BaseException) -> str:
    """Return what went wrong on the way: the system's words where it has some."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    first = error.args[0] if error.args else ""
    return first if isinstance(first, str) and first else str(error) or type(error).__name__
