"""Each sample event, fed to the handler: what comes out, in Lambda and in the README."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import EventError, NotFound
from ingest.jobs import question_of
from runs import (
    HANDLER,
    MOVIES,
    SERIES,
    answer,
    files,
    main,
    manifest,
    program,
    report,
    statuses,
    variables,
)
from support import REPOSITORY, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox

SAMPLES = {path.stem: path for path in sorted((REPOSITORY / "events").glob("*.json"))}
PLANNED = "2026-11-20T06:00:00Z"
BOTH = {"movies": "landed", "series": "landed"}


def sample(name: str) -> Any:
    return json.loads(SAMPLES[name].read_bytes())


def test_there_are_these_samples() -> None:
    assert set(SAMPLES) == {
        *("schedule", "eventbridge_rule", "by_hand", "dry_run", "one_dataset", "backfill_date"),
        *("job_plan", "job_window", "job_summary"),
        *("wrong_field", "wrong_date", "wrong_job"),
    }


@pytest.mark.parametrize("name", ["schedule", "eventbridge_rule"])
def test_a_planned_event_lands_both_datasets_once_in_the_partition_of_its_time(
    stand_in: Callable[..., Sandbox], name: str
) -> None:
    environ = variables(stand_in())
    assert statuses(report(sample(name), environ)) == BOTH
    lake = files()
    assert manifest(lake, MOVIES)["run_key"] == manifest(lake, SERIES)["run_key"] == PLANNED
    again = report(sample(name), environ)
    assert set(statuses(again).values()) == {"skipped"}


def test_the_schedule_and_a_rule_of_the_same_time_are_the_same_run(
    stand_in: Callable[..., Sandbox],
) -> None:
    environ = variables(stand_in())
    report(sample("schedule"), environ)
    assert set(statuses(report(sample("eventbridge_rule"), environ)).values()) == {"skipped"}


def test_by_hand_both_datasets_land_in_the_partition_of_the_day_and_again_each_time(
    stand_in: Callable[..., Sandbox],
) -> None:
    environ = variables(stand_in())
    before = datetime.now(UTC).date()
    body = report(sample("by_hand"), environ)
    assert before.isoformat() <= body["partition_date"] <= datetime.now(UTC).date().isoformat()
    assert statuses(body) == statuses(report(sample("by_hand"), environ)) == BOTH


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in()
    body = report(sample("dry_run"), variables(sandbox))
    assert statuses(body) == {"movies": "planned", "series": "planned"}
    assert (sandbox.requests, files()) == ([], {})


def test_one_dataset_lands_alone(stand_in: Callable[..., Sandbox]) -> None:
    body = report(sample("one_dataset"), variables(stand_in()))
    assert [(each["name"], each["status"], each["records"]) for each in body["datasets"]] == [
        ("series", "landed", 20)
    ]


def test_a_backfill_lands_in_the_partition_of_its_date(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in())
    for _ in range(2):
        body = report(sample("backfill_date"), environ)
        assert (statuses(body), body["partition_date"]) == (BOTH, "2026-11-01")
    assert {key.rpartition("/")[0] for key in files()} == {
        "raw/TMDB/JSON/Movies/2026/11/01",
        "raw/TMDB/JSON/Series/2026/11/01",
    }


def test_a_backfill_is_planned_landed_and_counted_by_its_jobs(
    stand_in: Callable[..., Sandbox],
) -> None:
    environ = variables(stand_in())
    plan = answer(sample("job_plan"), environ)
    windows = json.loads(files()[plan["plan"]])
    assert plan["windows"] == len(windows) == 2
    assert windows[0].keys() == sample("job_window")["items"][0].keys()
    done = answer({**sample("job_window"), "items": windows}, environ)
    assert (done["landed"], done["incomplete"]) == (2, 0)
    summary = answer({**sample("job_summary"), "plan": plan["plan"]}, environ)
    assert (summary["windows"], summary["complete"]) == (2, 2)
    assert summary["records"] == summary["total_results"] == plan["records"]


def test_a_window_lands_by_itself(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in())
    assert answer(sample("job_window"), environ)["landed"] == 1
    assert {key.rpartition("/")[0] for key in files()} == {
        "raw/TMDB/JSON/MoviesBackfill/plan=0123456789ab/span=1990-01-01_1990-06-30"
    }


def test_a_summary_asks_for_a_plan_of_tmdb_itself(stand_in: Callable[..., Sandbox]) -> None:
    """The stand-in's plans are kept apart; so the sample finds none here."""
    with pytest.raises(NotFound, match=r"there is no plan lake/_plans/1990-01-01_1999-12-31_"):
        answer(sample("job_summary"), variables(stand_in()))
    assert question_of(sample("job_plan"), settings_for()).key == sample("job_summary")["plan"]


WRONG = [
    ("wrong_field", r"the event has the unknown field dataset; it may have .*datasets"),
    ("wrong_date", r"the event's date is '2026-02-30'; it should be a calendar date"),
    ("wrong_job", r"the event's job is 'windows'; it should be one of plan, window, summary"),
]


@pytest.mark.parametrize(("name", "says"), WRONG)
def test_a_wrong_one_is_refused_by_name_before_anything_is_asked_for(
    stand_in: Callable[..., Sandbox], name: str, says: str
) -> None:
    sandbox = stand_in()
    with pytest.raises(EventError, match=says):
        answer(sample(name), variables(sandbox))
    assert (sandbox.requests, files()) == ([], {})


@pytest.mark.parametrize("name", SAMPLES)
def test_by_hand_a_sample_is_named_as_an_argument(
    stand_in: Callable[..., Sandbox], name: str
) -> None:
    done = program(variables(stand_in()), HANDLER, str(SAMPLES[name]))
    # The last one finds no plan, with which the others would have begun.
    codes = {"wrong_field": 2, "wrong_date": 2, "wrong_job": 2, "job_summary": 1}
    assert done.code == codes.get(name, 0), done.err


def test_main_refuses_a_wrong_one_with_one_line(stand_in: Callable[..., Sandbox]) -> None:
    for name, says in WRONG:
        done = main(variables(stand_in()), str(SAMPLES[name]))
        assert done.code == 2
        assert re.search(says, done.error)


def test_the_readme_shows_each_of_them_with_sam_local() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"sam local invoke IngestFunction [^\n]*-e events/(\w+)\.json", readme)
    assert sorted(shown) == sorted(SAMPLES)
