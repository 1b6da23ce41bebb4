"""The log lines of the function: JSON, each with what it is about."""

from __future__ import annotations

import json
import logging
import re
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

from ingest import logs
from ingest.logs import log_keys, no_line_between
from ingest.sandbox import Fault
from lambdas import Function, invoked
from runs import SCHEDULED, report, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.sandbox import Sandbox
    from support import S3Server

ON_EACH = {
    *("level", "message", "timestamp", "service", "location"),
    *("run_id", "function_request_id", "cold_start"),
}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


@pytest.fixture
def environ(stand_in: Callable[..., Sandbox], rclone_server: S3Server) -> dict[str, str]:
    sandbox = stand_in(faults=[Fault("500", path="/discover/tv", times=1)])
    return variables(sandbox, **rclone_server.environment(rclone_server.new_bucket()))


def values(lines: list[dict[str, Any]], name: str) -> set[Any]:
    return {line.get(name) for line in lines}


def test_each_line_says_which_run_it_belongs_to(environ: dict[str, str]) -> None:
    done = invoked(environ, SCHEDULED)
    assert done.body
    assert len(done.logs) > 12
    assert all(line.keys() >= ON_EACH for line in done.logs)
    assert values(done.logs, "run_id") == {done.body["run_id"]}
    assert values(done.logs, "function_request_id") == {"request-1"}
    assert values(done.logs, "partition") == {"2026-11-20"}
    assert values(done.logs, "service") == {"ingest"}
    assert values(done.logs, "level") == {"INFO"}
    assert all(TIMESTAMP.fullmatch(line["timestamp"]) for line in done.logs)


def test_each_line_of_a_dataset_names_it_also_those_of_its_requests(
    environ: dict[str, str],
) -> None:
    done = invoked(environ, SCHEDULED)
    *of_datasets, last = done.logs
    assert values(of_datasets, "dataset") == {"movies", "series"}
    assert "dataset" not in last
    (again,) = (line for line in done.logs if "trying again" in line["message"])
    assert again["dataset"] == "series"
    assert all(line["message"].startswith(line["dataset"]) for line in of_datasets if line != again)


def test_nothing_is_left_of_one_invocation_in_the_next(environ: dict[str, str]) -> None:
    delivery = {"execution_id": "d32c5c5f", "attempt": "1"}
    with Function(environ) as function:
        first = function.invoke({**SCHEDULED, **delivery})
        wrong = function.invoke({"wrong": True})
        last = function.invoke({"date": "2026-11-01", "datasets": ["movies"]})
    assert values(first.logs, "execution_id") == {"d32c5c5f"}
    assert values(first.logs, "attempt") == {"1"}
    assert values(first.logs, "cold_start") == {True}
    for later, number in ((wrong, 2), (last, 3)):
        assert values(later.logs, "execution_id") == {None}
        assert values(later.logs, "attempt") == {None}
        assert values(later.logs, "cold_start") == {False}
        assert values(later.logs, "function_request_id") == {f"request-{number}"}
    assert values(wrong.logs, "partition") == {None}
    assert values(last.logs, "partition") == {"2026-11-01"}
    assert len(set.union(*(values(each.logs, "run_id") for each in (first, wrong, last)))) == 3


@pytest.mark.parametrize(
    ("event", "changed", "says", "error"),
    [
        ({"wrong": 1}, {}, "the event has the unknown field wrong", "EventError"),
        ({}, {"LOG_LEVEL": "LOUD"}, "LOG_LEVEL holds 'LOUD'; it should be", "SettingsError"),
        ({}, {"BUCKET_NAME": ""}, "BUCKET_NAME is not set", "SettingsError"),
    ],
)
def test_what_ends_a_run_is_one_line_without_a_traceback(
    environ: dict[str, str], event: dict[str, Any], changed: dict[str, str], says: str, error: str
) -> None:
    done = invoked({**environ, **changed}, event)
    (line,) = done.logs
    assert line["message"].startswith(says)
    assert (line["level"], line["error"]) == ("ERROR", error)
    assert line.keys() >= ON_EACH
    assert not {"exception", "stack_trace"} & line.keys()


def test_the_last_line_of_a_run_has_its_whole_report(environ: dict[str, str]) -> None:
    done = invoked(environ, SCHEDULED)
    assert done.logs[-1]["report"] == done.body


def test_the_last_line_of_a_run_that_fails_is_an_error_with_each_cause(
    stand_in: Callable[..., Sandbox], environ: dict[str, str]
) -> None:
    sandbox = stand_in(faults=[Fault("404", path="/discover/tv")])
    last = invoked({**environ, "TMDB_BASE_URL": sandbox.base_url}, SCHEDULED).logs[-1]
    assert last["level"] == "ERROR"
    told = {each["name"]: each.get("error", "") for each in last["report"]["datasets"]}
    assert told["movies"] == ""
    assert "HTTP 404" in told["series"]


def test_lines_come_once_also_where_the_runtime_has_a_handler_of_its_own(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    of_the_runtime = logging.StreamHandler()
    logging.getLogger().addHandler(of_the_runtime)
    try:
        report(SCHEDULED, {**environ, "AWS_LAMBDA_FUNCTION_NAME": "tmdb-ingest"})
    finally:
        logging.getLogger().removeHandler(of_the_runtime)
    captured = capsys.readouterr()
    assert captured.err == ""
    messages = [
        json.loads(line)["message"] for line in captured.out.splitlines() if "level" in line
    ]
    assert len(messages) == len(set(messages)) > 12


# Keys, apart from a run


@pytest.fixture
def keyed(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], dict[str, Any]]]:
    """Log a line, and return what the keys add to it."""
    caplog.handler.addFilter(logs._add_keys)

    def line() -> dict[str, Any]:
        caplog.clear()
        logging.getLogger("ingest.tests").warning("a line")
        (record,) = caplog.records
        plain = {*vars(logging.makeLogRecord({})), "message"}
        return {name: value for name, value in vars(record).items() if name not in plain}

    yield line
    caplog.handler.removeFilter(logs._add_keys)


def test_keys_are_added_within_a_block_and_an_inner_one_wins(
    keyed: Callable[[], dict[str, Any]],
) -> None:
    with log_keys(run_id="one", dataset="movies", attempt=None):
        with log_keys(dataset="series", page=1):
            assert keyed() == {"run_id": "one", "dataset": "series", "page": 1}
        assert keyed() == {"run_id": "one", "dataset": "movies"}
    assert keyed() == {}


def test_a_thread_that_outlives_its_run_keeps_the_keys_of_that_run(
    keyed: Callable[[], dict[str, Any]],
) -> None:
    seen: list[dict[str, Any]] = []
    next_run = threading.Event()

    def late() -> None:
        assert next_run.wait(30)
        seen.append(keyed())

    with log_keys(run_id="first"):
        thread = threading.Thread(target=copy_context().run, args=(late,))
        thread.start()
    with log_keys(run_id="second"):
        next_run.set()
        thread.join()
        assert keyed() == {"run_id": "second"}
    assert seen == [{"run_id": "first"}]


def test_what_is_printed_is_not_torn_by_a_line_of_another_thread() -> None:
    lines = logging.getLogger("ingest")
    logs.configure(in_lambda=False, level="INFO")
    (handler,) = lines.handlers

    def can_log() -> bool:
        """Whether a thread of its own gets what it needs to write a line."""
        assert handler.lock
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(handler.lock.acquire(blocking=False)))
        thread.start()
        thread.join()
        return got == [True]

    try:
        with no_line_between():
            assert not can_log()
        assert can_log()
    finally:
        lines.handlers.clear()
