"""The main job with each title's details, and over answers recorded from TMDB itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ingest.errors import IngestError
from ingest.sandbox import SANDBOX_API_KEY, Fault
from runs import MOVIES, SCHEDULED, SERIES, exact, files, manifest, report, statuses, variables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.sandbox import Sandbox

DETAILS = {
    "movies": "raw/TMDB/JSON/MovieDetails/2026/11/20/movie_details_2026-11-20.json",
    "series": "raw/TMDB/JSON/SeriesDetails/2026/11/20/series_details_2026-11-20.json",
}


def ids(body: bytes) -> list[int]:
    return [record["id"] for record in json.loads(body)]


def test_details_of_each_title_land_as_datasets_of_their_own(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in()
    body = report({**SCHEDULED, "limit": 8}, variables(sandbox, TMDB_DETAILS="true"))
    assert statuses(body) == dict.fromkeys(
        ("movies", "movie_details", "series", "series_details"), "landed"
    )
    lake = files()
    assert ids(lake[DETAILS["movies"]]) == ids(lake[MOVIES])
    assert ids(lake[DETAILS["series"]]) == ids(lake[SERIES])
    for series in exact(lake[DETAILS["series"]]):
        asked = {"api_key": SANDBOX_API_KEY, "language": "pt-BR"}
        url = f"{sandbox.base_url}/tv/{series['id']}"
        assert series == exact(requests.get(url, params=asked, timeout=10).content)
        assert int(series["number_of_seasons"]) >= 0


def test_a_title_that_fails_is_reported_and_does_not_lose_the_other_99(
    stand_in: Callable[..., Sandbox],
) -> None:
    by_hand: dict[str, Any] = {"date": "2026-11-20", "datasets": ["series"]}
    report(by_hand, variables(stand_in()))
    victim = ids(files()[SERIES])[41]
    sandbox = stand_in(faults=[Fault("error", code=34, path=f"/tv/{victim}")])
    body = report(by_hand, variables(sandbox, TMDB_DETAILS="true"))
    assert statuses(body) == {"series": "landed", "series_details": "landed"}
    lake = files()
    landed = ids(lake[DETAILS["series"]])
    assert len(landed) == 99
    assert set(ids(lake[SERIES])) - set(landed) == {victim}
    (error,) = manifest(lake, DETAILS["series"])["errors"]
    assert error["id"] == victim
    assert "404" in error["error"]


def test_a_details_manifest_has_a_page_for_each_title(stand_in: Callable[..., Sandbox]) -> None:
    event = {**SCHEDULED, "limit": 3, "datasets": ["movies"]}
    report(event, variables(stand_in(), TMDB_DETAILS="true"))
    document = manifest(files(), DETAILS["movies"])
    assert document["dataset"] == "movie_details"
    assert document["source"]["endpoint"] == "/movie/{id}"
    assert document["source"]["params"] == {"language": "pt-BR"}
    assert [page["page"] for page in document["source"]["pages"]] == [1, 2, 3]
    assert document["source"]["consistency"] == "consistent"


def test_details_that_all_fail_are_a_failure_that_leaves_the_titles_landed(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in(faults=[Fault("error", code=34, path="/3/movie/")])
    event = {**SCHEDULED, "limit": 3, "datasets": ["movies"]}
    with pytest.raises(IngestError, match=r"movie_details: .*/movie/[0-9]+: HTTP 404"):
        report(event, variables(sandbox, TMDB_DETAILS="true"))
    lake = files()
    assert len(ids(lake[MOVIES])) == 3
    assert DETAILS["movies"] not in lake


@pytest.mark.parametrize(("key", "folder"), [(MOVIES, "movie"), (SERIES, "tv")])
def test_every_record_recorded_from_tmdb_is_unchanged_in_the_lake(
    stand_in: Callable[..., Sandbox], recorded: Path, key: str, folder: str
) -> None:
    body = report(SCHEDULED, variables(stand_in(recorded=recorded / "tmdb")))
    assert statuses(body) == {"movies": "landed", "series": "landed"}
    known: dict[str, list[Any]] = {}
    for page in (recorded / "tmdb" / folder).glob("*.json"):
        for record in exact(page.read_bytes()).get("results") or []:
            known.setdefault(record["id"], []).append(list(record.items()))
    landed = exact(files()[key])
    assert len({record["id"] for record in landed}) == len(landed) > 60
    changed = [record for record in landed if list(record.items()) not in known[record["id"]]]
    assert changed == []
