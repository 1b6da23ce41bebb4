"""The metrics of a run: one line of CloudWatch's embedded metric format for each dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ingest.sandbox import Fault
from lambdas import FUNCTION_NAME, Function, invoked
from runs import SCHEDULED, answer, main, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

UNITS = {
    "RecordsLanded": "Count",
    "BytesLanded": "Bytes",
    "PagesFetched": "Count",
    "Retries": "Count",
    "Duration": "Milliseconds",
    "TornRuns": "Count",
    "Failures": "Count",
    "PartitionsLanded": "Count",
}
NOTHING = dict.fromkeys(UNITS, 0.0)
FAILED = {**NOTHING, "Failures": 1.0}


@pytest.fixture
def lake(rclone_server: S3Server) -> dict[str, str]:
    return rclone_server.environment(rclone_server.new_bucket())


def timeless(measured: dict[str, float]) -> dict[str, float]:
    """Metrics without how long it took, which differs each time."""
    assert measured["Duration"] >= 0
    return {**measured, "Duration": 0.0}


def test_a_dataset_that_lands_is_one_line_with_all_that_is_counted(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    done = invoked(variables(stand_in(), **lake), SCHEDULED)
    assert done.body
    cold_start, *lines = done.metrics
    assert "ColdStart" in cold_start
    assert [line["dataset"] for line in lines] == ["movies", "series"]
    for line, told in zip(lines, done.body["datasets"], strict=True):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "TmdbIngest"
        assert line["service"] == "ingest"
        assert {each["Name"]: each["Unit"] for each in directive["Metrics"]} == UNITS
        assert timeless(done.measured(told["name"])) == {
            **NOTHING,
            "RecordsLanded": 100.0,
            "BytesLanded": told["bytes"],
            "PagesFetched": 5.0,
            "PartitionsLanded": 1.0,
        }
        assert done.measured(told["name"])["Duration"] > 0


def test_what_has_many_values_is_beside_the_metrics_and_no_dimension(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    done = invoked(variables(stand_in(), **lake), SCHEDULED)
    assert done.body
    for line in done.metrics[1:]:
        assert line["run_id"] == done.body["run_id"]
        assert line["partition"] == "2026-11-20"
        assert line["function_request_id"] == "request-1"
        assert line["status"] == "landed"
        assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["dataset", "service"]]


def test_the_namespace_is_a_setting_of_powertools(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    environ = variables(stand_in(), POWERTOOLS_METRICS_NAMESPACE="Lake/TMDB", **lake)
    lines = invoked(environ, SCHEDULED).metrics
    spaces = {each["_aws"]["CloudWatchMetrics"][0]["Namespace"] for each in lines}
    assert spaces == {"Lake/TMDB"}


def test_a_cold_start_is_counted_once_and_also_if_it_fails(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    with Function(variables(stand_in(), **lake)) as function:
        first = [line for line in function.invoke({"wrong": 1}).metrics if "ColdStart" in line]
        assert [(line["function_name"], line["ColdStart"]) for line in first] == [
            (FUNCTION_NAME, [1.0])
        ]
        for _ in range(2):
            assert not [line for line in function.invoke(SCHEDULED).metrics if "ColdStart" in line]


def test_requests_that_are_made_again_are_counted_where_they_were_made(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    faults = [Fault("500", path="/discover/movie", times=3), Fault("dropped", path="tv", times=1)]
    sandbox = stand_in(faults=faults)
    done = invoked(variables(sandbox, **lake), SCHEDULED)
    assert (done.measured("movies")["Retries"], done.measured("series")["Retries"]) == (3, 1)
    asked = [request.path for request in sandbox.requests]
    assert (asked.count("/3/discover/movie"), asked.count("/3/discover/tv")) == (8, 6)
    assert (done.measured("movies")["PagesFetched"], done.measured("series")["PagesFetched"]) == (
        *(5, 5),
    )


def test_a_torn_run_is_counted(stand_in: Callable[..., Sandbox], lake: dict[str, str]) -> None:
    faults = [Fault("torn-age", path="/discover/movie")]
    done = invoked(variables(stand_in(faults=faults), **lake), SCHEDULED)
    assert (done.measured("movies")["TornRuns"], done.measured("series")["TornRuns"]) == (1, 0)


def test_details_are_datasets_of_their_own(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    environ = variables(stand_in(), TMDB_DETAILS="true", **lake)
    done = invoked(environ, {"datasets": ["movies"], "limit": 3})
    assert done.measured("movies")["PagesFetched"] == 1
    assert done.measured("movie_details")["PagesFetched"] == 3
    assert done.measured("movie_details")["PartitionsLanded"] == 1


# What the alarm for a missing partition goes by


def test_a_partition_that_is_found_landed_counts_as_there_but_not_as_landed_anew(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    with Function(variables(stand_in(faults=[Fault("torn-age")]), **lake)) as function:
        function.invoke(SCHEDULED)
        again = function.invoke(SCHEDULED)
    assert timeless(again.measured("movies")) == {**NOTHING, "PartitionsLanded": 1.0}
    assert {line["status"] for line in again.metrics} == {"skipped"}


def test_a_dry_run_counts_nothing_whatever_it_finds(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    with Function(variables(stand_in(), **lake)) as function:
        planned = function.invoke({**SCHEDULED, "dry_run": True})
        assert [line for line in planned.metrics if "ColdStart" not in line] == []
        function.invoke(SCHEDULED)
        skipped = function.invoke({**SCHEDULED, "dry_run": True})
    assert skipped.body
    assert {each["status"] for each in skipped.body["datasets"]} == {"skipped"}
    assert skipped.metrics == []


def test_a_dry_run_that_fails_counts_nothing_either(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    environ = variables(stand_in(), **{**lake, "BUCKET_NAME": "nobody-made-this"})
    done = invoked(environ, {"dry_run": True})
    assert done.error
    assert [line for line in done.metrics if "ColdStart" not in line] == []


# Failures


def test_a_dataset_that_fails_is_counted_beside_one_that_lands(
    stand_in: Callable[..., Sandbox], lake: dict[str, str]
) -> None:
    sandbox = stand_in(faults=[Fault("404", path="tv", page=5), Fault("500", path="tv", times=2)])
    done = invoked(variables(sandbox, **lake), SCHEDULED)
    assert done.error
    assert done.measured("movies")["PartitionsLanded"] == 1
    series = timeless(done.measured("series"))
    # The pages before the one that is missing may be there or still on their way.
    fetched, retried = series.pop("PagesFetched"), series.pop("Retries")
    assert 0 <= fetched <= 4
    assert 0 <= retried <= 2
    assert series == {name: FAILED[name] for name in series}
    (line,) = (line for line in done.metrics if line.get("dataset") == "series")
    assert (line["status"], line["error"]) == ("failed", "TmdbRefused")


@pytest.mark.parametrize(
    ("event", "changed", "names", "error"),
    [
        pytest.param({"date": "x"}, {}, ["movies", "series"], "EventError", id="event"),
        pytest.param({}, {"TMDB_RATE": "0"}, ["movies", "series"], "SettingsError", id="setting"),
        pytest.param({}, {"BUCKET_NAME": ""}, ["movies", "series"], "SettingsError", id="bucket"),
        pytest.param(
            {"datasets": ["series"]},
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            ["series"],
            "SettingsError",
            id="no-key-pair",
        ),
    ],
)
def test_what_ends_a_run_before_its_datasets_is_a_failure_of_each_that_was_asked_for(  # noqa: PLR0913, PLR0917 - a table of values
    stand_in: Callable[..., Sandbox],
    lake: dict[str, str],
    event: dict[str, Any],
    changed: dict[str, str],
    names: list[str],
    error: str,
) -> None:
    done = invoked({**variables(stand_in()), **lake, **changed}, event)
    lines = [line for line in done.metrics if "ColdStart" not in line]
    assert [line["dataset"] for line in lines] == names
    assert {(line["status"], line["error"]) for line in lines} == {("failed", error)}
    for name in names:
        assert done.measured(name) == FAILED


def test_a_defect_in_one_dataset_keeps_neither_the_other_nor_the_metrics(
    stand_in: Callable[..., Sandbox],
    lake: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def defective(dataset: Any, *_: Any) -> Any:
        if dataset.name == "movies":
            raise LookupError("a text that may hold anything")
        return fetch(dataset, *_)

    from ingest.pipeline import fetch  # noqa: PLC0415 - the one that is replaced

    monkeypatch.setattr("ingest.pipeline.fetch", defective)
    environ = variables(stand_in(), AWS_LAMBDA_FUNCTION_NAME=FUNCTION_NAME, **lake)
    with pytest.raises(Exception, match="movies: LookupError in the program itself"):
        answer(SCHEDULED, environ)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counted = {line["dataset"]: line for line in lines if "_aws" in line}
    assert (counted["movies"]["Failures"], counted["movies"]["error"]) == ([1.0], "Defect")
    assert counted["series"]["PartitionsLanded"] == [1.0]
    (told,) = (line for line in lines if "exception" in line)
    assert told["dataset"] == "movies"
    assert "defective" in told["exception"]


# Elsewhere


def test_away_from_lambda_there_are_no_metrics(stand_in: Callable[..., Sandbox]) -> None:
    done = main(variables(stand_in()))
    assert done.code == 0
    assert "_aws" not in done.out + done.err
