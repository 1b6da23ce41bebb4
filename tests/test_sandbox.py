"""The stand-in of the TMDB API, over real HTTP: its catalogue, filters, order, pages, details."""

from __future__ import annotations

import hashlib
import json
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sandbox import SANDBOX_TOKEN, Sandbox
from ingest.sandbox.catalogue import (
    GENRES,
    Dataset,
    Entry,
    by_id,
    entries,
    record,
    translated_title,
)
from ingest.sandbox.query import BadDateError, matching, parse
from ingest.sandbox.replies import ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 10
DATE_KEY = {"movie": "release_date", "tv": "first_air_date"}
DATE_FILTER = {"movie": "primary_release_date", "tv": "first_air_date"}
DATASETS: tuple[Dataset, ...] = ("movie", "tv")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[Client]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {SANDBOX_TOKEN}"
        yield Client(session, sandbox.base_url)


class Client:
    """A signed-in session with one sandbox."""

    def __init__(self, session: requests.Session, base_url: str) -> None:
        self.session = session
        self.base_url = base_url

    def get(self, path: str, **parameters: object) -> requests.Response:
        """One GET; ``with_genres`` and such are parameters, ``__`` in a name stands for a dot."""
        named = {name.replace("__", "."): str(value) for name, value in parameters.items()}
        return self.session.get(self.base_url + path, params=named, timeout=TIMEOUT_S)

    def all_rows(self, dataset: Dataset, **parameters: object) -> tuple[list[dict[str, Any]], int]:
        """Every row of a query, read page by page, and the total that was announced."""
        first = self.get(f"/discover/{dataset}", **parameters).json()
        rows = list(first["results"])
        for page in range(2, first["total_pages"] + 1):
            rows += self.get(f"/discover/{dataset}", page=page, **parameters).json()["results"]
        return rows, first["total_results"]


# The catalogue


@pytest.mark.parametrize(("dataset", "least"), [("movie", 5000), ("tv", 2000)])
def test_the_catalogue_is_large(client: Client, dataset: Dataset, least: int) -> None:
    everything = client.get(f"/discover/{dataset}", include_adult="true").json()
    assert everything["total_results"] >= least


CATALOGUE_SHA256 = "87d30656e3a5a54cda6e56b9ac20e909ac5265188ef693b0c71bfbc3a537ae9a"


def test_the_catalogue_is_the_same_for_ever() -> None:
    """A digest over every record in both languages: a change here is a change of the catalogue."""
    digest = hashlib.sha256()
    for dataset in DATASETS:
        for entry in entries(dataset):
            for language in ("pt", "en"):
                digest.update(json.dumps(record(entry, language), sort_keys=True).encode())
    assert digest.hexdigest() == CATALOGUE_SHA256


def test_ids_and_titles_are_unique() -> None:
    for dataset in DATASETS:
        assert len(by_id(dataset)) == len(entries(dataset))
    for language in ("pt", "en"):
        titles = [translated_title(each, language) for name in DATASETS for each in entries(name)]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_days_run_finds_plenty(client: Client, dataset: Dataset) -> None:
    parameters = {"with_genres": "16,35", f"{DATE_FILTER[dataset]}.lte": "2023-12-31"}
    assert client.get(f"/discover/{dataset}", **parameters).json()["total_results"] >= 1500


@pytest.mark.parametrize("dataset", DATASETS)
def test_empty_and_null_fields_are_as_frequent_as_in_recorded_pages(dataset: Dataset) -> None:
    rows = [record(entry, "pt") for entry in entries(dataset)]

    def share(key: str, value: object) -> float:
        return sum(row[key] == value for row in rows) / len(rows)

    assert 0.08 < share("overview", "") < 0.14
    assert 0.01 < share("poster_path", None) < 0.06
    assert 0.04 < share("backdrop_path", None) < 0.15
    assert 0.002 < share(DATE_KEY[dataset], "") < 0.03
    assert 0.002 < share("genre_ids", []) < 0.03
    assert 0.005 < share("adult", value=True) < 0.05
    assert 0.005 < share("softcore", value=True) < 0.05
    assert all(type(row["vote_average"]) is type(row["popularity"]) is float for row in rows)
    days = sorted(str(row[DATE_KEY[dataset]]) for row in rows if row[DATE_KEY[dataset]])
    assert "1950" <= days[0] < days[-1] < "2027"


# Filters


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_comma_means_both_genres_and_a_bar_means_either(client: Client, dataset: Dataset) -> None:
    both, _ = client.all_rows(dataset, with_genres="16,35,80")
    assert both
    assert all({16, 35, 80} <= set(row["genre_ids"]) for row in both)
    either, _ = client.all_rows(dataset, with_genres="80|37")
    assert all({80, 37} & set(row["genre_ids"]) for row in either)
    expected = {e.id for e in entries(dataset) if {80, 37} & set(e.genre_ids) if _shown(e)}
    assert {row["id"] for row in either} == expected


def _shown(entry: Entry) -> bool:
    return not entry.adult and not entry.video


def test_a_genre_may_be_excluded(client: Client) -> None:
    rows, _ = client.all_rows("movie", with_genres="80", without_genres="16,35")
    assert rows
    assert not any({16, 35} & set(row["genre_ids"]) for row in rows)


def test_a_genre_name_matches_nothing(client: Client) -> None:
    """As upstream: 200 with no rows, one page and no results."""
    answer = client.get("/discover/movie", with_genres="Animation")
    assert answer.status_code == 200
    assert answer.json() == {"page": 1, "results": [], "total_pages": 1, "total_results": 0}


def test_a_genre_of_the_other_dataset_matches_nothing(client: Client) -> None:
    assert client.get("/discover/tv", with_genres="28").json()["total_results"] == 0


@pytest.mark.parametrize("dataset", DATASETS)
def test_dates_bound_both_ends_and_drop_the_undated(client: Client, dataset: Dataset) -> None:
    name = DATE_FILTER[dataset]
    window = {f"{name}.gte": "1999-01-01", f"{name}.lte": "1999-12-31"}
    rows, total = client.all_rows(dataset, **window)
    expected = [e.id for e in entries(dataset) if e.date[:4] == "1999" if _shown(e)]
    assert sorted(row["id"] for row in rows) == expected
    assert total == len(expected) > 0


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_range_includes_both_its_days(client: Client, dataset: Dataset) -> None:
    name = DATE_FILTER[dataset]
    shown = next(each for each in entries(dataset) if each.date and _shown(each))
    rows, _ = client.all_rows(dataset, **{f"{name}.gte": shown.date, f"{name}.lte": shown.date})
    assert shown.id in {row["id"] for row in rows}
    assert {row[DATE_KEY[dataset]] for row in rows} == {shown.date}


def test_undated_series_are_kept_when_asked_for(client: Client) -> None:
    window = {"first_air_date.gte": "2026-12-01"}
    rows, _ = client.all_rows("tv", include_null_first_air_dates="true", **window)
    assert any(row["first_air_date"] == "" for row in rows)


@pytest.mark.parametrize(
    ("dataset", "year"), [("movie", "primary_release_year"), ("tv", "first_air_date_year")]
)
def test_a_year_is_a_range(client: Client, dataset: Dataset, year: str) -> None:
    rows, _ = client.all_rows(dataset, **{year: "2001"})
    assert rows
    assert {row[DATE_KEY[dataset]][:4] for row in rows} == {"2001"}


def test_adult_titles_come_only_when_asked_for(client: Client) -> None:
    plain = client.get("/discover/movie").json()["total_results"]
    with_adult, total = client.all_rows("movie", include_adult="true", with_genres="80")
    assert any(row["adult"] for row in with_adult)
    assert not any(row["adult"] for row in client.all_rows("movie", with_genres="80")[0])
    assert client.get("/discover/movie", include_adult="true").json()["total_results"] > plain
    assert total == len(with_adult)


def test_original_language_filters_unless_malformed(client: Client) -> None:
    rows, _ = client.all_rows("tv", with_original_language="pt")
    assert {row["original_language"] for row in rows} == {"pt"}
    everything = client.get("/discover/tv").json()
    assert client.get("/discover/tv", with_original_language="portuguese").json() == everything


def test_votes_filter(client: Client) -> None:
    rows, _ = client.all_rows("movie", vote_count__gte=20000, vote_average__lte=5)
    assert rows
    assert all(row["vote_count"] >= 20000 and row["vote_average"] <= 5 for row in rows)


def test_parameters_that_are_not_known_are_ignored(client: Client) -> None:
    """``release_date`` bounds movies only: series stay unfiltered, without an error."""
    everything = client.get("/discover/tv").json()
    assert client.get("/discover/tv", release_date__gte="2020-01-01", x="y").json() == everything


# Order and pages


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    ("dataset", "key", "field"),
    [
        ("movie", "popularity", "popularity"),
        ("movie", "vote_average", "vote_average"),
        ("movie", "vote_count", "vote_count"),
        ("movie", "primary_release_date", "release_date"),
        ("movie", "title", "title"),
        ("movie", "original_title", "original_title"),
        ("tv", "first_air_date", "first_air_date"),
        ("tv", "name", "name"),
        ("tv", "original_name", "original_name"),
    ],
)
def test_rows_come_sorted(
    client: Client, dataset: Dataset, key: str, field: str, direction: str
) -> None:
    rows, _ = client.all_rows(dataset, sort_by=f"{key}.{direction}", with_genres="37")
    values = [row[field] for row in rows]
    assert len(set(values)) > 10
    # Untranslated titles sort by the English title that they do not have: left out here.
    if field in {"title", "name"}:
        values = [row[field] for row in rows if row["original_language"] == "en"]
    assert values == sorted(values, reverse=direction == "desc")


@pytest.mark.parametrize("sort_by", ["id.asc", "release_date.asc", "popularity", "", "nonsense.up"])
def test_an_unknown_order_is_the_default_one(client: Client, sort_by: str) -> None:
    default = client.get("/discover/movie").json()
    assert client.get("/discover/movie", sort_by=sort_by).json() == default
    popularity = [row["popularity"] for row in default["results"]]
    assert popularity == sorted(popularity, reverse=True)


GENRE_IDS = st.sampled_from([16, 35, 18, 80, 99, 37, 9648])


PARAMETERS = st.fixed_dictionaries(
    {
        "with_genres": st.tuples(st.lists(GENRE_IDS, max_size=3), st.sampled_from(",|")).map(
            lambda drawn: drawn[1].join(map(str, drawn[0]))
        ),
        "year": st.integers(2000, 2026),
        "sort_by": st.sampled_from(["popularity.desc", "vote_average.asc", "vote_count.desc"]),
    }
)


@settings(max_examples=15, deadline=None)
@given(dataset=st.sampled_from(DATASETS), parameters=PARAMETERS)
def test_pages_are_a_partition(
    client: Client, dataset: Dataset, parameters: dict[str, object]
) -> None:
    """All pages together are each matching title exactly once, 20 a page but for the last."""
    parameters = parameters | {f"{DATE_FILTER[dataset]}.gte": f"{parameters['year']}-01-01"}
    del parameters["year"]
    first = client.get(f"/discover/{dataset}", **parameters).json()
    total, pages = first["total_results"], first["total_pages"]
    assert pages == max(1, ceil(total / 20))
    seen: list[int] = []
    for number in range(1, pages + 1):
        page = client.get(f"/discover/{dataset}", page=number, **parameters).json()
        assert (page["page"], page["total_results"], page["total_pages"]) == (number, total, pages)
        assert len(page["results"]) == (20 if number < pages else total - 20 * (pages - 1))
        seen += [row["id"] for row in page["results"]]
    assert len(set(seen)) == len(seen) == total


def test_a_page_past_the_end_is_empty_and_echoed(client: Client) -> None:
    last = client.get("/discover/tv", page=500).json()
    assert (last["page"], last["results"]) == (500, [])
    assert last["total_pages"] < 500


@pytest.mark.parametrize("page", ["0", "-1", "501", "99999999999999999999", "two", "1.5", "", "1 "])
def test_a_bad_page_is_error_22(client: Client, page: str) -> None:
    _assert_error(client.get("/discover/movie", page=page), 22)


@pytest.mark.parametrize("value", ["2023", "31-12-2023", "2023-1-1", "2023-12-31T00:00", "today"])
def test_a_bad_date_is_error_23(client: Client, value: str) -> None:
    _assert_error(client.get("/discover/movie", **{"primary_release_date.lte": value}), 23)


def test_an_impossible_day_is_let_through(client: Client) -> None:
    assert client.get("/discover/movie", primary_release_date__lte="2024-02-30").ok


@given(
    text=st.text(max_size=12), name=st.sampled_from(["with_genres", "sort_by", "vote_count.gte"])
)
def test_no_value_of_a_filter_breaks_the_query(text: str, name: str) -> None:
    assert matching(parse("movie", {name: text, "primary_release_year": "1990"})) is not None


@given(text=st.text(min_size=1, max_size=12))
def test_a_date_is_well_formed_or_refused(text: str) -> None:
    try:
        query = parse("tv", {"first_air_date.gte": text})
    except BadDateError:
        return
    assert query.since == text
    assert len(text) == 10


# Languages, details, genres


def test_texts_come_in_the_language_asked_for(client: Client) -> None:
    query = {"with_original_language": "pt", "sort_by": "vote_count.desc"}
    portuguese = client.get("/discover/movie", language="pt-BR", **query).json()["results"]
    english = client.get("/discover/movie", language="en-US", **query).json()["results"]
    other = client.get("/discover/movie", language="xx-XX", **query).json()["results"]
    assert client.get("/discover/movie", **query).json()["results"] == english
    assert [row["id"] for row in portuguese] == [row["id"] for row in english]
    assert all(row["title"] == row["original_title"] for row in portuguese)
    assert all(a["overview"] != b["overview"] for a, b in zip(portuguese, english, strict=True))
    assert all(row["overview"] == "" and row["title"] == row["original_title"] for row in other)


def test_text_is_plain_utf_8(client: Client) -> None:
    """No escapes, as in recorded bodies."""
    answer = client.get("/discover/movie", language="pt-BR")
    assert "ã".encode() in answer.content
    assert b"\\u" not in answer.content


def test_an_untranslated_title_is_the_original_one(client: Client) -> None:
    rows, _ = client.all_rows("movie", language="pt-BR", with_genres="80")
    untranslated = [row for row in rows if row["overview"] == ""]
    assert untranslated
    assert all(row["title"] == row["original_title"] for row in untranslated)


@pytest.mark.parametrize("dataset", DATASETS)
def test_details_agree_with_the_list(client: Client, dataset: Dataset) -> None:
    row = client.get(f"/discover/{dataset}", language="pt-BR").json()["results"][0]
    details = client.get(f"/{dataset}/{row['id']}", language="pt-BR").json()
    names = GENRES[dataset]
    assert details["genres"] == [{"id": n, "name": names[n]} for n in row.pop("genre_ids")]
    assert {key: details[key] for key in row} == row


def test_the_seasons_of_a_series_add_up(client: Client) -> None:
    for entry in entries("tv")[:100]:
        details = client.get(f"/tv/{entry.id}").json()
        counts = [season["episode_count"] for season in details["seasons"]]
        assert details["number_of_seasons"] == len(counts)
        assert details["number_of_episodes"] == sum(counts)
        assert details["last_episode_to_air"]["air_date"] == details["last_air_date"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/movie/1", 34),
        ("/tv/1", 34),
        ("/tv/abc", 34),
        ("/nowhere", 34),
        ("/movie/9223372036854775807", 34),
        ("/movie/9223372036854775808", 6),
        (f"/movie/{'9' * 35}", 6),
        ("", 34),
    ],
)
def test_what_is_not_there(client: Client, path: str, code: int) -> None:
    answer = client.get(path)
    _assert_error(answer, code)
    assert "max-age" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_wrong_method_is_error_42(client: Client, method: str) -> None:
    """And the connection stays usable after the body that came with it."""
    url = f"{client.base_url}/discover/movie"
    _assert_error(client.session.request(method, url, json={"a": 1}, timeout=TIMEOUT_S), 42)
    assert client.get("/discover/movie").ok


def _assert_error(answer: requests.Response, code: int) -> None:
    status, message = ERRORS[code]
    assert answer.status_code == status
    assert answer.json() == {"success": False, "status_code": code, "status_message": message}
