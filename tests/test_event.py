"""The invocation events a run takes, and those it refuses by name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingest.errors import EventError
from ingest.event import RunRequest, parse_event
from ingest.fetcher import MOVIES, SERIES

PLANNED = datetime(2026, 11, 20, 6, tzinfo=UTC)
# The shape EventBridge's own rules send.
EVENTBRIDGE = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-20T06:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/daily"],
    "detail": {},
}


@pytest.mark.parametrize(
    ("event", "request_"),
    [
        ({}, RunRequest()),
        ({"scheduled_time": "2026-11-20T06:00:00Z"}, RunRequest(planned=PLANNED)),
        ({"scheduled_time": "2026-11-20T03:00:00-03:00"}, RunRequest(planned=PLANNED)),
        ({"scheduled_time": "2026-11-20T06:00:00.000Z"}, RunRequest(planned=PLANNED)),
        (EVENTBRIDGE, RunRequest(planned=PLANNED)),
        ({"date": "2026-11-20"}, RunRequest(day=date(2026, 11, 20))),
        ({"datasets": ["series"]}, RunRequest(datasets=(SERIES,))),
        ({"datasets": ["series", "movies", "series"]}, RunRequest(datasets=(MOVIES, SERIES))),
        ({"limit": 1}, RunRequest(limit=1)),
        ({"limit": 100}, RunRequest(limit=100)),
        ({"force": True, "dry_run": False}, RunRequest(force=True)),
        ({"dry_run": True}, RunRequest(dry_run=True)),
        (
            {"scheduled_time": "2026-11-20T06:00:00Z", "execution_id": "d32c5c5f", "attempt": "1"},
            RunRequest(planned=PLANNED, execution_id="d32c5c5f", attempt="1"),
        ),
        ({"attempt": 2}, RunRequest(attempt="2")),
        (
            {"scheduled_time": "2026-11-20T06:00:00Z", "force": True, "limit": 40},
            RunRequest(planned=PLANNED, force=True, limit=40),
        ),
    ],
)
def test_a_known_event_is_understood(event: dict[str, Any], request_: RunRequest) -> None:
    assert parse_event(event) == request_


def test_an_empty_event_asks_for_both_datasets_in_full() -> None:
    request = parse_event({})
    assert (request.datasets, request.limit) == ((MOVIES, SERIES), 100)
    assert (request.planned, request.day, request.force, request.dry_run) == (
        *(None, None),
        *(False, False),
    )


@pytest.mark.parametrize("event", [[], [{}], "movies", "", None, 7, True])
def test_an_event_that_is_no_object_is_refused(event: object) -> None:
    assert _refusal(event) == f"the event is {event!r}; it should be a JSON object"


_MOMENT = "a moment with its time zone"
_DAY = "a calendar date as YYYY-MM-DD"
_OF_SCHEDULER = "what EventBridge Scheduler puts there"
_LIMIT = "a whole number from 1 to 100"


@pytest.mark.parametrize(
    ("event", "field", "should"),
    [
        ({"limit": 0}, "limit", _LIMIT),
        ({"limit": 101}, "limit", _LIMIT),
        ({"limit": -1}, "limit", _LIMIT),
        ({"limit": True}, "limit", _LIMIT),
        ({"limit": 10.0}, "limit", _LIMIT),
        ({"limit": "10"}, "limit", _LIMIT),
        ({"limit": None}, "limit", _LIMIT),
        ({"datasets": []}, "datasets", "a list of movies and series"),
        ({"datasets": "movies"}, "datasets", "a list of movies and series"),
        ({"datasets": ["movies", "people"]}, "datasets", "a list of movies and series"),
        ({"datasets": ["movie_details"]}, "datasets", "a list of movies and series"),
        ({"datasets": [["movies"]]}, "datasets", "a list of movies and series"),
        ({"datasets": None}, "datasets", "a list of movies and series"),
        ({"date": "2026-02-30"}, "date", _DAY),
        ({"date": "20261120"}, "date", _DAY),
        ({"date": "2026-11-20T06:00:00Z"}, "date", _DAY),
        ({"date": 20261120}, "date", _DAY),
        ({"date": None}, "date", _DAY),
        ({"scheduled_time": "2026-11-20T06:00:00"}, "scheduled_time", _MOMENT),
        ({"scheduled_time": "2026-11-20"}, "scheduled_time", _MOMENT),
        ({"scheduled_time": "<aws.scheduler.scheduled-time>"}, "scheduled_time", _MOMENT),
        ({"scheduled_time": 1795154400}, "scheduled_time", _MOMENT),
        ({"scheduled_time": None}, "scheduled_time", _MOMENT),
        # In UTC it lies outside the calendar.
        ({"scheduled_time": "0001-01-01T00:00:00+14:00"}, "scheduled_time", _MOMENT),
        ({**EVENTBRIDGE, "time": "2026-11-20T06:00:00"}, "time", _MOMENT),
        ({**EVENTBRIDGE, "time": None}, "time", _MOMENT),
        ({"force": "true"}, "force", "true or false"),
        ({"dry_run": 1}, "dry_run", "true or false"),
        ({"execution_id": "<aws.scheduler.execution-id>"}, "execution_id", _OF_SCHEDULER),
        ({"execution_id": ""}, "execution_id", _OF_SCHEDULER),
        ({"execution_id": "a\nline"}, "execution_id", _OF_SCHEDULER),
        ({"attempt": "<aws.scheduler.attempt-number>"}, "attempt", _OF_SCHEDULER),
        ({"attempt": None}, "attempt", _OF_SCHEDULER),
        ({"attempt": True}, "attempt", _OF_SCHEDULER),
    ],
)
def test_a_wrong_field_is_named_with_what_it_holds_and_should(
    event: dict[str, Any], field: str, should: str
) -> None:
    refusal = _refusal(event)
    assert refusal.startswith(f"the event's {field} is {event[field]!r:.60}; it should be ")
    assert should in refusal


@pytest.mark.parametrize(
    ("event", "names"),
    [
        ({"Date": "2026-11-20"}, "Date"),
        ({"dataset": "movies", "limit": 5}, "dataset"),
        ({"zzz": 1, "aaa": 2}, "aaa, zzz"),
        ({"time": "2026-11-20T06:00:00Z"}, "time"),
        ({"Records": [{"eventSource": "aws:s3"}]}, "Records"),
    ],
)
def test_an_unknown_field_is_refused_by_name(event: dict[str, Any], names: str) -> None:
    assert _refusal(event).startswith(f"the event has the unknown field {names}; it may have ")


def test_a_date_beside_the_planned_time_is_refused() -> None:
    refusal = _refusal({"scheduled_time": "2026-11-20T06:00:00Z", "date": "2026-11-19"})
    assert "both scheduled_time and date" in refusal


def test_a_long_value_is_cut_and_kept_on_one_line() -> None:
    assert len(_refusal({"date": "line\n" * 1000})) < 200


def _refusal(event: object) -> str:
    with pytest.raises(EventError) as caught:
        parse_event(event)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert caught.value.exit_code == 2
    return text
