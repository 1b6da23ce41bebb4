"""Pages into records: the laws of paging against a plain model, and what is asked of TMDB."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    EmptyDataset,
    IngestError,
    TmdbRefused,
    TmdbUnavailable,
)
from ingest.fetcher import MOVIES, SERIES, Dataset, Fetched, fetch, fetch_details
from ingest.tmdb import Answer, Tmdb, check_parameters
from support import settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Body = dict[str, Any]


class FakeTmdb:
    """Answers at once from a table; what it does not hold is TMDB's page past the end."""

    def __init__(self, answers: Mapping[int, Body | IngestError]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str], int | None]] = []

    @property
    def pages_asked(self) -> list[int]:
        return [int(params["page"]) for _, params, _ in self.asked]

    def result(self, answer: Future[Answer]) -> Answer:
        return answer.result()

    def submit(
        self, endpoint: str, params: Mapping[str, str], *, title: int | None = None
    ) -> Future[Answer]:
        check_parameters(endpoint, params)
        self.asked.append((endpoint, dict(params), title))
        number = int(params["page"]) if title is None else title
        answer = self.answers.get(number, _page([], total_pages=len(self.answers)))
        future: Future[Answer] = Future()
        if isinstance(answer, IngestError):
            future.set_exception(answer)
        else:
            future.set_result(Answer(answer, etag=None, age_s=None, made_at=None))
        return future


def _page(ids: Sequence[int], *, total_pages: int = 500) -> Body:
    results = [
        {"id": number, "title": f"Título {number}", "place": n} for n, number in enumerate(ids)
    ]
    return {"page": 1, "results": results, "total_pages": total_pages, "total_results": 7}


def _full(pages: int) -> dict[int, Body]:
    """Give full pages without duplicates."""
    return {n: _page(range(n * 20 - 20, n * 20), total_pages=pages) for n in range(1, pages + 1)}


def _fetch(
    answers: Mapping[int, Body | IngestError],
    limit: int = 100,
    dataset: Dataset = MOVIES,
    **variables: str,
) -> tuple[Fetched, FakeTmdb]:
    fake = FakeTmdb(answers)
    return fetch(dataset, settings_for(**variables), cast("Tmdb", fake), limit), fake


def _refusal(answers: Mapping[int, Body | IngestError], kind: type[IngestError]) -> str:
    with pytest.raises(kind) as caught:
        _fetch(answers)
    assert type(caught.value) is kind
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# Against a model


@dataclass
class Model:
    """What reading one page after the other gives."""

    records: list[Body]
    pages: list[int]
    duplicates: int

    @classmethod
    def read(cls, answers: Mapping[int, Body], limit: int) -> Model:
        model = cls([], [], 0)
        seen: set[int] = set()
        for number in range(1, 501):
            body = answers.get(number, _page([], total_pages=len(answers)))
            model.pages.append(number)
            for record in body["results"]:
                if len(seen) == limit:
                    break
                if record["id"] in seen:
                    model.duplicates += 1
                    continue
                seen.add(record["id"])
                model.records.append(record)
            at_end = not body["results"] or number >= body["total_pages"]
            if at_end or len(seen) == limit:
                break
        return model


@st.composite
def _answers(draw: st.DrawFn) -> dict[int, Body]:
    """Pages of 0 to 21 records, full ones being likelier, whose totals may differ."""
    lengths = draw(st.lists(st.sampled_from([20, 20, 20, 19, 21, 15, 7, 1, 0]), max_size=14))
    ids = st.integers(0, draw(st.sampled_from([5, 60, 300])))
    true_total = len(lengths)
    totals = st.sampled_from([true_total, true_total, true_total, true_total + 1, 3, 0, 38_020])
    return {
        number: _page(
            draw(st.lists(ids, min_size=length, max_size=length)), total_pages=draw(totals)
        )
        for number, length in enumerate(lengths, start=1)
    }


@given(answers=_answers(), limit=st.integers(1, 100))
def test_the_result_is_that_of_reading_page_after_page(
    answers: dict[int, Body], limit: int
) -> None:
    fetched, fake = _fetch(answers, limit, ALLOW_EMPTY="true")
    model = Model.read(answers, limit)
    assert list(fetched.records) == model.records
    assert fetched.duplicates_dropped == model.duplicates
    assert [page.page for page in fetched.pages] == model.pages
    assert [page.records for page in fetched.pages] == [
        len(answers[number]["results"]) if number in answers else 0 for number in model.pages
    ]
    assert fake.pages_asked == list(range(1, len(fake.pages_asked) + 1))


@given(answers=_answers(), limit=st.integers(1, 100))
def test_pages_beyond_the_end_may_fail(answers: dict[int, Body], limit: int) -> None:
    model = Model.read(answers, limit)
    failing: dict[int, Body | IngestError] = {
        number: answers.get(number, _page([]))
        if number in model.pages
        else TmdbRefused("not to be looked at")
        for number in range(1, 501)
    }
    fetched, _ = _fetch(failing, limit, ALLOW_EMPTY="true")
    assert list(fetched.records) == model.records


# Which pages are asked for


@pytest.mark.parametrize(("limit", "pages"), [(1, 1), (20, 1), (21, 2), (40, 2), (99, 5), (100, 5)])
def test_the_pages_that_the_limit_needs_are_asked_for_and_no_more(limit: int, pages: int) -> None:
    fetched, fake = _fetch(_full(10), limit)
    assert fake.pages_asked == list(range(1, pages + 1))
    assert [record["id"] for record in fetched.records] == list(range(limit))


def test_the_first_pages_are_all_asked_for_before_any_is_read() -> None:
    waiting: list[tuple[Future[Answer], Future[Answer]]] = []

    class LastFirst(FakeTmdb):
        """Answers nothing before page 5 is asked for, and then page 5 first."""

        def submit(self, *args: Any, **more: Any) -> Future[Answer]:
            held: Future[Answer] = Future()
            waiting.append((held, super().submit(*args, **more)))
            if len(waiting) == 5:
                for late, real in reversed(waiting):
                    late.set_result(real.result())
            return held

    fetched = fetch(MOVIES, settings_for(), cast("Tmdb", LastFirst(_full(5))))
    assert [record["id"] for record in fetched.records] == list(range(100))


def test_more_pages_follow_where_short_ones_and_duplicates_leave_it_short() -> None:
    answers = _full(12)
    answers[2] = _page(range(15), total_pages=12)  # duplicates of page 1, and short
    fetched, fake = _fetch(answers)
    assert fake.pages_asked == [1, 2, 3, 4, 5, 6]
    assert (len(fetched.records), fetched.duplicates_dropped) == (100, 15)


def test_no_page_is_asked_for_that_is_known_to_be_past_the_end() -> None:
    answers = {n: _page([n * 2, n * 2 + 1], total_pages=7) for n in range(1, 8)}
    fetched, fake = _fetch(answers)
    assert len(fetched.records) == 14
    assert fake.pages_asked == [1, 2, 3, 4, 5, 6, 7]


def test_the_500th_page_is_the_last_whatever_the_total_says() -> None:
    answers = {n: _page([0], total_pages=38_020) for n in range(1, 502)}
    fetched, fake = _fetch(answers, limit=2)
    assert (len(fetched.records), fetched.duplicates_dropped) == (1, 499)
    assert fake.pages_asked == list(range(1, 501))


def test_500_empty_pages_cost_one_batch() -> None:
    fake = FakeTmdb({n: _page([], total_pages=500) for n in range(1, 501)})
    with pytest.raises(EmptyDataset):
        fetch(MOVIES, settings_for(), cast("Tmdb", fake))
    assert len(fake.asked) == math.ceil(100 / 20)


# What is asked


COMMON = {"include_adult": "false", "language": "pt-BR", "with_genres": "16,35"}


@pytest.mark.parametrize(
    ("dataset", "endpoint", "params"),
    [
        (
            MOVIES,
            "/discover/movie",
            {**COMMON, "include_video": "false", "primary_release_date.lte": "2023-12-31"},
        ),
        (SERIES, "/discover/tv", {**COMMON, "first_air_date.lte": "2023-12-31"}),
    ],
)
def test_each_endpoint_gets_exactly_its_own_parameters(
    dataset: Dataset, endpoint: str, params: dict[str, str]
) -> None:
    fetched, fake = _fetch(_full(1), 20, dataset)
    assert fake.asked == [(endpoint, {**params, "page": "1"}, None)]
    assert fetched.params == params


@pytest.mark.parametrize("dataset", [MOVIES, SERIES])
def test_every_filter_can_be_set(dataset: Dataset) -> None:
    fetched, _ = _fetch(
        _full(1),
        20,
        dataset,
        TMDB_LANGUAGE="en",
        TMDB_GENRES="18|35",
        TMDB_RELEASED_UNTIL="1999-12-31",
        TMDB_INCLUDE_ADULT="true",
    )
    changed = {"language": "en", "with_genres": "18|35", dataset.until: "1999-12-31"}
    assert fetched.params.items() >= {**changed, "include_adult": "true"}.items()


def test_each_page_is_told_with_its_dataset_and_the_total_so_far(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "ingest.fetcher")
    _fetch(_full(3), 50, SERIES)
    assert caplog.messages == [
        "series: page 1, 20 records so far",
        "series: page 2, 40 records so far",
        "series: page 3, 50 records so far",
    ]
    told = [(vars(r)["dataset"], vars(r)["page"], vars(r)["total"]) for r in caplog.records]
    assert told == [("series", 1, 20), ("series", 2, 40), ("series", 3, 50)]


# Answers that are no page of records


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"results": None}, "page 2: results should be of type list, but is null"),
        ({"results": {"id": 1}}, "results should be of type list"),
        ({"total_pages": None}, "total_pages should be of type int"),
        ({"total_pages": "7"}, "total_pages should be of type int"),
        ({"total_results": True}, "total_results should be of type int"),
        ({"results": [{"title": "Sem id"}]}, "page 2: a record has no whole number as its id"),
        ({"results": [{"id": None}]}, "no whole number as its id"),
        ({"results": [{"id": "7"}]}, "no whole number as its id"),
        ({"results": [{"id": True}]}, "no whole number as its id"),
        ({"results": ["Título"]}, "no whole number as its id"),
        ({"results": [None]}, "no whole number as its id"),
    ],
)
def test_a_page_of_another_shape_is_refused(change: Body, told: str) -> None:
    answers = _full(5)
    answers[2] |= change
    assert told in _refusal(answers, TmdbRefused)


@pytest.mark.parametrize("name", ["results", "total_pages", "total_results"])
def test_a_page_that_lacks_a_field_is_refused(name: str) -> None:
    answers = _full(5)
    del answers[1][name]
    assert f"page 1: {name} should be" in _refusal(answers, TmdbRefused)


@pytest.mark.parametrize(
    "error", [TmdbUnavailable("down"), CredentialsRefused("no"), DeadlineExceeded("late")]
)
def test_a_page_that_fails_fails_the_dataset(error: IngestError) -> None:
    assert _refusal({**_full(5), 4: error}, type(error)) == str(error)


def test_no_record_at_all_is_an_error_that_tells_the_filters() -> None:
    told = _refusal({1: _page([], total_pages=0)}, EmptyDataset)
    assert "no record of movies" in told
    assert "with_genres=16,35" in told
    assert "ALLOW_EMPTY" in told


def test_no_record_at_all_may_be_allowed() -> None:
    fetched, _ = _fetch({1: _page([], total_pages=0)}, ALLOW_EMPTY="true")
    assert (list(fetched.records), len(fetched.pages)) == ([], 1)


# Details


def _details(
    answers: Mapping[int, Body | IngestError], ids: Sequence[int], dataset: Dataset = SERIES
) -> tuple[Fetched, FakeTmdb]:
    fake = FakeTmdb(answers)
    assert dataset.details
    return fetch_details(dataset.details, ids, settings_for(), cast("Tmdb", fake)), fake


@pytest.mark.parametrize(("dataset", "endpoint"), [(MOVIES, "/movie/{id}"), (SERIES, "/tv/{id}")])
def test_details_are_asked_for_by_id_and_kept_in_order(dataset: Dataset, endpoint: str) -> None:
    answers = {n: {"id": n, "number_of_seasons": n} for n in (3, 1, 2)}
    fetched, fake = _details(answers, [3, 1, 2], dataset)
    assert fake.asked == [(endpoint, {"language": "pt-BR"}, n) for n in (3, 1, 2)]
    assert list(fetched.records) == [answers[n] for n in (3, 1, 2)]
    assert (len(fetched.pages), list(fetched.errors)) == (3, [])


@pytest.mark.parametrize(
    "failure",
    [
        TmdbRefused("HTTP 404"),
        TmdbUnavailable("HTTP 500, 6 times in a row"),
        {"id": 9, "name": "Outra"},
        {"name": "Sem id"},
    ],
)
def test_one_title_that_fails_is_told_and_loses_no_other(failure: Body | IngestError) -> None:
    answers = {1: {"id": 1}, 2: failure, 3: {"id": 3}}
    fetched, _ = _details(answers, [1, 2, 3])
    assert [record["id"] for record in fetched.records] == [1, 3]
    (error,) = fetched.errors
    assert error["id"] == 2
    assert error["error"] == str(failure) or "id" in error["error"]


def test_all_titles_failing_is_an_error() -> None:
    with pytest.raises(TmdbUnavailable, match="second"):
        _details({1: TmdbRefused("first"), 2: TmdbUnavailable("second")}, [1, 2])


@pytest.mark.parametrize("error", [CredentialsRefused("no"), DeadlineExceeded("late")])
def test_what_ends_a_run_is_not_one_titles_failure(error: IngestError) -> None:
    with pytest.raises(type(error)):
        _details({1: {"id": 1}, 2: error, 3: {"id": 3}}, [1, 2, 3])
