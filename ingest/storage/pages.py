"""The pages of a bucket's listing: asked for, signed, fetched again where that helps, and read.

From the third on, a page is asked for as soon as the one before it has come, so that the store
makes it while that one is used.
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote_plus
from xml.parsers.expat import errors as expat

from ingest.errors import StoreError
from ingest.pacing import Backoff
from ingest.storage.answers import Failed, refusal_in, refusal_of
from ingest.storage.api import bucket_url
from ingest.storage.base import Entry, Prefix
from ingest.storage.reply import Unreachable
from ingest.storage.signing import signed
from ingest.storage.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ingest.settings import AccessKey
    from ingest.storage.reply import Reply

PAGE = 1_000
"""The most names on a page."""
_PAGE_BYTES = 16 * 1_048_576
"""Well above 1,000 keys of 1,024 bytes, each byte written as ``%XX``."""
_UNREACHED_RETRIES = 2
"""An endpoint that has not answered once is more often wrong than overloaded."""
_BACKOFF = Backoff(retries=6, base_s=0.25)

_CUT_SHORT = frozenset(
    expat.codes[message]
    for message in (
        expat.XML_ERROR_NO_ELEMENTS,
        expat.XML_ERROR_PARTIAL_CHAR,
        expat.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.XML_ERROR_UNCLOSED_TOKEN,
    )
)
_MORE = re.compile(rb"<NextContinuationToken>([^<&]+)</NextContinuationToken>")
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


@dataclass(frozen=True, slots=True)
class Page:
    """One page: objects and, where they are folded, directories; whether and where it goes on."""

    items: list[Entry | Prefix]
    truncated: bool
    token: str | None


class Pages:
    """The pages of one listing, over one kept-alive connection. What may pass is tried again."""

    def __init__(self, place: Place, prefix: str, delimiter: str) -> None:
        """Ask nothing yet."""
        self._place = place
        self._prefix = prefix
        self._delimiter = delimiter
        self._address = bucket_url(
            *(place.bucket, place.endpoint_url, place.region), path_style=place.style.path_style
        )
        self._wire: Wire | None = None
        self._answers = 0
        self._ahead: str | None = None
        at = f" at {place.endpoint_url}" if place.endpoint_url else ""
        self._what = f"cannot list s3://{place.bucket}/{prefix}{at}"

    def __str__(self) -> str:
        """Return what is listed, and where."""
        return self._what.removeprefix("cannot list ")

    def close(self) -> None:
        """Hang up."""
        if self._wire:
            self._wire.close()

    def fail(self, why: str, *, hint: str | None = None) -> NoReturn:
        """Raise ``StoreError`` that says what was listed, and ``why`` that failed."""
        raise StoreError(f"{self._what}: {why}", hint=hint)

    def page(self, last: str, token: str | None) -> Page:
        """Return the page after ``last``, or that of ``token``; retries where they can help."""
        url = self._url(last, token)
        for attempt in count():
            try:
                return self._read(*self._get(url))
            except Failed as failed:
                retries = self._place.backoff.retries
                retries = retries if self._answers else min(retries, _UNREACHED_RETRIES)
                if not failed.passes or attempt >= retries:
                    raise failed.error(self._what) from None
                wait_s = max(failed.wait_s, self._place.backoff.wait_s(attempt))
            self._place.wait(wait_s)
        raise AssertionError  # pragma: no cover - count() does not end

    def _url(self, last: str, token: str | None) -> str:
        style = self._place.style
        query = {
            "delimiter": self._delimiter,
            "encoding-type": "url" if style.url_encode else "",
            "max-keys": str(PAGE),
            "prefix": self._prefix,
        }
        if style.version == 1:
            query["marker"] = last
        else:
            query |= {"list-type": "2", "start-after": "" if token else last}
            query["continuation-token"] = token or ""
        asked = (
            f"{name}={quote(name_bytes(text), safe='')}"
            for name, text in sorted(query.items())
            if text
        )
        return f"{self._address}?{'&'.join(asked)}"

    def _get(self, url: str) -> tuple[Reply, bytes]:
        """Return the answer to ``url`` with its body, and ask for what follows it."""
        try:
            self._wire = self._wire or Wire(self._address)
            if self._ahead != url:
                self._send(self._wire, url)
            self._ahead = None
            answer = self._wire.answer()
            body = self._wire.body(answer, _PAGE_BYTES + 1)
        except Unreachable as error:
            self._ahead = None
            raise Failed("", str(error), passes=not error.is_final) from None
        if len(body) > _PAGE_BYTES:
            self.fail(f"an answer of more than {_PAGE_BYTES:,} bytes", hint=_NOT_S3)
        self._answers += 1
        # Who wants no more than the beginning has it with the first page.
        if self._answers > 1 and answer.status == HTTPStatus.OK and (more := _MORE.search(body)):
            self._send_ahead(self._wire, self._url("", more[1].decode("utf-8", "replace")), url)
        return answer, body

    def _send_ahead(self, wire: Wire, following: str, url: str) -> None:
        if following == url:  # a store that repeats its token
            return
        with suppress(Unreachable):  # it is told when the page is wanted, and asked for again
            self._send(wire, following)
            self._ahead = following

    def _send(self, wire: Wire, url: str) -> None:
        if self._ahead:  # on its way is another page than the one that is wanted
            wire.close()
        place = self._place
        wire.send("GET", url, signed("GET", url, place.credentials(), place.region))

    def _read(self, answer: Reply, body: bytes) -> Page:
        if answer.status != HTTPStatus.OK:
            raise refusal_of(answer.headers, body, answer.status, self._place.region)
        try:
            root = ET.fromstring(body)  # noqa: S314 - expat itself bounds what entities expand to
        except ET.ParseError as error:
            if error.code in _CUT_SHORT:
                raise Failed("", "the answer was cut short", passes=True) from None
            self.fail(f"the answer is no XML: {error}", hint=_NOT_S3)
        namespace, brace, name = root.tag.rpartition("}")
        if name == "Error":  # S3 may find out after it has said 200
            raise refusal_in(root, answer.headers, answer.status, self._place.region)
        if name != "ListBucketResult":
            self.fail(f"the answer is no listing, but <{name}>", hint=_NOT_S3)
        try:
            return _page(root, namespace + brace)
        except ValueError as error:
            self.fail(f"the listing cannot be read: {error}")


def _page(root: ET.Element, namespace: str) -> Page:
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
        items = list(merge(items, map(Prefix, folded), key=lambda item: name_bytes(item.key)))
    truncated = root.findtext(namespace + "IsTruncated", "").strip()
    if truncated not in {"true", "false"}:
        raise ValueError("it does not say whether there is more")
    token = root.findtext(namespace + "NextContinuationToken", "")
    return Page(items, truncated == "true", token or None)


def _unquoted(names: list[str]) -> list[str]:
    # All at once takes a third of the time; the separator cannot stand in XML.
    whole = unquote_plus("\0".join(names), errors="surrogateescape").split("\0")
    if len(whole) == len(names):
        return whole
    return [unquote_plus(name, errors="surrogateescape") for name in names]


def _seconds(moment: str) -> float:
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def name_bytes(name: str) -> bytes:
    """Return what a store orders names by."""
    return name.encode("utf-8", "surrogateescape")
