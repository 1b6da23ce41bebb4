"""The objects of a bucket, streamed in order and never collected.

boto3's paginator spends 50 µs an object, nearly all of it on the way from XML to a dictionary.
Here ``ingest.storage.pages`` fetches pages of 1,000 and reads them with ``xml.etree``. What a page
must hold, or the listing ends in an error, never short:

* an ``IsTruncated``, and where it is true a continuation token other than the one it was asked
  with: if not, the listing goes on with ``StartAfter`` the last key, which is as good;
* names in strictly increasing UTF-8 byte order, all below the prefix, at most 1,000. A page that
  does not go on where the one before ended is asked for once more, with ``StartAfter``.

A store that says ``IsTruncated`` is false while it has more cannot be found out.
"""

from __future__ import annotations

import logging
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from ingest.storage.base import Entry, Prefix
from ingest.storage.pages import PAGE, Pages, name_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.storage.pages import Place

logger = logging.getLogger(__name__)

_IDLE_PAGES = 100
"""Pages in a row without anything new. A few are usual where a store hides deleted objects."""


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


def _walk(
    place: Place, prefix: str, delimiter: str, start_after: str
) -> Iterator[list[Entry | Prefix]]:
    """Yield pages, each of which begins after the end of the one before."""
    start, last = name_bytes(prefix), start_after
    token: str | None = None
    idle = 0
    with closing(Pages(place, prefix, delimiter)) as pages:
        while idle < _IDLE_PAGES:
            idle += 1
            page = pages.page(last, token)
            items = page.items
            if items and isinstance(items[0], Prefix) and items[0].key == last:
                items = items[1:]  # a store that takes StartAfter or a token to mean "within"
            _check(pages, items, start, folded=bool(delimiter))
            if items and name_bytes(items[0].key) <= name_bytes(last):
                if token is None:
                    pages.fail(f"asked for what comes after {last!r}, got {items[0].key!r}")
                logger.warning("%s went back to %r: going on after %r", pages, items[0].key, last)
                token = None
                continue
            if items:
                idle, last = 0, items[-1].key
                yield items
            if not page.truncated:
                return
            if place.style.version == 1 or page.token is None or page.token == token:
                if not items:
                    pages.fail("there is said to be more, but not how to come to it")
                token = None
            else:
                token = page.token
        pages.fail(f"{_IDLE_PAGES} pages without a new key after {last!r}")


def _check(pages: Pages, items: list[Entry | Prefix], start: bytes, *, folded: bool) -> None:
    """Fail unless ``items`` is a page as it should be, and below the prefix ``start``."""
    if not folded and any(isinstance(item, Prefix) for item in items):
        pages.fail("some keys are folded into common prefixes, which was not asked for")
    if len(items) > PAGE:
        pages.fail(f"{len(items):,} names on a page, which holds {PAGE:,} at most")
    names = [name_bytes(item.key) for item in items]
    for before, name in pairwise(names):
        if before >= name:
            pages.fail(f"the keys are not in order: {_shown(before)}, then {_shown(name)}")
    # In order, so that what lies between two names below a prefix is below it too.
    for name in (*names[:1], *names[-1:]):
        if not name.startswith(start):
            pages.fail(f"the key {_shown(name)} is outside of the prefix")


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "surrogateescape"))
