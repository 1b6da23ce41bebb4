"""The objects of a bucket, streamed in order and never collected.

A page has to hold what ``ingest.storage.listing`` asks of one: names in strictly increasing UTF-8
byte order, all below the prefix, at most 1,000, and whether there is more. The next one is asked
for with the last name of the one before.
"""

from __future__ import annotations

from heapq import merge
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from ingest.errors import StoreError
from ingest.storage.base import Prefix
from ingest.storage.spectra import documents
from ingest.storage.spectra.heads import Listed
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.wire import Request

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator
    from typing import NoReturn

    from ingest.storage.base import Entry
    from ingest.storage.spectra.place import Place

_PAGE = 1_000
_IDLE_PAGES = 100
"""Pages in a row without a new name: one may be where all objects are still on their way."""


def list_objects(place: Place, prefix: str = "", after: str = "") -> Iterator[Entry]:
    """Yield the objects whose keys begin with ``prefix``, as ``ingest.storage.listing`` does.

    Of these, those that come ``after`` a key. An object of which the appliance has not every byte
    yet is none.
    """
    for page in _Listing(place, prefix).pages(after):
        yield from cast("list[Entry]", page)


def list_directory(place: Place, prefix: str = "") -> Iterator[Entry | Prefix]:
    """Yield what is directly below ``prefix``: objects, and one ``Prefix`` for each directory."""
    for page in _Listing(place, prefix, "/").pages():
        yield from page


def list_versions(place: Place, prefix: str = "") -> Iterator[Listed]:
    """Yield all versions of the objects below ``prefix``, by key, the newest first."""
    for page in _Listing(place, prefix, versions=True).pages():
        yield from cast("list[Listed]", page)


class _Listing:
    """One listing, page by page."""

    def __init__(
        self, place: Place, prefix: str, delimiter: str = "", *, versions: bool = False
    ) -> None:
        self._place = place
        self._prefix = prefix
        self._delimiter = delimiter
        self._versions = versions
        self._what = f"cannot list {place.url}/{prefix}"

    def pages(self, marker: str = "") -> Iterator[list[Entry | Prefix]]:
        """Yield pages, each of which begins after the end of the one before."""
        idle = 0
        while idle < _IDLE_PAGES:
            idle += 1
            items, last, is_more = self._page(marker)
            if items and isinstance(items[0], Prefix) and items[0].key == marker:
                items = items[1:]  # an appliance that takes a marker to mean "within"
            self._check(items, marker)
            if items:
                idle = 0
                yield items
            if not is_more:
                return
            if not last or _bytes(last) <= _bytes(marker):
                self._fail("there is said to be more, but not how to come to it")
            marker = last
        self._fail(f"{_IDLE_PAGES} pages without a new key after {marker!r}")

    def _page(self, marker: str) -> tuple[list[Entry | Prefix], str, bool]:
        """Return what is on the page after ``marker``, its last name, and whether there is more."""
        query = {
            "delimiter": self._delimiter,
            "marker": marker,
            "max_keys": str(_PAGE),
            "prefix": self._prefix,
        }
        asked: dict[str, str | None] = {name: text for name, text in query.items() if text}
        if self._versions:
            asked["versions"] = None
        request = Request(self._what, "GET", self._place.path(), asked)
        return self._place.wire.read(request, self._read, Stop())

    def _read(self, body: bytes) -> tuple[list[Entry | Prefix], str, bool]:
        root = documents.parse(body)
        if documents.name_of(root) != "ListBucketResult":
            raise documents.Unreadable(f"it is no listing, but <{documents.name_of(root)}>")
        is_more = root.findtext("{*}IsTruncated", "").strip().lower()
        if is_more not in {"true", "false"}:
            raise documents.Unreadable("the listing does not say whether there is more")
        kind = "Version" if self._versions else "Contents"
        rows = [_row(element) for element in root.iterfind(f"{{*}}{kind}")]
        folded = [each.text or "" for each in root.iterfind("{*}CommonPrefixes/{*}Prefix")]
        names = [row.key for row in rows] + folded
        # What is still on its way has no time, and what is not the latest is an old version.
        there = [row for row in rows if row.modified and (row.is_latest or self._versions)]
        items: list[Entry | Prefix] = list(there)
        if folded:
            items = list(merge(items, map(Prefix, folded), key=lambda item: _bytes(item.key)))
        last = root.findtext("{*}NextMarker") or max(names, key=_bytes, default="")
        return items, last, is_more == "true"

    def _check(self, items: list[Entry | Prefix], marker: str) -> None:
        """Fail unless ``items`` is a page as it should be."""
        if not self._delimiter and any(isinstance(item, Prefix) for item in items):
            self._fail("some keys are folded into common prefixes, which was not asked for")
        names = [_bytes(item.key) for item in items]
        if len(names) > _PAGE and not self._versions:
            self._fail(f"{len(names):,} names on a page, which holds {_PAGE:,} at most")
        for before, name in pairwise([_bytes(marker), *names]):
            if before > name or (before == name and not self._versions and (name or marker)):
                self._fail(f"the keys are not in order: {before!r}, then {name!r}")
        # In order, so that what lies between two names below a prefix is below it too.
        for name in (*names[:1], *names[-1:]):
            if not name.startswith(_bytes(self._prefix)):
                self._fail(f"the key {name!r} is outside of the prefix")

    def _fail(self, why: str) -> NoReturn:
        raise StoreError(f"{self._what}{self._place.wire.at}: {why}")


def _row(element: ET.Element) -> Listed:
    told = {documents.name_of(child): child.text or "" for child in element}
    size = told.get("Size", "").strip()
    if not size.isdecimal():
        raise documents.Unreadable(f"an object of the listing has {size!r} bytes")
    return Listed(
        told.get("Key", ""),
        int(size),
        documents.seconds(told.get("LastModified", "").strip()),
        told.get("ETag", "").strip().strip('"') or None,
        told.get("VersionId", "").strip() or None,
        # Version 3 of the appliance does not say it: all it has is the latest.
        documents.is_true(told.get("IsLatest", "true")),
    )


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
