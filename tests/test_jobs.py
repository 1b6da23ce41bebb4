"""Events with a job: what they answer, what they refuse, what is counted of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from backfills import FIRST, LAST, WINDOW, data, month, plan_in, records
from backfills import small_windows as small_windows  # noqa: PLC0414 - a fixture
from ingest.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    EventError,
    Incomplete,
    NotFound,
    PlanOutgrown,
)
from ingest.pacing import RateLimit
from ingest.sandbox import Fault
from lambdas import Function
from runs import Context, answer, files, main, objects, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

PLAN = {"job": "plan", "from": FIRST.isoformat(), "to": LAST.isoformat()}
DAY = {**WINDOW, "to": "2001-01-01", "votes_from": 0, "votes_to": 7}


def windows(*items: object, **more: Any) -> dict[str, Any]:
    return {"job": "window", "items": list(items), **more}


# What they answer


@pytest.mark.usefixtures("small_windows")
def test_plan_window_summary_land_a_whole_backfill(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in(titles={"movie": month(900), "tv": month(120)}))
    plan = answer(PLAN, environ)
    items = plan_in(files())
    assert (
        plan.items()
        >= {
            "plan_id": items[0]["plan_id"],
            "bucket": None,
            "windows": len(items),
            "pages": sum(item["total_pages"] for item in items),
            "records": 1020,
            "reused": False,
        }.items()
    )
    assert plan["plan"] in files()
    with pytest.raises(Incomplete, match=rf"{len(items)} of {len(items)} windows .* and \d more"):
        answer({"job": "summary", "plan": plan["plan"]}, environ)
    first, rest = answer(windows(*items[:2]), environ), answer(windows(*items), environ)
    assert (first["windows"], first["landed"], first["skipped"]) == (2, 2, 0)
    assert (rest["windows"], rest["landed"], rest["skipped"]) == (len(items), len(items) - 2, 2)
    assert (rest["incomplete"], rest["records"]) == (0, 1020)
    assert rest["bytes"] == sum(map(len, data(files()).values()))
    summary = answer({"job": "summary", "plan": plan["plan"]}, environ)
    assert summary["datasets"]["movies"].items() >= {"records": 900, "total_results": 900}.items()
    assert summary["windows"] == summary["complete"] == len(items)


def test_a_plan_that_is_kept_is_taken_as_it_is(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(60)})
    made = answer(PLAN, variables(sandbox))
    asked = len(sandbox.requests)
    assert made["requests"] == asked == 2
    for event in (PLAN, {"job": "plan", "plan": made["plan"]}):
        assert answer(event, variables(sandbox)) == {**made, "requests": 0, "reused": True}
    assert len(sandbox.requests) == asked
    assert answer({**PLAN, "replan": True}, variables(sandbox)) == made


def test_other_questions_have_other_plans(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(60)})
    environ = variables(sandbox)
    questions = [
        (PLAN, {}),
        ({**PLAN, "datasets": ["movies"]}, {}),
        ({**PLAN, "genres": "16,35"}, {}),
        ({**PLAN, "genres": "16|35"}, {}),
        ({**PLAN, "to": "2001-01-30"}, {}),
        (PLAN, {"TMDB_LANGUAGE": "en"}),
        (PLAN, {"TMDB_INCLUDE_ADULT": "true"}),
    ]
    keys = {answer(event, {**environ, **more})["plan"] for event, more in questions}
    assert len(keys) == len(questions) == len(files())


def test_the_children_of_a_plan_stay_together_below_the_rate(
    stand_in: Callable[..., Sandbox],
) -> None:
    environ = variables(stand_in(titles={"movie": 40_000}), TMDB_RATE="20")
    plan = answer({"job": "plan", "from": "1900-01-01", "to": "2026-12-31"}, environ)
    assert 1 < plan["children"] <= plan["windows"]
    assert plan["children"] * plan["requests_per_second"] <= 20
    assert plan["windows_per_child"] >= 1


def test_by_hand_an_answer_is_printed(stand_in: Callable[..., Sandbox]) -> None:
    with open("plan.json", "w", encoding="utf-8") as file:  # noqa: PTH123 - as brief as it gets
        json.dump(PLAN, file)
    done = main(variables(stand_in(titles={"movie": month(60)})), "plan.json")
    assert done.code == 0
    assert json.loads(done.out)["records"] == 60


def test_windows_keep_to_their_share_of_the_rate_and_without_one_to_the_setting(
    stand_in: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def noted(rate: float) -> RateLimit:
        rates.append(rate)
        return RateLimit(50)

    monkeypatch.setattr("ingest.tmdb.RateLimit", noted)
    environ = variables(stand_in(titles={"movie": month(120)}), TMDB_RATE="7")
    answer(windows(WINDOW, requests_per_second=2.5), environ)
    answer(windows(WINDOW), environ)
    assert rates == [2.5, 7]


# Failures


def test_a_window_that_has_outgrown_is_raised_and_the_others_land(
    stand_in: Callable[..., Sandbox], small_windows: None
) -> None:
    del small_windows
    environ = variables(stand_in(titles={"movie": month(201), "tv": month(60)}))
    with pytest.raises(PlanOutgrown, match="plan the backfill anew"):
        answer(windows(WINDOW, {**WINDOW, "dataset": "series"}), environ)
    assert len(records(files(), "SeriesBackfill")) == 60
    assert records(files(), "MoviesBackfill") == []


def test_a_deadline_that_passes_is_raised_and_nothing_lands(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in(titles={"movie": month(120)}, faults=[Fault("hang", page=6)])
    with pytest.raises(DeadlineExceeded):
        answer(windows(WINDOW), variables(sandbox), Context(1_000))
    assert files() == {}


def test_refused_credentials_are_raised(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(120)}, credentials=frozenset({"eyJ.other"}))
    for event in (PLAN, windows(WINDOW)):
        with pytest.raises(CredentialsRefused):
            answer(event, variables(sandbox))


def test_a_summary_of_no_plan_is_not_found(stand_in: Callable[..., Sandbox]) -> None:
    for event in ({"job": "summary"}, {"job": "plan"}):
        with pytest.raises(NotFound, match=r"there is no plan lake/_plans/other\.json"):
            answer({**event, "plan": "_plans/other.json"}, variables(stand_in()))


# Refused


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"job": None}, "the event's job is None; it should be one of plan, window, summary"),
        ({"job": []}, "the event's job is "),
        ({"job": "plan"}, "the event's from is None; it should be a calendar date"),
        ({**PLAN, "limit": 5}, "the event has the unknown field limit; it may have job, from, to"),
        ({**PLAN, "from": "2001-02-30"}, "the event's from is '2001-02-30'"),
        ({**PLAN, "to": 2001}, "the event's to is 2001"),
        ({**PLAN, "to": "9999-12-31"}, "the event's to is '9999-12-31'; it should be a day from"),
        ({**PLAN, "to": "2000-12-31"}, "the event's from is 2001-01-01, after its to, 2000-12-31"),
        ({**PLAN, "datasets": ["people"]}, "the event's datasets is "),
        ({**PLAN, "genres": "comedy"}, "the event's genres is 'comedy'"),
        ({**PLAN, "genres": [16, 35]}, "the event's genres is "),
        ({**PLAN, "replan": 1}, "the event's replan is 1; it should be true or false"),
        ({**PLAN, "plan": "_plans/a.json"}, "unknown field from, to; it may have job, plan"),
        ({"job": "plan", "plan": "raw/TMDB/JSON/x.json"}, "the event's plan is "),
        ({"job": "plan", "plan": "_plans/../x.json"}, "the event's plan is "),
        ({"job": "summary", "plan": 1}, "the event's plan is 1"),
        ({"job": "summary", "plan": "_plans/a.json", "items": []}, "unknown field items"),
        ({"job": "window"}, "the event's items is None; it should be a list of windows"),
        (windows(), "the event's items is "),
        (windows(WINDOW, plan="_plans/a.json"), "unknown field plan"),
        (windows(WINDOW, requests_per_second=0), "the event's requests_per_second is 0"),
        (windows(WINDOW, requests_per_second=51), "the event's requests_per_second is 51"),
        (windows(WINDOW, requests_per_second="4"), "the event's requests_per_second is '4'"),
        (windows(WINDOW, requests_per_second=True), "the event's requests_per_second is True"),
        (windows("movies"), "the event's window is 'movies'; it should be an object with plan_id"),
        (windows({**WINDOW, "more": 1}), "the event's window is "),
        (windows({**WINDOW, "plan_id": "../other"}), "the event's window's plan_id is '../other'"),
        (windows({**WINDOW, "dataset": "people"}), "the event's window's dataset is 'people'"),
        (windows({**WINDOW, "from": "2001-13-01"}), "the event's window's from is '2001-13-01'"),
        (windows({**WINDOW, "from": "2001-02-01"}), "is no span of days"),
        (windows({**WINDOW, "votes_from": 3}), "is no span of days, or of votes on one day"),
        (windows({**DAY, "votes_from": None}), "is no span of days"),
        (windows({**DAY, "votes_from": 8}), "is no span of days"),
        (windows({**DAY, "votes_to": -1}), "the event's window's votes_to is -1"),
        (windows({**WINDOW, "genres": 16}), "the event's window's genres is 16"),
        (windows({**WINDOW, "language": "en&x=1"}), "the event's window's language is 'en&x=1'"),
        (windows({**WINDOW, "include_adult": 0}), "the event's window's include_adult is 0"),
        (windows({**WINDOW, "total_pages": 1.5}), "the event's window's total_pages is 1.5"),
    ],
)
def test_a_wrong_event_is_refused_by_name_before_anything_is_asked_for(
    stand_in: Callable[..., Sandbox], event: dict[str, Any], says: str
) -> None:
    sandbox = stand_in(titles={"movie": month(60)})
    with pytest.raises(EventError) as caught:
        answer(event, variables(sandbox))
    assert says in str(caught.value)
    assert (sandbox.requests, files()) == ([], {})


# In Lambda


def test_in_lambda_a_backfill_is_counted_apart_from_the_daily_run(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    bucket = rclone_server.new_bucket()
    sandbox = stand_in(titles={"movie": month(120)})
    with Function(variables(sandbox, **rclone_server.environment(bucket))) as function:
        planned = function.invoke(PLAN)
        done = function.invoke(windows(*plan_in(objects(rclone_server, bucket))))
    assert [line.get("dataset") for line in planned.metrics] == [None]
    assert [line["dataset"] for line in done.metrics] == ["movies_backfill", "series_backfill"]
    assert (
        done.measured("movies_backfill").items()
        >= {
            "RecordsLanded": 120.0,
            "PagesFetched": 6.0,
            "Failures": 0.0,
            "PartitionsLanded": 1.0,
        }.items()
    )
    (last,) = done.logs[-1:]
    assert last["report"]["landed"] == 2
    assert last["job"] == "window"


def test_in_lambda_a_refused_job_is_no_failure_of_the_daily_run(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    lake = rclone_server.environment(rclone_server.new_bucket())
    with Function(variables(stand_in(), **lake)) as function:
        refused = function.invoke({"job": "windows"})
    assert refused.error
    assert refused.error.startswith("EventError: ")
    assert [line.get("dataset") for line in refused.metrics] == [None]
    assert refused.logs[-1]["level"] == "ERROR"
