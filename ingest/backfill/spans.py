"""A range of days -> spans of at most 500 pages, split in half as often as it takes. Pure.

What makes the spans of a range exact:

* Days are whole numbers, and so are votes: the two halves of a span share no title, and no title
  of the span is in neither. A single day is split by the votes of its titles, of which each title
  has one number. (It has several genres, and TMDB has no way to ask for what is in none of many.)
* What TMDB counts in the halves has to add up to what it counts in the whole. Where it does not, a
  filter was not heeded.
* A span that cannot be split, or whose halves do not add up, is an error, never cut short.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from ingest.errors import CannotSplit
from ingest.fetcher import LAST_PAGE, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

_MOST_TITLES = LAST_PAGE * PAGE_SIZE
_ROOM = 10
"""Pages kept free, where a span can be split, for titles that TMDB gains before it is read."""
_MOST_VOTES = 1 << 31
"""Above that nothing is split by votes any more; the most voted title has some 40,000."""
_DRIFT = 0.01
"""By how much the halves may miss the whole: TMDB caches each answer on its own, for hours."""
_LEAST_DRIFT = 100


@dataclass(frozen=True, slots=True)
class Span:
    """The titles released from ``first`` to ``last``, both included.

    Of a single day perhaps only those with ``votes_from`` to ``votes_to`` votes, both included;
    ``votes_to`` is None where there is no upper end.
    """

    first: date
    last: date
    votes_from: int | None = None
    votes_to: int | None = None

    def __str__(self) -> str:
        """Return its name, which no other span of a plan has."""
        days = f"{self.first}_{self.last}"
        if self.votes_from is None:
            return days
        return f"{days}_votes_{self.votes_from}_{'up' if self.votes_to is None else self.votes_to}"

    def halves(self) -> tuple[Span, Span] | None:
        """Return two spans that share no title, and have all of them; None if it is one point."""
        if self.first < self.last:
            middle = date.fromordinal((self.first.toordinal() + self.last.toordinal()) // 2)
            after = date.fromordinal(middle.toordinal() + 1)
            return replace(self, last=middle), replace(self, first=after)
        least, most = self.votes_from or 0, self.votes_to
        if least == most or least > _MOST_VOTES:
            return None
        # Most titles have few votes: without an upper end, the lower half is a small one.
        votes = 2 * least if most is None else (least + most) // 2
        lower = replace(self, votes_from=least, votes_to=votes)
        return lower, replace(self, votes_from=votes + 1, votes_to=most)


@dataclass(frozen=True, slots=True)
class Totals:
    """How many titles, on how many pages, TMDB counts in a span."""

    results: int
    pages: int

    @property
    def fit(self) -> bool:
        """Whether TMDB hands out all of them.

        Not where they are just as many as it hands out: it has cut its totals there before.
        """
        return self.pages <= LAST_PAGE and self.results < _MOST_TITLES

    @property
    def fit_well(self) -> bool:
        """Whether a few more would fit as well."""
        return self.pages <= LAST_PAGE - _ROOM


def split(
    span: Span, ask: Callable[[Sequence[Span]], Sequence[Totals]]
) -> list[tuple[Span, Totals]]:
    """Return the spans that ``span`` is split into, in their order, each with its totals.

    They share no title, and have all of them. ``ask`` is called with the spans of each round.
    Raises ``CannotSplit``.
    """
    found: list[tuple[Span, Totals]] = []
    counted = list(zip([span], ask([span]), strict=True))
    while counted:
        large = []
        for whole, totals in counted:
            if halves := _halves(whole, totals):
                large.append((whole, totals, halves))
            else:
                found.append((whole, totals))
        parts = [half for _, _, halves in large for half in halves]
        counted = list(zip(parts, ask(parts), strict=True)) if parts else []
        for (whole, totals, _), lower, upper in zip(
            large, counted[::2], counted[1::2], strict=True
        ):
            _check_sum(whole, totals, lower[1].results + upper[1].results)
    return sorted(found, key=lambda each: (each[0].first, each[0].votes_from or 0))


def _halves(span: Span, totals: Totals) -> tuple[Span, Span] | None:
    """Return what ``span`` is to be split into, None where it need not be."""
    halves = None if totals.fit_well else span.halves()
    if halves is None and not totals.fit:
        raise CannotSplit(
            f"TMDB has {totals.results:,} titles of {span.first} with {span.votes_from} votes; it "
            f"hands out fewer than {_MOST_TITLES:,}, and nothing is left to split them by",
            hint="narrow the backfill by genres",
        )
    return halves


def _check_sum(span: Span, whole: Totals, parts: int) -> None:
    """Raise unless the halves of ``span`` have together what it has, but for the drift."""
    if whole.results == _MOST_TITLES:
        return  # cut there, perhaps: it says nothing of how many there are
    off = abs(parts - whole.results)
    if off > max(_LEAST_DRIFT, whole.results * _DRIFT):
        raise CannotSplit(
            f"TMDB counts {whole.results:,} titles in {span}, but {parts:,} in its two halves: it "
            "does not heed a filter, or its answers are of very different times",
            hint="plan again in some hours",
        )
    if off:
        logger.warning(
            "TMDB counts %d titles in %s, and %d in its two halves", whole.results, span, parts
        )
