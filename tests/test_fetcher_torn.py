"""When pages show states of TMDB that never were together."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from requests.structures import CaseInsensitiveDict

from ingest import tmdb
from ingest.fetcher import Page, is_torn
from ingest.signin import SignIn

if TYPE_CHECKING:
    from pathlib import Path

MADE = datetime(2026, 11, 20, 6, tzinfo=UTC)
LIMIT_S = 600


def _page(
    number: int,
    *,
    made: datetime | None = MADE,
    age_s: int | None = None,
    totals: tuple[int | None, int | None] = (506, 10_105),
) -> Page:
    return Page(number, 20, *totals, None, age_s, made)


@pytest.mark.parametrize(
    ("pages", "torn"),
    [
        ([], False),
        ([_page(1)], False),
        ([_page(1), _page(2)], False),
        ([_page(1), _page(2, totals=(506, 10_108))], True),
        ([_page(1), _page(2, totals=(507, 10_105))], True),
        ([_page(1), _page(2, made=MADE + timedelta(seconds=LIMIT_S))], False),
        ([_page(1), _page(2, made=MADE + timedelta(seconds=LIMIT_S + 1))], True),
        ([_page(1), _page(2, made=MADE - timedelta(seconds=LIMIT_S + 1))], True),
        (
            [
                _page(1),
                _page(2, made=MADE + timedelta(seconds=400)),
                _page(3, made=MADE - timedelta(seconds=400)),
            ],
            True,
        ),
        # A cache keeps the origin's Date: the Age says when it was read, not when it was made.
        ([_page(1, age_s=21_414), _page(2, age_s=None)], False),
        ([_page(1, age_s=21_414), _page(2, made=MADE + timedelta(seconds=21_414))], True),
        ([_page(1), _page(2, made=None)], False),
        ([_page(1, totals=(None, None)), _page(2, totals=(None, None))], False),
    ],
)
def test_pages_are_torn_by_their_totals_or_by_when_they_were_made(
    pages: list[Page],
    torn: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_torn(pages, LIMIT_S) is torn
    assert is_torn(pages[::-1], LIMIT_S) is torn


def test_the_span_is_a_setting() -> None:
    pages = [_page(1), _page(2, made=MADE + timedelta(seconds=60))]
    assert (is_torn(pages, 60), is_torn(pages, 59)) == (False, True)


def _recorded_page(folder: Path, name: str) -> Page:
    body = (folder / "movie" / f"{name}.json").read_bytes()
    recording = json.loads((folder / "headers" / f"{name}.headers.json").read_bytes())
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict(recording["headers"])
    answer = tmdb._parse(tmdb._Received(200, headers, body), SignIn(token="eyJ"))
    assert isinstance(answer, tmdb.Answer)
    totals = (answer.body["total_pages"], answer.body["total_results"])
    return _page(answer.body["page"], made=answer.made_at, age_s=answer.age_s, totals=totals)


def test_the_recorded_torn_pair_is_torn(recorded: Path) -> None:
    one, two = (
        _recorded_page(recorded / "tmdb", f"movie_top_rated_20220710T205958Z_{name}_tornsnapshot")
        for name in ("p1_e6be45", "p2_bd6607")
    )
    assert (one.total_results, two.total_results) == (10_105, 10_108)
    assert one.made_at
    assert two.made_at
    assert (
        two.made_at - one.made_at
        == timedelta(seconds=one.age_s or 0)
        == timedelta(hours=5, minutes=56, seconds=54)
    )
    assert is_torn([one, two], LIMIT_S)


def test_the_recorded_consistent_pair_is_consistent(recorded: Path) -> None:
    one, two = (
        _recorded_page(recorded / "tmdb", f"discover_movie_20210713T195434Z_{name}")
        for name in ("p1_84ba45", "p2_edeb5a")
    )
    assert not is_torn([one, two], LIMIT_S)
