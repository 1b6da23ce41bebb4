"""The stand-in with a catalogue of any size: its totals, dates, filters, pages and limit."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ingest.sandbox import SANDBOX_TOKEN, Sandbox
from ingest.sandbox.scaled import realistic_days
from runs import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEW_YEAR = "2000-01-01"
SIGNED = {"Authorization": f"Bearer {SANDBOX_TOKEN}"}


def page(sandbox: Sandbox, dataset: str = "movie", **parameters: object) -> dict[str, Any]:
    """One page of a query; ``__`` in a name stands for a dot."""
    named = {name.replace("__", "."): str(value) for name, value in parameters.items()}
    url = f"{sandbox.base_url}/discover/{dataset}"
    found: dict[str, Any] = requests.get(url, params=named, headers=SIGNED, timeout=10).json()
    return found


def rows(sandbox: Sandbox, **parameters: object) -> list[dict[str, Any]]:
    first = page(sandbox, **parameters)
    numbers = range(2, first["total_pages"] + 1)
    return first["results"] + [
        row for number in numbers for row in page(sandbox, page=number, **parameters)["results"]
    ]


IN_ORDER = {"sort_by": "primary_release_date.asc"}
ON_A_DAY = {"primary_release_date__gte": NEW_YEAR, "primary_release_date__lte": NEW_YEAR}


@given(titles=st.integers(0, 3_000_000))
def test_all_titles_are_on_some_day(titles: int) -> None:
    days = realistic_days(titles)
    assert sum(days.values()) == titles
    assert all(number > 0 for number in days.values())


def test_days_are_as_those_of_tmdb() -> None:
    by_year = Counter[int]()
    for day, number in realistic_days(1_200_000).items():
        by_year[day.year] += number
    assert by_year[1920] < by_year[1950] < by_year[1980] < by_year[2000] < by_year[2020]
    assert 40_000 < by_year[2020] < 70_000
    days = realistic_days(1_200_000)
    assert days[date(2020, 1, 1)] > 5 * days[date(2020, 6, 1)]


def test_a_catalogue_of_1_200_000_announces_them_and_serves_500_pages(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in(titles={"movie": 1_200_000})
    first = page(sandbox, **IN_ORDER)
    assert (first["total_results"], first["total_pages"]) == (1_200_000, 60_000)
    assert len(page(sandbox, page=500, **IN_ORDER)["results"]) == 20
    assert page(sandbox, page=501, **IN_ORDER)["status_code"] == 22
    assert page(sandbox, "tv")["total_results"] == 0


def test_a_range_of_dates_has_just_its_titles_in_order(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": 40_000})
    whole = page(sandbox, **IN_ORDER)["total_results"]
    until = page(sandbox, primary_release_date__lte="1979-12-31", **IN_ORDER)["total_results"]
    since = page(sandbox, primary_release_date__gte="1980-01-01", **IN_ORDER)["total_results"]
    assert until + since == whole == 40_000
    span = {"primary_release_date__gte": "1979-06-01", "primary_release_date__lte": "1980-06-01"}
    found = rows(sandbox, **span, **IN_ORDER)
    days = [row["release_date"] for row in found]
    assert days == sorted(days)
    assert "1979-06-01" <= days[0] < days[-1] <= "1980-06-01"
    assert len({row["id"] for row in found}) == len(found) == page(sandbox, **span)["total_results"]


def test_other_filters_and_orders_find_the_same_titles(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": {date(2000, 1, 1): 300}})
    found = rows(sandbox, **ON_A_DAY, **IN_ORDER)
    assert {row["release_date"] for row in found} == {NEW_YEAR}
    by_title = rows(sandbox, **ON_A_DAY, sort_by="original_title.asc")
    assert sorted(map(json.dumps, by_title)) == sorted(map(json.dumps, found))
    assert by_title != found
    unvoted = rows(sandbox, **ON_A_DAY, **IN_ORDER, vote_count__lte=0)
    assert unvoted == [row for row in found if row["vote_count"] == 0]
    assert len(unvoted) == 180
    both = rows(sandbox, **IN_ORDER, with_genres="16,35")
    assert both == [row for row in found if {16, 35} <= set(row["genre_ids"])]


def test_a_title_of_a_list_has_details(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": 500})
    row = page(sandbox, page=7, **IN_ORDER)["results"][3]
    details = f"{sandbox.base_url}/movie/{row['id']}"
    assert requests.get(details, headers=SIGNED, timeout=10).json()["title"] == row["title"]
    other = f"{sandbox.base_url}/movie/{row['id'] + 500}"
    assert requests.get(other, headers=SIGNED, timeout=10).status_code == 404


def test_recorded_answers_have_the_titles_they_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recorded bodies are served as they are"):
        Sandbox(recorded=tmp_path, titles={"movie": 1})


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_the_program_refuses_what_is_no_number_of_titles(number: str) -> None:
    done = program({}, "-m", "ingest.sandbox", "--titles", number)
    assert done.code == 2
    assert "--titles" in done.err
