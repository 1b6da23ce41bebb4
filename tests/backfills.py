"""Backfills for tests: of small catalogues, in windows that are small as well."""

from __future__ import annotations

import json
import logging
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ingest.backfill import spans
from ingest.pacing import Backoff
from ingest.sandbox import SANDBOX_API_KEY
from ingest.serializer import deserialize
from runs import variables
from stores import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result

    from ingest.sandbox import Sandbox

FIRST, LAST = date(2001, 1, 1), date(2001, 1, 31)
RANGE = ("--from", FIRST.isoformat(), "--to", LAST.isoformat())
PAGES = 10
"""Of a window in these tests: 200 titles."""

WINDOW: dict[str, Any] = {
    "plan_id": "0123456789ab",
    "dataset": "movies",
    "from": "2001-01-01",
    "to": "2001-01-31",
    "votes_from": None,
    "votes_to": None,
    "genres": None,
    "language": "pt-BR",
    "include_adult": False,
    "total_results": 120,
    "total_pages": 6,
}
"""The month as one window of a plan."""


def month(titles: int) -> dict[date, int]:
    """So many titles, spread over a month."""
    days = [FIRST + timedelta(days=number) for number in range(31)]
    return {day: titles // 31 + (number < titles % 31) for number, day in enumerate(days)}


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TMDB hand out ten pages of a query, and let no rate or retry take time."""
    monkeypatch.setattr(spans, "LAST_PAGE", PAGES)
    monkeypatch.setattr(spans, "_MOST_TITLES", PAGES * 20)
    monkeypatch.setattr(spans, "_ROOM", 1)
    monkeypatch.setattr("ingest.pacing._SECOND_S", 0.0)
    monkeypatch.setattr("ingest.tmdb.Backoff", lambda: Backoff(base_s=0.0))


def ingest(*arguments: str, **environ: str) -> Result:
    """What ``ingest ARGUMENTS`` does, in this process; no log handler is left behind."""
    try:
        return command(None, *arguments, **environ)
    finally:
        logger = logging.getLogger("ingest")
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


def backfill(sandbox: Sandbox, *arguments: str, **more: str) -> Result:
    """What ``ingest backfill`` does with the month."""
    return ingest("backfill", *RANGE, *arguments, **variables(sandbox, **more))


def told(result: Result) -> list[dict[str, Any]]:
    """What ``--json`` wrote."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def plan_in(lake: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The windows of the only plan."""
    (key,) = (key for key in lake if key.startswith("_plans/"))
    windows: list[dict[str, Any]] = json.loads(lake[key])
    return windows


def manifests(lake: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Each window's manifest, by the directory it is in."""
    return {
        key.rpartition("/")[0]: json.loads(body)
        for key, body in lake.items()
        if key.endswith("/_manifest.json")
    }


def data(lake: Mapping[str, bytes]) -> dict[str, bytes]:
    """What is no manifest and no plan."""
    return {key: body for key, body in lake.items() if "/_" not in f"/{key}"}


def records(lake: Mapping[str, bytes], folder: str = "MoviesBackfill") -> list[dict[str, Any]]:
    """All records that have landed in ``folder``."""
    found = data(lake).items()
    return [each for key, body in found if f"/{folder}/" in key for each in deserialize(body, key)]


def served(sandbox: Sandbox, path: str = "/discover/movie") -> list[dict[str, Any]]:
    """Every record of the month, as the stand-in serves it."""
    name = "primary_release_date" if path.endswith("movie") else "first_air_date"
    asked = {"api_key": SANDBOX_API_KEY, "language": "pt-BR", "sort_by": f"{name}.asc"}
    asked |= {f"{name}.gte": FIRST.isoformat(), f"{name}.lte": LAST.isoformat()}
    found: list[dict[str, Any]] = []
    for page in range(1, 500):
        reply = requests.get(
            sandbox.base_url + path, params={**asked, "page": str(page)}, timeout=10
        ).json()
        found += reply["results"]
        if page >= reply["total_pages"]:
            break
    return found


def requested(sandbox: Sandbox) -> list[tuple[str, ...]]:
    """Path, first day, votes, order and page of each request, in order of arrival."""
    names = ("primary_release_date.gte", "first_air_date.gte", "vote_count.gte", "sort_by", "page")
    return [
        (each.path, *(each.query.get(name, [""])[0] for name in names)) for each in sandbox.requests
    ]
