"""A window: one item of a plan. What it asks TMDB for, how it is written down, where it lands."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ingest.backfill.spans import Span, Totals
from ingest.errors import EventError
from ingest.event import day_of, wrong
from ingest.fetcher import DATASETS
from ingest.rawzone import MANIFEST
from ingest.settings import GENRES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.fetcher import Dataset
    from ingest.rawzone import Manifest

_KEY = re.compile(
    r"(?P<folder>[A-Za-z]+)Backfill/plan=[0-9a-f]{12}/"
    r"span=(?P<span>[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(_votes_[0-9]+_([0-9]+|up))?)/(?P<name>[^/]+)"
)
_FILE = r"_[0-9]{3,}\.jsonl?(\.gz)?"
_FIELDS = (
    *("plan_id", "dataset", "from", "to", "votes_from", "votes_to", "genres", "language"),
    *("include_adult", "total_results", "total_pages"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a catalogue is wanted, and in which language its texts are.

    ``genres`` are as in ``TMDB_GENRES``; None for titles of all and of no genres.
    """

    genres: str | None
    language: str
    include_adult: bool


@dataclass(frozen=True, slots=True)
class Window:
    """One item of the plan ``plan_id``; ``totals`` are what TMDB counted when it was planned."""

    plan_id: str
    dataset: Dataset
    span: Span
    wanted: Wanted
    totals: Totals

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"{self.dataset.name}_{self.span}"

    def as_json(self) -> dict[str, Any]:
        """Return it as a plan has it."""
        values = (
            *(self.plan_id, self.dataset.name),
            *(self.span.first.isoformat(), self.span.last.isoformat()),
            *(self.span.votes_from, self.span.votes_to),
            *(self.wanted.genres, self.wanted.language, self.wanted.include_adult),
            *(self.totals.results, self.totals.pages),
        )
        return dict(zip(_FIELDS, values, strict=True))

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the window that ``as_json`` wrote; raises ``EventError`` that names the field."""
        if not isinstance(value, dict) or value.keys() != set(_FIELDS):
            raise wrong("window", value, f"an object with {', '.join(_FIELDS)}")
        return cls(
            plan_id=_text(value, "plan_id", "[0-9a-f]{12}"),
            dataset=DATASETS[_text(value, "dataset", "|".join(DATASETS))],
            span=_span(value),
            wanted=Wanted(
                genres=None if value["genres"] is None else _text(value, "genres", GENRES),
                language=_text(value, "language", "[a-z]{2}(-[A-Z]{2})?"),
                include_adult=_flag(value, "include_adult"),
            ),
            totals=Totals(_count(value, "total_results"), _count(value, "total_pages")),
        )


def _text(value: Mapping[str, Any], name: str, pattern: str) -> str:
    text = value[name]
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        raise wrong(f"window's {name}", text, f"as in a plan: {pattern}")
    return text


def _count(value: Mapping[str, Any], name: str) -> int:
    number = value[name]
    if type(number) is not int or number < 0:
        raise wrong(f"window's {name}", number, "a whole number")
    return number


def _flag(value: Mapping[str, Any], name: str) -> bool:
    flag = value[name]
    if not isinstance(flag, bool):
        raise wrong(f"window's {name}", flag, "true or false")
    return flag


def _span(value: Mapping[str, Any]) -> Span:
    first, last = (day_of(f"window's {name}", value[name]) for name in ("from", "to"))
    votes = [None if value[n] is None else _count(value, n) for n in ("votes_from", "votes_to")]
    span = Span(first, last, *votes)
    least, most = votes
    ordered = first <= last and (most is None or (least is not None and least <= most))
    if not ordered or (least is not None and first != last):
        raise EventError(f"the event's window {span} is no span of days, or of votes on one day")
    return span


def filters(dataset: Dataset, span: Span, wanted: Wanted) -> dict[str, str]:
    """Return what a window asks TMDB for, under the endpoint's own names, without the page.

    In the order of the dates, which changes less from one page to the next than that of the
    popularity does.
    """
    asked = {
        "include_adult": str(wanted.include_adult).lower(),
        **dataset.extra,
        "language": wanted.language,
        dataset.since: span.first.isoformat(),
        dataset.until: span.last.isoformat(),
        "sort_by": dataset.since.removesuffix("gte") + "asc",
        "vote_count.gte": span.votes_from,
        "vote_count.lte": span.votes_to,
        "with_genres": wanted.genres,
    }
    return {name: str(value) for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window lands, below the prefix ``zone``; beside the partitions of the days.

    ``plan`` and ``span`` are partitions as Hive and Athena know them.
    """

    zone: str
    window: Window

    @property
    def directory(self) -> str:
        """The prefix of all keys of the window; ends in ``/``."""
        folder = f"{self.zone}/{self.window.dataset.folder}Backfill"
        return f"{folder}/plan={self.window.plan_id}/span={self.window.span}/"

    @property
    def manifest_key(self) -> str:
        """The key of the manifest, beside the objects."""
        return self.directory + MANIFEST

    def keys(self, files: int, extension: str) -> list[str]:
        """Return the keys of ``files`` objects, in order."""
        stem = f"{self.directory}{self.window}"
        return [f"{stem}_{number:03}.{extension}" for number in range(1, files + 1)]

    def owns(self, key: str) -> bool:
        """Whether ``key`` is one that a run makes here, in any format and of any number."""
        stem = re.escape(f"{self.directory}{self.window}")
        return re.fullmatch(stem + _FILE, key) is not None

    def parse_manifest(self, body: bytes | None) -> Manifest | None:
        """Return the manifest in ``body``, or None: then nothing is committed here."""
        try:
            document = json.loads(body or b"")
            objects = document["objects"]
            whole = (
                document["window"]["plan_id"] == self.window.plan_id
                and type(document["unique_ids"]) is type(document["total_results"]) is int
                and isinstance(document["run_id"], str)
                and all(self.owns(entry["key"]) for entry in objects)
                and all(type(entry["bytes"]) is type(entry["records"]) is int for entry in objects)
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return document if whole else None


def is_of_a_backfill(zone: str, key: str) -> bool:
    """Whether ``key`` is one that a backfill makes below ``zone``: a file's or a manifest's."""
    match = _KEY.fullmatch(key.removeprefix(f"{zone}/"))
    names = [each.name for each in DATASETS.values() if match and each.folder == match["folder"]]
    if not match or not names or not key.startswith(f"{zone}/"):
        return False
    stem = re.escape(f"{names[0]}_{match['span']}")
    return match["name"] == MANIFEST or re.fullmatch(stem + _FILE, match["name"]) is not None
