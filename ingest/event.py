"""Invocation events -> what a run is asked to do.

Known are: ``{}``; the schedule's ``{"scheduled_time": "2026-11-20T06:00:00Z"}``, which may come
with the ``execution_id`` and the number of the ``attempt`` to deliver it; a classic EventBridge
event, whose ``time`` is the planned time; and by hand any of ``date``, ``datasets``, ``limit``,
``force`` and ``dry_run``. Everything else is refused by name: a field that is ignored is a run that
does something other than what was asked. Events with a ``job`` are those of ``ingest.jobs``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeGuard

from ingest.errors import EventError
from ingest.fetcher import DATASETS
from ingest.settings import MAX_RECORDS, calendar_day

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ingest.fetcher import Dataset

_EVENTBRIDGE = frozenset({"detail-type", "source", "time"})
_OF_EVENTBRIDGE = _EVENTBRIDGE | frozenset(
    {"version", "id", "account", "region", "resources", "detail", "replay-name"}
)
_OF_SCHEDULER = frozenset({"execution_id", "attempt"})
_BY_HAND = ("scheduled_time", "date", "datasets", "limit", "force", "dry_run")
_MAY_HAVE = f"{', '.join(_BY_HAND)}, execution_id, attempt or job, or be one of EventBridge's"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one run is asked to do.

    ``planned`` is the schedule's moment, None by hand; ``day`` a partition date given by hand.
    ``execution_id`` and ``attempt`` differ with each delivery of one event: they are for the logs.
    """

    planned: datetime | None = None
    day: date | None = None
    datasets: tuple[Dataset, ...] = tuple(DATASETS.values())
    limit: int = MAX_RECORDS
    force: bool = False
    dry_run: bool = False
    execution_id: str | None = None
    attempt: str | None = None


def is_job(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether ``event`` is one of ``ingest.jobs``, and no run's."""
    return isinstance(event, dict) and "job" in event


def parse_event(event: object) -> RunRequest:
    """Return what ``event`` asks for.

    Raises ``EventError`` that names the field and what it holds.
    """
    if not isinstance(event, dict):
        raise EventError(f"the event is {event!r:.60}; it should be a JSON object")
    if event.keys() >= _EVENTBRIDGE:
        refuse_unknown(event, _OF_EVENTBRIDGE, _MAY_HAVE)
        return RunRequest(planned=_moment("time", event["time"]))
    refuse_unknown(event, _OF_SCHEDULER.union(_BY_HAND), _MAY_HAVE)
    if "scheduled_time" in event and "date" in event:
        raise EventError("the event has both scheduled_time and date; each gives the partition")
    return RunRequest(
        planned=_moment("scheduled_time", event["scheduled_time"])
        if "scheduled_time" in event
        else None,
        day=day_of("date", event["date"]) if "date" in event else None,
        datasets=datasets_of(event.get("datasets", list(DATASETS))),
        limit=_limit(event.get("limit", MAX_RECORDS)),
        force=flag(event, "force"),
        dry_run=flag(event, "dry_run"),
        execution_id=_label(event, "execution_id"),
        attempt=_label(event, "attempt"),
    )


def refuse_unknown(event: Mapping[str, Any], known: Collection[str], may_have: str = "") -> None:
    """Raise ``EventError`` that names each field of ``event`` that is not ``known``.

    ``may_have`` says which there may be, where that is not just those.
    """
    unknown = sorted(str(name) for name in event.keys() - set(known))
    if unknown:
        raise EventError(
            f"the event has the unknown field {', '.join(unknown)}; it may have "
            f"{may_have or ', '.join(known)}"
        )


def wrong(name: str, value: object, should: str) -> EventError:
    """Return the error that says what the event's ``name`` holds, and what it should."""
    return EventError(f"the event's {name} is {value!r:.60}; it should be {should}")


def _moment(name: str, value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        # At the ends of the calendar there is no day in every time zone.
        if moment.tzinfo and 1 < moment.year < MAXYEAR:
            return moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    raise wrong(name, value, "a moment with its time zone, such as 2026-11-20T06:00:00Z")


def day_of(name: str, value: object) -> date:
    """Return the day that the event's ``name`` holds."""
    day = calendar_day(value) if isinstance(value, str) else None
    if day is None:
        raise wrong(name, value, "a calendar date as YYYY-MM-DD")
    return day


def datasets_of(value: object) -> tuple[Dataset, ...]:
    """Return the datasets that the event's list has, in their own order."""
    names = value if isinstance(value, list) and value else [None]
    if not all(isinstance(name, str) and name in DATASETS for name in names):
        raise wrong("datasets", value, f"a list of {' and '.join(DATASETS)}")
    return tuple(dataset for name, dataset in DATASETS.items() if name in names)


def _limit(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_RECORDS:
        raise wrong("limit", value, f"a whole number from 1 to {MAX_RECORDS}")
    return value


def flag(event: Mapping[str, Any], name: str) -> bool:
    """Return whether the event's ``name`` is true; false where it is not there."""
    value = event.get(name, False)
    if not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return value


def _label(event: Mapping[str, Any], name: str) -> str | None:
    """Return a text that is only shown; EventBridge Scheduler fills it in, quoted or not."""
    if name not in event:
        return None
    value = event[name]
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9:/_.-]{1,200}", text):
        raise wrong(name, value, "what EventBridge Scheduler puts there")
    return text
