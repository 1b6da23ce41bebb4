"""Pages of TMDB -> at most 100 unique records of one dataset, in TMDB's order.

A dataset is whole or an error: one that was cut short never comes back from here.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingest.errors import EmptyDataset, TmdbError, TmdbRefused
from ingest.settings import MAX_RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from ingest.settings import Settings
    from ingest.tmdb import Answer, Tmdb

logger = logging.getLogger(__name__)

Record = dict[str, Any]

PAGE_SIZE = 20
"""Records on a full page; not configurable at TMDB."""

LAST_PAGE = 500
"""TMDB serves no page beyond this one, whatever ``total_pages`` says."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What one endpoint yields, and the folder of the raw zone it lands in.

    ``until`` is the endpoint's own name for the last day of release: TMDB ignores the other's.
    ``details`` is the dataset of the single titles, fetched one by one from the ids of this one.
    """

    name: str
    folder: str
    endpoint: str
    until: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    details: Dataset | None = None

    @property
    def since(self) -> str:
        """The endpoint's own name for the first day of release."""
        return self.until.removesuffix("lte") + "gte"


MOVIES = Dataset(
    name="movies",
    folder="Movies",
    endpoint="/discover/movie",
    until="primary_release_date.lte",
    extra={"include_video": "false"},
    details=Dataset(name="movie_details", folder="MovieDetails", endpoint="/movie/{id}"),
)
SERIES = Dataset(
    name="series",
    folder="Series",
    endpoint="/discover/tv",
    until="first_air_date.lte",
    details=Dataset(name="series_details", folder="SeriesDetails", endpoint="/tv/{id}"),
)
DATASETS: Mapping[str, Dataset] = {dataset.name: dataset for dataset in (MOVIES, SERIES)}
"""The datasets a run can be asked for, by name."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where records came from: one answer of TMDB. Details have no totals."""

    page: int
    records: int
    total_pages: int | None
    total_results: int | None
    etag: str | None
    age_s: int | None
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """The records of one dataset, exactly as TMDB sent them, and where they came from."""

    params: Mapping[str, str]
    records: Sequence[Record]
    pages: Sequence[Page]
    duplicates_dropped: int = 0
    errors: Sequence[Mapping[str, Any]] = ()


def discover_params(dataset: Dataset, settings: Settings) -> dict[str, str]:
    """Return the filters of a discover dataset, under the endpoint's own names, without the page.

    No ``region`` is sent: with it TMDB returns regional release dates, which may lie outside the
    asked window.
    """
    return {
        "include_adult": str(settings.include_adult).lower(),
        **dataset.extra,
        "language": settings.language,
        dataset.until: settings.released_until.isoformat(),
        "with_genres": settings.genres,
    }


def fetch(dataset: Dataset, settings: Settings, tmdb: Tmdb, limit: int = MAX_RECORDS) -> Fetched:
    """Fetch at most ``limit`` unique records of ``dataset``, the first of a duplicate kept.

    The pages that ``limit`` needs are asked for at once; more follow only where duplicates or
    short pages leave it short. A short page is not the end: an empty one is, and page
    min(total_pages, 500). Raises what ``Tmdb.submit`` does, ``TmdbRefused`` for an answer that
    is no page of records, and ``EmptyDataset`` unless ``ALLOW_EMPTY``.
    """
    params = discover_params(dataset, settings)
    records: dict[int, Record] = {}
    pages: list[Page] = []
    duplicates = 0
    for page, found in _pages(dataset, params, tmdb, lambda: limit - len(records)):
        for record in found:
            if len(records) == limit:
                break
            identity = identity_of(record, f"{dataset.endpoint} page {page.page}")
            duplicates += identity in records
            records.setdefault(identity, record)
        pages.append(page)
        logger.info(
            "%s: page %d, %d records so far",
            dataset.name,
            page.page,
            len(records),
            extra={"dataset": dataset.name, "page": page.page, "total": len(records)},
        )
    if not records and not settings.allow_empty:
        asked = ", ".join(f"{name}={value}" for name, value in params.items())
        raise EmptyDataset(
            f"TMDB has no record of {dataset.name} for {asked}",
            hint="check the filters; set ALLOW_EMPTY=true to land an empty dataset",
        )
    return Fetched(params, list(records.values()), pages, duplicates)


def _pages(
    dataset: Dataset, params: Mapping[str, str], tmdb: Tmdb, missing: Callable[[], int]
) -> Iterator[tuple[Page, list[Record]]]:
    """Yield pages in order until ``missing()`` is 0 or TMDB has no more.

    Pages asked for beyond the end are never looked at, so that their failure is none.
    """
    number, end = 1, LAST_PAGE
    while missing() > 0:
        last = min(number + math.ceil(missing() / PAGE_SIZE) - 1, end)
        asked = [
            (n, tmdb.submit(dataset.endpoint, {**params, "page": str(n)}))
            for n in range(number, last + 1)
        ]
        try:
            for n, answer in asked:
                page, found = read_page(dataset, n, tmdb.result(answer))
                end = min(page.total_pages or 0, LAST_PAGE)
                yield page, found
                if not found or n >= end or missing() <= 0:
                    return
        finally:
            for _, answer in asked:
                answer.cancel()
        number = last + 1


def read_page(dataset: Dataset, number: int, answer: Answer) -> tuple[Page, list[Record]]:
    """Return page ``number`` of a list and its records; raises ``TmdbRefused`` where it is none."""
    body = answer.body
    for name, kind in (("results", list), ("total_pages", int), ("total_results", int)):
        found = body.get(name)
        if type(found) is not kind:
            shown = "null or missing" if found is None else f"of type {type(found).__name__}"
            raise TmdbRefused(
                f"TMDB {dataset.endpoint} page {number}: {name} should be of type "
                f"{kind.__name__}, but is {shown}"
            )
    page = Page(
        page=number,
        records=len(body["results"]),
        total_pages=body["total_pages"],
        total_results=body["total_results"],
        etag=answer.etag,
        age_s=answer.age_s,
        made_at=answer.made_at,
    )
    return page, body["results"]


def identity_of(record: object, where: str) -> int:
    """Return a record's ``id``; raise ``TmdbRefused`` where there is none."""
    identity = record.get("id") if isinstance(record, dict) else None
    if type(identity) is not int:
        raise TmdbRefused(f"TMDB {where}: a record has no whole number as its id")
    return identity


def fetch_details(dataset: Dataset, ids: Iterable[int], settings: Settings, tmdb: Tmdb) -> Fetched:
    """Fetch the details of each title, in the order of ``ids``.

    A title that fails is in ``errors`` and does not lose the others; all of them failing is an
    error, and so are refused credentials and a deadline that passes.
    """
    params = {"language": settings.language}
    asked = [(title, tmdb.submit(dataset.endpoint, params, title=title)) for title in ids]
    records: list[Record] = []
    pages: list[Page] = []
    errors: list[Mapping[str, Any]] = []
    failure: TmdbError | None = None
    for number, (title, answer) in enumerate(asked, start=1):
        try:
            page, record = _read_title(dataset, number, title, tmdb.result(answer))
        except TmdbError as error:
            failure = error
            errors.append({"id": title, "error": str(error)})
            logger.warning("%s: %s", dataset.name, error, extra={"dataset": dataset.name})
        else:
            pages.append(page)
            records.append(record)
    if failure and not records:
        raise failure
    logger.info(
        "%s: %d records",
        dataset.name,
        len(records),
        extra={"dataset": dataset.name, "total": len(records)},
    )
    return Fetched(params, records, pages, errors=errors)


def _read_title(dataset: Dataset, number: int, title: int, got: Answer) -> tuple[Page, Record]:
    if identity_of(got.body, dataset.endpoint.format(id=title)) != title:
        raise TmdbRefused(f"TMDB {dataset.endpoint.format(id=title)}: the answer has another id")
    return Page(number, 1, None, None, got.etag, got.age_s, got.made_at), got.body


def is_torn(pages: Sequence[Page], torn_after_s: float) -> bool:
    """Return whether ``pages`` show states of TMDB that never were together.

    TMDB caches each page on its own, so that one run can mix states hours apart: the totals
    differ between pages, or the pages were made more than ``torn_after_s`` apart.
    """
    totals = {(page.total_pages, page.total_results) for page in pages}
    made = [page.made_at for page in pages if page.made_at]
    spread_s = (max(made) - min(made)).total_seconds() if made else 0.0
    return len(totals) > 1 or spread_s > torn_after_s
