"""The stand-in of the TMDB API against recorded answers of the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ingest.sandbox import SANDBOX_API_KEY, Fault, Sandbox
from ingest.sandbox.catalogue import GENRES, Dataset, entries, record
from ingest.sandbox.replies import ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 10
KEY = {"api_key": SANDBOX_API_KEY}
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "recorded" / "tmdb"
DATASETS: tuple[Dataset, ...] = ("movie", "tv")

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(),
    reason="no recorded answers of TMDB beside the checkout (shared/recorded/tmdb)",
)

# Properties of one connection, or of the network in front of the real API.
_OF_THE_CONNECTION = {"transfer-encoding", "connection", "content-length", "alt-svc"}
# Sent by the API in some years only.
_OF_SOME_YEARS = {
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "x-az",
    "x-task-id",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def replay() -> Iterator[Sandbox]:
    with Sandbox(recorded=RECORDED) as running:
        yield running


def _get(sandbox: Sandbox, path: str, **parameters: str) -> requests.Response:
    return requests.get(sandbox.base_url + path, params=KEY | parameters, timeout=TIMEOUT_S)


def _recorded(folder: str) -> list[tuple[str, Any]]:
    files = sorted((RECORDED / folder).glob("*.json"))
    return [(file.stem, json.loads(file.read_bytes())) for file in files]


def _lists(dataset: Dataset) -> list[dict[str, Any]]:
    return [body for _, body in _recorded(dataset)]


def _types(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    """The JSON types seen under every key; whole numbers and others are told apart."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row.items():
            inner = {type(each).__name__ for each in value} if isinstance(value, list) else set()
            name = type(value).__name__ + (f" of {'/'.join(sorted(inner))}" if inner else "")
            found.setdefault(key, set()).add(name)
    return found


# The invented catalogue against recorded answers


@pytest.mark.parametrize("dataset", DATASETS)
def test_records_have_the_real_keys_and_types(dataset: Dataset) -> None:
    """Every type of ours was seen in the real thing; ``softcore`` is newer than most of it."""
    real = _types([row for body in _lists(dataset) for row in body["results"]])
    ours = _types([record(entry, "pt") for entry in entries(dataset)])
    assert set(ours) == set(real) | {"softcore"}
    assert len(ours) == 15
    real.setdefault("softcore", {"bool"})
    unseen = {(key, kind) for key, kinds in ours.items() for kind in kinds - real[key]}
    # Seldom: measured in larger samples than the recordings kept here.
    assert unseen <= {
        ("origin_country", "list"),
        ("genre_ids", "list"),
        ("poster_path", "NoneType"),
    }


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_envelope_has_the_real_keys(sandbox: Sandbox, dataset: Dataset) -> None:
    ours = _get(sandbox, f"/discover/{dataset}").json()
    for body in _lists(dataset):
        assert set(body) == set(ours)
        assert {key: type(value) for key, value in body.items()} == {
            key: type(value) for key, value in ours.items()
        }


def test_error_bodies_are_the_real_ones() -> None:
    bodies = [body for _, body in _recorded("errors") if "status_code" in body]
    assert len(bodies) >= 8
    for body in bodies:
        with Sandbox(faults=[Fault("error", code=body["status_code"])]) as sandbox:
            assert _get(sandbox, "/discover/movie").json() == body


def test_error_statuses_are_the_recorded_ones() -> None:
    """The HTTP status that a recording's name tells is the one in the table."""
    told = [(stem, body) for stem, body in _recorded("errors") if "_http" in stem]
    for stem, body in told:
        if "status_code" in body:
            assert ERRORS[body["status_code"]][0] == int(stem[-3:])


@pytest.mark.parametrize(
    ("path", "recording"),
    [
        ("/movie/1", "movie_1_20230405T021656Z_p1_8dcd05_http404"),
        (
            "/movie/99999999999999999999999999999999999",
            "movie_99999999999999999999999999999999999_20241009T013441Z_p1_620a91_http404",
        ),
    ],
)
def test_a_missing_movie_is_answered_as_recorded(
    sandbox: Sandbox, path: str, recording: str
) -> None:
    answer = _get(sandbox, path)
    assert answer.status_code == 404
    assert answer.json() == dict(_recorded("errors"))[recording]


@pytest.mark.parametrize("dataset", DATASETS)
def test_genre_lists_are_the_real_ones(sandbox: Sandbox, dataset: Dataset) -> None:
    ours = _get(sandbox, f"/genre/{dataset}/list").json()
    name = f"krelinga_TestGet{dataset.title()}Genres_0"
    assert ours == dict(_recorded("genres"))[name]
    assert {each["id"]: each["name"] for each in ours["genres"]} == GENRES[dataset]


def _header_names(recording: str) -> set[str]:
    known = json.loads((RECORDED / "headers" / f"{recording}.headers.json").read_bytes())
    return {name.lower() for name in known["headers"]} - _OF_THE_CONNECTION - _OF_SOME_YEARS


@pytest.mark.parametrize(
    ("path", "recording", "fault"),
    [
        ("/discover/movie", "discover_movie_20240509T041353Z_p1_e048c1", Fault("torn-age")),
        ("/discover/movie", "discover_movie_20240510T014629Z_p1_a8a921", Fault("torn")),
        ("/discover/tv", "krelinga_TestSeachTv_0", Fault("500", times=0)),
        ("/discover/movie", "real_429_moviedb-promise-pr74", Fault("429")),
    ],
)
def test_headers_have_the_real_names(path: str, recording: str, fault: Fault) -> None:
    with Sandbox(faults=[fault]) as sandbox:
        ours = {name.lower() for name in _get(sandbox, path).headers}
    assert ours - {"content-encoding", "content-length"} == _header_names(recording)


def test_a_missing_movie_has_the_real_headers_but_for_the_origins_cache(sandbox: Sandbox) -> None:
    ours = {name.lower() for name in _get(sandbox, "/movie/1").headers}
    theirs = _header_names("movie_1_20230405T021656Z_p1_8dcd05_http404")
    assert theirs - ours == {"x-memc", "x-memc-key", "x-memc-age", "x-memc-expires"}
    assert ours - theirs == {"content-encoding", "content-length"}


# Details against TMDB's own description

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int, float),  # the description says integer of some averages
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}
# Null in real records though the description, which knows no null, says otherwise.
_NULLABLE = {
    "backdrop_path",
    "poster_path",
    "logo_path",
    "profile_path",
    "still_path",
    "belongs_to_collection",
    "imdb_id",
    "air_date",
    "last_air_date",
}
# In real answers of later years than the description.
_NEWER = {"softcore", "episode_type", "original_name"}


def _check(value: Any, schema: dict[str, Any], name: str) -> None:
    if value is None:
        assert name in _NULLABLE or "type" not in schema, name
        return
    assert isinstance(value, _JSON_TYPES[schema["type"]]), name
    for each in value if isinstance(value, list) else ():
        _check(each, schema["items"], f"{name}[]")
    if isinstance(value, dict):
        properties = schema["properties"]
        assert set(properties) <= set(value), name
        assert set(value) <= set(properties) | _NEWER, name
        for key, inner in properties.items():
            _check(value[key], inner, key)


@pytest.mark.parametrize(
    ("dataset", "path"), [("movie", "/3/movie/{movie_id}"), ("tv", "/3/tv/{series_id}")]
)
def test_details_are_as_tmdb_describes_them(sandbox: Sandbox, dataset: Dataset, path: str) -> None:
    described = json.loads((RECORDED / "openapi.json").read_bytes())["paths"][path]["get"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    with requests.Session() as session:
        for entry in entries(dataset)[:300:3]:
            url = f"{sandbox.base_url}/{dataset}/{entry.id}"
            _check(session.get(url, params=KEY, timeout=TIMEOUT_S).json(), schema, dataset)


# Recorded bodies served again


def _expected_pages(dataset: Dataset) -> list[str]:
    """Stems in the promised order: many pages first, then by name."""
    lists = [(stem, body) for stem, body in _recorded(dataset) if body.get("results")]
    lists.sort(key=lambda each: (-each[1]["total_pages"], f"{each[0]}.json"))
    return [stem for stem, _ in lists]


@pytest.mark.parametrize("dataset", DATASETS)
def test_recorded_bodies_come_byte_for_byte(replay: Sandbox, dataset: Dataset) -> None:
    stems = _expected_pages(dataset)
    assert len(stems) >= 6
    for number, stem in enumerate(stems, 1):
        answer = _get(replay, f"/discover/{dataset}", page=str(number), with_genres="16,35")
        assert answer.content == (RECORDED / dataset / f"{stem}.json").read_bytes()


@pytest.mark.parametrize("dataset", DATASETS)
def test_recorded_headers_come_as_they_were(replay: Sandbox, dataset: Dataset) -> None:
    compared = 0
    for number, stem in enumerate(_expected_pages(dataset), 1):
        file = RECORDED / "headers" / f"{stem}.headers.json"
        if not file.exists():
            continue
        compared += 1
        answer = _get(replay, f"/discover/{dataset}", page=str(number))
        known = json.loads(file.read_bytes())["headers"]
        for name in set(known) - {"Transfer-Encoding", "Connection", "Content-Length", "Alt-Svc"}:
            value = known[name]
            assert answer.headers[name] == (", ".join(value) if isinstance(value, list) else value)
    assert compared


@pytest.mark.parametrize("dataset", DATASETS)
def test_after_the_last_recorded_list_comes_an_empty_page(
    replay: Sandbox, dataset: Dataset
) -> None:
    stems = _expected_pages(dataset)
    last = dict(_recorded(dataset))[stems[-1]]
    page = len(stems) + 1
    answer = _get(replay, f"/discover/{dataset}", page=str(page)).json()
    assert answer == last | {"page": page, "results": []}
    assert _get(replay, f"/discover/{dataset}", page="501").status_code == 400


def test_recorded_details_are_the_recorded_404(replay: Sandbox) -> None:
    answer = _get(replay, "/movie/550")
    assert answer.status_code == 404
    stem = "movie_1_20230405T021656Z_p1_8dcd05_http404"
    assert answer.content == (RECORDED / "errors" / f"{stem}.json").read_bytes()
    assert answer.headers["Cache-Control"] == "public, max-age=25222"


def test_recorded_answers_still_need_sign_in_and_may_fail() -> None:
    with Sandbox(recorded=RECORDED, faults=[Fault("429", times=1)]) as replay:
        statuses = [_get(replay, "/discover/tv").status_code for _ in range(2)]
        unsigned = requests.get(f"{replay.base_url}/discover/tv", timeout=TIMEOUT_S)
    assert statuses == [429, 200]
    assert unsigned.status_code == 401


def test_recorded_lists_cannot_be_bent() -> None:
    with pytest.raises(ValueError, match="as they are"):
        Sandbox(recorded=RECORDED, faults=[Fault("torn")])


def test_a_directory_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no recorded list"):
        Sandbox(recorded=tmp_path)
