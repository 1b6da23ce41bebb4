"""The routes of the catalogue: a path and its parameters to an answer.

Sign-in, methods and faults of the wire are the server's business; here is what a signed-in GET
receives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from ingest.sandbox import replies
from ingest.sandbox.catalogue import GENRES, Dataset, Entry, Language, by_id, record
from ingest.sandbox.details import movie_details, series_details
from ingest.sandbox.faults import NEWER_TITLES, Fault
from ingest.sandbox.query import (
    LAST_PAGE,
    PAGE_SIZE,
    BadDateError,
    BadPageError,
    Parameters,
    Query,
    matching,
    page_number,
    parse,
    text_language,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.sandbox.replies import Reply

DISCOVER: Final[dict[str, Dataset]] = {"/3/discover/movie": "movie", "/3/discover/tv": "tv"}
_GENRE_LISTS: Final[dict[str, Dataset]] = {"/3/genre/movie/list": "movie", "/3/genre/tv/list": "tv"}
_DETAILS: Final = re.compile(r"/3/(movie|tv)/([0-9]+)")
_LARGEST_ID: Final = 2**63 - 1  # above it TMDB says "invalid id" instead of "not found"


class Titles(Hashable, Protocol):
    """A catalogue."""

    def matching(self, query: Query) -> Sequence[Entry]:
        """Find the titles a query matches, in its order."""

    def by_id(self, dataset: Dataset, number: int) -> Entry | None:
        """Return a title, or None where there is none of this number."""


class Invented:
    """The invented catalogue, which is held whole."""

    @staticmethod
    def matching(query: Query) -> Sequence[Entry]:
        """Find the titles a query matches, in its order; equal keys are in order of id."""
        return matching(query)

    @staticmethod
    def by_id(dataset: Dataset, number: int) -> Entry | None:
        """Return a title, or None where there is none of this number."""
        return by_id(dataset).get(number)


INVENTED: Final = Invented()


def answer(
    path: str, parameters: Parameters, fault: Fault | None, titles: Titles = INVENTED
) -> Reply:
    """Answer a signed-in GET; ``fault`` may bend what a list says."""
    if path in DISCOVER:
        return _discover(DISCOVER[path], parameters, fault, titles)
    if path in _GENRE_LISTS:
        return replies.page(genre_list(_GENRE_LISTS[path]))
    if path == "/3/authentication":
        return replies.page(replies.error(1).body)
    found = _DETAILS.fullmatch(path)
    if found is None:
        return replies.error(34)
    dataset: Dataset = "movie" if found[1] == "movie" else "tv"
    return _details(dataset, int(found[2][:20]), parameters, titles)


def genre_list(dataset: Dataset) -> bytes:
    """Make the body of /genre/{dataset}/list."""
    genres = [{"id": number, "name": name} for number, name in GENRES[dataset].items()]
    return replies.to_json({"genres": genres})


def _details(dataset: Dataset, number: int, parameters: Parameters, titles: Titles) -> Reply:
    entry = titles.by_id(dataset, number)
    if entry is None:
        return replies.error(34 if number <= _LARGEST_ID else 6)
    language = text_language(parameters)
    fields = movie_details if dataset == "movie" else series_details
    return replies.page(replies.to_json(fields(entry, language)))


def _discover(
    dataset: Dataset, parameters: Parameters, fault: Fault | None, titles: Titles
) -> Reply:
    try:
        number = page_number(parameters)
        query = parse(dataset, parameters)
    except BadPageError:
        return replies.error(22)
    except BadDateError:
        return replies.error(23)
    kind = fault.kind if fault else ""
    body = _page_body(titles, query, number, text_language(parameters), kind)
    return replies.page(body, fault.age_s if fault else 0)


@lru_cache(maxsize=1024)
def _page_body(
    titles: Titles, query: Query, number: int, language: Language | None, fault: str
) -> bytes:
    """One page of a query as bytes; about 12 kB, so the cache holds 12 MB at most."""
    rows = titles.matching(query)
    if fault == "torn":
        rows = rows[NEWER_TITLES:]
    envelope = {
        "page": number,
        "results": [record(entry, language) for entry in _window(rows, number, fault)],
        "total_pages": max(1, math.ceil(len(rows) / PAGE_SIZE)),
        "total_results": len(rows),
    }
    return replies.to_json(_bent(envelope, fault))


def _window(rows: Sequence[Entry], number: int, fault: str) -> Sequence[Entry]:
    """Cut a page out. With duplicates each begins one row earlier than the one before ends."""
    step = PAGE_SIZE - 1 if fault == "duplicates" else PAGE_SIZE
    size = (PAGE_SIZE - 1 if number % 2 else 15) if fault == "short" else PAGE_SIZE
    start = (number - 1) * step
    return rows[start : start + size]


def _bent(envelope: dict[str, object], fault: str) -> dict[str, object]:
    """Bend an envelope as a fault of the list would have it."""
    results = envelope["results"]
    if fault == "null-results":
        return envelope | {"results": None}
    if fault == "empty-pages":
        return envelope | {
            "results": [],
            "total_pages": LAST_PAGE,
            "total_results": LAST_PAGE * PAGE_SIZE,
        }
    if fault == "no-id" and isinstance(results, list) and results:
        first = {key: value for key, value in results[0].items() if key != "id"}
        return envelope | {"results": [first, *results[1:]]}
    return envelope
