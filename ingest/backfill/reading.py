"""A window -> all of its records, in files, and how they were read.

A window is whole or an error: one that has outgrown what TMDB hands out never comes back from here.
TMDB caches each page on its own, so that a row may be on two pages and another one on none. Where
ids are missing, the window is read once more in another order, in which the borders of the pages
are elsewhere; what is then still missing is told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.backfill.spans import Totals
from ingest.backfill.windows import filters
from ingest.errors import PlanOutgrown
from ingest.fetcher import identity_of, read_page
from ingest.serializer import serialize
from ingest.settings import MAX_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from ingest.backfill.windows import Window
    from ingest.fetcher import Page, Record
    from ingest.serializer import File, Format
    from ingest.tmdb import Answer, Tmdb

_AHEAD = 10
"""Pages of one window that are asked for before they are needed: as many as TMDB's connections."""

_OTHER_ORDER: Mapping[str, str] = {"movies": "original_title.asc", "series": "original_name.asc"}


@dataclass
class Gathered:
    """What was read of a window: ``files`` of at most 100 records, each id once.

    ``total_results`` is the most that TMDB counted on any page, ``repeated`` how many rows came
    again within one reading, ``readings`` how often the window was read.
    """

    params: Mapping[str, str]
    files: list[File] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    total_results: int = 0
    unique_ids: int = 0
    repeated: int = 0
    readings: int = 0


def gather(window: Window, tmdb: Tmdb, form: Format) -> Gathered:
    """Read ``window`` to its last page, and again in another order where ids are missing.

    Holds the bytes of its files in memory: of 10,000 titles, some 15 MB. Raises ``PlanOutgrown``,
    ``RecordTooLarge``, what ``Tmdb.submit`` does, and ``TmdbRefused`` for what is no page.
    """
    params = filters(window.dataset, window.span, window.wanted)
    gathered = Gathered(params)
    known: set[int] = set()
    waiting: list[Record] = []
    for order in (params["sort_by"], _OTHER_ORDER[window.dataset.name]):
        gathered.readings += 1
        for record in _one_reading(window, {**params, "sort_by": order}, tmdb, gathered):
            if record["id"] in known:
                continue
            known.add(record["id"])
            waiting.append(record)
            if len(waiting) == MAX_RECORDS:
                gathered.files += serialize(waiting, form)
                waiting.clear()
        if len(known) >= gathered.total_results:
            break
    if waiting:
        gathered.files += serialize(waiting, form)
    gathered.unique_ids = len(known)
    return gathered


def _one_reading(
    window: Window, params: Mapping[str, str], tmdb: Tmdb, gathered: Gathered
) -> Iterator[Record]:
    """Yield the records of all pages, each id once, and note in ``gathered`` what they are of."""
    seen: set[int] = set()
    for page, records in _pages(window, params, tmdb):
        gathered.pages.append(page)
        gathered.total_results = max(gathered.total_results, page.total_results or 0)
        for record in records:
            identity = identity_of(record, f"{window.dataset.endpoint} page {page.page}")
            if identity in seen:
                gathered.repeated += 1
                continue
            seen.add(identity)
            yield record


def _pages(
    window: Window, params: Mapping[str, str], tmdb: Tmdb
) -> Iterator[tuple[Page, list[Record]]]:
    """Yield all pages in order. A short or empty page is not the end: the last one is."""
    asked: deque[tuple[int, Future[Answer]]] = deque()
    number, end = 0, 1
    try:
        while asked or number < end:
            while number < end and len(asked) < _AHEAD:
                number += 1
                query = {**params, "page": str(number)}
                asked.append((number, tmdb.submit(window.dataset.endpoint, query)))
            at, answer = asked.popleft()
            page, records = read_page(window.dataset, at, tmdb.result(answer))
            totals = Totals(page.total_results or 0, page.total_pages or 0)
            if not totals.fit:
                raise PlanOutgrown(
                    f"{window} has {totals.results:,} titles on {totals.pages} pages by now; when "
                    f"it was planned it had {window.totals.results:,}",
                    hint="plan the backfill anew",
                )
            end = max(end, totals.pages)
            yield page, records
    finally:
        for _, answer in asked:
            answer.cancel()
