"""A catalogue of any size that is not held: its titles are made when a page shows them.

What is held is how many titles each day has. A title is a function of its dataset and position,
as in the invented catalogue, and positions are in order of the days: a range of dates is a range
of positions, however many titles there are. Each title has a date; none is adult or a video, and
six in ten have no votes. Other filters, and other orders than that of the dates, look at each
title of the range.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate, pairwise
from math import inf
from typing import Final, overload

from ingest.sandbox.catalogue import LAST_DAY, Dataset, Entry, make_entry
from ingest.sandbox.query import Query, select

Titles = int | Mapping[date, int]
"""How many titles a dataset has: of each day, or in all, over the days as TMDB has them."""

_UNVOTED: Final = 0.6
_FIRST_ID: Final = 1009
_DATE_ORDERS: Final = frozenset({"primary_release_date.asc", "first_air_date.asc"})

# Titles of a year, in thousands, where TMDB has 1.2 million; in between they grow evenly.
_YEARS: Final = (
    *((1900, 0.6), (1914, 1.2), (1940, 1.6), (1960, 2.9), (1980, 5.9), (1995, 9.0), (2005, 19.0)),
    *((2012, 34.0), (2019, 52.0), (2022, 60.0), (2024, 55.0), (LAST_DAY.year, 20.0)),
)
# Where only the year is known, people enter its first day.
_NEW_YEARS_SHARE: Final = 0.08


class Scaled:
    """The titles of each dataset; a dataset without a number has none."""

    def __init__(self, titles: Mapping[Dataset, Titles]) -> None:
        """Take the numbers."""
        self._days = {dataset: _Days(dataset, number) for dataset, number in titles.items()}

    def matching(self, query: Query) -> Sequence[Entry]:
        """Find the titles a query matches, in its order."""
        days = self._days.get(query.dataset)
        if days is None:
            return ()
        if _asks_for_dates_alone(query):
            return days.between(query)
        return _selected(days, query)

    def by_id(self, dataset: Dataset, number: int) -> Entry | None:
        """Return a title, or None where there is none of this number."""
        days = self._days.get(dataset)
        position = number - _FIRST_ID
        return days.entry(position) if days and 0 <= position < len(days) else None


class _Days:
    """The titles of one dataset, by day."""

    def __init__(self, dataset: Dataset, titles: Titles) -> None:
        counts = realistic_days(titles) if isinstance(titles, int) else titles
        self._dataset = dataset
        self._days = [day.isoformat() for day in sorted(counts)]
        self._ends = list(accumulate(counts[day] for day in sorted(counts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def between(self, query: Query) -> _Run:
        """Return the titles in the dates of ``query``."""
        first = bisect_left(self._days, query.since)
        last = bisect_right(self._days, query.until) if query.until else len(self._days)
        return _Run(self, range(self._end(first), max(self._end(first), self._end(last))))

    def entry(self, position: int) -> Entry:
        day = self._days[bisect_right(self._ends, position)]
        made = make_entry(self._dataset, position)
        share = (made.vote_count % 1000) / 1000
        return made._replace(
            id=_FIRST_ID + position,
            date=day,
            adult=False,
            video=False,
            vote_count=0 if position % 10 < 10 * _UNVOTED else 1 + int(400 * share * share),
        )

    def _end(self, days: int) -> int:
        """Return how many titles the first ``days`` days have."""
        return self._ends[days - 1] if days else 0


class _Run(Sequence[Entry]):
    """Titles of neighbouring positions, each made when it is asked for."""

    def __init__(self, days: _Days, positions: range) -> None:
        self._days = days
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> _Run: ...
    def __getitem__(self, index: int | slice) -> Entry | _Run:
        found = self._positions[index]
        return _Run(self._days, found) if isinstance(found, range) else self._days.entry(found)


@lru_cache(maxsize=8)
def _selected(days: _Days, query: Query) -> tuple[Entry, ...]:
    return select(days.between(query), query)


def _asks_for_dates_alone(query: Query) -> bool:
    return (
        query.sort_by in _DATE_ORDERS
        and query.genres == ()
        and not (query.without_genres or query.original_language or query.origin_countries)
        and all((least, most) == (-inf, inf) for _, least, most in query.bounds)
    )


def realistic_days(titles: int) -> dict[date, int]:
    """Spread ``titles`` over the days from 1900 on, about as those of TMDB are."""
    counts = {}
    weights = [
        weight + (next_weight - weight) * between / (later - year)
        for (year, weight), (later, next_weight) in pairwise(_YEARS)
        for between in range(later - year)
    ] + [_YEARS[-1][1]]
    whole, passed, given = sum(weights), 0.0, 0
    for year, weight in enumerate(weights, start=_YEARS[0][0]):
        first = date(year, 1, 1)
        length = (date(year + 1, 1, 1) - first).days
        for day in range(length):
            share = _NEW_YEARS_SHARE if day == 0 else (1 - _NEW_YEARS_SHARE) / (length - 1)
            passed += weight * share
            # Rounded where it ends, not how long it is: the parts then are the whole.
            end = round(titles * passed / whole)
            if end > given:
                counts[first + timedelta(days=day)] = end - given
            given = end
    return counts
