"""A range of days in spans: nothing twice, nothing left out, nothing larger than TMDB hands out."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.backfill.spans import Span, Totals, split
from ingest.errors import CannotSplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

FIRST = date(1999, 12, 1)
Titles = dict[tuple[date, int], int]
"""How many titles were released on a day and have so many votes."""


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


TITLES = st.dictionaries(
    st.tuples(st.integers(0, 40).map(day), st.integers(0, 60) | st.integers(0, 100_000)),
    st.integers(1, 9_800),
    max_size=60,
)
RANGES = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(
    lambda ends: Span(day(min(ends)), day(max(ends)))
)


def holds(span: Span, released: date, votes: int) -> bool:
    least = 0 if span.votes_from is None else span.votes_from
    most = math.inf if span.votes_to is None else span.votes_to
    return span.first <= released <= span.last and least <= votes <= most


def tmdb(titles: Mapping[tuple[date, int], int]) -> Callable[[Sequence[Span]], list[Totals]]:
    """What counts ``titles`` in spans, as TMDB does."""

    def count(span: Span) -> Totals:
        found = sum(number for title, number in titles.items() if holds(span, *title))
        return Totals(found, math.ceil(found / 20))

    return lambda spans: [count(span) for span in spans]


def covered(spans: Iterable[Span], whole: Span) -> bool:
    """Whether ``spans``, in this order, follow each other through ``whole`` without a gap."""
    at = (whole.first, 0)
    for span in spans:
        if (span.first, span.votes_from or 0) != at:
            return False
        ended = span.votes_to is None
        at = (span.last + timedelta(days=1), 0) if ended else (span.first, span.votes_to + 1)
    return at == (whole.last + timedelta(days=1), 0)


@given(titles=TITLES, whole=RANGES)
def test_the_spans_of_a_range_follow_each_other_without_a_gap_and_each_fits(
    titles: Titles, whole: Span
) -> None:
    spans = split(whole, tmdb(titles))
    assert covered([span for span, _ in spans], whole)
    assert all(totals.pages <= 500 for _, totals in spans)
    assert all(span.first == span.last for span, _ in spans if span.votes_from is not None)


@given(titles=TITLES, whole=RANGES)
def test_every_title_of_the_range_is_in_just_one_span_and_no_other_title_is(
    titles: Titles, whole: Span
) -> None:
    spans = split(whole, tmdb(titles))
    for title in titles:
        wanted = 1 if holds(whole, *title) else 0
        assert sum(holds(span, *title) for span, _ in spans) == wanted


@given(titles=TITLES, whole=RANGES)
def test_the_totals_of_the_spans_add_up_to_that_of_the_range(titles: Titles, whole: Span) -> None:
    ask = tmdb(titles)
    spans = split(whole, ask)
    assert sum(totals.results for _, totals in spans) == ask([whole])[0].results
    assert [totals for _, totals in spans] == ask([span for span, _ in spans])


@given(titles=TITLES, whole=RANGES)
def test_no_two_spans_share_a_name(titles: Titles, whole: Span) -> None:
    names = Counter(str(span) for span, _ in split(whole, tmdb(titles)))
    assert set(names.values()) == {1}


@given(whole=RANGES)
def test_each_question_is_asked_once(whole: Span) -> None:
    titles = {(day(number), 0): 3_000 for number in range(41)}
    asked: list[Span] = []

    def ask(spans: Sequence[Span]) -> list[Totals]:
        asked.extend(spans)
        return tmdb(titles)(spans)

    spans = split(whole, ask)
    assert len(asked) == len(set(asked)) == 2 * len(spans) - 1


def test_a_range_that_fits_is_one_span() -> None:
    whole = Span(day(0), day(40))
    assert split(whole, tmdb({})) == [(whole, Totals(0, 0))]


def test_a_span_has_room_for_titles_to_come_where_it_can_be_split() -> None:
    days = {(day(0), 0): 4_900, (day(1), 0): 5_000}
    assert [str(span) for span, _ in split(Span(day(0), day(1)), tmdb(days))] == [
        "1999-12-01_1999-12-01",
        "1999-12-02_1999-12-02",
    ]
    votes = {(day(0), 7): 9_999}
    spans = split(Span(day(0), day(0)), tmdb(votes))
    assert (spans[-1][0].votes_to, sum(totals.results for _, totals in spans)) == (None, 9_999)


def test_a_day_that_is_too_large_is_split_by_votes() -> None:
    titles = {(day(3), votes): 4_000 for votes in (0, 1, 2, 5, 900)}
    spans = split(Span(day(3), day(3)), tmdb(titles))
    assert [str(span) for span, _ in spans] == [
        "1999-12-04_1999-12-04_votes_0_0",
        "1999-12-04_1999-12-04_votes_1_2",
        "1999-12-04_1999-12-04_votes_3_up",
    ]


@pytest.mark.parametrize("number", [10_000, 10_001, 250_000])
@pytest.mark.parametrize("votes", [0, 1, 7, 40_000, 1 << 40])
def test_a_day_of_too_many_titles_with_the_same_votes_is_an_error(number: int, votes: int) -> None:
    with pytest.raises(CannotSplit, match=rf"{number:,} titles of 1999-12-01") as caught:
        split(Span(day(0), day(40)), tmdb({(day(0), votes): number}))
    assert "nothing is left to split them by" in str(caught.value)


def test_a_total_that_tmdb_cuts_is_not_taken_for_one_that_fits() -> None:
    titles = {(day(number), 0): 3_000 for number in range(41)}

    def cut(spans: Sequence[Span]) -> list[Totals]:
        totals = tmdb(titles)(spans)
        return [Totals(min(each.results, 10_000), min(each.pages, 500)) for each in totals]

    spans = split(Span(day(0), day(40)), cut)
    assert sum(totals.results for _, totals in spans) == 41 * 3_000


@pytest.mark.parametrize("ignored", ["last", "votes_to"])
def test_a_filter_that_tmdb_does_not_heed_is_an_error(ignored: str) -> None:
    titles = {(day(0), 0): 8_000, (day(0), 5): 8_000, (day(9), 0): 8_000}

    def heedless(span: Span) -> Totals:
        last = day(40) if ignored == "last" else span.last
        most = None if ignored == "votes_to" else span.votes_to
        return tmdb(titles)([Span(span.first, last, span.votes_from, most)])[0]

    with pytest.raises(CannotSplit, match="does not heed a filter"):
        split(Span(day(0), day(9)), lambda spans: [heedless(span) for span in spans])


def test_what_tmdb_gains_meanwhile_is_told_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    titles = {(day(number), 0): 900 for number in range(20)}
    rounds = 0

    def growing(spans: Sequence[Span]) -> list[Totals]:
        nonlocal rounds
        rounds += 1
        return tmdb({title: number + rounds for title, number in titles.items()})(spans)

    spans = split(Span(day(0), day(19)), growing)
    assert covered([span for span, _ in spans], Span(day(0), day(19)))
    assert "in its two halves" in caplog.text
