"""statemachine/backfill.asl.json, executed: moto's interpreter and S3, our handler, a stand-in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import handler
from backfills import FIRST, LAST, PAGES, backfill, data, manifests, month, plan_in
from backfills import small_windows as small_windows  # noqa: PLC0414 - a fixture
from ingest import pacing
from ingest.errors import PlanOutgrown
from ingest.sandbox import SANDBOX_TOKEN, Fault, Sandbox
from stepfunctions import (
    RESULTS,
    Context,
    Throttled,
    TimedOut,
    definition,
    objects_in,
    step_functions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stepfunctions import StepFunctions
    from support import S3Server

Event = dict[str, Any]
MONTH = {"from": FIRST.isoformat(), "to": LAST.isoformat(), "datasets": ["movies"]}
ALL = {"from": "1850-01-01", "to": "2030-12-31", "datasets": ["movies"]}


class Function:
    """Our handler, in whose way something may be put, invocation by invocation of a job."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Callable[[Event], Any] | None]] = {}
        """By the job, or by the first day of a window."""
        self.rates: list[float] = []

    def __call__(self, event: Event) -> Any:
        self.rates += [event["requests_per_second"]] if "items" in event else []
        day = event["items"][0]["from"] if "items" in event else ""
        for name in (event["job"], day):
            if fault := (self.faults.get(name) or [None]).pop(0):
                fault(event)
        return handler.lambda_handler(event, Context())


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def lake(moto_server: S3Server) -> str:
    return moto_server.new_bucket()


@pytest.fixture
def machines(
    moto_server: S3Server, lake: str, function: Function, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StepFunctions]:
    moto_server.client().create_bucket(Bucket=RESULTS)
    for name, value in moto_server.environment(lake).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMDB_ACCESS_TOKEN", SANDBOX_TOKEN)
    # A second of the rate limit passes in a fiftieth of one: what is shared out is looked at, and
    # how a rate is kept has tests of its own.
    monkeypatch.setattr(pacing, "_SECOND_S", 0.02)
    monkeypatch.setattr("ingest.tmdb.Backoff", lambda: pacing.Backoff(base_s=0.0))
    with step_functions(moto_server, function) as found:
        yield found


def _fails(error: type[Exception], *arguments: str) -> Callable[[Event], None]:
    def fault(_: Event) -> None:
        raise error(*arguments)

    return fault


def _lands_and_fails(error: type[Exception]) -> Callable[[Event], None]:
    """What is asked for lands, and the invocation fails all the same."""

    def fault(event: Event) -> None:
        handler.lambda_handler(event, Context())
        raise error

    return fault


def test_forty_thousand_records_land_complete_whatever_happens_to_the_children(
    machines: StepFunctions,
    function: Function,
    lake: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Fault("429", times=5, retry_after="0")
    with Sandbox(titles={"movie": 40_000}, faults=[busy]) as sandbox:
        monkeypatch.setenv("TMDB_BASE_URL", sandbox.base_url)
        function.faults = {
            "plan": [_fails(Throttled)],
            "window": [
                _fails(Throttled),
                _fails(MemoryError),
                _lands_and_fails(TimedOut),
                None,
                _fails(ConnectionError),
            ],
            "summary": [_fails(RuntimeError)],
        }
        failures = 1 + 4 + 1
        end = machines.run(machines.machine("backfill", definition("backfill")), ALL)
        requests = len(sandbox.requests)
    assert (end.status, end.error, end.cause) == ("SUCCEEDED", None, None)
    assert end.output["records"] == end.output["total_results"] == 40_000
    assert end.output["complete"] == end.output["windows"]
    assert end.entered == ["Event", "Plan", "Windows", "Summary"]
    [run] = machines.runs
    windows = [window for batch in run.batches for window in batch["Items"]]
    assert len(windows) == end.output["windows"]
    assert all(window["total_pages"] <= 500 for window in windows)
    assert len(machines.events) == 1 + len(run.batches) + 1 + failures
    assert len(machines.waits) == failures
    # All children together stay within the rate.
    children = json.loads(json.dumps(run.batches[0]["BatchInput"]))["requests_per_second"]
    assert set(function.rates) == {children}
    assert children * run.children <= 20
    # What was there already was not asked for again: a page more for each that failed at most.
    assert 2_000 <= requests <= 2_000 + 150
    assert _ids(objects_in(lake, "raw/TMDB/JSON/")) == 40_000


def _ids(objects: Mapping[str, bytes]) -> int:
    """How many ids are in the files of the raw zone."""
    return len(
        {
            record["id"]
            for key, content in objects.items()
            if not key.endswith("_manifest.json")
            for record in json.loads(content)
        }
    )


@pytest.mark.usefixtures("small_windows")
def test_children_that_failed_run_again_when_the_execution_is_redriven(
    machines: StepFunctions,
    function: Function,
    lake: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(titles={"movie": month(1_500)}) as sandbox:
        monkeypatch.setenv("TMDB_BASE_URL", sandbox.base_url)
        refused = [_fails(PlanOutgrown, "no")]
        function.faults = {"window": [None, *refused, None, *refused]}
        made = definition("backfill")
        end = machines.run(machines.machine("backfill", made), MONTH)
        assert (end.status, end.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
        assert end.entered == ["Event", "Plan", "Windows"]
        assert machines.waits == []
        before, asked = len(manifests(objects_in(lake, ""))), len(sandbox.requests)
        failed = [machines.runs[0].batches[number] for number in machines.runs[0].failed]
        again = machines.redrive(made)
    assert again.status == "SUCCEEDED"
    assert again.output["records"] == 1_500
    assert again.entered == ["Windows", "Summary"]
    assert machines.runs[1].batches == failed
    assert len(failed) == 2
    assert len(manifests(objects_in(lake, ""))) == before + 2
    assert len(sandbox.requests) <= asked + 2 * PAGES


def test_a_plan_that_fails_ends_in_a_clear_failure(
    machines: StepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(titles={"movie": 100}, faults=[Fault("401")]) as sandbox:
        monkeypatch.setenv("TMDB_BASE_URL", sandbox.base_url)
        machine = machines.machine("backfill", definition("backfill"))
        end = machines.run(machine, ALL)
        assert (end.status, end.error) == ("FAILED", "CredentialsRefused")
        assert end.entered == ["Event", "Plan", "PlanFailed"]
        assert machines.waits == []
        assert SANDBOX_TOKEN not in str(end)
        end = machines.run(machine, {**ALL, "limit": 3})
    assert (end.error, machines.runs) == ("EventError", [])
    assert "limit" in str(end.cause)


@pytest.mark.usefixtures("small_windows")
def test_a_window_that_nobody_landed_is_named_and_landed_by_the_next(
    machines: StepFunctions,
    function: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = definition("backfill")
    made["States"]["Windows"]["ToleratedFailurePercentage"] = 50.0
    with Sandbox(titles={"movie": month(1_500)}) as sandbox:
        monkeypatch.setenv("TMDB_BASE_URL", sandbox.base_url)
        machine = machines.machine("backfill", made)
        function.faults = {"window": [_fails(PlanOutgrown, "no")]}
        end = machines.run(machine, MONTH)
        assert (end.status, end.error) == ("FAILED", "Incomplete")
        assert end.entered[-2:] == ["Summary", "NotComplete"]
        plan = machines.events[-1]["plan"]
        asked = len(sandbox.requests)
        end = machines.run(machine, {"plan": plan})
        assert len(sandbox.requests) <= asked + PAGES
    assert end.status == "SUCCEEDED"
    assert end.output["records"] == 1_500


@pytest.mark.usefixtures("small_windows")
def test_here_and_there_land_the_same_bytes_under_the_same_keys(
    machines: StepFunctions,
    moto_server: S3Server,
    lake: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(titles={"movie": month(1_500)}) as sandbox:
        monkeypatch.setenv("TMDB_BASE_URL", sandbox.base_url)
        end = machines.run(machines.machine("backfill", definition("backfill")), MONTH)
        assert end.status == "SUCCEEDED"
        other = moto_server.new_bucket()
        done = backfill(sandbox, "--datasets", "movies", **moto_server.environment(other))
    assert done.exit_code == 0, done.output
    there, here = objects_in(lake, ""), objects_in(other, "")
    assert there.keys() == here.keys()
    assert data(there) == data(here)
    assert plan_in(there) == plan_in(here)
    told = [
        {place: manifest["objects"] for place, manifest in manifests(each).items()}
        for each in (there, here)
    ]
    assert told[0] == told[1]
