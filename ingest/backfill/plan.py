"""The plan of a backfill: asked of TMDB, kept in the lake as an array of windows, read again.

Where a plan is kept follows from what it was asked for: the same question finds it again, so that
a backfill that was killed goes on with it. Its id follows from its windows: the same answers of
TMDB give the same plan, and windows land under its id.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingest.backfill.spans import Span, Totals, split
from ingest.backfill.windows import Wanted, Window, filters
from ingest.committing import read_or_none
from ingest.errors import CorruptFile, EventError, NotFound
from ingest.fetcher import read_page
from ingest.uploader import Upload, upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.fetcher import Dataset
    from ingest.storage.base import Lake
    from ingest.tmdb import Tmdb

FOLDER = "_plans"
"""At the root of the lake; readers of tables skip names that begin with ``_``."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is asked for: the titles of ``datasets`` released in ``days``.

    ``host`` is who is asked: what the stand-in has answered is no plan of TMDB's titles.
    """

    days: Span
    datasets: tuple[Dataset, ...]
    wanted: Wanted
    host: str

    @property
    def key(self) -> str:
        """Where the plan is kept."""
        names = [dataset.name for dataset in self.datasets]
        wanted = (self.wanted.genres, self.wanted.language, self.wanted.include_adult)
        asked = (names, *wanted, self.host)
        return f"{FOLDER}/{self.days}_{_digest(asked)[:8]}.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows kept under ``key``; ``requests`` is how many it took to make them, now."""

    key: str
    windows: tuple[Window, ...]
    requests: int = 0

    @property
    def id(self) -> str:
        """What its windows land under."""
        return self.windows[0].plan_id

    def as_json(self) -> dict[str, Any]:
        """Return what is told of it."""
        return {
            "plan": self.key,
            "plan_id": self.id,
            "windows": len(self.windows),
            "pages": sum(window.totals.pages for window in self.windows),
            "records": sum(window.totals.results for window in self.windows),
            "requests": self.requests,
            "reused": not self.requests,
        }


def plan_for(question: Question, stores: Sequence[Lake], tmdb: Tmdb, *, anew: bool) -> Plan:
    """Return the plan that is kept for ``question``; make and keep one where there is none.

    With ``anew`` the plan that is kept is replaced. Raises what ``make`` and ``find`` do.
    """
    found = None if anew else find(stores[-1], question.key)
    if found:
        return found
    plan = make(question, tmdb)
    keep(stores, plan)
    return plan


def kept_plan(lake: Lake, key: str) -> Plan:
    """Return the plan kept under ``key``. Raises ``NotFound`` where there is none."""
    plan = find(lake, key)
    if plan is None:
        raise NotFound(f"there is no plan {lake.url}/{key}")
    return plan


def make(question: Question, tmdb: Tmdb) -> Plan:
    """Ask TMDB for page 1 of a span, and of its halves, until each has at most 500 pages.

    Raises ``CannotSplit``, and what ``Tmdb.submit`` does.
    """
    windows = []
    requests = 0
    for dataset in question.datasets:

        def ask(spans: Sequence[Span], dataset: Dataset = dataset) -> list[Totals]:
            nonlocal requests
            requests += len(spans)
            return _totals(dataset, spans, question.wanted, tmdb)

        windows += [
            Window("", dataset, span, question.wanted, totals)
            for span, totals in split(question.days, ask)
        ]
    plan_id = _digest([window.as_json() for window in windows])[:12]
    named = tuple(replace(window, plan_id=plan_id) for window in windows)
    return Plan(question.key, named, requests)


def _totals(dataset: Dataset, spans: Sequence[Span], wanted: Wanted, tmdb: Tmdb) -> list[Totals]:
    asked = [
        tmdb.submit(dataset.endpoint, {**filters(dataset, span, wanted), "page": "1"})
        for span in spans
    ]
    pages = [read_page(dataset, 1, tmdb.result(answer))[0] for answer in asked]
    return [Totals(page.total_results or 0, page.total_pages or 0) for page in pages]


def keep(stores: Sequence[Lake], plan: Plan) -> None:
    """Write ``plan`` into each store; the one that was there under its key is replaced."""
    lines = (json.dumps(window.as_json(), separators=(",", ":")) for window in plan.windows)
    body = "[\n" + ",\n".join(lines) + "\n]\n"
    for store in stores:
        upload(store, [Upload(plan.key, body.encode(), "application/json")])


def find(lake: Lake, key: str) -> Plan | None:
    """Return the plan kept under ``key``, None where there is none; raises ``CorruptFile``."""
    body = read_or_none(lake, key)
    if body is None:
        return None
    try:
        windows = tuple(Window.parse(each) for each in json.loads(body))
    except (ValueError, TypeError, EventError) as error:
        reason = str(error)
    else:
        if len({window.plan_id for window in windows}) == 1:
            return Plan(key, windows)
        reason = "its windows are of several plans, or it has none"
    raise CorruptFile(f"{lake.url}/{key} is no plan: {reason}", hint="plan anew")


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
