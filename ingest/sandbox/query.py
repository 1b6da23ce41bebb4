"""Parameters of /discover to matching titles, as the real API understands them.

Known here: genres with and without, the primary date ranges and years, original language,
country of origin, adult and video flags, votes, sorting. Every other parameter is silently
ignored and the answer is simply less filtered, which is what the real API does with names it
does not know. Values it cannot read are ignored too, with two exceptions: a date that is not
YYYY-MM-DD is an error, and a genre that is not a number matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ingest.sandbox.catalogue import Dataset, Entry, Language, entries, original_title, title

Parameters = Mapping[str, str]

PAGE_SIZE: Final = 20
LAST_PAGE: Final = 500

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LANGUAGE: Final = re.compile(r"[a-z]{2}(-[A-Z]{2})?")
_DEFAULT_SORT: Final = "popularity.desc"

# A movie has one date here, so its primary release and "any release" are the same day.
_DATE_NAMES: Final[dict[Dataset, tuple[str, ...]]] = {
    "movie": ("primary_release_date", "release_date"),
    "tv": ("first_air_date",),
}
_YEAR_NAMES: Final[dict[Dataset, tuple[str, ...]]] = {
    "movie": ("primary_release_year", "year"),
    "tv": ("first_air_date_year",),
}
_SORT_KEYS: Final[dict[Dataset, dict[str, Callable[[Entry], object]]]] = {
    "movie": {
        "popularity": lambda entry: entry.popularity,
        "vote_average": lambda entry: entry.vote_average,
        "vote_count": lambda entry: entry.vote_count,
        "primary_release_date": lambda entry: entry.date,
        "title": lambda entry: title(entry, "en"),
        "original_title": original_title,
    },
    "tv": {
        "popularity": lambda entry: entry.popularity,
        "vote_average": lambda entry: entry.vote_average,
        "vote_count": lambda entry: entry.vote_count,
        "first_air_date": lambda entry: entry.date,
        "name": lambda entry: title(entry, "en"),
        "original_name": original_title,
    },
}


class BadPageError(ValueError):
    """The page is not an integer from 1 to 500: TMDB's error 22."""


class BadDateError(ValueError):
    """A date is not YYYY-MM-DD: TMDB's error 23."""


@dataclass(frozen=True, slots=True)
class Query:
    """A /discover request reduced to what decides its matches and their order."""

    dataset: Dataset
    sort_by: str = _DEFAULT_SORT
    # Every group must be met, by any one of its genres; None matches no title.
    genres: tuple[frozenset[int], ...] | None = ()
    without_genres: frozenset[int] = frozenset()
    since: str = ""
    until: str = ""
    keep_undated: bool = False
    include_adult: bool = False
    include_video: bool = False
    original_language: str = ""
    origin_countries: frozenset[str] = frozenset()
    # name of a number of Entry, least, most
    bounds: tuple[tuple[str, float, float], ...] = field(default=())


def page_number(parameters: Parameters) -> int:
    """Read the page asked for, 1 by default.

    Raises:
        BadPageError: it is not an integer from 1 to 500.

    """
    text = parameters.get("page", "1")
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= LAST_PAGE:
        raise BadPageError(text)
    return int(text)


def text_language(parameters: Parameters) -> Language | None:
    """Read the language of texts; None for one that nobody has translated into."""
    asked = parameters.get("language", "en-US")
    if not _LANGUAGE.fullmatch(asked) or asked.startswith("en"):
        return "en"
    return "pt" if asked in {"pt", "pt-BR"} else None


def parse(dataset: Dataset, parameters: Parameters) -> Query:
    """Read what a request asks for.

    Raises:
        BadDateError: a date this dataset knows is not YYYY-MM-DD.

    """
    since, until = _date_range(dataset, parameters)
    sort_by = parameters.get("sort_by", _DEFAULT_SORT)
    key, _, direction = sort_by.rpartition(".")
    known = key in _SORT_KEYS[dataset] and direction in {"asc", "desc"}
    language = parameters.get("with_original_language", "")
    countries = parameters.get("with_origin_country", "")
    return Query(
        dataset=dataset,
        sort_by=sort_by if known else _DEFAULT_SORT,
        genres=_genre_groups(parameters.get("with_genres", "")),
        without_genres=frozenset(
            map(int, re.findall("[0-9]+", parameters.get("without_genres", "")))
        ),
        since=since,
        until=until,
        keep_undated=dataset == "tv" and _flag(parameters, "include_null_first_air_dates"),
        include_adult=_flag(parameters, "include_adult"),
        include_video=_flag(parameters, "include_video"),
        original_language=language if re.fullmatch("[a-z]{2}", language) else "",
        origin_countries=frozenset(re.findall(r"\b[A-Z]{2}\b", countries)),
        bounds=_bounds(parameters),
    )


@lru_cache(maxsize=256)
def matching(query: Query) -> tuple[Entry, ...]:
    """Find the titles of the invented catalogue that a query matches, in its order."""
    return select(entries(query.dataset), query)


def select(titles: Iterable[Entry], query: Query) -> tuple[Entry, ...]:
    """Return those of ``titles`` that a query matches, in its order; equal keys as they come."""
    key, _, direction = query.sort_by.rpartition(".")
    found = [entry for entry in titles if _matches(entry, query)]
    # sort() keeps the order of equal keys, in reverse too.
    found.sort(key=_SORT_KEYS[query.dataset][key], reverse=direction == "desc")  # type: ignore[arg-type]
    return tuple(found)


def _matches(entry: Entry, query: Query) -> bool:
    return (
        _allowed(entry, query)
        and _has_genres(entry, query)
        and _in_range(entry.date, query)
        and all(least <= getattr(entry, name) <= most for name, least, most in query.bounds)
    )


def _allowed(entry: Entry, query: Query) -> bool:
    """Compare flags, language and country."""
    if (entry.adult and not query.include_adult) or (entry.video and not query.include_video):
        return False
    if query.origin_countries and query.origin_countries.isdisjoint(entry.origin_country):
        return False
    return query.original_language in {"", entry.original_language}


def _has_genres(entry: Entry, query: Query) -> bool:
    if query.genres is None or not query.without_genres.isdisjoint(entry.genre_ids):
        return False
    return not any(group.isdisjoint(entry.genre_ids) for group in query.genres)


def _in_range(day: str, query: Query) -> bool:
    """Date filters drop undated titles; ISO dates compare as text."""
    if not query.since and not query.until:
        return True
    if not day:
        return query.keep_undated
    return query.since <= day and (not query.until or day <= query.until)


def _genre_groups(text: str) -> tuple[frozenset[int], ...] | None:
    """``16,35`` is both, ``16|35`` is either; mixed, each comma-separated part is an "either"."""
    parts = [part for part in text.split(",") if part]
    if not re.fullmatch(r"[0-9,| ]*", text):
        return None
    return tuple(frozenset(map(int, re.findall("[0-9]+", part))) for part in parts)


def _date_range(dataset: Dataset, parameters: Parameters) -> tuple[str, str]:
    """Read the tightest range that the dataset's date and year parameters ask for."""
    since, until = "", ""
    for name in _DATE_NAMES[dataset]:
        since = max(since, _day(parameters, f"{name}.gte"))
        latest = _day(parameters, f"{name}.lte")
        until = min(until, latest) if until and latest else until or latest
    for name in _YEAR_NAMES[dataset]:
        year = parameters.get(name, "")
        if re.fullmatch("[0-9]{4}", year):
            since = max(since, f"{year}-01-01")
            until = min(until or "9999", f"{year}-12-31")
    return since, until


def _day(parameters: Parameters, name: str) -> str:
    """Read a date as it was given: impossible days such as 2024-02-30 pass, as they do upstream."""
    value = parameters.get(name, "")
    if value and not _DATE.fullmatch(value):
        raise BadDateError(name)
    return value


def _bounds(parameters: Parameters) -> tuple[tuple[str, float, float], ...]:
    bounds = []
    for name in ("vote_average", "vote_count"):
        least = _number(parameters.get(f"{name}.gte", ""), float("-inf"))
        most = _number(parameters.get(f"{name}.lte", ""), float("inf"))
        bounds.append((name, least, most))
    return tuple(bounds)


def _number(text: str, default: float) -> float:
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else default


def _flag(parameters: Parameters, name: str) -> bool:
    return parameters.get(name, "").lower() == "true"
